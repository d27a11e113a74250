// Package ngx is what travels through limpet: the request, its ordered header,
// the steps that modules do on it and their outcomes, variables and texts with
// variables, and the making of a configuration out of modules.
//
// It stands for the shared part of nginx's ngx_http_request_t and core module:
// https://nginx.org/en/docs/http/ngx_http_core_module.html. How a request is
// read and written is internal/http1's (and HTTP/2's) business, behind Wire;
// which steps it takes is internal/location's, behind Engine.
package ngx

// Product is the version of nginx whose contract limpet keeps, as the Server
// header and error pages show it.
const Product = "nginx/1.31.4"

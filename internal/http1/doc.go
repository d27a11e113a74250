// Package http1 is HTTP/1.x on the wire, both sides, as strict as nginx:
// reading requests and writing responses for clients, and reading responses and
// chunked bodies for internal/proxy.
//
// Parsing is in place over one buffer a connection: fields are slices of it, in
// the order, case and number in which they came. It stands for nginx's
// ngx_http_parse.c, ngx_http_request.c and ngx_http_header_filter_module:
// https://nginx.org/en/docs/http/ngx_http_core_module.html
//
// The grammar is RFC 9112's as far as nginx takes it; what nginx refuses is
// refused with its status and log line, never passed on.
package http1

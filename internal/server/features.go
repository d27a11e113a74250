package server

import "strings"

// Features returns the configure arguments that -V shows: --with for the
// optional modules of nginx that are there, --without for default ones that aren't.
func Features() string {
	names := make(map[string]bool)
	for _, m := range (&Options{}).modules() {
		names[m.Name] = true
	}
	var words []string
	for _, f := range []struct{ module, word string }{
		{"tls", "--with-http_ssl_module"}, {"http2", "--with-http_v2_module"}, {"realip", "--with-http_realip_module"},
		{"auth_request", "--with-http_auth_request_module"}, {"sub_filter", "--with-http_sub_module"},
		{"gunzip", "--with-http_gunzip_module"}, {"gzip_static", "--with-http_gzip_static_module"},
		{"secure_link", "--with-http_secure_link_module"}, {"random_index", "--with-http_random_index_module"},
		{"stub_status", "--with-http_stub_status_module"},
	} {
		if names[f.module] {
			words = append(words, f.word)
		}
	}
	for _, f := range []struct{ module, word string }{
		{"rewrite", "rewrite"}, {"proxy", "proxy"}, {"charset", "charset"}, {"gzip", "gzip"}, {"ssi", "ssi"},
		{"mirror", "mirror"}, {"userid", "userid"}, {"access", "access"}, {"auth_basic", "auth_basic"},
		{"autoindex", "autoindex"}, {"maps", "geo"}, {"maps", "map"}, {"referer", "referer"}, {"fastcgi", "fastcgi"},
		{"uwsgi", "uwsgi"}, {"scgi", "scgi"}, {"grpc", "grpc"}, {"memcached", "memcached"}, {"limit_conn", "limit_conn"},
		{"limit_req", "limit_req"}, {"empty_gif", "empty_gif"}, {"browser", "browser"}, {"maps", "split_clients"},
		{"upstream_hash", "upstream_hash"}, {"upstream_ip_hash", "upstream_ip_hash"}, {"upstream_least_conn", "upstream_least_conn"},
		{"upstream_random", "upstream_random"}, {"upstream", "upstream_keepalive"}, {"upstream", "upstream_zone"},
	} {
		if !names[f.module] {
			words = append(words, "--without-http_"+f.word+"_module")
		}
	}
	return strings.Join(append(words, "--without-http-cache"), " ")
}

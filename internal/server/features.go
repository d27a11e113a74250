package server

import (
	"strings"
)

// Features returns the configure arguments that -V shows: --with for the optional
// modules of nginx that are there, --without for default ones that aren't. A module
// of nginx is there when the directive that stands for it has an effect.
func Features() string {
	works := make(map[string]bool)
	for _, m := range (&Options{}).modules() {
		if m.Conf == nil {
			continue
		}
		for _, d := range m.Conf().Directives() {
			works[d.Name] = works[d.Name] || d.Why == ""
		}
	}
	var words []string
	if works["debug_connection"] { // what nginx has only when built with it
		words = append(words, "--with-debug")
	}
	for _, f := range strings.Fields(withModules) {
		word, directive := feature(f)
		if works[directive] {
			words = append(words, "--with-"+word)
		}
	}
	for _, f := range strings.Fields(defaultModules) {
		word, directive := feature(f)
		if !works[directive] {
			words = append(words, "--without-"+word)
		}
	}
	return strings.Join(words, " ")
}

// feature parts a word of the tables: name=directive, or the name of both. The
// name of an HTTP module is its middle.
func feature(f string) (word, directive string) {
	word, directive, ok := strings.Cut(f, "=")
	if !ok {
		directive = word
	}
	if !strings.ContainsAny(word, "-") && word != "stream" && word != "mail" {
		word = "http_" + word + "_module"
	}
	return word, directive
}

// withModules are the modules that nginx has only when asked for, defaultModules
// those that it has unless told otherwise.
// https://nginx.org/en/docs/configure.html
const (
	withModules = `ssl=ssl_certificate v2=http2 v3=http3 realip=set_real_ip_from addition=add_after_body
		xslt=xslt_stylesheet image_filter geoip=geoip_country sub=sub_filter dav=dav_methods flv mp4 gunzip
		gzip_static auth_request random_index secure_link slice stub_status stream=preread_timeout mail=smtp_auth`
	defaultModules = `charset gzip ssi userid access=allow auth_basic mirror autoindex geo map split_clients
		referer=valid_referers rewrite proxy=proxy_pass fastcgi=fastcgi_pass uwsgi=uwsgi_pass scgi=scgi_pass
		grpc=grpc_pass memcached=memcached_pass limit_conn limit_req empty_gif browser=ancient_browser
		upstream_hash=hash upstream_ip_hash=ip_hash upstream_least_conn=least_conn upstream_random=random
		upstream_keepalive=keepalive upstream_zone=zone upstream_sticky=sticky http-cache=proxy_cache`
)

// Package proxy passes requests to upstreams over HTTP/1.x: the request out, the
// response in, the next peer after a failure, redirects and cookies rewritten,
// upgraded connections tunnelled.
//
// It stands for nginx's ngx_http_proxy_module and stands on package relay.
// https://nginx.org/en/docs/http/ngx_http_proxy_module.html
//
// Not done: HTTP/2 to upstreams, and proxy_cache_purge, which is NGINX Plus's; both are refused by name.
package proxy

import (
	"limpet/internal/ngx"
	"limpet/internal/relay"
	"limpet/nginxconf"
)

// Conf is the proxy module's configuration at one level.
type Conf struct {
	relay.Conf
	Redirect           nginxconf.List[redirect]
	CookieDomain       nginxconf.List[redirect]
	CookiePath         nginxconf.List[redirect]
	CookieFlags        nginxconf.List[cookieFlags]
	SetHeader          nginxconf.List[setHeader]
	SetBody            nginxconf.Opt[ngx.Text]
	Method             nginxconf.Opt[ngx.Text]
	PassTrailers       nginxconf.Opt[bool]
	HTTPVersion        nginxconf.Opt[ngx.Proto]
	redirectOff        bool
	domainOff, pathOff bool
}

// Directives lists the directives of the proxy module.
func (c *Conf) Directives() []nginxconf.Directive {
	const hsl = nginxconf.HTTPServerLocation
	const memory = "look-up tables are sized as needed"
	c.Cached.DefaultKey = "$scheme$proxy_host$request_uri"
	rows := c.PeerRows(kind(), nginxconf.Location|nginxconf.LocationIf|nginxconf.LimitExcept)
	rows = append(rows, c.HeaderRows()...)
	rows = append(rows, c.BodyRows()...)
	rows = append(rows, c.SSLRows()...)
	return append(rows,
		nginxconf.Many("proxy_redirect", hsl, nginxconf.Args12, &c.Redirect, c.parseRedirect, "default", "Changes Location and Refresh of a response."),
		nginxconf.Many("proxy_cookie_domain", hsl, nginxconf.Args12, &c.CookieDomain, c.parseCookieDomain, "off", "Changes the domain of a response's cookies."),
		nginxconf.Many("proxy_cookie_path", hsl, nginxconf.Args12, &c.CookiePath, c.parseCookiePath, "off", "Changes the path of a response's cookies."),
		nginxconf.Many("proxy_cookie_flags", hsl, nginxconf.Args1234, &c.CookieFlags, parseCookieFlags, "off", "Changes the flags of a response's cookies."),
		relay.LowatRow("proxy"),
		nginxconf.Each("proxy_set_header", hsl, nginxconf.Args2, &c.SetHeader, parseSetHeader, "Sets a field of the request passed on."),
		nginxconf.Accepted("proxy_headers_hash_max_size", hsl, nginxconf.Args1, memory),
		nginxconf.Accepted("proxy_headers_hash_bucket_size", hsl, nginxconf.Args1, memory),
		ngx.TextRow("proxy_set_body", hsl, &c.SetBody, "", "Replaces the body of the request passed on."),
		ngx.TextRow("proxy_method", hsl, &c.Method, "", "Replaces the method of the request passed on."),
		nginxconf.Flag("proxy_pass_trailers", hsl, &c.PassTrailers, "off", "Passes the fields behind a chunked response on."),
		nginxconf.Enum("proxy_http_version", hsl, &c.HTTPVersion, []nginxconf.Word[ngx.Proto]{{Name: "1.0", Value: ngx.HTTP10}, {Name: "1.1", Value: ngx.HTTP11}}, "1.1", "Sets the HTTP version towards peers."),
		nginxconf.Flag("proxy_cache_convert_head", hsl, &c.Cached.ConvertHead, "on", "Asks by GET where the client asks by HEAD."),
	)
}

// setHeader is one proxy_set_header.
type setHeader struct {
	Name  string
	Value ngx.Text
}

func parseSetHeader(s *nginxconf.Setting) (setHeader, error) {
	v, err := ngx.ParseText(s, s.Arg(1))
	return setHeader{s.Arg(0), v}, err
}

// Package referer tells whether a request came by a link of a site that may
// link: nginx's referer module.
// https://nginx.org/en/docs/http/ngx_http_referer_module.html
package referer

import (
	"bytes"

	"limpet/internal/ngx"
	"limpet/nginxconf"
)

// Module returns the module.
func Module() ngx.Module {
	return ngx.Module{Name: "referer", Conf: func() nginxconf.Settings { return new(Conf) }, Vars: Vars}
}

// Vars lists the variable of the module.
func Vars() []ngx.Variable {
	return []ngx.Variable{{Name: "invalid_referer", Doc: "The digit 1 where the Referer field isn't a valid one, else empty.",
		Get: func(r *ngx.Request, b []byte) ([]byte, bool) {
			c := nginxconf.Of[*Conf](r.Scope.Level)
			if !c.valid(r) {
				b = append(b, '1')
			}
			return b, true
		}}}
}

// valid reports whether the Referer field is a valid one. Without a name among the valid ones, all are.
func (c *Conf) valid(r *ngx.Request) bool {
	if !c.accepts(kindName, kindPattern, kindServerNames) {
		return true
	}
	f := r.In.Find(ngx.HeaderReferer)
	if f == nil {
		return c.accepts(kindNone)
	}
	rest, ok := afterScheme(f.Value)
	if !ok {
		return c.accepts(kindBlocked)
	}
	host, uri := rest, []byte(nil)
	if i := bytes.IndexByte(rest, '/'); i >= 0 {
		host, uri = rest[:i], rest[i:]
	}
	if i := bytes.IndexByte(host, ':'); i >= 0 {
		host = host[:i]
	}
	if len(host) > 256 {
		return false
	}
	host = bytes.ToLower(host)
	if prefix, ok := c.names.find(host); ok {
		return bytes.HasPrefix(uri, []byte(prefix))
	}
	for _, re := range c.patterns {
		if _, ok := re.Match(host, nil); ok {
			return true
		}
	}
	for i := range c.Valid.V {
		if re := c.Valid.V[i].re; re != nil {
			if _, ok := re.Match(rest, nil); ok {
				return true
			}
		}
	}
	return false
}

// afterScheme cuts http:// or https:// off; false where there is neither, or less than a host behind it.
func afterScheme(v []byte) ([]byte, bool) {
	if len(v) < len("http://i.ru") {
		return nil, false
	}
	for _, scheme := range []string{"http://", "https://"} {
		if ngx.EqualFold(v[:len(scheme)], scheme) {
			return v[len(scheme):], true
		}
	}
	return nil, false
}

package proxy

import (
	"strconv"

	"limpet/internal/ngx"
	"limpet/internal/relay"
)

// Vars lists the variables of the proxy module.
// https://nginx.org/en/docs/http/ngx_http_proxy_module.html#variables
func Vars() []ngx.Variable {
	return []ngx.Variable{
		{Name: "proxy_host", Get: targetVar(func(x *relay.Exchange, b []byte) []byte { return append(b, x.To.Host...) }), Doc: "Host and port of proxy_pass."},
		{Name: "proxy_port", Get: targetVar(func(x *relay.Exchange, b []byte) []byte { return append(b, x.To.Port...) }), Doc: "Port of proxy_pass, or the protocol's."},
		{Name: "proxy_add_x_forwarded_for", Get: addForwardedFor, Doc: "X-Forwarded-For of the client with its address appended."},
		{Name: "proxy_internal_body_length", Get: targetVar(func(x *relay.Exchange, b []byte) []byte {
			if x.BodyLength < 0 {
				return b
			}
			return strconv.AppendInt(b, x.BodyLength, 10)
		}), Doc: "Length of the body passed on."},
		{Name: "proxy_internal_chunked", Get: targetVar(func(x *relay.Exchange, b []byte) []byte {
			if x.BodyChunked {
				return append(b, "chunked"...)
			}
			return b
		}), Doc: "chunked for a body passed on in chunks."},
	}
}

// targetVar is a variable that exists once a request is being passed on.
func targetVar(get func(x *relay.Exchange, b []byte) []byte) ngx.Getter {
	return func(r *ngx.Request, b []byte) ([]byte, bool) {
		x := relay.Of(r, "proxy")
		if x == nil {
			return b, false
		}
		return get(x, b), true
	}
}

func addForwardedFor(r *ngx.Request, b []byte) ([]byte, bool) {
	for i := range r.In.Fields {
		if f := &r.In.Fields[i]; f.ID == ngx.HeaderXForwardedFor {
			b = append(append(b, f.Value...), ", "...)
		}
	}
	return append(b, r.Client.Text...), true
}

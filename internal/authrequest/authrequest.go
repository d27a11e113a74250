// Package authrequest lets clients in by the answer to a subrequest:
// auth_request and auth_request_set of nginx's auth_request module.
// https://nginx.org/en/docs/http/ngx_http_auth_request_module.html
package authrequest

import (
	"limpet/internal/ngx"
	"limpet/nginxconf"
)

// Module returns the module.
func Module() ngx.Module {
	return ngx.Module{
		Name: "auth_request",
		Conf: func() nginxconf.Settings { return new(Conf) },
		Scope: func(_ *ngx.Build, s *ngx.Scope) error {
			c := nginxconf.Of[*Conf](s.Level)
			s.Add(ngx.Access, step(c.URI.V, c.Sets.V))
			return nil
		},
	}
}

func step(uri string, sets []assignment) ngx.Step {
	if uri == "" {
		return nil
	}
	path := []byte(uri)
	return func(r *ngx.Request) ngx.Outcome {
		if r.Debugging() {
			r.Debugf("auth request handler")
		}
		sub := r.Sub(path, nil)
		sub.HeaderOnly = true // what it answers is wanted, not its body
		status := r.Engine.Subrequest(sub, nil)
		if r.Debugging() {
			r.Debugf("auth request done s:%d", status)
		}
		for i := range sets {
			a := &sets[i]
			a.v.Assign(r, r.Copy(a.value.Bytes(sub)))
		}
		return decide(r, sub, status)
	}
}

// decide turns the subrequest's answer into an outcome.
func decide(r, sub *ngx.Request, status int) ngx.Outcome {
	switch {
	case status == 403:
		return ngx.Status(403)
	case status == 401:
		challenge(r, &sub.Out.Header, &sub.UpHead)
		return ngx.Status(401)
	case status >= 200 && status < 300:
		return ngx.OK
	}
	r.Errorf("auth request unexpected status: %d", status)
	return ngx.Status(500)
}

// challenge takes over how the client is to authenticate: the fields of the
// subrequest's answer, or of its peer's where an error page took its place.
func challenge(r *ngx.Request, answer, peer *ngx.Header) {
	from := answer
	if !answer.Has(ngx.HeaderWWWAuthenticate) {
		from = peer
	}
	r.Out.Header.Hide(ngx.HeaderWWWAuthenticate)
	for i := range from.Fields {
		if f := &from.Fields[i]; f.ID == ngx.HeaderWWWAuthenticate && !f.Hidden {
			r.Out.Header.AddID(f.ID, r.Copy(f.Value))
		}
	}
}

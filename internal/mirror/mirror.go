// Package mirror repeats requests to another place, whose answers are dropped.
//
// It stands for nginx's ngx_http_mirror_module.
// https://nginx.org/en/docs/http/ngx_http_mirror_module.html
//
// Mirrored requests run when the client has its answer, in the client's goroutine:
// they never hold that answer up. As in nginx the connection's next request waits for them.
package mirror

import (
	"limpet/internal/ngx"
	conf "limpet/nginxconf"
)

// Conf is the configuration of the module at one level.
type Conf struct {
	URIs conf.List[string] // nothing for off
	Body conf.Opt[bool]
	off  bool
}

// Directives lists the directives of the module.
func (c *Conf) Directives() []conf.Directive {
	return []conf.Directive{
		conf.Many("mirror", conf.HTTPServerLocation, conf.Args1, &c.URIs, c.parse, "off", "Names a URI to which requests are repeated."),
		conf.Flag("mirror_request_body", conf.HTTPServerLocation, &c.Body, "on", "Repeats the request's body, too, which is then read whole before the request goes on."),
	}
}

// parse parses mirror; off stands alone.
func (c *Conf) parse(s *conf.Setting) ([]string, error) {
	if s.Arg(0) == "off" {
		if c.URIs.Own {
			return nil, conf.ErrDuplicate
		}
		c.off = !s.IsDefault
		return nil, nil
	}
	if c.off {
		return nil, conf.ErrDuplicate
	}
	return []string{s.Arg(0)}, nil
}

// Module returns the module.
func Module() ngx.Module {
	return ngx.Module{
		Name: "mirror",
		Conf: func() conf.Settings { return new(Conf) },
		Scope: func(b *ngx.Build, s *ngx.Scope) error {
			if c := conf.Of[*Conf](s.Level); len(c.URIs.V) > 0 {
				s.Add(ngx.PreContent, c.mirror)
			}
			return nil
		},
	}
}

// mirror prepares the repeated requests.
func (c *Conf) mirror(r *ngx.Request) ngx.Outcome {
	if !r.IsMain() {
		return ngx.Next
	}
	if r.Debugging() {
		r.Debugf("mirror handler")
	}
	if c.Body.V {
		if out := r.ReadAll(); out != ngx.Next {
			return out
		}
	}
	for _, uri := range c.URIs.V {
		sub := r.Sub([]byte(uri), r.Args)
		sub.Method = r.Method
		sub.HeaderOnly = true
		sub.Background = true
		if !c.Body.V {
			sub.Length, sub.Chunked = -1, false
		}
		r.Later = append(r.Later, sub)
	}
	return ngx.Next
}

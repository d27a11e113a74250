// Package http2 serves HTTP/2 to clients: frames and header compression by
// golang.org/x/net, connections and streams its own, the requests as every other wire's.
//
// It stands for nginx's ngx_http_v2_module.
// https://nginx.org/en/docs/http/ngx_http_v2_module.html
// https://www.rfc-editor.org/rfc/rfc9113
//
// What differs: by the priorities of RFC 7540 (taken back by RFC 9113) siblings share the
// connection by their weights, where nginx has the heavier one go first; a 100 (Continue) is
// sent where a client waits for it; a body that isn't read yet is held to 8 MiB a connection.
package http2

import (
	"errors"

	"limpet/internal/ngx"
	conf "limpet/nginxconf"
)

// Conf is the module's configuration at one level.
type Conf struct {
	On            conf.Opt[bool]
	MaxStreams    conf.Opt[int]
	PrereadSize   conf.Opt[int64]
	ChunkSize     conf.Opt[int64]
	receiveBuffer conf.Opt[int64]
}

// Directives lists the directives of the module.
func (c *Conf) Directives() []conf.Directive {
	const memory = "streams and buffers are sized as needed"
	rows := []conf.Directive{
		conf.Flag("http2", conf.HTTPServer, &c.On, "off", "Speaks HTTP/2 with clients that ask for it."),
		conf.Num("http2_max_concurrent_streams", conf.HTTPServer, &c.MaxStreams, "128", "Bounds the number of requests at once on a connection."),
		bounded(conf.Size("http2_body_preread_size", conf.HTTPServer, &c.PrereadSize, "64k", "Sets how much of a body is taken before it is asked for."), &c.PrereadSize, 0, maxWindow, ""),
		bounded(conf.Size("http2_chunk_size", conf.HTTPServerLocation, &c.ChunkSize, "8k", "Bounds the size of a frame of a response's body."), &c.ChunkSize, 1, 0, "the http2 chunk size cannot be zero"),
		accepted(bounded(conf.Size("http2_recv_buffer_size", conf.HTTP, &c.receiveBuffer, "", ""), &c.receiveBuffer, 0, 0, ""), memory),
		conf.Accepted("http2_pool_size", conf.HTTPServer, conf.Args1, memory),
		conf.Accepted("http2_streams_index_size", conf.HTTPServer, conf.Args1, memory),
	}
	for _, o := range [...]struct {
		name, instead string
		in            conf.Context
	}{
		{"http2_max_requests", "keepalive_requests", conf.HTTPServer},
		{"http2_recv_timeout", "client_header_timeout", conf.HTTPServer},
		{"http2_idle_timeout", "keepalive_timeout", conf.HTTPServer},
		{"http2_max_field_size", "large_client_header_buffers", conf.HTTPServer},
		{"http2_max_header_size", "large_client_header_buffers", conf.HTTPServer},
		{"http2_max_concurrent_pushes", "", conf.HTTPServer},
		{"http2_push_preload", "", conf.HTTPServerLocation},
		{"http2_push", "", conf.HTTPServerLocation},
	} {
		rows = append(rows, obsolete(o.name, o.instead, o.in))
	}
	return rows
}

// obsolete is a directive that nginx takes with a warning and no effect.
func obsolete(name, instead string, in conf.Context) conf.Directive {
	d := conf.Call(name, in, conf.Args1, func(s *conf.Setting) error {
		if instead == "" {
			s.Warn(`the "%s" directive is obsolete, ignored`, name)
		} else {
			s.Warn(`the "%s" directive is obsolete, use the "%s" directive instead`, name, instead)
		}
		return nil
	}, "Accepted without effect.")
	d.Why = "obsolete in nginx"
	return d
}

func accepted(d conf.Directive, why string) conf.Directive {
	d.Doc, d.Why = "Accepted without effect.", why
	return d
}

// bounded refuses values of a size row outside of its bounds; max 0 is none. why is nginx's text for too small ones.
func bounded(d conf.Directive, field *conf.Opt[int64], min, max int64, why string) conf.Directive {
	d.Value = boundedValue{d.Value, field, min, max, why}
	return d
}

type boundedValue struct {
	conf.Value
	field    *conf.Opt[int64]
	min, max int64
	why      string
}

func (v boundedValue) Inherit(outer conf.Value) { v.Value.Inherit(outer.(boundedValue).Value) }

func (v boundedValue) Set(s *conf.Setting) error {
	if err := v.Value.Set(s); err != nil {
		return err
	}
	switch {
	case v.field.V < v.min:
		return errors.New(v.why)
	case v.max > 0 && v.field.V > v.max:
		return errors.New("the maximum body preread buffer size is 2147483647")
	}
	return nil
}

// Module returns the HTTP/2 module.
func Module() ngx.Module {
	return ngx.Module{
		Name: "http2", Conf: func() conf.Settings { return new(Conf) },
		Vars: func() []ngx.Variable {
			return []ngx.Variable{{Name: "http2", Get: protocol, Doc: "h2 over TLS, h2c without, empty for other protocols."}}
		},
		Scope: func(b *ngx.Build, s *ngx.Scope) error {
			c := conf.Of[*Conf](s.Level)
			s.HTTP2 = c.On.V
			s.HTTP2Chunk = int(c.ChunkSize.V)
			return nil
		},
	}
}

func protocol(r *ngx.Request, b []byte) ([]byte, bool) {
	switch {
	case !r.Client.HTTP2:
		return b, true
	case r.Client.TLS != nil:
		return append(b, "h2"...), true
	}
	return append(b, "h2c"...), true
}

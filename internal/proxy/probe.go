package proxy

import (
	"bytes"

	"limpet/healthcheck"
	"limpet/internal/ngx"
)

// checked tells package healthcheck how the location reaches its group, for health_check and upstream_probe.
func (h *handler) checked(b *ngx.Build, s *ngx.Scope) {
	l := healthcheck.Location{
		Group: h.target.Group, Head: h.probeHead,
		Connect: h.conf.ConnectTimeout.V, Send: h.conf.SendTimeout.V, Read: h.conf.ReadTimeout.V,
		Fails: func(status int) bool { return statusClass(status)&h.conf.NextUpstream.V != 0 },
	}
	if h.tls != nil {
		l.TLS = h.tls.probe(h.target)
	}
	healthcheck.Proxied(b, s.Level, l)
}

// probeHead appends the head of a request without a client: the location's own fields, no body.
func (h *handler) probeHead(b []byte, r *ngx.Request, method, uri string, keep bool) []byte {
	x := &exchange{h: h, r: r, bodyLength: -1}
	h.target.resolve(r, &x.to)
	b = append(b, method+" "+uri...)
	if h.conf.HTTPVersion.V == ngx.HTTP10 {
		b = append(b, " HTTP/1.0\r\n"...)
	} else {
		b = append(b, " HTTP/1.1\r\n"...)
	}
	for i := range h.head.ops {
		b = h.head.ops[i].append(b, x)
	}
	if !keep && !bytes.Contains(bytes.ToLower(b), []byte("\r\nconnection:")) {
		b = append(b, "Connection: close\r\n"...)
	}
	return append(b, "\r\n"...)
}

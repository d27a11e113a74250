package proxy

import (
	"bytes"

	"limpet/internal/ngx"
	"limpet/internal/relay"
)

// probeHead appends the head of a request without a client: the location's own fields, no body.
func (p *place) probeHead(b []byte, r *ngx.Request, method, uri string, keep bool) []byte {
	x := relay.Probing(r, p.target)
	b = append(b, method+" "+uri+p.version()...)
	for i := range p.head.ops {
		b = p.head.ops[i].append(b, x)
	}
	if !keep && !bytes.Contains(bytes.ToLower(b), []byte("\r\nconnection:")) {
		b = append(b, "Connection: close\r\n"...)
	}
	return append(b, "\r\n"...)
}

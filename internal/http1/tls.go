package http1

import "limpet/internal/ngx"

// startTLS makes the handshake. A plain request on a TLS port goes on without, and is
// refused with 497 when its head was read.
func (c *conn) startTLS(ep *ngx.Endpoint) bool {
	first := make([]byte, 1)
	if n, err := c.tc.Read(first); n == 0 || err != nil {
		return false
	}
	c.tc.Unread(first)
	// A handshake's record begins with 22, SSLv2's hello with its length.
	if first[0] != 22 && first[0]&0x80 == 0 {
		return true
	}
	return ep.TLS.Handshake(&c.client, ep)
}

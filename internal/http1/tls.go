package http1

import (
	"limpet/internal/errlog"
	"limpet/internal/ngx"
)

// startTLS makes the handshake. A plain request on a TLS port goes on without, and is
// refused with 497 when its head was read.
func (c *conn) startTLS(ep *ngx.Endpoint) bool {
	first := make([]byte, 1)
	if n, err := c.tc.Read(first); n == 0 || err != nil {
		return false
	}
	c.tc.Unread(first)
	if c.client.Debugging() {
		c.client.Debugf(errlog.DebugHTTP, "https ssl handshake: 0x%02X", first[0])
	}
	// A handshake's record begins with 22, SSLv2's hello with its length.
	if first[0] != 22 && first[0]&0x80 == 0 {
		if c.client.Debugging() {
			c.client.Debugf(errlog.DebugHTTP, "plain http")
		}
		return true
	}
	return ep.TLS.Handshake(&c.client, ep)
}

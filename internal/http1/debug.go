package http1

import "limpet/internal/errlog"

// The functions here write debug lines; whoever calls them has asked Debugging.

// woke tells of the first bytes of a request.
func (c *conn) woke() {
	handler := "http wait request handler"
	if c.client.Requests > 0 {
		handler = "http keepalive handler"
	}
	c.client.Debugf(errlog.DebugHTTP, "%s", handler)
	c.received(c.x.w, len(c.x.in))
}

// received tells of bytes that were read.
func (c *conn) received(n, room int) {
	c.client.Debugf(errlog.DebugEvent, "recv: fd:%d %d of %d", c.tc.FD(), n, room)
}

// wrote tells of bytes that were sent.
func (c *conn) wrote(n, of int) { c.x.req.DebugfOf(errlog.DebugEvent, "writev: %d of %d", n, of) }

package http1

import (
	"errors"

	"limpet/internal/errlog"
	"limpet/internal/ngx"
	"limpet/internal/tcp"
)

// startTLS makes the handshake. A plain request on a TLS port is answered with
// nginx's 497 page by the engine.
func (c *conn) startTLS(ep *ngx.Endpoint) bool {
	core := ep.Default.Core
	first := make([]byte, 1)
	n, err := c.tc.Read(first)
	if n == 0 || err != nil {
		return false
	}
	c.tc.Unread(first)
	if first[0] != 0x16 {
		c.plainOnTLS = true
		return true
	}
	if err := c.tc.ServerTLS(ep.TLS, core.ClientHeaderTimeout.V); err != nil {
		c.handshakeFailed(err)
		return false
	}
	c.client.TLS = c.tc.TLS()
	c.client.HTTP2 = c.client.TLS.NegotiatedProtocol == "h2"
	return true
}

func (c *conn) handshakeFailed(err error) {
	log := c.srv.Log()
	switch {
	case errors.Is(err, tcp.ErrTimeout):
		log.Printf(errlog.Info, c.client.ID, "client timed out (110: Connection timed out) while SSL handshaking, client: %s, server: %s", c.client.Text, c.client.Listener.Addr)
	default:
		log.Printf(errlog.Info, c.client.ID, "SSL_do_handshake() failed (%s) while SSL handshaking, client: %s, server: %s", err, c.client.Text, c.client.Listener.Addr)
	}
}

package proxy

import (
	"crypto/tls"
	"errors"

	"limpet/internal/ngx"
	"limpet/internal/tcp"
	"limpet/nginxconf"
	"limpet/upstream"
)

// sslConf holds proxy_ssl_*.
type sslConf struct{}

func (c *sslConf) rows() []nginxconf.Directive { return nil }

func (c *sslConf) check() error { return nil }

// clientTLS is how sessions to peers are made.
type clientTLS struct {
	key    string // of kept connections: the same settings, the same key
	config *tls.Config
}

// client makes the TLS settings of a place whose target may need them; nil for plain HTTP.
func (c *sslConf) client(b *ngx.Build, s *ngx.Scope, t *Target) (*clientTLS, error) {
	if !t.TLS && t.Group != nil {
		return nil, nil
	}
	// nginx neither verifies a peer nor sends its name unless it is told to.
	config := &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS12, ClientSessionCache: tls.NewLRUClientSessionCache(0)}
	return &clientTLS{key: "tls", config: config}, nil
}

// handshake starts a TLS session with the peer at hand.
func (x *exchange) handshake(p *upstream.Peer) failure {
	x.s.While = whileTLS
	err := x.link.Conn.ClientTLS(x.h.tls.config, x.h.conf.ConnectTimeout.V)
	switch {
	case err == nil:
		return failure{}
	case errors.Is(err, tcp.ErrTimeout):
		return x.timedOut(whileTLS)
	case errors.Is(err, tcp.ErrHangup):
		return x.clientGone(whileTLS)
	}
	x.r.Errorf("SSL_do_handshake() failed (%s) while %s", err, whileTLS)
	return failure{class: nextError, status: 502}
}

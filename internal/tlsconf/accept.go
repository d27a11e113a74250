package tlsconf

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"time"

	"limpet/internal/certs"
	"limpet/internal/errlog"
	"limpet/internal/ngx"
	"limpet/internal/openssl"
	"limpet/internal/tcp"
	conf "limpet/nginxconf"
)

// acceptor makes the sessions of one listening address. It implements ngx.TLS.
type acceptor struct {
	deflt    *server
	servers  map[*ngx.Scope]*server
	modes    map[*ngx.Scope]int // ssl_verify_client
	find     func(r *ngx.Request, host []byte) *ngx.Scope
	first    *ngx.Scope // the default server
	http2    bool       // of listen
	sessions *sessions
}

// Address is a listening address with `ssl`.
type Address struct {
	Default *ngx.Scope
	Scopes  []*ngx.Scope
	// Find returns the server for a host, Default when none has the name.
	Find  func(r *ngx.Request, host []byte) *ngx.Scope
	HTTP2 bool // by a parameter of listen
}

// Accept returns what makes the sessions of an address. The error is nginx's when its servers have no certificate.
func Accept(b *ngx.Build, at Address) (ngx.TLS, error) {
	all := ngx.Shared[servers](b).by
	a := &acceptor{servers: make(map[*ngx.Scope]*server), modes: make(map[*ngx.Scope]int), find: at.Find, first: at.Default, http2: at.HTTP2}
	for _, scope := range at.Scopes {
		a.modes[scope] = conf.Of[*Conf](scope.Level).Verify.V
		if s := all[scope.Level]; s != nil {
			a.servers[scope] = s
		}
	}
	a.deflt = a.servers[at.Default]
	if a.deflt == nil {
		return nil, noCertificate(at.Default.Level)
	}
	if len(a.deflt.conf.Certificates.V) == 0 {
		for _, scope := range at.Scopes {
			if a.servers[scope] == nil {
				return nil, noCertificate(scope.Level)
			}
		}
	}
	a.sessions = newSessions(b, a.deflt)
	return a, nil
}

func noCertificate(lv *conf.Level) error {
	return conf.Errorf("", 0, `no "ssl_certificate" is defined for the "listen ... ssl" directive in %s:%d`, lv.Stmt.File, lv.Stmt.Line)
}

// session is what is kept of a client's TLS session.
type session struct {
	a      *acceptor
	client *ngx.Client
	server *server
	hello  hello
	id     []byte // made by the server, kept over resumption
	result openssl.Result
	chain  []*x509.Certificate // verified, to the root
	status string              // why OCSP refuses the client's certificate; "" for not
}

// hello is what is kept of a client's first message.
type hello struct {
	name    string
	ciphers []uint16
	curves  []tls.CurveID
}

func sessionOf(r *ngx.Request) *session {
	s, _ := r.Client.Session.(*session)
	return s
}

// Handshake implements ngx.TLS.
func (a *acceptor) Handshake(c *ngx.Client, ep *ngx.Endpoint) bool {
	s := &session{a: a, client: c}
	c.Session = s
	core := ep.Default.Core
	err := c.Conn.ServerTLS(&tls.Config{GetConfigForClient: s.choose}, core.ClientHeaderTimeout.V)
	if err != nil {
		if c.Debugging() {
			c.Debugf(errlog.DebugEvent, "SSL_do_handshake: -1, %s", err)
		}
		s.failed(c.Log(), err)
		return false
	}
	if size := s.server.conf.BufferSize.V; size < 16<<10 {
		c.Conn.SetRecordSize(int(size))
	}
	c.TLS = c.Conn.TLS()
	if c.Debugging() {
		s.debug()
	}
	if !s.askOCSP(c.Log()) {
		return false
	}
	c.HTTP2 = c.TLS.NegotiatedProtocol == "h2"
	return true
}

// debug tells what a handshake came to.
func (s *session) debug() {
	c, state := s.client, s.client.TLS
	c.Debugf(errlog.DebugEvent, "SSL_do_handshake: 1")
	c.Debugf(errlog.DebugEvent, `SSL: %s, cipher: "%s"`, openssl.VersionName(state.Version), openssl.CipherName(state.CipherSuite))
	if state.DidResume {
		c.Debugf(errlog.DebugEvent, "SSL reused session")
	}
	if state.NegotiatedProtocol != "" {
		c.Debugf(errlog.DebugHTTP, "SSL ALPN selected: %s", state.NegotiatedProtocol)
	}
	for depth, cert := range state.PeerCertificates {
		c.Debugf(errlog.DebugEvent, `verify: "%s", depth:%d, subject:"%s", issuer:"%s"`, s.result, depth,
			openssl.DN(cert.RawSubject), openssl.DN(cert.RawIssuer))
	}
}

// failed logs why a handshake failed, as nginx does.
func (s *session) failed(log *errlog.Log, err error) {
	c := s.client
	const tail = "%s while SSL handshaking, client: %s, server: %s"
	var logged *loggedError
	switch {
	case errors.As(err, &logged):
	case s.server != nil && s.server.reject:
		log.Printf(errlog.Info, c.ID, tail, "handshake rejected", c.Text, c.Listener.Addr)
	case errors.Is(err, tcp.ErrTimeout):
		log.Printf(errlog.Info, c.ID, tail, "client timed out (110: Connection timed out)", c.Text, c.Listener.Addr)
	case errors.Is(err, tcp.ErrAborted), errors.Is(err, tcp.ErrHangup):
		log.Printf(errlog.Info, c.ID, tail, "peer closed connection in SSL handshake", c.Text, c.Listener.Addr)
	default:
		text, alone := openssl.Handshake(err)
		if !alone {
			text = "SSL_do_handshake() failed (" + text + ")"
		}
		log.Printf(errlog.Info, c.ID, tail, text, c.Text, c.Listener.Addr)
	}
}

// loggedError ends a handshake for a reason that was logged.
type loggedError struct{ error }

// choose finds the virtual server by the name that the client asks for and returns the session's configuration.
func (s *session) choose(info *tls.ClientHelloInfo) (*tls.Config, error) {
	a, c := s.a, s.client
	if c.Debugging() {
		c.Debugf(errlog.DebugHTTP, "SSL ALPN supported by client: %s", info.SupportedProtos)
		c.Debugf(errlog.DebugHTTP, `SSL server name: "%s"`, info.ServerName)
	}
	s.hello = hello{info.ServerName, info.CipherSuites, info.SupportedCurves}
	s.server = a.deflt
	scope := a.first
	var r *ngx.Request
	if host, ok := ngx.ValidHost(nil, []byte(info.ServerName)); ok && len(host) > 0 {
		r = s.request()
		c.ServerName = host
		scope = a.find(r, host)
		if own := a.servers[scope]; own != nil {
			s.server = own
		}
	}
	if s.server.reject {
		return &tls.Config{MinVersion: tls.VersionTLS10, SessionTicketsDisabled: true}, nil // without a certificate: unrecognized_name
	}
	cfg := s.server.config.Clone()
	if cfg == nil {
		return nil, errors.New("offline")
	}
	cfg.NextProtos = protocols(a.http2 || scope.HTTP2)
	cfg.VerifyConnection = s.verify
	a.sessions.attach(cfg, s)
	if s.server.dynamic {
		if r == nil {
			r = s.request()
		}
		r.Scope = scope
		list, err := certs.Load(r, s.server.conf.Certificates.V, s.server.conf.Keys.V, s.server.conf.PasswordFile.V, s.server.conf.CertificateCache.V)
		if err != nil {
			scope.Core.ErrorLog.Printf(errlog.Error, c.ID, "%s while SSL handshaking, client: %s, server: %s", err, c.Text, c.Listener.Addr)
			return nil, &loggedError{err}
		}
		cfg.Certificates = list
	}
	if s.server.staples != nil {
		s.server.staples.attach(cfg, info)
	}
	return cfg, nil
}

// request returns a request for the evaluation of variables during the handshake.
func (s *session) request() *ngx.Request {
	r := &ngx.Request{Client: s.client, Scope: s.a.first, Start: time.Now()}
	r.Reset()
	r.Scope, r.Start = s.a.first, time.Now()
	return r
}

// protocols are those of ALPN.
func protocols(http2 bool) []string {
	if http2 {
		return []string{"h2", "http/1.1", "http/1.0", "http/0.9"}
	}
	return []string{"http/1.1", "http/1.0", "http/0.9"}
}

// verify judges the client's certificate. It refuses nothing: a request is answered with 495 or 496.
func (s *session) verify(cs tls.ConnectionState) error {
	if s.server.conf.Verify.V != verifyOff && len(cs.PeerCertificates) > 0 {
		s.result, s.chain = s.server.store.Verify(cs.PeerCertificates, time.Now())
	}
	return nil
}

// Refuse implements ngx.TLS.
func (a *acceptor) Refuse(r *ngx.Request) int {
	s := sessionOf(r)
	if s == nil || s.client.TLS == nil {
		r.Infof("client sent plain HTTP request to HTTPS port while reading client request headers")
		return 497
	}
	if !r.Scope.Server.VerifiesClients {
		return 0
	}
	mode := a.modes[r.Scope.Server]
	if s.result != openssl.OK && (mode != verifyOptionalNoCA || !s.result.Optional()) {
		r.Infof("client SSL certificate verify error: (%d:%s) while reading client request headers", s.result, s.result)
		a.sessions.forget(s.id)
		return 495
	}
	if mode == verifyOn && len(s.client.TLS.PeerCertificates) == 0 {
		r.Infof("client sent no required SSL certificate while reading client request headers")
		a.sessions.forget(s.id)
		return 496
	}
	if s.status != "" {
		r.Infof("client SSL certificate verify error: %s while reading client request headers", s.status)
		a.sessions.forget(s.id)
		return 495
	}
	return 0
}

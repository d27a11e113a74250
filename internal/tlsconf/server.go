package tlsconf

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"

	"limpet/internal/certs"
	"limpet/internal/ngx"
	"limpet/internal/openssl"
	conf "limpet/nginxconf"
)

// server is the TLS settings of a virtual server; one without certificates has none.
type server struct {
	conf   *Conf
	config *tls.Config
	// dynamic says that names of certificates have variables.
	dynamic bool
	reject  bool
	store   *openssl.Store // nil unless clients are verified
	ocsp    *ocspCheck     // nil without ssl_ocsp
	staples *staples       // nil unless responses are fetched
	// context tells sessions apart that may not be resumed under each other's server.
	context [sha256.Size]byte
}

// servers are those of a configuration.
type servers struct{ by map[*conf.Level]*server }

// Module returns the TLS module.
func Module() ngx.Module {
	return ngx.Module{
		Name: "ssl", Conf: func() conf.Settings { return new(Conf) },
		Vars: Vars, Config: buildAll,
		Scope: func(b *ngx.Build, s *ngx.Scope) error {
			if s.Level.Context == conf.Server {
				s.VerifiesClients = conf.Of[*Conf](s.Level).Verify.V != verifyOff
			}
			return nil
		},
	}
}

// buildAll makes the settings of every virtual server, whether it listens with ssl or not, as nginx does.
func buildAll(b *ngx.Build) error {
	all := ngx.Shared[servers](b)
	all.by = make(map[*conf.Level]*server)
	ngx.Shared[certs.Inherit](b).Off = !conf.Of[*Conf](b.Config.Root).Inheritable.V
	for _, http := range b.Config.Root.Inner {
		if http.Context != conf.HTTP {
			continue
		}
		for _, lv := range http.Inner {
			if lv.Context != conf.Server {
				continue
			}
			s, err := newServer(b, lv)
			if err != nil {
				return conf.Errorf("", 0, "%s", err)
			}
			if s != nil {
				all.by[lv] = s
			}
		}
	}
	return nil
}

// newServer makes the settings of a server; nil when it has no certificate and doesn't reject handshakes either.
func newServer(b *ngx.Build, lv *conf.Level) (*server, error) {
	c := conf.Of[*Conf](lv)
	list := c.Certificates.V
	if len(list) > len(c.Keys.V) {
		return nil, fmt.Errorf(`no "ssl_certificate_key" is defined for certificate "%s"`, list[len(list)-1].Raw)
	}
	if len(list) == 0 && !c.RejectHandshake.V {
		return nil, nil
	}
	s := &server{conf: c, reject: c.RejectHandshake.V}
	if b.Offline {
		return s, nil
	}
	s.config = &tls.Config{CipherSuites: c.Ciphers.V.Suites, DynamicRecordSizingDisabled: true}
	s.config.CurvePreferences, _, _ = openssl.ParseCurves(c.Curves.V)
	if err := certs.SetProtocols(s.config, c.Protocols.V); err != nil {
		return nil, fmt.Errorf(`"ssl_protocols": %w`, err)
	}
	if err := s.certificates(b); err != nil {
		return nil, err
	}
	if err := s.verification(b); err != nil {
		return nil, err
	}
	if err := s.checkByOCSP(b, lv); err != nil {
		return nil, err
	}
	if err := s.staple(b, lv); err != nil {
		return nil, err
	}
	return s, s.commands(b)
}

// certificates loads what has no variables in its name.
func (s *server) certificates(b *ngx.Build) error {
	c := s.conf
	h := sha256.New()
	for i := range c.Certificates.V {
		_, ok := c.Certificates.V[i].Static()
		_, keyOK := c.Keys.V[i].Static()
		s.dynamic = s.dynamic || !ok || !keyOK
	}
	for i := range c.Certificates.V {
		if s.dynamic {
			h.Write([]byte(c.Certificates.V[i].Raw + "\x00"))
			continue
		}
		cert, _ := c.Certificates.V[i].Static()
		key, _ := c.Keys.V[i].Static()
		pair, err := certs.Of(b).Pair(cert, key, c.PasswordFile.V)
		if err != nil {
			return err
		}
		h.Write(pair.Certificate[0])
		s.config.Certificates = certs.Put(s.config.Certificates, pair)
	}
	h.Sum(s.context[:0])
	return nil
}

// verification sets up how clients' certificates are asked for and verified.
func (s *server) verification(b *ngx.Build) error {
	c := s.conf
	if c.Verify.V != verifyOff && c.Verify.V != verifyOptionalNoCA && c.ClientCAs.V == "" && c.TrustedCAs.V == "" {
		return errors.New("no ssl_client_certificate or ssl_trusted_certificate for ssl_verify_client")
	}
	store := &openssl.Store{Depth: c.VerifyDepth.V, Usage: x509.ExtKeyUsageClientAuth}
	h := sha256.New()
	h.Write(s.context[:])
	for i, name := range [...]string{c.ClientCAs.V, c.TrustedCAs.V} {
		if name == "" {
			continue
		}
		cas, err := certs.Of(b).Trusted(name)
		if err != nil {
			return err
		}
		store.Trusted = append(store.Trusted, cas...)
		if i > 0 || c.Verify.V == verifyOff {
			continue
		}
		s.config.ClientCAs = x509.NewCertPool()
		for _, ca := range cas {
			s.config.ClientCAs.AddCert(ca)
			h.Write(ca.Raw)
		}
	}
	if c.CRL.V != "" {
		lists, err := certs.Of(b).CRLs(c.CRL.V)
		if err != nil {
			return err
		}
		store.CRLs = lists
	}
	s.store = store.Build()
	if c.Verify.V != verifyOff {
		s.config.ClientAuth = tls.RequestClientCert
		h.Sum(s.context[:0])
	}
	return nil
}

// commands runs ssl_conf_command.
func (s *server) commands(b *ngx.Build) error {
	pair, err := certs.Run(b, s.config, s.conf.Commands.V, s.conf.PasswordFile.V)
	if pair != nil {
		s.config.Certificates = certs.Put(s.config.Certificates, pair)
	}
	return err
}

// tickets reports whether sessions are resumed by tickets.
func (s *server) tickets() bool {
	on := s.conf.SessionTickets.V
	for _, cmd := range s.conf.Commands.V {
		if cmd.Tickets != 0 {
			on = cmd.Tickets > 0
		}
	}
	return on
}

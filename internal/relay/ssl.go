package relay

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"hash"
	"net/netip"
	"strings"
	"time"

	"limpet/internal/certs"
	"limpet/internal/ngx"
	"limpet/internal/openssl"
	"limpet/internal/tcp"
	"limpet/nginxconf"
	"limpet/upstream"
)

// SSLConf holds _ssl_*.
type SSLConf struct {
	SessionReuse nginxconf.Opt[bool]
	Protocols    nginxconf.Opt[uint32]
	Ciphers      nginxconf.Opt[certs.Ciphers]
	Name         nginxconf.Opt[ngx.Text]
	ServerName   nginxconf.Opt[bool]
	Verify       nginxconf.Opt[bool]
	VerifyDepth  nginxconf.Opt[int]
	Trusted      nginxconf.Opt[string]
	CRL          nginxconf.Opt[string]
	Certificate  nginxconf.Opt[certs.File]
	Key          nginxconf.Opt[certs.File]
	Cache        nginxconf.Opt[*certs.Cache]
	Passwords    nginxconf.Opt[[][]byte]
	Commands     nginxconf.List[openssl.Command]
}

func (c *SSLConf) rows(p string) []nginxconf.Directive {
	const in = nginxconf.HTTPServerLocation
	path := func(s *nginxconf.Setting) (string, error) { return s.Loader.ConfPath(s.Arg(0)), nil }
	return []nginxconf.Directive{
		nginxconf.Flag(p+"_ssl_session_reuse", in, &c.SessionReuse, "on", "Resumes TLS sessions with peers."),
		nginxconf.Mask(p+"_ssl_protocols", in, &c.Protocols, certs.Protocols(), "TLSv1.2 TLSv1.3", "Sets the protocols towards peers."),
		nginxconf.Custom(p+"_ssl_ciphers", in, nginxconf.Args1, &c.Ciphers, certs.ParseCiphers, "DEFAULT", "Sets the ciphers towards peers for protocols up to TLSv1.2."),
		ngx.TextRow(p+"_ssl_name", in, &c.Name, "", "Sets the name that a peer's certificate is verified by and that is sent by SNI; the host of "+p+"_pass unless set."),
		nginxconf.Flag(p+"_ssl_server_name", in, &c.ServerName, "off", "Sends the name by SNI."),
		nginxconf.Flag(p+"_ssl_verify", in, &c.Verify, "off", "Verifies peers' certificates."),
		nginxconf.Num(p+"_ssl_verify_depth", in, &c.VerifyDepth, "1", "Bounds the number of intermediate certificates of a peer's chain."),
		nginxconf.Custom(p+"_ssl_trusted_certificate", in, nginxconf.Args1, &c.Trusted, path, "", "Names a file of authorities that peers are verified by."),
		nginxconf.Custom(p+"_ssl_crl", in, nginxconf.Args1, &c.CRL, path, "", "Names a file of revoked certificates."),
		nginxconf.Custom(p+"_ssl_certificate", in, nginxconf.Args1, &c.Certificate, certs.ParseFile, "", "Names a file with the certificate shown to peers."),
		nginxconf.Custom(p+"_ssl_certificate_key", in, nginxconf.Args1, &c.Key, certs.ParseFile, "", "Names the file with the certificate's key."),
		nginxconf.Custom(p+"_ssl_certificate_cache", in, nginxconf.Args123, &c.Cache, certs.ParseCache, "off", "Keeps certificates whose names have variables."),
		nginxconf.Custom(p+"_ssl_password_file", in, nginxconf.Args1, &c.Passwords, certs.ParsePasswords, "", "Names a file with passwords of keys, one a line."),
		nginxconf.Each(p+"_ssl_conf_command", in, nginxconf.Args2, &c.Commands, certs.ParseCommand, "Runs a configuration command of OpenSSL."),
	}
}

// clientTLS is how sessions to peers are made.
type clientTLS struct {
	conf   *SSLConf
	kind   string // of the module
	key    string // of kept connections: the same settings, the same key
	config *tls.Config
	store  *openssl.Store // nil unless peers are verified
	// variable says that the name of the certificate has variables.
	variable bool
	// sessions are those that can be resumed; nil where they aren't to be.
	sessions tls.ClientSessionCache
	// dynamic says that the name, or the certificate, depends on the request.
	dynamic bool
}

// client makes the TLS settings of a place whose target may need them; nil for plain HTTP.
func (c *SSLConf) client(b *ngx.Build, kind string, t *Target) (*clientTLS, error) {
	if !c.Protocols.IsSet() || t.Group != nil && !t.scheme.TLS {
		return nil, nil
	}
	// nginx's own verification stands in for crypto/tls's: it neither verifies a peer nor sends its name unless it is told to.
	o := &clientTLS{conf: c, kind: kind, config: &tls.Config{InsecureSkipVerify: true, CipherSuites: c.Ciphers.V.Suites, DynamicRecordSizingDisabled: true}}
	_, fixed := c.Name.V.Static()
	o.dynamic = t.Group == nil || c.Name.IsSet() && !fixed
	if c.SessionReuse.V {
		o.sessions = tls.NewLRUClientSessionCache(sessionsKept)
	}
	if b.Offline {
		return o, nil
	}
	for _, make := range []func(*ngx.Build) error{o.protocols, o.certificate, o.verification, o.commands} {
		if err := make(b); err != nil {
			return nil, nginxconf.Errorf("", 0, "%s", err)
		}
	}
	name, _ := c.Name.V.Static()
	o.key = fmt.Sprintln(string(t.Host), string(name), c.ServerName.V, c.Verify.V, c.VerifyDepth.V, c.Trusted.V, c.CRL.V, c.Certificate.V.Raw, c.Key.V.Raw,
		o.config.MinVersion, o.config.MaxVersion, o.config.CipherSuites)
	for _, cmd := range c.Commands.V {
		o.key += cmd.Text + "\n"
	}
	return o, nil
}

// sessionsKept is how many sessions a place keeps, of all its peers.
const sessionsKept = 256

func (o *clientTLS) protocols(*ngx.Build) error {
	if err := certs.SetProtocols(o.config, o.conf.Protocols.V); err != nil {
		return fmt.Errorf(`"%s_ssl_protocols": %w`, o.kind, err)
	}
	return nil
}

// certificate loads the certificate shown to peers, unless its name has variables; an empty name is none.
func (o *clientTLS) certificate(b *ngx.Build) error {
	c := o.conf
	if !c.Certificate.IsSet() || c.Certificate.V.IsEmpty() {
		return nil
	}
	if !c.Key.IsSet() {
		return fmt.Errorf(`no "%s_ssl_certificate_key" is defined for certificate "%s"`, o.kind, c.Certificate.V.Raw)
	}
	cert, fixed := c.Certificate.V.Static()
	key, keyFixed := c.Key.V.Static()
	if !fixed || !keyFixed {
		o.variable, o.dynamic = true, true
		return nil
	}
	pair, err := certs.Of(b).Pair(cert, key, c.Passwords.V)
	if err == nil {
		show(o.config, pair)
	}
	return err
}

// show has a certificate shown to peers whatever authorities they name, as OpenSSL does.
func show(cfg *tls.Config, pair *tls.Certificate) {
	cfg.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return pair, nil }
}

// verification reads the authorities and lists that peers are verified by.
func (o *clientTLS) verification(b *ngx.Build) error {
	c := o.conf
	if !c.Verify.V {
		return nil
	}
	if c.Trusted.V == "" {
		return fmt.Errorf("no %s_ssl_trusted_certificate for %s_ssl_verify", o.kind, o.kind)
	}
	store := &openssl.Store{Depth: c.VerifyDepth.V, Usage: x509.ExtKeyUsageServerAuth}
	var err error
	if store.Trusted, err = certs.Of(b).Trusted(c.Trusted.V); err != nil {
		return err
	}
	if c.CRL.V != "" {
		if store.CRLs, err = certs.Of(b).CRLs(c.CRL.V); err != nil {
			return err
		}
	}
	o.store = store.Build()
	return nil
}

// commands runs _ssl_conf_command.
func (o *clientTLS) commands(b *ngx.Build) error {
	pair, err := certs.Run(b, o.config, o.conf.Commands.V, o.conf.Passwords.V)
	if err != nil {
		return err
	}
	if pair != nil {
		show(o.config, pair)
		o.variable = false
	}
	return nil
}

// hostOf returns a name without port.
func hostOf(name []byte) []byte {
	at := 0
	if len(name) > 0 && name[0] == '[' {
		at = max(bytes.IndexByte(name, ']'), 0)
	}
	if i := bytes.IndexByte(name[at:], ':'); i >= 0 {
		return name[:at+i]
	}
	return name
}

// nameFor returns the name of the peer for a request, without port.
func (o *clientTLS) nameFor(x *Exchange) []byte {
	if o.conf.Name.IsSet() {
		return hostOf(o.conf.Name.V.Bytes(x.R))
	}
	return hostOf(x.To.Host)
}

// identify writes what of a request tells its sessions apart from others of the place.
func (o *clientTLS) identify(h hash.Hash, x *Exchange) {
	h.Write(o.nameFor(x))
	if o.variable {
		h.Write(o.conf.Certificate.V.Bytes(x.R))
		h.Write([]byte{0})
		h.Write(o.conf.Key.V.Bytes(x.R))
	}
}

// sent returns the name that goes out by SNI: none unless asked for, and no address.
func (o *clientTLS) sent(name []byte) string {
	if !o.conf.ServerName.V || len(name) == 0 || name[0] == '[' {
		return ""
	}
	if _, err := netip.ParseAddr(string(name)); err == nil {
		return ""
	}
	return string(name)
}

// verify judges the certificates that a peer showed for a name, with nginx's words.
func (o *clientTLS) verify(chain []*x509.Certificate, name []byte) error {
	if o.store == nil {
		return nil
	}
	if len(chain) == 0 {
		return errors.New(`upstream SSL certificate does not match "` + string(name) + `"`)
	}
	if result, _ := o.store.Verify(chain, time.Now()); result != openssl.OK {
		return fmt.Errorf("upstream SSL certificate verify error: (%d:%s)", result, result)
	}
	if !openssl.MatchesHost(chain[0], strings.Trim(string(name), "[]")) {
		return fmt.Errorf(`upstream SSL certificate does not match "%s"`, name)
	}
	return nil
}

// probe returns the configuration for sessions without a request: health checks.
func (o *clientTLS) probe(t *Target) *tls.Config {
	cfg := o.config.Clone()
	name := hostOf(t.Host)
	if fixed, ok := o.conf.Name.V.Static(); ok && o.conf.Name.IsSet() {
		name = hostOf(fixed)
	}
	cfg.ServerName = o.sent(name)
	cfg.VerifyConnection = func(cs tls.ConnectionState) error { return o.verify(cs.PeerCertificates, name) }
	return cfg
}

// peerSessions are the sessions with one peer among those of a place.
type peerSessions struct {
	tls.ClientSessionCache
	peer string
}

func (s peerSessions) Get(key string) (*tls.ClientSessionState, bool) {
	return s.ClientSessionCache.Get(s.peer + " " + key)
}

func (s peerSessions) Put(key string, cs *tls.ClientSessionState) {
	s.ClientSessionCache.Put(s.peer+" "+key, cs)
}

// handshake starts a TLS session with the peer at hand.
func (x *Exchange) handshake(p *upstream.Peer) Failure {
	x.s.While = WhileTLS
	o := x.H.tls
	name := o.nameFor(x)
	cfg := o.config.Clone()
	cfg.ServerName = o.sent(name)
	if o.variable {
		list, err := certs.Load(x.R, []certs.File{o.conf.Certificate.V}, []certs.File{o.conf.Key.V}, o.conf.Passwords.V, o.conf.Cache.V)
		if err != nil {
			x.R.Errorf("%s while %s", err, WhileTLS)
			return Failure{Class: NextOff, Status: 500}
		}
		if len(list) > 0 {
			show(cfg, &list[0])
		}
	}
	if o.sessions != nil {
		peer := string(p.Name)
		if o.variable {
			peer += string(o.conf.Certificate.V.Bytes(x.R))
		}
		cfg.ClientSessionCache = peerSessions{o.sessions, peer}
	}
	err := x.link.Conn.ClientTLS(cfg, x.H.conf.ConnectTimeout.V)
	if err != nil {
		return x.handshakeFailed(err)
	}
	if x.R.Debugging() {
		x.debugTLS(cfg.ServerName)
	}
	if err := o.verify(x.link.Conn.TLS().PeerCertificates, name); err != nil {
		x.R.Errorf("%s while %s", err, WhileTLS)
		return Failure{Class: NextError, Status: 502}
	}
	return Failure{}
}

func (x *Exchange) handshakeFailed(err error) Failure {
	switch {
	case errors.Is(err, tcp.ErrTimeout):
		return x.timedOut(WhileTLS)
	case errors.Is(err, tcp.ErrHangup):
		return x.ClientGone(WhileTLS)
	}
	text, alone := openssl.Handshake(err)
	if !alone {
		text = "SSL_do_handshake() failed (" + text + ")"
	}
	x.R.Errorf("%s while %s", text, WhileTLS)
	return Failure{Class: NextError, Status: 502}
}

// Package tlsconf makes TLS sessions with clients: certificates by name, protocols
// and ciphers, session tickets and cache, client certificates, and the variables
// that tell of a session.
//
// It stands for nginx's ngx_http_ssl_module and the parts of ngx_event_openssl.c
// that it uses.
// https://nginx.org/en/docs/http/ngx_http_ssl_module.html
//
// What differs, because sessions are crypto/tls's: the order of ciphers and groups
// is its own; the cipher suites of TLS 1.3 can't be chosen; a session cache without
// tickets reaches the clients that take tickets (the ticket is then only the
// session's number), and tickets aren't interchangeable with nginx's; early data is
// never accepted. Engines and ECH are refused.
package tlsconf

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"limpet/internal/errlog"
	"limpet/internal/ngx"
	"limpet/internal/openssl"
	conf "limpet/nginxconf"
)

// Words of ssl_protocols, one bit each.
const (
	protoSSLv2 uint32 = 1 << iota
	protoSSLv3
	protoTLS10
	protoTLS11
	protoTLS12
	protoTLS13
)

// Words of ssl_verify_client.
const (
	verifyOff = iota
	verifyOn
	verifyOptional
	verifyOptionalNoCA
)

// Conf is the module's configuration at one level.
type Conf struct {
	Certificates     conf.List[fileText]
	Keys             conf.List[fileText]
	CertificateCache conf.Opt[cacheSize]
	PasswordFile     conf.Opt[[][]byte]
	Protocols        conf.Opt[uint32]
	Ciphers          conf.Opt[cipherString]
	Curves           conf.Opt[string]
	BufferSize       conf.Opt[int64]
	Verify           conf.Opt[int]
	VerifyDepth      conf.Opt[int]
	ClientCAs        conf.Opt[string]
	TrustedCAs       conf.Opt[string]
	CRL              conf.Opt[string]
	SessionCache     conf.Opt[sessionCache]
	SessionTickets   conf.Opt[bool]
	TicketKeys       conf.List[string]
	SessionTimeout   conf.Opt[time.Duration]
	Stapling         conf.Opt[bool]
	StaplingFile     conf.Opt[string]
	Commands         conf.List[openssl.Command]
	RejectHandshake  conf.Opt[bool]
}

// Directives lists the directives of the module.
func (c *Conf) Directives() []conf.Directive {
	const in = conf.HTTPServer
	return []conf.Directive{
		conf.Each("ssl_certificate", in, conf.Args1, &c.Certificates, parseFileText, "Names a file with a certificate and its chain; several for several kinds of keys."),
		conf.Each("ssl_certificate_key", in, conf.Args1, &c.Keys, parseFileText, "Names the file with a certificate's key."),
		conf.Custom("ssl_certificate_cache", in, conf.Args123, &c.CertificateCache, parseCertificateCache, "off", "Keeps certificates whose names have variables."),
		conf.Custom("ssl_password_file", in, conf.Args1, &c.PasswordFile, parsePasswordFile, "", "Names a file with passwords of keys, one a line."),
		without(conf.Flag("ssl_certificate_compression", in, new(conf.Opt[bool]), "", "Accepted without effect."), "the Go TLS library doesn't compress certificates"),
		conf.Accepted("ssl_dhparam", in, conf.Args1, "the Go TLS library has no finite-field Diffie-Hellman"),
		conf.Custom("ssl_ecdh_curve", in, conf.Args1, &c.Curves, parseCurves, "auto", "Sets the groups for key exchange."),
		conf.Mask("ssl_protocols", in, &c.Protocols, []conf.Word[uint32]{
			{Name: "SSLv2", Value: protoSSLv2}, {Name: "SSLv3", Value: protoSSLv3}, {Name: "TLSv1", Value: protoTLS10}, {Name: "TLSv1.1", Value: protoTLS11},
			{Name: "TLSv1.2", Value: protoTLS12}, {Name: "TLSv1.3", Value: protoTLS13}}, "TLSv1.2 TLSv1.3", "Sets the protocols."),
		conf.Custom("ssl_ciphers", in, conf.Args1, &c.Ciphers, parseCiphers, "HIGH:!aNULL:!MD5", "Sets the ciphers for protocols up to TLSv1.2."),
		conf.Size("ssl_buffer_size", in, &c.BufferSize, "16k", "Bounds the size of a record that is sent."),
		conf.Enum("ssl_verify_client", in, &c.Verify, []conf.Word[int]{{Name: "off", Value: verifyOff}, {Name: "on", Value: verifyOn},
			{Name: "optional", Value: verifyOptional}, {Name: "optional_no_ca", Value: verifyOptionalNoCA}}, "off", "Asks clients for certificates and verifies them."),
		conf.Num("ssl_verify_depth", in, &c.VerifyDepth, "1", "Bounds the number of intermediate certificates of a client's chain."),
		path("ssl_client_certificate", in, &c.ClientCAs, "Names a file of authorities that clients are told of and verified by."),
		path("ssl_trusted_certificate", in, &c.TrustedCAs, "Names a file of authorities that clients are verified by."),
		without(conf.Flag("ssl_prefer_server_ciphers", in, new(conf.Opt[bool]), "", "Accepted without effect."), "the Go TLS library always chooses by its own order"),
		conf.Custom("ssl_session_cache", in, conf.Args12, &c.SessionCache, parseSessionCache, "none", "Sets where sessions are kept."),
		conf.Flag("ssl_session_tickets", in, &c.SessionTickets, "on", "Resumes sessions by tickets."),
		conf.Each("ssl_session_ticket_key", in, conf.Args1, &c.TicketKeys, confPath, "Names a file with a key of session tickets; the first one encrypts."),
		conf.Sec("ssl_session_timeout", in, &c.SessionTimeout, "5m", "Bounds the time in which a session can be resumed."),
		path("ssl_crl", in, &c.CRL, "Names a file of revoked certificates."),
		conf.Flag("ssl_stapling", in, &c.Stapling, "off", "Sends OCSP responses with certificates."),
		path("ssl_stapling_file", in, &c.StaplingFile, "Names a file with the OCSP response."),
		without(conf.Flag("ssl_early_data", in, new(conf.Opt[bool]), "", "Accepted without effect."), "the Go TLS library takes no early data; clients send it again behind the handshake"),
		conf.Each("ssl_conf_command", in, conf.Args2, &c.Commands, parseCommand, "Runs a configuration command of OpenSSL."),
		conf.Flag("ssl_reject_handshake", in, &c.RejectHandshake, "off", "Refuses handshakes of the server's names."),
	}
}

// without marks a row as accepted without effect, its value still checked.
func without(d conf.Directive, why string) conf.Directive {
	d.Why = why
	return d
}

func confPath(s *conf.Setting) (string, error) { return s.Loader.ConfPath(s.Arg(0)), nil }

// path is a row that takes a file name relative to the configuration file's folder; "" stays.
func path(name string, in conf.Context, field *conf.Opt[string], doc string) conf.Directive {
	return conf.Custom(name, in, conf.Args1, field, func(s *conf.Setting) (string, error) {
		if s.Arg(0) == "" {
			return "", nil
		}
		return confPath(s)
	}, "", doc)
}

// fileText is a file name with variables, or one without, made absolute.
type fileText struct {
	ngx.Text
	Raw    string // as written
	Prefix string // of a relative name
}

func parseFileText(s *conf.Setting) (fileText, error) {
	t, err := ngx.ParseText(s, s.Arg(0))
	return fileText{t, s.Arg(0), s.Loader.ConfPrefix}, err
}

// static returns the absolute name when it has no variables.
func (t *fileText) static() (string, bool) {
	b, ok := t.Static()
	return t.absolute(string(b)), ok
}

func (t *fileText) absolute(name string) string {
	if !openssl.IsFile(name) || strings.HasPrefix(name, "/") {
		return name
	}
	return t.Prefix + name
}

func parsePasswordFile(s *conf.Setting) ([][]byte, error) {
	name := s.Loader.ConfPath(s.Arg(0))
	if s.Loader.Offline {
		return nil, nil
	}
	s.Loader.Watch(name)
	pws, err := openssl.Passwords(name)
	if err != nil {
		return nil, fmt.Errorf(`open() "%s" failed %s`, name, errlog.Errno(err))
	}
	return pws, nil
}

// cipherString is the value of ssl_ciphers.
type cipherString struct {
	openssl.Ciphers
	Text string
}

func parseCiphers(s *conf.Setting) (cipherString, error) {
	cs, err := openssl.ParseCiphers(s.Arg(0))
	if err == nil && cs.None {
		err = errors.New(openssl.ErrNoCipher)
	}
	if err != nil {
		return cipherString{}, conf.Errorf("", 0, `SSL_CTX_set_cipher_list("%s") failed (SSL: %s)`, s.Arg(0), err)
	}
	if len(cs.Missing) > 0 {
		s.Note(`ciphers in "%s" that aren't available are left out: %s`, s.Name, strings.Join(cs.Missing, ":"))
	}
	return cipherString{cs, s.Arg(0)}, nil
}

func parseCurves(s *conf.Setting) (string, error) {
	ids, missing, err := openssl.ParseCurves(s.Arg(0))
	if err != nil {
		return "", conf.Errorf("", 0, `SSL_CTX_set1_curves_list("%s") failed (SSL: %s)`, s.Arg(0), err)
	}
	switch {
	case len(missing) > 0 && len(ids) == 0:
		return "", fmt.Errorf(`none of the groups in "%s" is available: %s`, s.Name, s.Arg(0))
	case len(missing) > 0:
		s.Note(`groups in "%s" that aren't available are left out: %s`, s.Name, strings.Join(missing, ":"))
	}
	return s.Arg(0), nil
}

func parseCommand(s *conf.Setting) (openssl.Command, error) {
	c, err := openssl.ParseCommand(s.Arg(0), s.Arg(1))
	if err != nil {
		return c, conf.Errorf("", 0, "%s", err)
	}
	if c.Certificate != "" {
		c.Certificate = s.Loader.ConfPath(c.Certificate)
	}
	if c.Key != "" {
		c.Key = s.Loader.ConfPath(c.Key)
	}
	return c, nil
}

// sessionCache is the value of ssl_session_cache.
type sessionCache struct {
	Builtin bool
	Zone    string // of shared:NAME:SIZE
	Size    int64  // bytes
}

func parseSessionCache(s *conf.Setting) (sessionCache, error) {
	var c sessionCache
	for i := range s.Args {
		arg := s.Arg(i)
		bad := fmt.Errorf(`invalid session cache "%s"`, arg)
		kind, rest, _ := strings.Cut(arg, ":")
		switch {
		case arg == "off", arg == "none":
		case arg == "builtin":
			c.Builtin = true
		case kind == "builtin":
			if n, ok := conf.ParseNum(rest); !ok || n == 0 {
				return c, bad
			}
			c.Builtin = true
		case kind == "shared":
			name, text, ok := strings.Cut(rest, ":")
			size, isSize := conf.ParseSize(text)
			if !ok || name == "" || !isSize {
				return c, bad
			}
			if size < 8*4096 {
				return c, fmt.Errorf(`session cache "%s" is too small`, arg)
			}
			c.Zone, c.Size = name, size
		default:
			return c, bad
		}
	}
	return c, nil
}

// cacheSize is the value of ssl_certificate_cache; the zero value is off.
type cacheSize struct {
	Max             int
	Inactive, Valid time.Duration
}

func parseCertificateCache(s *conf.Setting) (cacheSize, error) {
	c := cacheSize{Inactive: 10 * time.Second, Valid: time.Minute}
	off := false
	for i := range s.Args {
		arg := s.Arg(i)
		name, value, _ := strings.Cut(arg, "=")
		ok := true
		switch {
		case arg == "off":
			off = true
		case name == "max":
			c.Max, ok = conf.ParseNum(value)
			ok = ok && c.Max > 0
		case name == "inactive":
			c.Inactive, ok = conf.ParseTime(value, false)
		case name == "valid":
			c.Valid, ok = conf.ParseTime(value, false)
		default:
			ok = false
		}
		if !ok {
			return c, fmt.Errorf(`invalid parameter "%s"`, arg)
		}
	}
	switch {
	case off:
		return cacheSize{}, nil
	case c.Max == 0:
		return c, fmt.Errorf(`"%s" must have the "max" parameter`, s.Name)
	}
	return c, nil
}

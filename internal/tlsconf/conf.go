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
	"fmt"
	"strings"
	"time"

	"limpet/internal/certs"
	"limpet/internal/openssl"
	conf "limpet/nginxconf"
)

// Words of ssl_verify_client.
const (
	verifyOff = iota
	verifyOn
	verifyOptional
	verifyOptionalNoCA
)

// Words of ssl_ocsp.
const (
	ocspOff = iota
	ocspOn
	ocspLeaf
)

// Conf is the module's configuration at one level.
type Conf struct {
	Inheritable      conf.Opt[bool]
	Certificates     conf.List[certs.File]
	Keys             conf.List[certs.File]
	CertificateCache conf.Opt[*certs.Cache]
	PasswordFile     conf.Opt[[][]byte]
	Protocols        conf.Opt[uint32]
	Ciphers          conf.Opt[certs.Ciphers]
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
	StaplingURL      conf.Opt[string]
	StaplingVerify   conf.Opt[bool]
	OCSP             conf.Opt[int]
	OCSPResponder    conf.Opt[string]
	OCSPCache        conf.Opt[sessionCache]
	Commands         conf.List[openssl.Command]
	RejectHandshake  conf.Opt[bool]
	ticketKeys       []*ticketKey // of TicketKeys, by Check
}

// Directives lists the directives of the module.
func (c *Conf) Directives() []conf.Directive {
	const in = conf.HTTPServer
	return []conf.Directive{
		conf.Flag("ssl_object_cache_inheritable", conf.Main, &c.Inheritable, "on", "Keeps certificates, keys and lists over a reload while their files are the same by inode and time."),
		conf.Each("ssl_certificate", in, conf.Args1, &c.Certificates, certs.ParseFile, "Names a file with a certificate and its chain; several for several kinds of keys."),
		conf.Each("ssl_certificate_key", in, conf.Args1, &c.Keys, certs.ParseFile, "Names the file with a certificate's key."),
		conf.Custom("ssl_certificate_cache", in, conf.Args123, &c.CertificateCache, certs.ParseCache, "off", "Keeps certificates whose names have variables."),
		conf.Custom("ssl_password_file", in, conf.Args1, &c.PasswordFile, certs.ParsePasswords, "", "Names a file with passwords of keys, one a line."),
		without(conf.Flag("ssl_certificate_compression", in, new(conf.Opt[bool]), "", "Accepted without effect."), "the Go TLS library doesn't compress certificates"),
		conf.Accepted("ssl_dhparam", in, conf.Args1, "the Go TLS library has no finite-field Diffie-Hellman"),
		conf.Custom("ssl_ecdh_curve", in, conf.Args1, &c.Curves, parseCurves, "auto", "Sets the groups for key exchange."),
		conf.Mask("ssl_protocols", in, &c.Protocols, certs.Protocols(), "TLSv1.2 TLSv1.3", "Sets the protocols."),
		conf.Custom("ssl_ciphers", in, conf.Args1, &c.Ciphers, certs.ParseCiphers, "HIGH:!aNULL:!MD5", "Sets the ciphers for protocols up to TLSv1.2."),
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
		conf.Str("ssl_stapling_responder", in, &c.StaplingURL, "", "Names the OCSP responder in place of those that certificates name."),
		conf.Flag("ssl_stapling_verify", in, &c.StaplingVerify, "off", "Verifies OCSP responses before they are sent."),
		conf.Enum("ssl_ocsp", in, &c.OCSP, []conf.Word[int]{{Name: "off", Value: ocspOff}, {Name: "on", Value: ocspOn}, {Name: "leaf", Value: ocspLeaf}}, "off",
			"Asks OCSP responders about clients' certificates."),
		conf.Str("ssl_ocsp_responder", in, &c.OCSPResponder, "", "Names the OCSP responder in place of those that certificates name."),
		conf.Custom("ssl_ocsp_cache", in, conf.Args1, &c.OCSPCache, parseOCSPCache, "off", "Sets where what OCSP responders said is kept."),
		without(conf.Flag("ssl_early_data", in, new(conf.Opt[bool]), "", "Accepted without effect."), "the Go TLS library takes no early data; clients send it again behind the handshake"),
		conf.Each("ssl_conf_command", in, conf.Args2, &c.Commands, certs.ParseCommand, "Runs a configuration command of OpenSSL."),
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

// Check reads the files of ssl_session_ticket_key.
func (c *Conf) Check(lv *conf.Level) error {
	if lv.Context&conf.HTTPServer == 0 || lv.Loader().Offline {
		return nil
	}
	c.ticketKeys = nil
	for _, name := range c.TicketKeys.V {
		lv.Loader().Watch(name)
		k, err := readTicketKey(name)
		if err != nil {
			return err
		}
		c.ticketKeys = append(c.ticketKeys, k)
	}
	return nil
}

// sessionCache is the value of ssl_session_cache.
type sessionCache struct {
	Builtin bool
	Zone    string // of shared:NAME:SIZE
	Size    int64  // bytes
}

// parseOCSPCache parses off or shared:NAME:SIZE.
func parseOCSPCache(s *conf.Setting) (c sessionCache, err error) {
	arg := s.Arg(0)
	if arg == "off" {
		return c, nil
	}
	bad := fmt.Errorf(`invalid OCSP cache "%s"`, arg)
	rest, shared := strings.CutPrefix(arg, "shared:")
	name, text, ok := strings.Cut(rest, ":")
	size, isSize := conf.ParseSize(text)
	if !shared || !ok || name == "" || !isSize {
		return c, bad
	}
	if size < 8*4096 {
		return c, fmt.Errorf(`OCSP cache "%s" is too small`, arg)
	}
	return sessionCache{Zone: name, Size: size}, nil
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

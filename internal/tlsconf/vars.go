package tlsconf

import (
	"crypto/sha1"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"strconv"
	"time"

	"limpet/internal/ngx"
	"limpet/internal/openssl"
)

// Vars are the variables of the module.
// https://nginx.org/en/docs/http/ngx_http_ssl_module.html#variables
func Vars() []ngx.Variable {
	return []ngx.Variable{
		ofState("ssl_protocol", func(b []byte, s *session) []byte { return append(b, openssl.VersionName(s.client.TLS.Version)...) }, "The protocol of the session."),
		ofState("ssl_cipher", func(b []byte, s *session) []byte { return append(b, openssl.CipherName(s.client.TLS.CipherSuite)...) }, "The cipher suite of the session."),
		of("ssl_ciphers", ciphers, "The cipher suites that the client offered."),
		ofState("ssl_curve", func(b []byte, s *session) []byte { return appendCurve(b, s.client.TLS.CurveID) }, "The group of the key exchange."),
		of("ssl_curves", curves, "The groups that the client offered."),
		ofState("ssl_session_id", func(b []byte, s *session) []byte { return hex.AppendEncode(b, s.id) }, "The number of the session."),
		ofState("ssl_session_reused", reused, "r when the session was resumed, else a dot."),
		ofState("ssl_early_data", func(b []byte, _ *session) []byte { return b }, "Never set: early data isn't taken."),
		of("ssl_server_name", func(b []byte, s *session) []byte { return append(b, s.hello.name...) }, "The name that the client asked for in the handshake."),
		ofState("ssl_alpn_protocol", func(b []byte, s *session) []byte { return append(b, s.client.TLS.NegotiatedProtocol...) }, "The protocol chosen by ALPN."),
		ofCert("ssl_client_cert", func(b []byte, c *x509.Certificate) []byte { return indented(b, encode(c)) }, "The client's certificate in PEM, its lines but the first behind a tab."),
		ofCert("ssl_client_raw_cert", func(b []byte, c *x509.Certificate) []byte { return append(b, encode(c)...) }, "The client's certificate in PEM."),
		ofCert("ssl_client_escaped_cert", func(b []byte, c *x509.Certificate) []byte { return escaped(b, encode(c)) }, "The client's certificate in PEM, escaped."),
		ofCert("ssl_client_s_dn", func(b []byte, c *x509.Certificate) []byte { return append(b, openssl.DN(c.RawSubject)...) }, "The subject of the client's certificate."),
		ofCert("ssl_client_i_dn", func(b []byte, c *x509.Certificate) []byte { return append(b, openssl.DN(c.RawIssuer)...) }, "The issuer of the client's certificate."),
		ofCert("ssl_client_s_dn_legacy", func(b []byte, c *x509.Certificate) []byte { return append(b, openssl.DNLegacy(c.RawSubject)...) }, "The subject in the old form."),
		ofCert("ssl_client_i_dn_legacy", func(b []byte, c *x509.Certificate) []byte { return append(b, openssl.DNLegacy(c.RawIssuer)...) }, "The issuer in the old form."),
		ofCert("ssl_client_serial", func(b []byte, c *x509.Certificate) []byte { return append(b, openssl.Serial(c.SerialNumber)...) }, "The serial number of the client's certificate."),
		ofCert("ssl_client_fingerprint", fingerprint, "The SHA1 fingerprint of the client's certificate."),
		ofState("ssl_client_verify", clientVerify, "SUCCESS, FAILED:why, or NONE without a certificate."),
		ofCert("ssl_client_v_start", func(b []byte, c *x509.Certificate) []byte { return append(b, openssl.Time(c.NotBefore)...) }, "The date from which the client's certificate is valid."),
		ofCert("ssl_client_v_end", func(b []byte, c *x509.Certificate) []byte { return append(b, openssl.Time(c.NotAfter)...) }, "The date until which the client's certificate is valid."),
		ofCert("ssl_client_v_remain", remain, "The days that the client's certificate is still valid."),
	}
}

// of is a variable of what is known since the client's first message; it has no value without TLS, or when it is empty.
func of(name string, get func([]byte, *session) []byte, doc string) ngx.Variable {
	return ngx.Variable{Name: name, Doc: doc, Get: func(r *ngx.Request, b []byte) ([]byte, bool) {
		s := sessionOf(r)
		if s == nil {
			return b, false
		}
		mark := len(b)
		b = get(b, s)
		return b, len(b) > mark
	}}
}

// ofState is a variable of what is known since the handshake's end.
func ofState(name string, get func([]byte, *session) []byte, doc string) ngx.Variable {
	return of(name, func(b []byte, s *session) []byte {
		if s.client.TLS == nil {
			return b
		}
		return get(b, s)
	}, doc)
}

// ofCert is a variable of the client's certificate.
func ofCert(name string, get func([]byte, *x509.Certificate) []byte, doc string) ngx.Variable {
	return ofState(name, func(b []byte, s *session) []byte {
		if certs := s.client.TLS.PeerCertificates; len(certs) > 0 {
			return get(b, certs[0])
		}
		return b
	}, doc)
}

func ciphers(b []byte, s *session) []byte {
	for i, id := range s.hello.ciphers {
		if i > 0 {
			b = append(b, ':')
		}
		if name := openssl.CipherName(id); name != "" {
			b = append(b, name...)
		} else {
			b = fmt.Appendf(b, "0x%04x", id)
		}
	}
	return b
}

func curves(b []byte, s *session) []byte {
	for i, id := range s.hello.curves {
		if i > 0 {
			b = append(b, ':')
		}
		b = appendCurve(b, id)
	}
	return b
}

func appendCurve(b []byte, id tls.CurveID) []byte {
	if id == 0 {
		return b // a resumed session of TLS 1.2 has none
	}
	if name := openssl.CurveName(id); name != "" {
		return append(b, name...)
	}
	return fmt.Appendf(b, "0x%04x", uint16(id))
}

func reused(b []byte, s *session) []byte {
	if s.client.TLS.DidResume {
		return append(b, 'r')
	}
	return append(b, '.')
}

func clientVerify(b []byte, s *session) []byte {
	if len(s.client.TLS.PeerCertificates) == 0 {
		return append(b, "NONE"...)
	}
	if s.result != openssl.OK {
		return append(append(b, "FAILED:"...), s.result.String()...)
	}
	if s.status != "" {
		return append(append(b, "FAILED:"...), s.status...)
	}
	return append(b, "SUCCESS"...)
}

func encode(c *x509.Certificate) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})
}

// indented appends a PEM text without its last line end so that it can go into a header field.
func indented(b, text []byte) []byte {
	for _, c := range text[:len(text)-1] {
		if b = append(b, c); c == '\n' {
			b = append(b, '\t')
		}
	}
	return b
}

// escaped appends a text with all but RFC 3986's unreserved bytes escaped.
func escaped(b, text []byte) []byte {
	const digits = "0123456789ABCDEF"
	for _, c := range text {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '-', c == '.', c == '_', c == '~':
			b = append(b, c)
		default:
			b = append(b, '%', digits[c>>4], digits[c&15])
		}
	}
	return b
}

func fingerprint(b []byte, c *x509.Certificate) []byte {
	sum := sha1.Sum(c.Raw)
	return hex.AppendEncode(b, sum[:])
}

func remain(b []byte, c *x509.Certificate) []byte {
	days := int64(max(time.Until(c.NotAfter), 0) / (24 * time.Hour))
	return strconv.AppendInt(b, days, 10)
}

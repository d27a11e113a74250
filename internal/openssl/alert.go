package openssl

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"strings"
	"syscall"
)

// Handshake words a failed handshake as OpenSSL and nginx do: what stands in brackets behind
// "SSL_do_handshake() failed", or, for a peer that closed the connection, what stands alone.
func Handshake(err error) (text string, alone bool) {
	var record tls.RecordHeaderError
	var no syscall.Errno
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "peer closed connection in SSL handshake", true
	case errors.As(err, &no):
		return fmt.Sprintf("peer closed connection in SSL handshake (%d: %s)", int(no), capital(no.Error())), true
	case errors.As(err, &record):
		return "SSL: error:0A00010B:SSL routines::wrong version number", false
	}
	msg := err.Error()
	if word, ok := strings.CutPrefix(msg, "remote error: tls: "); ok {
		return "SSL: " + remoteAlert(word), false
	}
	for _, t := range [...]struct{ go_, openssl string }{
		{"client offered only unsupported versions", "error:0A000102:SSL routines::unsupported protocol"},
		{"unsupported SSLv2", "error:0A000102:SSL routines::unsupported protocol"},
		{"server selected unsupported protocol version", "error:0A000102:SSL routines::unsupported protocol"},
		{"no cipher suite supported", "error:0A0000C1:SSL routines::no shared cipher"},
		{"no ECDHE curve supported", "error:0A000065:SSL routines::no suitable key share"},
		{"no key exchanges supported", "error:0A000065:SSL routines::no suitable key share"},
		{"peer doesn't support any of the certificate's signature", "error:0A000076:SSL routines::no suitable signature algorithm"},
		{"application protocol", "error:0A0000EB:SSL routines::no application protocol"},
		{"inappropriate fallback", "error:0A000175:SSL routines::inappropriate fallback"},
		{"bad record MAC", "error:0A000119:SSL routines::decryption failed or bad record mac"},
		{"unexpected message", "error:0A0000F4:SSL routines::unexpected message"},
		{"oversized record", "error:0A0000C6:SSL routines::packet length too long"},
		{"invalid signature by", "error:0A00007B:SSL routines::bad signature"},
	} {
		if strings.Contains(msg, t.go_) {
			return "SSL: " + t.openssl, false
		}
	}
	return "SSL: " + strings.TrimPrefix(msg, "tls: "), false
}

func capital(s string) string { return strings.ToUpper(s[:1]) + s[1:] }

// remoteAlert words an alert that the peer sent. RFC 8446 section 6 numbers them.
func remoteAlert(word string) string {
	for _, a := range [...]struct {
		go_    string
		number int
		words  string
	}{
		{"unexpected message", 10, "sslv3 alert unexpected message"},
		{"bad record MAC", 20, "sslv3 alert bad record mac"},
		{"handshake failure", 40, "sslv3 alert handshake failure"},
		{"bad certificate", 42, "sslv3 alert bad certificate"},
		{"unsupported certificate", 43, "sslv3 alert unsupported certificate"},
		{"revoked certificate", 44, "sslv3 alert certificate revoked"},
		{"expired certificate", 45, "sslv3 alert certificate expired"},
		{"unknown certificate", 46, "sslv3 alert certificate unknown"},
		{"illegal parameter", 47, "sslv3 alert illegal parameter"},
		{"unknown certificate authority", 48, "tlsv1 alert unknown ca"},
		{"access denied", 49, "tlsv1 alert access denied"},
		{"error decoding message", 50, "tlsv1 alert decode error"},
		{"error decrypting message", 51, "tlsv1 alert decrypt error"},
		{"protocol version not supported", 70, "tlsv1 alert protocol version"},
		{"insufficient security level", 71, "tlsv1 alert insufficient security"},
		{"internal error", 80, "tlsv1 alert internal error"},
		{"inappropriate fallback", 86, "tlsv1 alert inappropriate fallback"},
		{"user canceled", 90, "tlsv1 alert user cancelled"},
		{"no renegotiation", 100, "tlsv1 alert no renegotiation"},
		{"unsupported extension", 110, "tlsv1 unsupported extension"},
		{"unrecognized name", 112, "tlsv1 unrecognized name"},
		{"certificate required", 116, "tlsv13 alert certificate required"},
		{"no application protocol", 120, "tlsv1 alert no application protocol"},
	} {
		if word == a.go_ {
			return fmt.Sprintf("error:%08X:SSL routines::%s:SSL alert number %d", 0x0A000000+1000+a.number, a.words, a.number)
		}
	}
	return word
}

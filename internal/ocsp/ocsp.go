// Package ocsp asks OCSP responders whether certificates were revoked: for
// clients' certificates, and for responses that go with the server's own.
//
// It stands for nginx's ngx_event_openssl_stapling.c; RFC 6960, by HTTP's GET as
// in its appendix A.
// https://nginx.org/en/docs/http/ngx_http_ssl_module.html#ssl_ocsp
//
// A response is trusted when the certificate's issuer has signed it, or a
// responder to whom the issuer gave a certificate for that. What differs from
// OpenSSL: a root that is trusted for OCSP explicitly isn't, and signatures with
// SHA-1 aren't accepted.
package ocsp

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"encoding/base64"
	"errors"
	"fmt"
	"net/url"
	"time"

	"golang.org/x/crypto/ocsp"
)

// Timeout bounds a question from the resolution of the responder's name to the end of its response, as in nginx.
const Timeout = 60 * time.Second

// skew is how far clocks may be apart.
const skew = 5 * time.Minute

// Answer is what a responder says of a certificate.
type Answer struct {
	Good, Revoked bool      // neither: the responder doesn't know it
	Until         time.Time // when there is news; zero when the responder doesn't tell
	DER           []byte    // the response as it came
}

// Status is the answer's word in nginx's log.
func (a *Answer) Status() string {
	switch {
	case a.Good:
		return "good"
	case a.Revoked:
		return "revoked"
	}
	return "unknown"
}

// Client asks about certificates. The zero value asks the responders that they name by address.
type Client struct {
	Responder *Responder // in place of the certificates' own; nil for those
	Resolve   Resolve    // nil where names can't be resolved
	Unsigned  bool       // the response's signature isn't looked at: its receiver does that
}

// Error is a question that failed.
type Error struct {
	Err        error
	Host, Peer string // the responder; "" when it came to nothing so far
}

// Error returns nginx's words.
func (e *Error) Error() string {
	text := e.Err.Error() + " while requesting certificate status"
	if e.Host != "" {
		text += ", responder: " + e.Host
	}
	if e.Peer != "" {
		text += ", peer: " + e.Peer
	}
	return text
}

func (e *Error) Unwrap() error { return e.Err }

// Ask asks about a certificate of an issuer. Errors are of type *Error.
func (c *Client) Ask(ctx context.Context, cert, issuer *x509.Certificate) (*Answer, error) {
	ctx, cancel := context.WithTimeout(ctx, Timeout)
	defer cancel()
	to := c.Responder
	if to == nil {
		var err error
		if to, err = Of(cert); err != nil {
			return nil, &Error{Err: err}
		}
	}
	e := &Error{Host: to.host}
	der, err := ocsp.CreateRequest(cert, issuer, nil)
	if err != nil {
		e.Err = err
		return nil, e
	}
	var body []byte
	body, e.Peer, err = to.get(ctx, c.Resolve, url.QueryEscape(base64.StdEncoding.EncodeToString(der)))
	if err != nil {
		e.Err = err
		return nil, e
	}
	a, err := read(body, cert, issuer, c.Unsigned, time.Now())
	if err != nil {
		e.Err = err
		return nil, e
	}
	return a, nil
}

// read reads a response and judges it.
func read(der []byte, cert, issuer *x509.Certificate, unsigned bool, now time.Time) (*Answer, error) {
	resp, err := ocsp.ParseResponseForCert(der, cert, nil)
	notFound := errors.New("certificate status not found in the OCSP response")
	var refused ocsp.ResponseError
	switch {
	case errors.As(err, &refused):
		return nil, fmt.Errorf("OCSP response not successful (%d: %s)", int(refused.Status), refused.Status)
	case err == ocsp.ParseError("no response matching the supplied certificate"):
		return nil, notFound
	case err != nil:
		return nil, fmt.Errorf("d2i_OCSP_RESPONSE() failed (%w)", err)
	case !about(resp, cert, issuer):
		return nil, notFound
	case !unsigned && !trusted(resp, issuer, now):
		return nil, errors.New("OCSP_basic_verify() failed (SSL: error:13800070:OCSP routines::root ca not trusted)")
	case now.Add(skew).Before(resp.ThisUpdate):
		return nil, errors.New("OCSP_check_validity() failed (SSL: error:1380007E:OCSP routines::status not yet valid)")
	case !resp.NextUpdate.IsZero() && now.After(resp.NextUpdate.Add(skew)):
		return nil, errors.New("OCSP_check_validity() failed (SSL: error:1380007D:OCSP routines::status expired)")
	}
	return &Answer{Good: resp.Status == ocsp.Good, Revoked: resp.Status == ocsp.Revoked, Until: resp.NextUpdate, DER: der}, nil
}

// trusted reports whether a response was signed by the issuer or by whom it let do so, RFC 6960 section 4.2.2.2.
func trusted(resp *ocsp.Response, issuer *x509.Certificate, now time.Time) bool {
	signer := resp.Certificate // it was seen to have signed the response
	switch {
	case signer == nil:
		return resp.CheckSignatureFrom(issuer) == nil
	case bytes.Equal(signer.RawSubjectPublicKeyInfo, issuer.RawSubjectPublicKeyInfo) && bytes.Equal(signer.RawSubject, issuer.RawSubject):
		return true
	case signer.CheckSignatureFrom(issuer) != nil || now.Before(signer.NotBefore) || now.After(signer.NotAfter):
		return false
	}
	for _, use := range signer.ExtKeyUsage {
		if use == x509.ExtKeyUsageOCSPSigning {
			return true
		}
	}
	return false
}

// responses is the part of ResponseData, RFC 6960 section 4.2.1, that names certificates.
type responses struct {
	Version    int `asn1:"optional,default:0,explicit,tag:0"`
	Responder  asn1.RawValue
	ProducedAt time.Time `asn1:"generalized"`
	Single     []struct {
		ID struct {
			Algorithm         asn1.RawValue
			NameHash, KeyHash []byte
			Serial            asn1.RawValue
		}
	}
}

// about reports whether what was taken of a response, the first with the serial number, is of this issuer.
func about(resp *ocsp.Response, cert, issuer *x509.Certificate) bool {
	var all responses
	if _, err := asn1.Unmarshal(resp.TBSResponseData, &all); err != nil {
		return false
	}
	der, err := ocsp.CreateRequest(cert, issuer, &ocsp.RequestOptions{Hash: resp.IssuerHash})
	if err != nil {
		return false
	}
	want, err := ocsp.ParseRequest(der)
	if err != nil {
		return false
	}
	serial, err := asn1.Marshal(cert.SerialNumber)
	if err != nil {
		return false
	}
	for i := range all.Single {
		if id := &all.Single[i].ID; bytes.Equal(id.Serial.FullBytes, serial) {
			return bytes.Equal(id.NameHash, want.IssuerNameHash) && bytes.Equal(id.KeyHash, want.IssuerKeyHash)
		}
	}
	return false
}

// Key names a certificate of an issuer for a cache of answers.
func Key(cert, issuer *x509.Certificate) string {
	h := sha256.New()
	h.Write(issuer.RawSubject)
	h.Write(issuer.RawSubjectPublicKeyInfo)
	h.Write(cert.SerialNumber.Bytes())
	return string(h.Sum(nil))
}

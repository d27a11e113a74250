package ocsp

import (
	"bufio"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ocsp"
)

type issued struct {
	*x509.Certificate
	key crypto.Signer
}

// issue makes a certificate that ca has signed; nil for one that has signed itself.
func issue(t *testing.T, name string, ca *issued, change func(*x509.Certificate)) *issued {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(4711), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		BasicConstraintsValid: true, IsCA: ca == nil,
	}
	if change != nil {
		change(tmpl)
	}
	parent, signer := tmpl, crypto.Signer(key)
	if ca != nil {
		parent, signer = ca.Certificate, ca.key
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, parent, key.Public(), signer)
	if err != nil {
		t.Fatal(err)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &issued{c, key}
}

// respond makes a response about cert, signed by responder; withCert puts the responder's certificate in.
func respond(t *testing.T, cert, issuer, responder *issued, withCert bool, change func(*ocsp.Response)) []byte {
	t.Helper()
	r := ocsp.Response{Status: ocsp.Good, SerialNumber: cert.SerialNumber, ThisUpdate: time.Now().Add(-time.Minute), NextUpdate: time.Now().Add(time.Hour)}
	if withCert {
		r.Certificate = responder.Certificate
	}
	if change != nil {
		change(&r)
	}
	der, err := ocsp.CreateResponse(issuer.Certificate, responder.Certificate, r, responder.key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func TestResponsesThatAreBelieved(t *testing.T) {
	ca, other := issue(t, "ca", nil, nil), issue(t, "other", nil, nil)
	cert, foreign := issue(t, "cert", ca, nil), issue(t, "cert", other, nil)
	signing := func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageOCSPSigning} }
	delegate, plain := issue(t, "delegate", ca, signing), issue(t, "plain", ca, nil)
	late := issue(t, "late", ca, func(c *x509.Certificate) { signing(c); c.NotAfter = time.Now().Add(-time.Minute) })
	strange := issue(t, "strange", other, signing)
	at := func(this, next time.Duration) func(*ocsp.Response) {
		return func(r *ocsp.Response) { r.ThisUpdate, r.NextUpdate = time.Now().Add(this), time.Now().Add(next) }
	}
	const untrusted = "OCSP_basic_verify() failed (SSL: error:13800070:OCSP routines::root ca not trusted)"
	const missing = "certificate status not found in the OCSP response"
	for _, c := range []struct {
		name, want string
		der        []byte
	}{
		{"signed by the issuer", "good", respond(t, cert, ca, ca, false, nil)},
		{"signed by the issuer, its certificate within", "good", respond(t, cert, ca, ca, true, nil)},
		{"signed by its delegate", "good", respond(t, cert, ca, delegate, true, nil)},
		{"revoked", "revoked", respond(t, cert, ca, ca, false, func(r *ocsp.Response) { r.Status, r.RevokedAt = ocsp.Revoked, time.Now() })},
		{"unknown", "unknown", respond(t, cert, ca, ca, false, func(r *ocsp.Response) { r.Status = ocsp.Unknown })},
		{"no delegate's certificate", untrusted, respond(t, cert, ca, plain, true, nil)},
		{"a delegate whose time is over", untrusted, respond(t, cert, ca, late, true, nil)},
		{"another's delegate", untrusted, respond(t, cert, ca, strange, true, nil)},
		{"another authority", untrusted, respond(t, cert, ca, other, true, nil)},
		{"another authority, nameless", untrusted, respond(t, cert, ca, other, false, nil)},
		{"another's certificate of that number", missing, respond(t, foreign, other, ca, false, nil)},
		{"another number", missing, respond(t, cert, ca, ca, false, func(r *ocsp.Response) { r.SerialNumber = big.NewInt(1) })},
		{"a clock that is a little off", "good", respond(t, cert, ca, ca, false, at(4*time.Minute, time.Hour))},
		{"expired", "OCSP_check_validity() failed (SSL: error:1380007D:OCSP routines::status expired)", respond(t, cert, ca, ca, false, at(-2*time.Hour, -time.Hour))},
		{"early", "OCSP_check_validity() failed (SSL: error:1380007E:OCSP routines::status not yet valid)", respond(t, cert, ca, ca, false, at(time.Hour, 2*time.Hour))},
		{"refused", "OCSP response not successful (6: unauthorized)", ocsp.UnauthorizedErrorResponse},
		{"nothing", "d2i_OCSP_RESPONSE() failed (asn1: syntax error: sequence truncated)", nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			a, err := read(c.der, cert.Certificate, ca.Certificate, false, time.Now())
			got := fmt.Sprint(err)
			if err == nil {
				got = a.Status()
			}
			if got != c.want {
				t.Errorf("got %s, want %s", got, c.want)
			}
			if c.want == untrusted {
				if _, err := read(c.der, cert.Certificate, ca.Certificate, true, time.Now()); err != nil {
					t.Errorf("unsigned: %v", err)
				}
			}
		})
	}
}

func TestResponderURLs(t *testing.T) {
	lookUp := func(host string) ([]string, error) {
		if host != "known.test" {
			return nil, errors.New("no such host")
		}
		return []string{"192.0.2.1", "2001:db8::1"}, nil
	}
	for _, c := range []struct{ text, want string }{
		{"http://192.0.2.9", "192.0.2.9 80 / [192.0.2.9]"},
		{"HTTP://192.0.2.9:81/a", "192.0.2.9 81 /a/ [192.0.2.9]"},
		{"http://[2001:db8::2]:8080/a/", "[2001:db8::2] 8080 /a/ [2001:db8::2]"},
		{"http://known.test/?q", "known.test 80 /?q/ [192.0.2.1 2001:db8::1]"},
		{"http://unknown.test/", `host not found in OCSP responder "unknown.test/"`},
		{"https://known.test/", `invalid URL prefix in OCSP responder "https://known.test/"`},
		{"http://", `invalid URL prefix in OCSP responder "http://"`},
		{"http:///x", `no host in OCSP responder "/x"`},
		{"http://known.test:99999/", `invalid port in OCSP responder "known.test:99999/"`},
		{"http://known.test:/", `invalid port in OCSP responder "known.test:/"`},
		{"http://a\r\nb/", "invalid host in OCSP responder \"a\r\nb/\""},
	} {
		r, err := Parse(c.text, lookUp)
		got := fmt.Sprint(err)
		if err == nil {
			got = fmt.Sprint(r.host, " ", r.port, " ", r.uri, " ", r.addrs)
		}
		if got != c.want {
			t.Errorf("%s: got %s, want %s", c.text, got, c.want)
		}
	}
	if _, err := Of(&x509.Certificate{OCSPServer: []string{"http://unix:/run/x"}}); err == nil {
		t.Error("a certificate may name a socket of the system")
	}
}

// responder serves raw answers of a socket to every request and returns its URL.
func responder(t *testing.T, answer func(req *http.Request) string) string {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			if req, err := http.ReadRequest(bufio.NewReader(c)); err == nil {
				c.Write([]byte(answer(req)))
			}
			c.Close()
		}
	}()
	return "http://" + ln.Addr().String()
}

func TestAsk(t *testing.T) {
	ca := issue(t, "ca", nil, nil)
	cert := issue(t, "cert", ca, nil)
	der := string(respond(t, cert, ca, ca, false, nil))
	const typed = "HTTP/1.0 200 OK\r\nContent-Type: application/ocsp-response\r\n"
	for _, c := range []struct{ name, answer, want string }{
		{"to the end", typed + "\r\n" + der, ""},
		{"by length", fmt.Sprintf("%sContent-Length: %d\r\n\r\n%smore", typed, len(der), der), ""},
		{"cut", fmt.Sprintf("%sContent-Length: %d\r\n\r\n%s", typed, len(der)+1, der), "OCSP responder prematurely closed connection"},
		{"no body", typed + "\r\n", "OCSP responder prematurely closed connection"},
		{"no end of the head", typed, "OCSP responder prematurely closed connection"},
		{"nothing", "", "OCSP responder prematurely closed connection"},
		{"not HTTP", "hello\r\n\r\n", "OCSP responder sent invalid response"},
		{"a page", "HTTP/1.1 404 Not Found\r\nContent-Type: text/html\r\n\r\nx", `OCSP responder sent invalid "Content-Type" header: "text/html"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			base := responder(t, func(req *http.Request) string {
				text, err := url.QueryUnescape(strings.TrimPrefix(req.RequestURI, "/x/"))
				raw, err2 := base64.StdEncoding.DecodeString(text)
				asked, err3 := ocsp.ParseRequest(raw)
				if err != nil || err2 != nil || err3 != nil || asked.SerialNumber.Cmp(cert.SerialNumber) != 0 || req.Host != "127.0.0.1" {
					t.Errorf("got %s for %s: %v %v %v", req.RequestURI, req.Host, err, err2, err3)
				}
				return c.answer
			})
			to, err := Parse(base+"/x", nil)
			if err != nil {
				t.Fatal(err)
			}
			a, err := (&Client{Responder: to}).Ask(context.Background(), cert.Certificate, ca.Certificate)
			if c.want != "" {
				want := fmt.Sprintf("%s while requesting certificate status, responder: 127.0.0.1, peer: %s", c.want, strings.TrimPrefix(base, "http://"))
				if err == nil || err.Error() != want {
					t.Errorf("got %v, want %s", err, want)
				}
				return
			}
			if err != nil || !a.Good || string(a.DER) != der {
				t.Errorf("got %v, %v", a, err)
			}
		})
	}
}

// A name is resolved for each question; the question ends with its context.
func TestAskByName(t *testing.T) {
	ca := issue(t, "ca", nil, nil)
	cert := issue(t, "cert", ca, func(c *x509.Certificate) { c.OCSPServer = []string{"http://ocsp.test/"} })
	_, err := new(Client).Ask(context.Background(), cert.Certificate, ca.Certificate)
	if want := "no resolver defined to resolve ocsp.test while requesting certificate status, responder: ocsp.test"; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
	ctx, cancel := context.WithCancel(context.Background())
	asked := ""
	c := &Client{Resolve: func(ctx context.Context, name string) ([]netip.Addr, error) {
		asked = name
		cancel()
		return nil, ctx.Err()
	}}
	if _, err := c.Ask(ctx, cert.Certificate, ca.Certificate); err == nil || asked != "ocsp.test" {
		t.Errorf("asked for %s: %v", asked, err)
	}
}

func FuzzRead(f *testing.F) {
	f.Add(ocsp.UnauthorizedErrorResponse)
	ca := &x509.Certificate{SerialNumber: big.NewInt(1)}
	f.Fuzz(func(t *testing.T, der []byte) {
		if a, err := read(der, ca, ca, false, time.Now()); err == nil {
			t.Errorf("%x is believed: %v", der, a)
		}
	})
}

package healthcheck

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// issue makes a certificate; a nil issuer makes it self-signed.
func issue(t *testing.T, name string, ca bool, issuer *tls.Certificate, until time.Time) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: until, IsCA: ca, BasicConstraintsValid: ca}
	parent, signer := tmpl, any(key)
	if issuer != nil {
		parent, signer = issuer.Leaf, issuer.PrivateKey
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, parent, &key.PublicKey, signer)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
}

func TestRestyHTTPS(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		year := time.Now().Add(365 * 24 * time.Hour)
		ca := issue(t, "ca", true, nil, year)
		good := issue(t, "www.example.com", false, &ca, year)
		self := issue(t, "www.example.com", false, nil, year)
		old := issue(t, "www.example.com", false, &ca, time.Now().Add(-time.Minute))
		roots := x509.NewCertPool()
		roots.AddCert(ca.Leaf)
		for _, tt := range []struct {
			name   string
			cert   tls.Certificate
			change func(r *Resty)
			sni    string
			want   string // the error behind "failed to ssl handshake"; "" passes
		}{
			{"verified", good, nil, "www.example.com", ""},
			{"chain without a name", good, func(r *Resty) { r.Host = "" }, "", ""},
			{"another name", good, func(r *Resty) { r.Host = "a.example.com" }, "a.example.com", "certificate host mismatch"},
			{"self-signed", self, nil, "www.example.com", "18: self-signed certificate"},
			{"expired", old, nil, "www.example.com", "10: certificate has expired"},
			{"nobody trusted", good, func(r *Resty) { r.Trusted = nil }, "www.example.com", "20: unable to get local issuer certificate"},
			{"not verified", self, func(r *Resty) { r.SSLVerify = false }, "www.example.com", ""},
		} {
			b := must(t, `upstream hc { server 127.0.0.1:81; }`, nil)
			sni := ""
			fake(b, map[string]func(net.Conn){"127.0.0.1:81": func(c net.Conn) {
				s := tls.Server(c, &tls.Config{GetCertificate: func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
					sni = hello.ServerName
					return &tt.cert, nil
				}})
				if s.Handshake() != nil {
					return
				}
				s.Read(make([]byte, 512))
				s.Write([]byte(ok200))
				s.Close()
			}})
			spawn(t, b, func(r *Resty) {
				r.HTTPS, r.SSLVerify, r.Host, r.Trusted = true, true, "www.example.com", roots
				if tt.change != nil {
					tt.change(r)
				}
			})
			b.Start()
			time.Sleep(1500 * time.Millisecond)
			synctest.Wait()
			b.Retire()
			got := logged(t)
			want := "failed to ssl handshake to 127.0.0.1:81: " + tt.want + ", context"
			if tt.want == "" && got != "" || tt.want != "" && !strings.Contains(got, want) {
				t.Errorf("%s: log %q", tt.name, got)
			}
			if sni != tt.sni {
				t.Errorf("%s: SNI %q, want %q", tt.name, sni, tt.sni)
			}
		}
	})
}

// The handshake's time is bounded, too.
func TestHandshakeTimesOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := must(t, `upstream hc { server 127.0.0.1:81; }`, nil)
		fake(b, map[string]func(net.Conn){"127.0.0.1:81": hangs})
		spawn(t, b, func(r *Resty) { r.HTTPS = true })
		b.Start()
		time.Sleep(1500 * time.Millisecond)
		synctest.Wait()
		b.Retire()
		if got := logged(t); !strings.Contains(got, "failed to ssl handshake to 127.0.0.1:81: timeout, context") {
			t.Errorf("log %q", got)
		}
	})
}

package server

import (
	"bufio"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/crypto/ocsp"
)

// issue makes NAME.crt and NAME.key in dir, signed by ca, or by itself when ca is nil.
func issue(t testing.TB, dir, name string, ca *tls.Certificate) *tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name, Organization: []string{`a, "b"`}}, DNSNames: []string{name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(50 * time.Hour), BasicConstraintsValid: true, IsCA: ca == nil,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	parent, signer := tmpl, any(key)
	if ca != nil {
		parent, signer = ca.Leaf, ca.PrivateKey
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, parent, &key.PublicKey, signer)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for ext, b := range map[string]*pem.Block{".crt": {Type: "CERTIFICATE", Bytes: der}, ".key": {Type: "PRIVATE KEY", Bytes: pkcs8}} {
		if err := os.WriteFile(dir+name+ext, pem.EncodeToMemory(b), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	leaf, _ := x509.ParseCertificate(der)
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
}

// ask makes a handshake, sends a request and returns the server's certificate's name, the status and the body.
func ask(t *testing.T, socket string, cfg *tls.Config, host string) (name string, status int, body string) {
	t.Helper()
	nc, err := net.Dial("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	nc.SetDeadline(time.Now().Add(10 * time.Second))
	cfg.InsecureSkipVerify = true
	c := tls.Client(nc, cfg)
	if err := c.Handshake(); err != nil {
		return "", 0, err.Error()
	}
	io.WriteString(c, "GET / HTTP/1.1\r\nHost: "+host+"\r\nConnection: close\r\n\r\n")
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		return "", 0, err.Error()
	}
	b, _ := io.ReadAll(resp.Body)
	return c.ConnectionState().PeerCertificates[0].Subject.CommonName, resp.StatusCode, string(b)
}

const tlsConf = `
	ssl_session_timeout 1m;
	server {
		listen unix:SOCKET1 ssl default_server;
		server_name one.test;
		ssl_certificate one.test.crt;
		ssl_certificate_key one.test.key;
		return 200 "one $ssl_server_name $ssl_session_reused $ssl_client_verify";
	}
	server {
		listen unix:SOCKET1;
		server_name two.test;
		ssl_certificate two.test.crt;
		ssl_certificate_key two.test.key;
		ssl_verify_client on;
		ssl_client_certificate ca.crt;
		return 200 "two $ssl_client_s_dn $ssl_client_v_remain";
	}
	server {
		listen unix:SOCKET1;
		server_name no.test;
		ssl_reject_handshake on;
	}`

func serveTLS(t *testing.T) (s *Server, dir string, ca *tls.Certificate) {
	t.Helper()
	s, dir = serveConf(t, "")
	ca = issue(t, dir, "ca", nil)
	issue(t, dir, "one.test", nil)
	issue(t, dir, "two.test", ca)
	writeConf(t, dir, tlsConf)
	if _, err := s.Reload(); err != nil {
		t.Fatal(err)
	}
	return s, dir, ca
}

func TestTLSServerByName(t *testing.T) {
	_, dir, ca := serveTLS(t)
	client := issue(t, dir, "client", ca)
	other := issue(t, dir, "stranger", nil)
	for _, c := range []struct {
		what, sni, host string
		cert            *tls.Certificate
		name            string
		status          int
		body            string
	}{
		{"the default server", "", "one.test", nil, "one.test", 200, "one  . NONE"},
		{"a name that nobody has", "three.test", "three.test", nil, "one.test", 200, "one three.test . NONE"},
		{"a certificate", "two.test", "two.test", client, "two.test", 200, `two CN=client,O=a\, \"b\" 2`},
		{"no certificate", "two.test", "two.test", nil, "two.test", 400, "No required SSL certificate was sent"},
		{"a stranger's certificate", "two.test", "two.test", other, "two.test", 400, "The SSL certificate error"},
		{"a host that verifies, behind another name", "one.test", "two.test", client, "one.test", 421, "Misdirected"},
		{"a refused name", "no.test", "no.test", nil, "", 0, "unrecognized name"},
	} {
		t.Run(c.what, func(t *testing.T) {
			cfg := &tls.Config{ServerName: c.sni}
			if c.cert != nil {
				// whatever authorities the server names
				cfg.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return c.cert, nil }
			}
			name, status, body := ask(t, dir+"s1", cfg, c.host)
			if name != c.name || status != c.status || !strings.Contains(body, c.body) {
				t.Errorf("got %q %d %q", name, status, body)
			}
		})
	}
}

// TestTLSSessionsOutliveReload resumes a session after a reload, under the same server only.
func TestTLSSessionsOutliveReload(t *testing.T) {
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		for _, conf := range []string{tlsConf, "ssl_session_cache shared:SSL:1m;" + tlsConf, "ssl_session_tickets off; ssl_session_cache shared:SSL:1m;" + tlsConf} {
			s, dir, _ := serveTLS(t)
			writeConf(t, dir, conf)
			if _, err := s.Reload(); err != nil {
				t.Fatal(err)
			}
			cfg := &tls.Config{ServerName: "one.test", MaxVersion: version, ClientSessionCache: tls.NewLRUClientSessionCache(4)}
			if _, _, body := ask(t, dir+"s1", cfg, "one.test"); body != "one one.test . NONE" {
				t.Fatalf("got %q", body)
			}
			if _, err := s.Reload(); err != nil {
				t.Fatal(err)
			}
			if _, _, body := ask(t, dir+"s1", cfg, "one.test"); body != "one one.test r NONE" {
				t.Errorf("version %x: got %q, want a resumed session", version, body)
			}
		}
	}
}

// TestTLSSessionsAreNotResumedElsewhere takes a session of one server to another of the same address, which
// verifies clients (CVE-2025-23419).
func TestTLSSessionsAreNotResumedElsewhere(t *testing.T) {
	_, dir, _ := serveTLS(t)
	cache := tls.NewLRUClientSessionCache(4)
	ask(t, dir+"s1", &tls.Config{ServerName: "one.test", ClientSessionCache: cache}, "one.test")
	session, ok := cache.Get("one.test")
	if !ok {
		t.Fatal("no session")
	}
	cache.Put("two.test", session)
	if _, status, body := ask(t, dir+"s1", &tls.Config{ServerName: "two.test", ClientSessionCache: cache}, "two.test"); status != 400 {
		t.Errorf("got %d %q", status, body)
	}
}

// TestPlainRequestOnTLSPort is nginx's 497.
func TestPlainRequestOnTLSPort(t *testing.T) {
	_, dir, _ := serveTLS(t)
	nc, err := net.Dial("unix", dir+"s1")
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	io.WriteString(nc, "GET / HTTP/1.0\r\n\r\n")
	b, _ := io.ReadAll(nc)
	if !strings.HasPrefix(string(b), "HTTP/1.1 400 Bad Request") || !strings.Contains(string(b), "The plain HTTP request was sent to HTTPS port") {
		t.Errorf("got %q", b)
	}
}

// BenchmarkTLSRequest measures a request on a kept connection; the client's part is in the figures.
func BenchmarkTLSRequest(b *testing.B) {
	dir := b.TempDir() + "/"
	issue(b, dir, "one", nil)
	text := "events { }\nhttp { access_log off; keepalive_requests 1000000000; server { listen unix:" + dir + "s ssl; ssl_certificate one.crt; ssl_certificate_key one.key; return 200 ok; } }\n"
	if err := os.WriteFile(dir+"nginx.conf", []byte(text), 0o600); err != nil {
		b.Fatal(err)
	}
	s, _, err := New(Options{ConfFile: dir + "nginx.conf", Prefix: dir, ErrorLog: dir + "error.log"})
	if err != nil {
		b.Fatal(err)
	}
	s.Start()
	defer s.Shutdown()
	defer s.Abort()
	nc, err := net.Dial("unix", dir+"s")
	if err != nil {
		b.Fatal(err)
	}
	defer nc.Close()
	c := tls.Client(nc, &tls.Config{InsecureSkipVerify: true})
	request, answer := []byte("GET / HTTP/1.1\r\nHost: a\r\n\r\n"), make([]byte, 4096)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := c.Write(request); err != nil {
			b.Fatal(err)
		}
		if n, err := c.Read(answer); err != nil || !strings.HasSuffix(string(answer[:n]), "ok") {
			b.Fatalf("%q, %v", answer[:n], err)
		}
	}
}

// TestOCSPHoldsForResumedSessions revokes a certificate between two requests: the second one, of the session resumed, is refused.
func TestOCSPHoldsForResumedSessions(t *testing.T) {
	s, dir, ca := serveTLS(t)
	own := issue(t, dir, "client", ca)
	var revoked atomic.Bool
	asked := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		answer := ocsp.Response{Status: ocsp.Good, SerialNumber: own.Leaf.SerialNumber, ThisUpdate: time.Now()}
		if revoked.Load() {
			answer.Status, answer.RevokedAt = ocsp.Revoked, time.Now()
		}
		der, err := ocsp.CreateResponse(ca.Leaf, ca.Leaf, answer, ca.PrivateKey.(crypto.Signer))
		if err != nil {
			t.Error(err)
		}
		w.Header().Set("Content-Type", "application/ocsp-response")
		w.Write(der)
	}))
	defer asked.Close()
	writeConf(t, dir, `server { listen unix:SOCKET1 ssl; ssl_certificate one.test.crt; ssl_certificate_key one.test.key;
		ssl_verify_client on; ssl_client_certificate ca.crt; ssl_ocsp on; ssl_ocsp_responder `+asked.URL+`;
		return 200 "$ssl_session_reused $ssl_client_verify"; }`)
	if _, err := s.Reload(); err != nil {
		t.Fatal(err)
	}
	cfg := &tls.Config{ServerName: "one.test", Certificates: []tls.Certificate{*own}, ClientSessionCache: tls.NewLRUClientSessionCache(4)}
	for _, want := range []string{". SUCCESS", "r SUCCESS"} {
		if _, status, body := ask(t, dir+"s1", cfg, "one.test"); status != 200 || body != want {
			t.Errorf("got %d %s, want %s", status, body, want)
		}
	}
	revoked.Store(true)
	if _, status, body := ask(t, dir+"s1", cfg, "one.test"); status != 400 || !strings.Contains(body, "The SSL certificate error") {
		t.Errorf("revoked: got %d %s", status, body)
	}
	asked.Close()
	if _, status, _ := ask(t, dir+"s1", cfg, "one.test"); status != 400 {
		t.Errorf("without a responder: got %d", status)
	}
}

package openssl

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/md5"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestCipherStrings compares what strings select with what `openssl ciphers -V` (3.0) printed: how many, and the
// digest of their numbers, sorted.
func TestCipherStrings(t *testing.T) {
	for _, c := range []struct {
		text  string
		count int
		sum   string
	}{
		{"HIGH:!aNULL:!MD5", 125, "43f32eb8"},
		{"ECDHE+AESGCM:DHE+AESGCM", 8, "03c96fa7"},
		{"ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-CHACHA20-POLY1305:DHE-RSA-AES256-GCM-SHA384", 3, "4f43147e"},
		{"DEFAULT:!aRSA", 28, "f17da3fa"},
		{"EECDH+AESGCM:EDH+AESGCM:AES256+EECDH", 14, "18ec7b20"},
		{"ALL:!ADH:!kRSA:-AESCCM", 95, "5af2590f"},
		{"kRSA+AES128", 5, "b71c3441"},
		{"SHA256:!ECDHE", 29, "75c03ddf"},
		{"HIGH:MEDIUM:!LOW:!aNULL:!eNULL:@STRENGTH", 125, "43f32eb8"},
		{"aECDSA+CHACHA20", 1, "db1c7db7"},
	} {
		chosen, _, err := choose(c.text)
		var ids []string
		for _, x := range chosen {
			ids = append(ids, fmt.Sprintf("%02X%02X", x.id>>8, x.id&255))
		}
		slices.Sort(ids)
		sum := fmt.Sprintf("%x", md5.Sum([]byte(strings.Join(ids, " ")+" ")))[:8]
		if err != nil || len(ids) != c.count || sum != c.sum {
			t.Errorf("%s: %d ciphers, digest %s, error %v; want %d, %s", c.text, len(ids), sum, err, c.count, c.sum)
		}
	}
}

func TestCiphersThatGoLacksAreNamed(t *testing.T) {
	c, err := ParseCiphers("ECDHE-RSA-AES128-GCM-SHA256:DHE-RSA-AES128-GCM-SHA256:!aNULL")
	if err != nil || len(c.Suites) != 1 || c.Suites[0] != tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256 || !slices.Equal(c.Missing, []string{"DHE-RSA-AES128-GCM-SHA256"}) {
		t.Errorf("got %+v, %v", c, err)
	}
	if c, _ := ParseCiphers("FOO"); !c.None {
		t.Error("FOO selects something")
	}
}

func TestCipherNames(t *testing.T) {
	for id, want := range map[uint16]string{0x1301: "TLS_AES_128_GCM_SHA256", 0xc02f: "ECDHE-RSA-AES128-GCM-SHA256", 0x1a1a: ""} {
		if got := CipherName(id); got != want {
			t.Errorf("%#04x is %q, want %q", id, got, want)
		}
	}
	for _, s := range tls.CipherSuites() {
		if CipherName(s.ID) == "" {
			t.Errorf("%s has no name", s.Name)
		}
	}
}

func BenchmarkCipherName(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		CipherName(0xc02f)
	}
}

func readCert(t *testing.T, name string) *x509.Certificate {
	t.Helper()
	text, err := os.ReadFile("testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	chain, err := Chain(text)
	if err != nil {
		t.Fatal(err)
	}
	return chain[0]
}

// TestNames compares with what `openssl x509 -subject` prints under -nameopt RFC2253 and compat.
func TestNames(t *testing.T) {
	c := readCert(t, "name.crt")
	if got, want := DN(c.RawSubject), `UID=u1,emailAddress=a@b.c,CN=t\C3\ABst\;1,OU=\ x\+y,O=a\, \"b\",C=DE`; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if got, want := DNLegacy(c.RawSubject), `/C=DE/O=a, "b"/OU= x\+y/CN=t\xC3\xABst;1/emailAddress=a@b.c/UID=u1`; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if got := Serial(c.SerialNumber); got != "0F00" {
		t.Errorf("serial %s", got)
	}
}

// TestEncryptedKeys reads keys that OpenSSL encrypted in its old and newer ways.
func TestEncryptedKeys(t *testing.T) {
	for _, name := range []string{"legacy.key", "pbkdf2.key", "des3.key", "scrypt.key"} {
		if _, err := Pair(ReadFile, "testdata/name.crt", "testdata/"+name, [][]byte{[]byte("wrong"), []byte("secret")}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		_, err := Pair(ReadFile, "testdata/name.crt", "testdata/"+name, [][]byte{[]byte("wrong")})
		if err == nil || !strings.Contains(err.Error(), "bad decrypt") {
			t.Errorf("%s with a wrong password: %v", name, err)
		}
	}
}

// authority makes certificates for tests of verification.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func (a *authority) issue(t *testing.T, name string, change func(*x509.Certificate)) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{
		SerialNumber: big.NewInt(int64(len(name)) + time.Now().UnixNano()), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(time.Hour), BasicConstraintsValid: true, IsCA: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign | x509.KeyUsageDigitalSignature,
	}
	if change != nil {
		change(c)
	}
	parent, signer := c, key
	if a != nil {
		parent, signer = a.cert, a.key
	}
	der, err := x509.CreateCertificate(rand.Reader, c, parent, &key.PublicKey, signer)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &authority{leaf, key}
}

// revoke makes a list, of which the CRL is read again as from a file.
func (a *authority) revoke(t *testing.T, certs ...*x509.Certificate) *CRL {
	t.Helper()
	l := &x509.RevocationList{Number: big.NewInt(1), ThisUpdate: time.Now().Add(-time.Hour), NextUpdate: time.Now().Add(time.Hour)}
	for _, c := range certs {
		l.RevokedCertificateEntries = append(l.RevokedCertificateEntries, x509.RevocationListEntry{SerialNumber: c.SerialNumber, RevocationTime: time.Now()})
	}
	der, err := x509.CreateRevocationList(rand.Reader, l, a.cert, a.key)
	if err != nil {
		t.Fatal(err)
	}
	lists, err := CRLs(func(string) ([]byte, error) { return pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: der}), nil }, "x")
	if err != nil {
		t.Fatal(err)
	}
	return lists[0]
}

// TestVerificationResults wants the numbers that X509_verify_cert gives where, as in nginx, nothing stops it.
func TestVerificationResults(t *testing.T) {
	root := (*authority)(nil).issue(t, "root", nil)
	middle := root.issue(t, "middle", nil)
	leaf := middle.issue(t, "leaf", nil)
	direct := root.issue(t, "direct", nil)
	old := root.issue(t, "old", func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) })
	server := root.issue(t, "server", func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} })
	type certs []*authority
	for _, c := range []struct {
		what    string
		chain   certs
		trusted certs
		depth   int
		crls    []*CRL
		want    Result
	}{
		{"signed by a root", certs{direct}, certs{root}, 1, nil, OK},
		{"a chain that is sent", certs{leaf, middle}, certs{root}, 1, nil, OK},
		{"a chain whose middle is trusted, too", certs{leaf}, certs{root, middle}, 1, nil, OK},
		{"the root itself", certs{root}, certs{root}, 0, nil, OK},
		{"too deep", certs{leaf, middle}, certs{root}, 0, nil, 20},
		{"too deep, the middle trusted", certs{leaf}, certs{root, middle}, 0, nil, 2},
		{"too deep to see the untrusted root", certs{leaf, middle, root}, certs{direct}, 0, nil, 20},
		{"a missing middle", certs{leaf}, certs{root}, 1, nil, 21},
		{"a missing root", certs{leaf, middle}, certs{direct}, 1, nil, 20},
		{"only the middle is trusted", certs{leaf}, certs{middle}, 1, nil, 2},
		{"self-signed", certs{root}, certs{middle}, 1, nil, 18},
		{"an untrusted root is sent", certs{leaf, middle, root}, certs{direct}, 1, nil, 19},
		{"expired", certs{old}, certs{root}, 1, nil, 10},
		{"for servers", certs{server}, certs{root}, 1, nil, 26},
		{"not revoked", certs{direct}, certs{root}, 1, []*CRL{root.revoke(t)}, OK},
		{"revoked", certs{direct}, certs{root}, 1, []*CRL{root.revoke(t, direct.cert)}, 23},
		{"a revoked middle", certs{leaf, middle}, certs{root}, 1, []*CRL{root.revoke(t, middle.cert), middle.revoke(t)}, 23},
		{"no list", certs{direct}, certs{root}, 1, []*CRL{middle.revoke(t)}, 3},
	} {
		store := &Store{Depth: c.depth, CRLs: c.crls, Usage: x509.ExtKeyUsageClientAuth}
		for _, a := range c.trusted {
			store.Trusted = append(store.Trusted, a.cert)
		}
		var chain []*x509.Certificate
		for _, a := range c.chain {
			chain = append(chain, a.cert)
		}
		if got, _ := store.Build().Verify(chain, time.Now()); got != c.want {
			t.Errorf("%s: %d (%s), want %d (%s)", c.what, got, got, c.want, c.want)
		}
	}
}

func TestMatchesHost(t *testing.T) {
	named := (*authority)(nil).issue(t, "cn.test", nil).cert
	listed := (*authority)(nil).issue(t, "cn.test", func(c *x509.Certificate) { c.DNSNames = []string{"a.test", "*.b.test"} }).cert
	for _, c := range []struct {
		cert *x509.Certificate
		host string
		want bool
	}{
		{named, "cn.test", true}, {named, "CN.test", true}, {named, "x.cn.test", false}, {named, "", false},
		{listed, "a.test", true}, {listed, "x.b.test", true}, {listed, "x.y.b.test", false}, {listed, "b.test", false}, {listed, "cn.test", false},
	} {
		if got := MatchesHost(c.cert, c.host); got != c.want {
			t.Errorf("%q of %v: %v", c.host, c.cert.DNSNames, got)
		}
	}
}

func TestHandshakeWords(t *testing.T) {
	for _, c := range []struct {
		err   error
		text  string
		alone bool
	}{
		{errors.New("remote error: tls: unknown certificate authority"), "SSL: error:0A000418:SSL routines::tlsv1 alert unknown ca:SSL alert number 48", false},
		{errors.New("tls: no cipher suite supported by both client and server; client offered: [...]"), "SSL: error:0A0000C1:SSL routines::no shared cipher", false},
		{fmt.Errorf("x: %w", os.ErrClosed), "SSL: x: file already closed", false},
	} {
		if text, alone := Handshake(c.err); text != c.text || alone != c.alone {
			t.Errorf("%v: %q, %v", c.err, text, alone)
		}
	}
}

func FuzzCipherString(f *testing.F) {
	f.Add("HIGH:!aNULL:!MD5")
	f.Add("+:-:!:@SECLEVEL=1")
	f.Fuzz(func(t *testing.T, text string) { ParseCiphers(text) })
}

func FuzzDN(f *testing.F) {
	f.Add([]byte("0\x0c1\x0a0\x08\x06\x03\x55\x04\x03\x0c\x01a"))
	f.Fuzz(func(t *testing.T, raw []byte) { DN(raw); DNLegacy(raw) })
}

func FuzzKey(f *testing.F) {
	for _, name := range []string{"legacy.key", "pbkdf2.key", "scrypt.key"} {
		text, _ := os.ReadFile("testdata/" + name)
		block, _ := pem.Decode(text)
		f.Add(block.Bytes)
	}
	f.Fuzz(func(t *testing.T, der []byte) {
		if len(der) < 4<<10 {
			decryptPKCS8(der, []byte("x"))
		}
	})
}

package openssl

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"os"
	"strings"
	"syscall"
	"time"
)

// Texts of OpenSSL 3.0 that several functions use.
const (
	noStartCertificate = "error:0480006C:PEM routines::no start line:Expecting: TRUSTED CERTIFICATE"
	badASN1            = "error:0688010A:asn1 encoding routines::nested asn1 error:Type=X509 error:0488000D:PEM routines::ASN1 lib"
	noKey              = "error:1E08010C:DECODER routines::unsupported:No supported data to decode. Input type: PEM"
	badDecrypt         = "error:1C800064:Provider routines::bad decrypt"
	noPassword         = "error:0480006D:PEM routines::problems getting password"
	noCertificateOrCRL = "error:05800088:x509 certificate routines::no certificate or crl found"
	keyMismatch        = "error:05800074:x509 certificate routines::key values mismatch"
)

// FileError words a failed attempt to open a file as OpenSSL does: "error:80000002:system library::...".
// mode is that of fopen.
func FileError(name, mode string, err error) string {
	var no syscall.Errno
	if !errors.As(err, &no) {
		return err.Error()
	}
	text := no.Error()
	text = strings.ToUpper(text[:1]) + text[1:]
	reason := "error:10080002:BIO routines::system lib"
	if no == syscall.ENOENT {
		reason = "error:10000080:BIO routines::no such file"
	}
	return fmt.Sprintf("error:800000%02X:system library::%s:calling fopen(%s, %s) %s", int(no), text, name, mode, reason)
}

// failed is nginx's text for a failed call of OpenSSL.
func failed(call, text string) error { return fmt.Errorf("%s failed (SSL: %s)", call, text) }

// Reader reads a file whole.
type Reader func(name string) ([]byte, error)

// ReadFile is the Reader of os.ReadFile.
func ReadFile(name string) ([]byte, error) { return os.ReadFile(name) }

// source returns the text of a PEM file, or of a value that begins with data:. The error is nginx's.
func source(read Reader, name string) ([]byte, error) {
	if text, ok := strings.CutPrefix(name, "data:"); ok {
		return []byte(text), nil
	}
	text, err := read(name)
	if err != nil {
		return nil, failed("BIO_new_file()", FileError(name, "r", err))
	}
	return text, nil
}

// Chain reads the certificates of a PEM text, the server's own first. The error is nginx's text behind
// `cannot load certificate "...": `.
func Chain(text []byte) ([]*x509.Certificate, error) {
	var chain []*x509.Certificate
	for {
		var block *pem.Block
		if block, text = pem.Decode(text); block == nil {
			break
		}
		if !isCertificate(block.Type) {
			continue
		}
		call := "PEM_read_bio_X509()"
		if len(chain) == 0 {
			call = "PEM_read_bio_X509_AUX()"
		}
		c, err := parseCertificate(block)
		if err != nil {
			return nil, failed(call, badASN1)
		}
		chain = append(chain, c)
	}
	if len(chain) == 0 {
		return nil, failed("PEM_read_bio_X509_AUX()", noStartCertificate)
	}
	return chain, nil
}

func isCertificate(kind string) bool {
	return kind == "CERTIFICATE" || kind == "X509 CERTIFICATE" || kind == "TRUSTED CERTIFICATE"
}

// parseCertificate parses a certificate; the trust settings behind a trusted one are left out.
func parseCertificate(block *pem.Block) (*x509.Certificate, error) {
	der := block.Bytes
	if block.Type == "TRUSTED CERTIFICATE" {
		var first asn1.RawValue
		if _, err := asn1.Unmarshal(der, &first); err != nil {
			return nil, err
		}
		der = first.FullBytes
	}
	return x509.ParseCertificate(der)
}

// key reads the first private key of a PEM text, trying the passwords in turn where it is encrypted.
func key(text []byte, passwords [][]byte) (key crypto.Signer, encrypted bool, err error) {
	const call = "PEM_read_bio_PrivateKey()"
	for {
		var block *pem.Block
		if block, text = pem.Decode(text); block == nil {
			return nil, false, failed(call, noKey)
		}
		if !strings.HasSuffix(block.Type, "PRIVATE KEY") {
			continue
		}
		if isEncrypted(block) {
			key, err = decryptKey(block, passwords)
			return key, true, err
		}
		if key, err = parseKey(block.Type, block.Bytes); err != nil {
			return nil, false, failed(call, noKey)
		}
		return key, false, nil
	}
}

func isEncrypted(block *pem.Block) bool {
	return block.Type == "ENCRYPTED PRIVATE KEY" || strings.Contains(block.Headers["Proc-Type"], "ENCRYPTED")
}

func decryptKey(block *pem.Block, passwords [][]byte) (crypto.Signer, error) {
	const call = "PEM_read_bio_PrivateKey()"
	if len(passwords) == 0 {
		return nil, failed(call, noPassword)
	}
	for _, pw := range passwords {
		kind, der := block.Type, []byte(nil)
		var err error
		if kind == "ENCRYPTED PRIVATE KEY" {
			kind = "PRIVATE KEY"
			der, err = decryptPKCS8(block.Bytes, pw)
		} else {
			//lint:ignore SA1019 legacy PEM encryption is weak, and what files of nginx's users have
			der, err = x509.DecryptPEMBlock(block, pw)
		}
		if err != nil {
			continue
		}
		if key, err := parseKey(kind, der); err == nil {
			return key, nil
		}
	}
	return nil, failed(call, badDecrypt)
}

func parseKey(kind string, der []byte) (crypto.Signer, error) {
	switch kind {
	case "RSA PRIVATE KEY":
		return x509.ParsePKCS1PrivateKey(der)
	case "EC PRIVATE KEY":
		return x509.ParseECPrivateKey(der)
	}
	key, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return nil, err
	}
	switch key := key.(type) {
	case *rsa.PrivateKey:
		return key, nil
	case *ecdsa.PrivateKey:
		return key, nil
	case ed25519.PrivateKey:
		return key, nil
	}
	return nil, errors.New("unsupported private key")
}

// Passwords reads a password file: one a line.
func Passwords(name string) ([][]byte, error) {
	text, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	var pws [][]byte
	for line := range strings.Lines(string(text)) {
		if line = strings.TrimSuffix(strings.TrimSuffix(line, "\n"), "\r"); line != "" {
			pws = append(pws, []byte(line))
		}
	}
	return pws, nil
}

// Pair loads a certificate with its chain and its key by name: files, data:PEM, or a key as
// store:FILE or store:file:FILE. The error is nginx's whole message.
func Pair(read Reader, cert, key string, passwords [][]byte) (*tls.Certificate, error) {
	chain, err := LoadChain(read, cert)
	if err != nil {
		return nil, err
	}
	signer, _, err := LoadKey(read, key, passwords)
	if err != nil {
		return nil, err
	}
	return Match(chain, signer, key)
}

// LoadChain loads a certificate with its chain, as Pair does.
func LoadChain(read Reader, name string) ([]*x509.Certificate, error) {
	text, err := source(read, name)
	if err == nil {
		var chain []*x509.Certificate
		if chain, err = Chain(text); err == nil {
			return chain, nil
		}
	}
	return nil, fmt.Errorf(`cannot load certificate "%s": %w`, name, err)
}

// LoadKey loads a key, as Pair does, and says whether it was encrypted.
func LoadKey(read Reader, name string, passwords [][]byte) (signer crypto.Signer, encrypted bool, err error) {
	text, err := keySource(read, name)
	if err == nil {
		signer, encrypted, err = key(text, passwords)
	}
	if err != nil {
		return nil, encrypted, fmt.Errorf(`cannot load certificate key "%s": %w`, name, err)
	}
	return signer, encrypted, nil
}

// ErrMismatch says that a certificate and a key don't belong together.
var ErrMismatch = errors.New(keyMismatch)

// Match makes a certificate of a chain and its key; the error, which wraps ErrMismatch, names the key.
func Match(chain []*x509.Certificate, signer crypto.Signer, name string) (*tls.Certificate, error) {
	pub, ok := chain[0].PublicKey.(interface{ Equal(crypto.PublicKey) bool })
	if !ok || !pub.Equal(signer.Public()) {
		return nil, fmt.Errorf(`SSL_CTX_use_PrivateKey("%s") failed (SSL: %w)`, name, ErrMismatch)
	}
	pair := &tls.Certificate{PrivateKey: signer, Leaf: chain[0]}
	for _, c := range chain {
		pair.Certificate = append(pair.Certificate, c.Raw)
	}
	return pair, nil
}

// keySource returns the text that holds a key.
func keySource(read Reader, name string) ([]byte, error) {
	if rest, ok := strings.CutPrefix(name, "engine:"); ok {
		if !strings.Contains(rest, ":") {
			return nil, errors.New("invalid syntax")
		}
		return nil, errors.New(`loading "engine:..." certificate keys is not supported`)
	}
	if uri, ok := strings.CutPrefix(name, "store:"); ok {
		file := strings.TrimPrefix(strings.TrimPrefix(uri, "file:"), "//")
		text, err := read(file)
		if err != nil {
			return nil, failed(fmt.Sprintf(`OSSL_STORE_open("%s")`, uri), FileError(file, "r", err))
		}
		return text, nil
	}
	return source(read, name)
}

// IsFile reports whether a name of a certificate or key is that of a file, not data:, engine: or store:.
func IsFile(name string) bool {
	for _, p := range [...]string{"data:", "engine:", "store:"} {
		if strings.HasPrefix(name, p) {
			return false
		}
	}
	return true
}

// Trusted reads the certificates of a file of certificate authorities. The error is nginx's message.
func Trusted(read Reader, name string) ([]*x509.Certificate, error) {
	call := fmt.Sprintf(`SSL_CTX_load_verify_locations("%s")`, name)
	text, err := read(name)
	if err != nil {
		return nil, failed(call, FileError(name, "r", err)+" error:05880002:x509 certificate routines::system lib")
	}
	var cas []*x509.Certificate
	found := false
	for {
		var block *pem.Block
		if block, text = pem.Decode(text); block == nil {
			break
		}
		switch {
		case isCertificate(block.Type):
			c, err := parseCertificate(block)
			if err != nil {
				return nil, failed(call, badASN1)
			}
			cas, found = append(cas, c), true
		case block.Type == "X509 CRL":
			found = true
		}
	}
	if !found {
		return nil, failed(call, noCertificateOrCRL)
	}
	return cas, nil
}

// CRL is a certificate revocation list, of version 1 or 2. RFC 5280 section 5.
type CRL struct {
	// verify checks that the list was signed by an authority.
	verify  func(issuer *x509.Certificate) error
	issuer  []byte // raw
	until   time.Time
	revoked []*big.Int
}

// parseCRL parses a list; x509.ParseRevocationList takes none of version 1, which OpenSSL makes by default.
func parseCRL(der []byte) (*CRL, error) {
	if l, err := x509.ParseRevocationList(der); err == nil {
		c := &CRL{verify: l.CheckSignatureFrom, issuer: l.RawIssuer, until: l.NextUpdate}
		for _, e := range l.RevokedCertificateEntries {
			c.revoked = append(c.revoked, e.SerialNumber)
		}
		return c, nil
	}
	//lint:ignore SA1019 see above
	l, err := x509.ParseDERCRL(der)
	if err != nil {
		return nil, err
	}
	var tbs struct {
		Algorithm, Issuer asn1.RawValue
	}
	if _, err := asn1.Unmarshal(l.TBSCertList.Raw, &tbs); err != nil {
		return nil, err
	}
	c := &CRL{issuer: tbs.Issuer.FullBytes, until: l.TBSCertList.NextUpdate}
	//lint:ignore SA1019 see above
	c.verify = func(issuer *x509.Certificate) error { return issuer.CheckCRLSignature(l) }
	for _, e := range l.TBSCertList.RevokedCertificates {
		c.revoked = append(c.revoked, e.SerialNumber)
	}
	return c, nil
}

// CRLs reads a file of certificate revocation lists. The error is nginx's message.
func CRLs(read Reader, name string) ([]*CRL, error) {
	call := fmt.Sprintf(`X509_LOOKUP_load_file("%s")`, name)
	text, err := read(name)
	if err != nil {
		return nil, failed(call, FileError(name, "r", err)+" error:05880002:x509 certificate routines::system lib")
	}
	var lists []*CRL
	for {
		var block *pem.Block
		if block, text = pem.Decode(text); block == nil {
			break
		}
		if block.Type != "X509 CRL" {
			continue
		}
		l, err := parseCRL(block.Bytes)
		if err != nil {
			return nil, failed(call, badASN1)
		}
		lists = append(lists, l)
	}
	if len(lists) == 0 {
		return nil, failed(call, noCertificateOrCRL)
	}
	return lists, nil
}

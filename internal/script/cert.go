package script

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"time"
)

// makeCert writes NAME.crt and NAME.key: a certificate for hosts that signs itself, or is signed by another.
func makeCert(r *run, args []string) (string, error) {
	var by *tls.Certificate
	if len(args) > 1 && args[0] == "-by" {
		var err error
		if by, err = r.authority(args[1]); err != nil {
			return "", err
		}
		args = args[2:]
	}
	if len(args) < 1 {
		return "", usageError("usage: cert [-by NAME] NAME [HOST...]")
	}
	cert, key, err := certificate(append(args[1:], "127.0.0.1"), by)
	if err != nil {
		return "", err
	}
	if err := os.WriteFile(r.MkAbs(args[0]+".crt"), cert, 0o666); err != nil {
		return "", err
	}
	return "", os.WriteFile(r.MkAbs(args[0]+".key"), key, 0o644)
}

// authority reads what cert wrote.
func (r *run) authority(name string) (*tls.Certificate, error) {
	pair, err := tls.LoadX509KeyPair(r.MkAbs(name+".crt"), r.MkAbs(name+".key"))
	return &pair, err
}

// certificate returns a certificate and its key in PEM. It signs itself, unless another does; then the
// other's chain follows, the root left out.
func certificate(hosts []string, by *tls.Certificate) (cert, key []byte, err error) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	if err != nil {
		return nil, nil, err
	}
	template := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: hosts[0]},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign | x509.KeyUsageCRLSign, BasicConstraintsValid: true, IsCA: true,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	for _, h := range hosts {
		if ip := net.ParseIP(h); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, h)
		}
	}
	parent, signer, chain := template, any(private), [][]byte(nil)
	if by != nil {
		parent, signer, chain = by.Leaf, by.PrivateKey, by.Certificate
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &private.PublicKey, signer)
	if err != nil {
		return nil, nil, err
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return nil, nil, err
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	if by != nil && !bytes.Equal(by.Leaf.RawIssuer, by.Leaf.RawSubject) {
		for _, c := range chain {
			text = append(text, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c})...)
		}
	}
	return text, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}), nil
}

// makeCRL writes NAME.crl: the list of what an authority revoked.
func makeCRL(r *run, args []string) (string, error) {
	if len(args) < 2 {
		return "", usageError("usage: crl NAME CA [CERT]...")
	}
	ca, err := r.authority(args[1])
	if err != nil {
		return "", err
	}
	list := &x509.RevocationList{Number: big.NewInt(1), ThisUpdate: time.Now().Add(-time.Hour), NextUpdate: time.Now().Add(24 * time.Hour)}
	for _, name := range args[2:] {
		revoked, err := r.authority(name)
		if err != nil {
			return "", err
		}
		list.RevokedCertificateEntries = append(list.RevokedCertificateEntries,
			x509.RevocationListEntry{SerialNumber: revoked.Leaf.SerialNumber, RevocationTime: time.Now().Add(-time.Hour)})
	}
	der, err := x509.CreateRevocationList(rand.Reader, list, ca.Leaf, ca.PrivateKey.(*ecdsa.PrivateKey))
	if err != nil {
		return "", err
	}
	return "", os.WriteFile(r.MkAbs(args[0]+".crl"), pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: der}), 0o666)
}

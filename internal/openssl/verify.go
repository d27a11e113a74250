package openssl

import (
	"bytes"
	"crypto/x509"
	"errors"
	"fmt"
	"time"
)

// Result is the outcome of a verification as OpenSSL numbers it: X509_V_OK or an error.
// https://docs.openssl.org/master/man3/X509_STORE_CTX_get_error/
type Result int

// The results that Verify gives.
const (
	OK                 Result = 0
	noIssuer           Result = 2
	noCRL              Result = 3
	badSignature       Result = 7
	notYetValid        Result = 9
	Expired            Result = 10
	crlExpired         Result = 12
	selfSignedLeaf     Result = 18
	selfSignedChain    Result = 19
	noLocalIssuer      Result = 20
	unverifiedLeaf     Result = 21
	Revoked            Result = 23
	pathTooLong        Result = 25
	unsuitable         Result = 26
	untrusted          Result = 27
	permittedViolation Result = 47
	excludedViolation  Result = 48
	invalidCA          Result = 79
)

// String returns OpenSSL's words for the result.
func (r Result) String() string {
	switch r {
	case OK:
		return "ok"
	case noIssuer:
		return "unable to get issuer certificate"
	case noCRL:
		return "unable to get certificate CRL"
	case badSignature:
		return "certificate signature failure"
	case notYetValid:
		return "certificate is not yet valid"
	case Expired:
		return "certificate has expired"
	case crlExpired:
		return "CRL has expired"
	case selfSignedLeaf:
		return "self-signed certificate"
	case selfSignedChain:
		return "self-signed certificate in certificate chain"
	case noLocalIssuer:
		return "unable to get local issuer certificate"
	case unverifiedLeaf:
		return "unable to verify the first certificate"
	case Revoked:
		return "certificate revoked"
	case pathTooLong:
		return "path length constraint exceeded"
	case unsuitable:
		return "unsuitable certificate purpose"
	case untrusted:
		return "certificate not trusted"
	case permittedViolation:
		return "permitted subtree violation"
	case excludedViolation:
		return "excluded subtree violation"
	case invalidCA:
		return "invalid CA certificate"
	}
	return fmt.Sprintf("error number %d", int(r))
}

// Optional reports the results that nginx lets pass under optional_no_ca: only the trust anchor is missing.
func (r Result) Optional() bool {
	switch r {
	case selfSignedLeaf, selfSignedChain, noLocalIssuer, untrusted, unverifiedLeaf:
		return true
	}
	return false
}

// Store is what certificates are verified by.
type Store struct {
	// Trusted are the certificates of the files of authorities; nil for none.
	Trusted []*x509.Certificate
	// CRLs are revocation lists; with any, every certificate of a chain needs one, as nginx has it.
	CRLs []*CRL
	// Depth bounds the number of intermediate certificates.
	Depth int
	// Usage is what the leaf must be good for.
	Usage x509.ExtKeyUsage

	pool *x509.CertPool
	more []*x509.Certificate // authorities that sign others, as intermediates
}

// Build completes the store; it is read-only from then on.
func (s *Store) Build() *Store {
	s.pool = x509.NewCertPool()
	for _, c := range s.Trusted {
		if selfSigned(c) {
			s.pool.AddCert(c)
		} else {
			s.more = append(s.more, c)
		}
	}
	return s
}

func selfSigned(c *x509.Certificate) bool { return bytes.Equal(c.RawSubject, c.RawIssuer) }

// Verify verifies a chain, the leaf first, and returns the chain to a trusted root where there is one.
func (s *Store) Verify(chain []*x509.Certificate, now time.Time) (Result, []*x509.Certificate) {
	leaf := chain[0]
	between := x509.NewCertPool()
	for _, c := range chain[1:] {
		between.AddCert(c)
	}
	for _, c := range s.more {
		between.AddCert(c)
	}
	opt := x509.VerifyOptions{Roots: s.pool, Intermediates: between, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{s.Usage}}
	found, err := leaf.Verify(opt)
	if err != nil {
		return s.why(chain, err, now), nil
	}
	best := found[0]
	for _, c := range found[1:] {
		if len(c) < len(best) {
			best = c
		}
	}
	if len(best)-2 > s.Depth {
		return s.unanchored(chain), nil
	}
	if len(s.CRLs) > 0 {
		return s.revoked(best, now), best
	}
	return OK, best
}

// why finds OpenSSL's result for a chain that crypto/x509 refused.
func (s *Store) why(chain []*x509.Certificate, err error, now time.Time) Result {
	var invalid x509.CertificateInvalidError
	if errors.As(err, &invalid) {
		switch invalid.Reason {
		case x509.Expired:
			if invalid.Cert != nil && now.Before(invalid.Cert.NotBefore) {
				return notYetValid
			}
			return Expired
		case x509.NotAuthorizedToSign:
			return invalidCA
		case x509.IncompatibleUsage:
			return unsuitable
		case x509.TooManyIntermediates:
			return pathTooLong
		case x509.CANotAuthorizedForThisName:
			return permittedViolation
		}
		return unsuitable
	}
	return s.unanchored(chain)
}

// unanchored finds the result for a chain that doesn't reach a trusted root within Depth. OpenSSL builds no more
// of a chain than Depth allows. That it is too long (22) is only the last error but one, and nginx tells the last.
func (s *Store) unanchored(chain []*x509.Certificate) Result {
	top, n := chain[0], 1
	for !selfSigned(top) && n <= s.Depth+1 {
		next := s.issuer(top, chain[1:])
		if next == nil || n > len(chain)+len(s.Trusted) {
			break
		}
		if top.CheckSignatureFrom(next) != nil {
			return badSignature
		}
		top, n = next, n+1
	}
	switch {
	case selfSigned(top) && n == 1:
		return selfSignedLeaf
	case selfSigned(top):
		return selfSignedChain
	case n == 1:
		return unverifiedLeaf
	case contains(s.Trusted, top):
		return noIssuer
	}
	return noLocalIssuer
}

func (s *Store) issuer(c *x509.Certificate, more []*x509.Certificate) *x509.Certificate {
	for _, list := range [][]*x509.Certificate{s.Trusted, more} {
		for _, ca := range list {
			if bytes.Equal(ca.RawSubject, c.RawIssuer) && !ca.Equal(c) {
				return ca
			}
		}
	}
	return nil
}

func contains(list []*x509.Certificate, c *x509.Certificate) bool {
	for _, have := range list {
		if have.Equal(c) {
			return true
		}
	}
	return false
}

// revoked looks every certificate of a verified chain up in the lists of its issuer. As in nginx, the last thing wrong counts.
func (s *Store) revoked(chain []*x509.Certificate, now time.Time) Result {
	result := OK
	for i, c := range chain {
		issuer := c
		if i+1 < len(chain) {
			issuer = chain[i+1]
		}
		if r := s.lookUp(c, issuer, now); r != OK {
			result = r
		}
	}
	return result
}

func (s *Store) lookUp(c, issuer *x509.Certificate, now time.Time) Result {
	result := noCRL
	for _, l := range s.CRLs {
		if !bytes.Equal(l.issuer, issuer.RawSubject) || l.verify(issuer) != nil {
			continue
		}
		if !l.until.IsZero() && now.After(l.until) {
			result = crlExpired
			continue
		}
		for _, serial := range l.revoked {
			if serial.Cmp(c.SerialNumber) == 0 {
				return Revoked
			}
		}
		result = OK
	}
	return result
}

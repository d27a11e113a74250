package tlsconf

import (
	"encoding/asn1"
	"errors"
	"fmt"
	"os"

	"limpet/internal/ngx"
	"limpet/internal/openssl"
)

// staple reads the OCSP response that goes with the certificates.
func (s *server) staple(b *ngx.Build) error {
	name := s.conf.StaplingFile.V
	if !s.conf.Stapling.V || name == "" {
		return nil
	}
	b.Watch(name)
	der, err := os.ReadFile(name)
	if err != nil {
		return fmt.Errorf(`BIO_new_file("%s") failed (SSL: %s)`, name, openssl.FileError(name, "rb", err))
	}
	if why := notOCSP(der); why != "" {
		return fmt.Errorf(`d2i_OCSP_RESPONSE_bio("%s") failed (SSL: %s)`, name, why)
	}
	for i := range s.config.Certificates {
		s.config.Certificates[i].OCSPStaple = der
	}
	return nil
}

// notOCSP returns OpenSSL's words for bytes that aren't an OCSP response (RFC 6960 section 4.2.1), "" for one.
func notOCSP(der []byte) string {
	var response struct {
		Status asn1.Enumerated
		Bytes  asn1.RawValue `asn1:"optional,explicit,tag:0"`
	}
	_, err := asn1.Unmarshal(der, &response)
	var wrong asn1.StructuralError
	switch {
	case err == nil:
		return ""
	case errors.As(err, &wrong):
		return "error:068000A8:asn1 encoding routines::wrong tag error:0688010A:asn1 encoding routines::nested asn1 error:Type=OCSP_RESPONSE"
	}
	return "error:0680008E:asn1 encoding routines::not enough data"
}

package tlsconf

import (
	"encoding/asn1"
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
	var response asn1.RawValue
	if _, err := asn1.Unmarshal(der, &response); err != nil {
		return fmt.Errorf(`d2i_OCSP_RESPONSE_bio("%s") failed (SSL: error:0680008E:asn1 encoding routines::not enough data)`, name)
	}
	for i := range s.config.Certificates {
		s.config.Certificates[i].OCSPStaple = der
	}
	return nil
}

package certs

import (
	"crypto/tls"
	"fmt"
	"maps"

	"limpet/internal/ngx"
	"limpet/internal/openssl"
	conf "limpet/nginxconf"
)

// The bits of protocols, TLSv1 first of those that there are.
const (
	sslv2 uint32 = 1 << iota
	sslv3
	tlsv1
)

// Protocols are the words of ssl_protocols and its kin.
func Protocols() []conf.Word[uint32] {
	return []conf.Word[uint32]{
		{Name: "SSLv2", Value: sslv2}, {Name: "SSLv3", Value: sslv3}, {Name: "TLSv1", Value: tlsv1},
		{Name: "TLSv1.1", Value: tlsv1 << 1}, {Name: "TLSv1.2", Value: tlsv1 << 2}, {Name: "TLSv1.3", Value: tlsv1 << 3},
	}
}

// SetProtocols takes protocols over into a configuration. It fails where nothing is left, or something is left out in between.
func SetProtocols(cfg *tls.Config, mask uint32) error {
	on := make(map[uint16]bool)
	for i, v := range [...]uint16{tls.VersionTLS10, tls.VersionTLS11, tls.VersionTLS12, tls.VersionTLS13} {
		on[v] = mask&(tlsv1<<i) != 0
	}
	var err error
	cfg.MinVersion, cfg.MaxVersion, err = openssl.Range(on)
	return err
}

// Run runs commands of ssl_conf_command or its kin on a configuration, and returns the certificate that they name; nil for none.
func Run(b *ngx.Build, cfg *tls.Config, commands []openssl.Command, passwords [][]byte) (*tls.Certificate, error) {
	cert, key := "", ""
	if err := limitProtocols(cfg, commands); err != nil {
		return nil, err
	}
	for _, c := range commands {
		if c.Ciphers != nil {
			cfg.CipherSuites = c.Ciphers.Suites
		}
		if c.Curves != nil {
			cfg.CurvePreferences = c.Curves
		}
		if c.Certificate != "" {
			cert = c.Certificate
		}
		if c.Key != "" {
			key = c.Key
		}
	}
	switch {
	case cert == "" && key == "":
		return nil, nil
	case key == "":
		key = cert
	}
	return Of(b).Pair(cert, key, passwords)
}

// limitProtocols runs the commands that concern protocols: MinProtocol and MaxProtocol bound what
// ssl_protocols and the command Protocol have turned on.
func limitProtocols(cfg *tls.Config, commands []openssl.Command) error {
	on := make(map[uint16]bool)
	for v := cfg.MinVersion; v <= cfg.MaxVersion; v++ {
		on[v] = true
	}
	lowest, highest := uint16(0), uint16(tls.VersionTLS13)
	for _, c := range commands {
		maps.Copy(on, c.Protocols)
		if c.Min != 0 {
			lowest = c.Min
		}
		if c.Max != 0 {
			highest = c.Max
		}
	}
	maps.DeleteFunc(on, func(v uint16, _ bool) bool { return v < lowest || v > highest })
	var err error
	if cfg.MinVersion, cfg.MaxVersion, err = openssl.Range(on); err != nil {
		return fmt.Errorf("SSL_CONF_cmd() failed: %w", err)
	}
	return nil
}

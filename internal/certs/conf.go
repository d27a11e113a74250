// Package certs reads what directives about TLS say of certificates, keys and ciphers,
// towards clients (ssl_*) and towards peers (proxy_ssl_*), and keeps the files.
//
// It stands for the parts of ngx_event_openssl.c and ngx_event_openssl_cache.c that
// nginx's modules share.
package certs

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"limpet/internal/errlog"
	"limpet/internal/ngx"
	"limpet/internal/openssl"
	conf "limpet/nginxconf"
)

// File is a file name with variables, or one without, made absolute.
type File struct {
	ngx.Text
	Raw    string // as written
	Prefix string // of a relative name
}

func ParseFile(s *conf.Setting) (File, error) {
	t, err := ngx.ParseText(s, s.Arg(0))
	return File{t, s.Arg(0), s.Loader.ConfPrefix}, err
}

// static returns the absolute name when it has no variables.
func (t *File) Static() (string, bool) {
	b, ok := t.Text.Static()
	return t.Absolute(string(b)), ok
}

func (t *File) Absolute(name string) string {
	if !openssl.IsFile(name) || strings.HasPrefix(name, "/") {
		return name
	}
	return t.Prefix + name
}

func ParsePasswords(s *conf.Setting) ([][]byte, error) {
	name := s.Loader.ConfPath(s.Arg(0))
	if s.Loader.Offline {
		return nil, nil
	}
	s.Loader.Watch(name)
	pws, err := openssl.Passwords(name)
	if err != nil {
		return nil, fmt.Errorf(`open() "%s" failed %s`, name, errlog.Errno(err))
	}
	return pws, nil
}

// Ciphers is the value of ssl_ciphers.
type Ciphers struct {
	openssl.Ciphers
	Text string
}

func ParseCiphers(s *conf.Setting) (Ciphers, error) {
	cs, err := openssl.ParseCiphers(s.Arg(0))
	if err == nil && cs.None {
		err = errors.New(openssl.ErrNoCipher)
	}
	if err != nil {
		return Ciphers{}, conf.Errorf("", 0, `SSL_CTX_set_cipher_list("%s") failed (SSL: %s)`, s.Arg(0), err)
	}
	if len(cs.Missing) > 0 {
		s.Note(`ciphers in "%s" that aren't available are left out: %s`, s.Name, strings.Join(cs.Missing, ":"))
	}
	return Ciphers{cs, s.Arg(0)}, nil
}

func ParseCommand(s *conf.Setting) (openssl.Command, error) {
	c, err := openssl.ParseCommand(s.Arg(0), s.Arg(1))
	if err != nil {
		return c, conf.Errorf("", 0, "%s", err)
	}
	if c.Certificate != "" {
		c.Certificate = s.Loader.ConfPath(c.Certificate)
	}
	if c.Key != "" {
		c.Key = s.Loader.ConfPath(c.Key)
	}
	return c, nil
}

// ParseCache reads the value of ssl_certificate_cache and its kin; nil for off. Inner blocks share the cache that they inherit.
func ParseCache(s *conf.Setting) (*Cache, error) {
	c := &Cache{inactive: 10 * time.Second, valid: time.Minute, by: make(map[string]*object)}
	off := false
	for i := range s.Args {
		arg := s.Arg(i)
		name, value, _ := strings.Cut(arg, "=")
		ok := true
		switch {
		case arg == "off":
			off = true
		case name == "max":
			c.max, ok = conf.ParseNum(value)
			ok = ok && c.max > 0
		case name == "inactive":
			c.inactive, ok = conf.ParseTime(value, false)
		case name == "valid":
			c.valid, ok = conf.ParseTime(value, false)
		default:
			ok = false
		}
		if !ok {
			return nil, fmt.Errorf(`invalid parameter "%s"`, arg)
		}
	}
	switch {
	case off:
		return nil, nil
	case c.max == 0:
		return nil, fmt.Errorf(`"%s" must have the "max" parameter`, s.Name)
	}
	return c, nil
}

package tlsconf

import (
	"crypto/tls"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"

	"limpet/internal/ngx"
	"limpet/internal/openssl"
)

// load loads the certificates of a server some of whose names have variables.
func (s *server) load(r *ngx.Request) ([]tls.Certificate, error) {
	c := s.conf
	var certs []tls.Certificate
	for i := range c.Certificates.V {
		cert, key := &c.Certificates.V[i], &c.Keys.V[i]
		certName, keyName := cert.absolute(string(cert.Bytes(r))), key.absolute(string(key.Bytes(r)))
		if certName == cert.Prefix {
			continue // empty: nginx loads none
		}
		pair, err := s.certs.load(certName, keyName, c.PasswordFile.V)
		if err != nil {
			return nil, err
		}
		certs = append(certs, *pair)
	}
	return certs, nil
}

// certCache keeps certificates by their names, and those of their keys.
// https://nginx.org/en/docs/http/ngx_http_ssl_module.html#ssl_certificate_cache
type certCache struct {
	size cacheSize

	mu sync.Mutex
	by map[string]*cachedCert // guarded by mu
}

type cachedCert struct {
	pair         *tls.Certificate
	loaded, used time.Time
	cert, key    stamp
}

// stamp tells one state of a file from another.
type stamp struct {
	changed time.Time
	size    int64
	inode   uint64
}

func stampOf(name string) stamp {
	if !openssl.IsFile(name) {
		return stamp{}
	}
	info, err := os.Stat(name)
	if err != nil {
		return stamp{}
	}
	return stamp{info.ModTime(), info.Size(), inode(info)}
}

func inode(info os.FileInfo) uint64 {
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		return st.Ino
	}
	return 0
}

func newCertCache(size cacheSize) *certCache {
	return &certCache{size: size, by: make(map[string]*cachedCert)}
}

// load returns a certificate with its key, from the cache where it is valid there.
func (c *certCache) load(cert, key string, passwords [][]byte) (*tls.Certificate, error) {
	if c.size.Max == 0 || strings.HasPrefix(cert, "data:") || strings.HasPrefix(key, "data:") {
		return openssl.Pair(cert, key, passwords)
	}
	now, id := time.Now(), cert+"\x00"+key
	if pair := c.get(id, cert, key, now); pair != nil {
		return pair, nil
	}
	stamps := [2]stamp{stampOf(cert), stampOf(key)}
	pair, err := openssl.Pair(cert, key, passwords)
	if err != nil {
		return nil, err
	}
	c.put(id, &cachedCert{pair: pair, loaded: now, used: now, cert: stamps[0], key: stamps[1]}, now)
	return pair, nil
}

func (c *certCache) get(id, cert, key string, now time.Time) *tls.Certificate {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.by[id]
	if e == nil || now.Sub(e.used) > c.size.Inactive {
		return nil
	}
	if now.Sub(e.loaded) > c.size.Valid {
		if stampOf(cert) != e.cert || stampOf(key) != e.key {
			delete(c.by, id)
			return nil
		}
		e.loaded = now
	}
	e.used = now
	return e.pair
}

func (c *certCache) put(id string, e *cachedCert, now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	oldest := ""
	for name, have := range c.by {
		if now.Sub(have.used) > c.size.Inactive {
			delete(c.by, name)
		} else if oldest == "" || have.used.Before(c.by[oldest].used) {
			oldest = name
		}
	}
	if len(c.by) >= max(c.size.Max/2, 1) { // nginx counts certificates and keys
		delete(c.by, oldest)
	}
	c.by[id] = e
}

package certs

import (
	"crypto/tls"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"

	"limpet/internal/openssl"
)

// Cache keeps certificates by their names, and those of their keys; safe for concurrent use.
// https://nginx.org/en/docs/http/ngx_http_ssl_module.html#ssl_certificate_cache
type Cache struct {
	size CacheSize

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

// NewCache returns an empty cache; one of the zero size keeps nothing.
func NewCache(size CacheSize) *Cache {
	return &Cache{size: size, by: make(map[string]*cachedCert)}
}

// Load returns a certificate with its key, from the cache where it is valid there.
func (c *Cache) Load(cert, key string, passwords [][]byte) (*tls.Certificate, error) {
	if c.size.Max == 0 || strings.HasPrefix(cert, "data:") || strings.HasPrefix(key, "data:") {
		return openssl.Pair(openssl.ReadFile, cert, key, passwords)
	}
	now, id := time.Now(), cert+"\x00"+key
	if pair := c.get(id, cert, key, now); pair != nil {
		return pair, nil
	}
	stamps := [2]stamp{stampOf(cert), stampOf(key)}
	pair, err := openssl.Pair(openssl.ReadFile, cert, key, passwords)
	if err != nil {
		return nil, err
	}
	c.put(id, &cachedCert{pair: pair, loaded: now, used: now, cert: stamps[0], key: stamps[1]}, now)
	return pair, nil
}

func (c *Cache) get(id, cert, key string, now time.Time) *tls.Certificate {
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

func (c *Cache) put(id string, e *cachedCert, now time.Time) {
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

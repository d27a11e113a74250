package certs

import (
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"

	"limpet/internal/openssl"
)

// Cache keeps certificates and keys by their names, encrypted keys excepted; safe for
// concurrent use. A nil Cache keeps nothing.
// https://nginx.org/en/docs/http/ngx_http_ssl_module.html#ssl_certificate_cache
type Cache struct {
	max             int // objects
	inactive, valid time.Duration

	mu sync.Mutex
	by map[string]*object // guarded by mu
}

// object is a chain of certificates or a key.
type object struct {
	chain        []*x509.Certificate
	key          crypto.Signer
	loaded, used time.Time
	stamp        stamp
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

// Load returns a certificate with its key, from the cache what is valid there.
func (c *Cache) Load(cert, key string, passwords [][]byte) (*tls.Certificate, error) {
	if c == nil {
		return openssl.Pair(openssl.ReadFile, cert, key, passwords)
	}
	pair, err := c.load(cert, key, passwords)
	if errors.Is(err, openssl.ErrMismatch) { // one of them is older: anew
		c.drop(cert, key)
		pair, err = c.load(cert, key, passwords)
	}
	return pair, err
}

func (c *Cache) load(cert, key string, passwords [][]byte) (*tls.Certificate, error) {
	now := time.Now()
	o := c.get(certPrefix, cert, now)
	if o == nil {
		o = &object{stamp: stampOf(cert)}
		var err error
		if o.chain, err = openssl.LoadChain(openssl.ReadFile, cert); err != nil {
			return nil, err
		}
		c.put(certPrefix, cert, o, now)
	}
	k := c.get(keyPrefix, key, now)
	if k == nil {
		k = &object{stamp: stampOf(key)}
		var encrypted bool
		var err error
		if k.key, encrypted, err = openssl.LoadKey(openssl.ReadFile, key, passwords); err != nil {
			return nil, err
		}
		if !encrypted {
			c.put(keyPrefix, key, k, now)
		}
	}
	return openssl.Match(o.chain, k.key, key)
}

// What names of certificates and of keys are kept under.
const (
	certPrefix = "cert "
	keyPrefix  = "key "
)

func (c *Cache) get(kind, name string, now time.Time) *object {
	c.mu.Lock()
	defer c.mu.Unlock()
	o := c.by[kind+name]
	if o == nil || now.Sub(o.used) > c.inactive {
		return nil
	}
	if now.Sub(o.loaded) > c.valid {
		if stampOf(name) != o.stamp {
			delete(c.by, kind+name)
			return nil
		}
		o.loaded = now
	}
	o.used = now
	return o
}

// put keeps an object; inactive ones go, and the least recently used when there is no room.
func (c *Cache) put(kind, name string, o *object, now time.Time) {
	if strings.HasPrefix(name, "data:") {
		return
	}
	o.loaded, o.used = now, now
	c.mu.Lock()
	defer c.mu.Unlock()
	oldest := ""
	for id, have := range c.by {
		if now.Sub(have.used) > c.inactive {
			delete(c.by, id)
		} else if oldest == "" || have.used.Before(c.by[oldest].used) {
			oldest = id
		}
	}
	if len(c.by) >= c.max {
		delete(c.by, oldest)
	}
	c.by[kind+name] = o
}

func (c *Cache) drop(cert, key string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.by, certPrefix+cert)
	delete(c.by, keyPrefix+key)
}

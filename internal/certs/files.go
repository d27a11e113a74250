package certs

import (
	"crypto/tls"
	"crypto/x509"
	"os"

	"limpet/internal/ngx"
	"limpet/internal/openssl"
)

// Files reads the files of one configuration, each once, so that all of it sees the
// same text, and one that can be read once only (a pipe) will do. By
// ssl_object_cache_inheritable it takes over what the configuration before read, as
// nginx does: while inode and time of change, in seconds, are the same.
// https://nginx.org/en/docs/ngx_core_module.html#ssl_object_cache_inheritable
type Files struct {
	watch func(name string)
	texts map[string][]byte
	pairs map[string]*tls.Certificate
	old   *inherited
	fresh map[string]inheritedFile
}

// inherited is what one configuration leaves to the next.
type inherited struct{ files map[string]inheritedFile }

type inheritedFile struct {
	text  []byte
	inode uint64
	mtime int64 // seconds
}

// Inherit is the value of ssl_object_cache_inheritable while a configuration is built; on unless Off is set.
type Inherit struct{ Off bool }

// Of returns the files of the configuration that is built.
func Of(b *ngx.Build) *Files {
	f := ngx.Shared[Files](b)
	if f.texts != nil {
		return f
	}
	f.watch = b.Watch
	f.texts, f.pairs, f.fresh = make(map[string][]byte), make(map[string]*tls.Certificate), make(map[string]inheritedFile)
	keep := ngx.Keep(b, "ssl object cache", func() *inherited { return &inherited{} })
	if !ngx.Shared[Inherit](b).Off {
		f.old = keep
	}
	b.OnStart(func() { keep.files = f.fresh })
	return f
}

// Read is an openssl.Reader.
func (f *Files) Read(name string) ([]byte, error) {
	if text, ok := f.texts[name]; ok {
		return text, nil
	}
	f.watch(name)
	info, err := os.Stat(name)
	if err != nil {
		return os.ReadFile(name)
	}
	in := inheritedFile{inode: inode(info), mtime: info.ModTime().Unix()}
	if f.old != nil && info.Mode().IsRegular() {
		if have, ok := f.old.files[name]; ok && have.inode == in.inode && have.mtime == in.mtime {
			in.text = have.text
		}
	}
	if in.text == nil {
		if in.text, err = os.ReadFile(name); err != nil {
			return nil, err
		}
	}
	if info.Mode().IsRegular() {
		f.fresh[name] = in
	}
	f.texts[name] = in.text
	return in.text, nil
}

// Pair loads a certificate with its key; see openssl.Pair. The result is shared and must not be changed.
func (f *Files) Pair(cert, key string, passwords [][]byte) (*tls.Certificate, error) {
	id := cert + "\x00" + key
	for _, pw := range passwords {
		id += "\x00" + string(pw)
	}
	if p := f.pairs[id]; p != nil {
		return p, nil
	}
	p, err := openssl.Pair(f.Read, cert, key, passwords)
	if err == nil {
		f.pairs[id] = p
	}
	return p, err
}

// Trusted reads certificates of authorities; see openssl.Trusted.
func (f *Files) Trusted(name string) ([]*x509.Certificate, error) {
	return openssl.Trusted(f.Read, name)
}

// CRLs reads revocation lists; see openssl.CRLs.
func (f *Files) CRLs(name string) ([]*openssl.CRL, error) { return openssl.CRLs(f.Read, name) }

// Put adds a certificate to those of a configuration; it takes the place of one with the same kind of key, as in OpenSSL.
func Put(list []tls.Certificate, p *tls.Certificate) []tls.Certificate {
	for i := range list {
		if list[i].Leaf.PublicKeyAlgorithm == p.Leaf.PublicKeyAlgorithm {
			list[i] = *p
			return list
		}
	}
	return append(list, *p)
}

// Load loads certificates some of whose names have variables; an empty name is none.
func Load(r *ngx.Request, certs, keys []File, passwords [][]byte, cache *Cache) ([]tls.Certificate, error) {
	var list []tls.Certificate
	for i := range certs {
		cert, key := certs[i].Bytes(r), keys[i].Bytes(r)
		if len(cert) == 0 {
			continue
		}
		p, err := cache.Load(certs[i].Absolute(string(cert)), keys[i].Absolute(string(key)), passwords)
		if err != nil {
			return nil, err
		}
		list = Put(list, p)
	}
	return list, nil
}

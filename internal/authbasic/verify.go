package authbasic

import (
	"crypto/sha1"
	"crypto/subtle"
	"encoding/base64"
	"strings"

	"github.com/GehirnInc/crypt"
	"github.com/GehirnInc/crypt/apr1_crypt"
	"github.com/GehirnInc/crypt/md5_crypt"
	"github.com/GehirnInc/crypt/sha256_crypt"
	"github.com/GehirnInc/crypt/sha512_crypt"
	"golang.org/x/crypto/bcrypt"

	"limpet/internal/ngx"
)

// verify reports whether a password is the stored one.
func verify(r *ngx.Request, stored string, password []byte) bool {
	ok, known := matches(stored, password)
	if !known {
		r.Errorf("a password's form in the user file isn't known; use htpasswd or openssl passwd to make one")
	}
	return ok
}

// matches is verify; known is false for a form that isn't known.
func matches(stored string, password []byte) (ok, known bool) {
	scheme := func(prefix string) bool { return strings.HasPrefix(stored, prefix) }
	switch {
	case scheme("{PLAIN}"):
		return equal(stored[len("{PLAIN}"):], string(password)), true
	case scheme("{SHA}"):
		sum := sha1.Sum(password)
		return equal(stored[len("{SHA}"):], base64.StdEncoding.EncodeToString(sum[:])), true
	case scheme("{SSHA}"):
		return matchesSSHA(stored[len("{SSHA}"):], password), true
	case scheme("$apr1$"):
		return matchesCrypt(apr1_crypt.New(), stored, password), true
	case scheme("$1$"):
		return matchesCrypt(md5_crypt.New(), stored, password), true
	case scheme("$5$"):
		return matchesCrypt(sha256_crypt.New(), stored, password), true
	case scheme("$6$"):
		return matchesCrypt(sha512_crypt.New(), stored, password), true
	case scheme("$2a$"), scheme("$2b$"), scheme("$2y$"):
		return bcrypt.CompareHashAndPassword([]byte(stored), password) == nil, true
	}
	hash, ok := desCrypt(password, stored)
	return ok && equal(stored, hash), ok
}

func equal(a, b string) bool { return subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1 }

// matchesSSHA checks a SHA-1 sum of password and salt, with the salt behind it.
func matchesSSHA(stored string, password []byte) bool {
	sum, err := base64.StdEncoding.DecodeString(stored)
	if err != nil || len(sum) < sha1.Size {
		return false
	}
	own := sha1.Sum(append(append([]byte(nil), password...), sum[sha1.Size:]...))
	return subtle.ConstantTimeCompare(own[:], sum[:sha1.Size]) == 1
}

// matchesCrypt checks a hash of crypt(3). The library leaves the default of
// rounds out of the hashes that it makes to compare.
func matchesCrypt(c crypt.Crypter, stored string, password []byte) bool {
	stored = strings.Replace(stored, "$rounds=5000$", "$", 1)
	return c.Verify(stored, password) == nil
}

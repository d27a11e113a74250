// Package securelink tells whether a link was made by someone who knows a
// secret: nginx's secure_link module.
// https://nginx.org/en/docs/http/ngx_http_secure_link_module.html
package securelink

import (
	"bytes"
	"crypto/md5"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"time"

	"limpet/internal/ngx"
	conf "limpet/nginxconf"
)

// Conf holds the directives of the module at one level.
type Conf struct {
	Link   conf.Opt[ngx.Text]
	MD5    conf.Opt[ngx.Text]
	Secret conf.Opt[string]
}

// Directives lists the directives of the module.
func (c *Conf) Directives() []conf.Directive {
	return []conf.Directive{
		ngx.TextRow("secure_link", conf.HTTPServerLocation, &c.Link, "", "Names the hash, and perhaps the expiry time, of a link."),
		ngx.TextRow("secure_link_md5", conf.HTTPServerLocation, &c.MD5, "", "Sets what the hash is made of."),
		conf.Str("secure_link_secret", conf.HTTPServerLocation, &c.Secret, "", "Sets the secret of links with the hash in the path."),
	}
}

// Check refuses the two forms in one place; in an inner place the new one hides the other.
func (c *Conf) Check(*conf.Level) error {
	own := c.Link.Own || c.MD5.Own
	if c.Secret.Own && own {
		return errors.New(`"secure_link_secret" cannot be mixed with "secure_link" and "secure_link_md5"`)
	}
	if !c.Secret.Own && (c.Link.IsSet() || c.MD5.IsSet()) {
		c.Secret.V = ""
	}
	return nil
}

// Module returns the module.
func Module() ngx.Module {
	return ngx.Module{Name: "secure_link", Conf: func() conf.Settings { return new(Conf) }, Vars: Vars}
}

// Vars lists the variables of the module.
func Vars() []ngx.Variable {
	return []ngx.Variable{
		{Name: "secure_link", Doc: "What became of the check of the link.", Get: func(r *ngx.Request, b []byte) ([]byte, bool) {
			c := conf.Of[*Conf](r.Scope.Level)
			switch {
			case c.Secret.V != "":
				link, ok := inPath(r.Path, c.Secret.V)
				if !ok {
					return b, false
				}
				return append(b, link...), true
			case !c.Link.IsSet() || !c.MD5.IsSet():
				return b, false
			}
			valid, fresh := check(c.Link.V.Bytes(r), c.MD5.V.Bytes(r), time.Now())
			switch {
			case !valid:
				return b, false
			case !fresh:
				return append(b, '0'), true
			}
			return append(b, '1'), true
		}},
		{Name: "secure_link_expires", Doc: "The link's expiry time.", Get: func(r *ngx.Request, b []byte) ([]byte, bool) {
			c := conf.Of[*Conf](r.Scope.Level)
			if c.Secret.V != "" || !c.Link.IsSet() || !c.MD5.IsSet() {
				return b, false
			}
			_, expires, ok := bytes.Cut(c.Link.V.Bytes(r), []byte{','})
			if n, valid := conf.ParseNum(string(expires)); !ok || !valid || n <= 0 {
				return b, false
			}
			return append(b, expires...), true
		}},
	}
}

// inPath checks a path of the form /prefix/hash/link; the hash is the MD5 of link and secret in hexadecimal digits.
func inPath(path []byte, secret string) (link []byte, ok bool) {
	_, rest, ok := bytes.Cut(path[min(1, len(path)):], []byte{'/'})
	if !ok {
		return nil, false
	}
	digits, link, ok := bytes.Cut(rest, []byte{'/'})
	if !ok || len(digits) != 2*md5.Size || len(link) == 0 {
		return nil, false
	}
	var hash [md5.Size]byte
	if _, err := hex.Decode(hash[:], digits); err != nil {
		return nil, false
	}
	own := md5.Sum(append(bytes.Clone(link), secret...))
	return link, subtle.ConstantTimeCompare(hash[:], own[:]) == 1
}

// check checks a value of the form hash[,expires] against what the hash is made of.
func check(value, text []byte, now time.Time) (valid, fresh bool) {
	hash, expires, timed := bytes.Cut(value, []byte{','})
	until := 0
	if timed {
		if until, valid = conf.ParseNum(string(expires)); !valid || until <= 0 {
			return false, false
		}
	}
	if len(hash) > 24 {
		return false, false
	}
	if i := bytes.IndexByte(hash, '='); i >= 0 {
		hash = hash[:i]
	}
	var sum [18]byte
	n, err := base64.RawURLEncoding.Decode(sum[:], hash)
	own := md5.Sum(text)
	if err != nil || n != len(own) || subtle.ConstantTimeCompare(sum[:n], own[:]) != 1 {
		return false, false
	}
	return true, until == 0 || int64(until) >= now.Unix()
}

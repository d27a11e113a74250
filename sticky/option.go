package sticky

import (
	"fmt"
	"strings"
	"time"

	"limpet/internal/ngx"
	conf "limpet/nginxconf"
)

// extras are the attributes and the key that limpet offers in every dialect.
type extras struct {
	httpOnly   bool
	secure     bool
	secureAuto bool // where the request came by https
	sameSite   *ngx.Text
	hmac       string // "sha256" or, in nginx-sticky-module, "md5" or "sha1"
	key        string
}

// take takes one parameter; false when it is none of these.
func (e *extras) take(s *conf.Setting, param string) (bool, error) {
	name, value, _ := strings.Cut(param, "=")
	switch {
	case param == "httponly":
		e.httpOnly = true
	case param == "secure":
		e.secure = true
	case param == "secure=auto":
		e.secureAuto = true
	case name == "samesite":
		return true, e.takeSameSite(s, value)
	case param == "hmac=sha256":
		e.hmac = value
	case name == "hmac_key" && value != "":
		e.key = value
	case name == "hmac_key_file" && value != "":
		return true, e.takeKeyFile(s, value)
	default:
		return false, nil
	}
	return true, nil
}

func (e *extras) takeSameSite(s *conf.Setting, value string) error {
	if value == "" || !strings.Contains(value, "$") && !isSameSite([]byte(value)) {
		return conf.Brief(`invalid "samesite" parameter value`)
	}
	t, err := ngx.ParseText(s, value)
	e.sameSite = &t
	return err
}

func (e *extras) takeKeyFile(s *conf.Setting, name string) error {
	if s.Loader.Offline {
		e.key = "offline"
		return nil
	}
	var err error
	e.key, err = readKey(s.Loader.ConfPath(name))
	return err
}

// check refuses a key without its use and a use without its key.
func (e *extras) check() error {
	switch {
	case e.hmac != "" && e.key == "":
		return fmt.Errorf(`"hmac_key" or "hmac_key_file" is missing for "hmac=%s"`, e.hmac)
	case e.hmac == "" && e.key != "":
		return fmt.Errorf(`"hmac" is missing for "hmac_key"`)
	}
	return nil
}

func (e *extras) keys() keys {
	if e.key == "" {
		return keys{}
	}
	return keys{hmac: []string{e.key}}
}

// words are the attributes as a dialect spells them.
type words struct{ httpOnly, secure, sameSite string }

func (e *extras) secureAttr(w words) []attribute {
	switch {
	case e.secure:
		return []attribute{{text: w.secure}}
	case e.secureAuto:
		return []attribute{{kind: secureAttr, text: w.secure}}
	}
	return nil
}

func (e *extras) httpOnlyAttr(w words) []attribute {
	if !e.httpOnly {
		return nil
	}
	return []attribute{{text: w.httpOnly}}
}

func (e *extras) sameSiteAttr(w words) []attribute {
	if e.sameSite == nil {
		return nil
	}
	if v, ok := e.sameSite.Static(); ok {
		return []attribute{{text: w.sameSite + string(v)}}
	}
	return []attribute{{kind: sameSiteAttr, text: w.sameSite, val: *e.sameSite}}
}

// attrs are the extras of dialects that have none of them, or not all, at the cookie's end.
func (e *extras) attrs() []attribute {
	w := words{"; HttpOnly", "; Secure", "; SameSite="}
	return append(append(e.httpOnlyAttr(w), e.secureAttr(w)...), e.sameSiteAttr(w)...)
}

// expires is the attribute for an age, with max-age behind it.
func expires(age time.Duration) attribute {
	return attribute{kind: expiresAttr, text: "; expires=", age: age, form: netscapeDate, maxAge: maxAgeBehind}
}

// expiresMax is what expires=max stands for.
const expiresMax = "; expires=Thu, 31-Dec-37 23:55:55 GMT; max-age=315360000"

package proxy

import (
	"bytes"
	"fmt"
	"strings"

	"limpet/internal/ngx"
	"limpet/internal/rx"
	"limpet/nginxconf"
)

// parseCookieDomain reads proxy_cookie_domain. A dot before either domain doesn't count; patterns match in any case.
func (c *Conf) parseCookieDomain(s *nginxconf.Setting) ([]redirect, error) {
	if len(s.Args) == 1 {
		return c.cookieRule(s, &c.domainOff, len(c.CookieDomain.V) > 0 && c.CookieDomain.Own)
	}
	if c.domainOff {
		return nil, nginxconf.ErrDuplicate
	}
	var rule redirect
	var err error
	if from := s.Arg(0); strings.HasPrefix(from, "~") {
		rule.re, err = rx.Compile(from[1:], rx.Caseless)
	} else {
		rule.from, err = ngx.ParseText(s, strings.TrimPrefix(from, "."))
	}
	if err != nil {
		return nil, err
	}
	rule.to, err = ngx.ParseText(s, strings.TrimPrefix(s.Arg(1), "."))
	return []redirect{rule}, err
}

// parseCookiePath reads proxy_cookie_path.
func (c *Conf) parseCookiePath(s *nginxconf.Setting) ([]redirect, error) {
	return c.cookieRule(s, &c.pathOff, len(c.CookiePath.V) > 0 && c.CookiePath.Own)
}

// cookieRule reads a pair, or off where no pair stands.
func (c *Conf) cookieRule(s *nginxconf.Setting, off *bool, have bool) ([]redirect, error) {
	if *off {
		return nil, nginxconf.ErrDuplicate
	}
	if len(s.Args) == 1 {
		if s.Arg(0) != "off" {
			return nil, fmt.Errorf(`invalid parameter "%s"`, s.Arg(0))
		}
		if have {
			return nil, nginxconf.ErrDuplicate
		}
		*off = !s.IsDefault
		return nil, nil
	}
	return c.rule(s)
}

// domain replaces a cookie's whole domain, without regard to case; a dot before it stays.
func (d *redirect) domain(r *ngx.Request, v []byte) ([]byte, bool) {
	if d.re != nil {
		return d.regex(r, v)
	}
	name := bytes.TrimPrefix(v, []byte("."))
	if !bytes.EqualFold(name, d.from.Bytes(r)) {
		return nil, false
	}
	return join(r, v[:len(v)-len(name)], d.to.Bytes(r)), true
}

// Bits of cookieFlags.
const (
	flagSecure = 1 << iota
	flagNoSecure
	flagHTTPOnly
	flagNoHTTPOnly
	flagSameSite
	flagNoSameSite
)

// cookieFlags is one proxy_cookie_flags.
type cookieFlags struct {
	re    *rx.Regexp
	name  ngx.Text
	flags []ngx.Text
}

func parseCookieFlags(s *nginxconf.Setting) (fs []cookieFlags, err error) {
	if len(s.Args) == 1 {
		if s.Arg(0) != "off" {
			return nil, fmt.Errorf(`invalid parameter "%s"`, s.Arg(0))
		}
		return nil, nil
	}
	var f cookieFlags
	switch name := s.Arg(0); {
	case strings.HasPrefix(name, "~"):
		f.re, err = rx.Compile(name[1:], rx.Caseless)
	default:
		f.name, err = ngx.ParseText(s, name)
	}
	if err != nil {
		return nil, err
	}
	for i := 1; i < len(s.Args); i++ {
		t, err := ngx.ParseText(s, s.Arg(i))
		if err != nil {
			return nil, err
		}
		if word, static := t.Static(); static {
			if _, _, ok := flagOf(string(word)); !ok {
				return nil, fmt.Errorf(`invalid parameter "%s"`, s.Arg(i))
			}
		}
		f.flags = append(f.flags, t)
	}
	return []cookieFlags{f}, nil
}

func flagOf(word string) (flag int, sameSite string, ok bool) {
	switch strings.ToLower(word) {
	case "secure":
		return flagSecure, "", true
	case "nosecure":
		return flagNoSecure, "", true
	case "httponly":
		return flagHTTPOnly, "", true
	case "nohttponly":
		return flagNoHTTPOnly, "", true
	case "samesite":
		return flagSameSite, "", true
	case "samesite=strict":
		return flagSameSite, "Strict", true
	case "samesite=lax":
		return flagSameSite, "Lax", true
	case "samesite=none":
		return flagSameSite, "None", true
	case "nosamesite":
		return flagNoSameSite, "", true
	}
	return 0, "", false
}

func (f *cookieFlags) matches(r *ngx.Request, name []byte) bool {
	if f.re != nil {
		return r.Match(f.re, name)
	}
	return bytes.EqualFold(f.name.Bytes(r), name)
}

// attr is a cookie's attribute; the first one is the cookie itself.
type attr struct {
	name, value []byte
	bare        bool // no =
}

func splitCookie(v []byte) []attr {
	var attrs []attr
	for len(v) > 0 {
		part := v
		if i := bytes.IndexByte(v, ';'); i >= 0 {
			part, v = v[:i], v[i+1:]
		} else {
			v = nil
		}
		name, value, has := bytes.Cut(part, []byte("="))
		attrs = append(attrs, attr{bytes.Trim(name, " "), bytes.Trim(value, " "), !has})
	}
	return attrs
}

func joinCookie(attrs []attr) []byte {
	var b []byte
	for i, a := range attrs {
		if i > 0 {
			b = append(b, "; "...)
		}
		b = append(b, a.name...)
		if !a.bare {
			b = append(append(b, '='), a.value...)
		}
	}
	return b
}

// rewriteCookie applies the cookie rules to a Set-Cookie field's value, which stays as it is where none matches.
func (p *place) rewriteCookie(r *ngx.Request, v []byte) []byte {
	attrs := splitCookie(v)
	if len(attrs) == 0 {
		return v
	}
	changed := false
	for i := 1; i < len(attrs); i++ {
		a := &attrs[i]
		switch {
		case ngx.EqualFold(a.name, "domain"):
			changed = a.rewrite(r, p.conf.CookieDomain.V, (*redirect).domain) || changed
		case ngx.EqualFold(a.name, "path"):
			changed = a.rewrite(r, p.conf.CookiePath.V, (*redirect).prefix) || changed
		}
	}
	for i := range p.conf.CookieFlags.V {
		if f := &p.conf.CookieFlags.V[i]; f.matches(r, attrs[0].name) {
			attrs, changed = f.apply(r, attrs), true
			break
		}
	}
	if !changed {
		return v
	}
	return joinCookie(attrs)
}

// rewrite applies the first rule that matches.
func (a *attr) rewrite(r *ngx.Request, rules []redirect, apply func(*redirect, *ngx.Request, []byte) ([]byte, bool)) bool {
	if len(a.value) == 0 {
		return false
	}
	for i := range rules {
		if out, ok := apply(&rules[i], r, a.value); ok {
			a.value = out
			return true
		}
	}
	return false
}

func (f *cookieFlags) apply(r *ngx.Request, attrs []attr) []attr {
	for i := range f.flags {
		flag, site, ok := flagOf(string(f.flags[i].Bytes(r)))
		if !ok {
			continue
		}
		switch flag {
		case flagSecure:
			attrs = addAttr(attrs, "Secure")
		case flagNoSecure:
			attrs = dropAttr(attrs, "Secure")
		case flagHTTPOnly:
			attrs = addAttr(attrs, "HttpOnly")
		case flagNoHTTPOnly:
			attrs = dropAttr(attrs, "HttpOnly")
		case flagSameSite:
			attrs = setSameSite(attrs, site)
		case flagNoSameSite:
			attrs = dropAttr(attrs, "SameSite")
		}
	}
	return attrs
}

// addAttr adds a bare attribute unless there is one of that name.
func addAttr(attrs []attr, name string) []attr {
	for _, a := range attrs[1:] {
		if ngx.EqualFold(a.name, name) {
			return attrs
		}
	}
	return append(attrs, attr{name: []byte(name), bare: true})
}

// setSameSite replaces or adds SameSite; it is bare without a value.
func setSameSite(attrs []attr, value string) []attr {
	site := attr{[]byte("SameSite"), []byte(value), value == ""}
	for i := 1; i < len(attrs); i++ {
		if ngx.EqualFold(attrs[i].name, "SameSite") {
			attrs[i] = site
			return attrs
		}
	}
	return append(attrs, site)
}

func dropAttr(attrs []attr, name string) []attr {
	kept := attrs[:1]
	for _, a := range attrs[1:] {
		if !ngx.EqualFold(a.name, name) {
			kept = append(kept, a)
		}
	}
	return kept
}

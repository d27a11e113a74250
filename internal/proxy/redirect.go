package proxy

import (
	"bytes"
	"errors"
	"fmt"
	"strings"

	"limpet/internal/ngx"
	"limpet/internal/rx"
	"limpet/nginxconf"
)

// redirect is one rule of proxy_redirect, proxy_cookie_domain or proxy_cookie_path.
type redirect struct {
	re        *rx.Regexp
	from, to  ngx.Text
	isDefault bool // proxy_redirect default: made when the target is known
}

// parseRedirect reads proxy_redirect.
func (c *Conf) parseRedirect(s *nginxconf.Setting) ([]redirect, error) {
	if c.redirectOff {
		return nil, nginxconf.ErrDuplicate
	}
	if len(s.Args) == 1 {
		switch s.Arg(0) {
		case "off":
			if len(c.Redirect.V) > 0 && c.Redirect.Own {
				return nil, nginxconf.ErrDuplicate
			}
			c.redirectOff = !s.IsDefault
			return nil, nil
		case "default":
			if !s.IsDefault && s.Level.Context == nginxconf.Location {
				if p := c.Pass.V; c.Pass.IsSet() && p.Group == nil {
					return nil, errors.New(`"proxy_redirect default" cannot be used with "proxy_pass" directive with variables`)
				} else if !c.Pass.IsSet() {
					return nil, errors.New(`"proxy_redirect default" should be placed after the "proxy_pass" directive`)
				}
			}
			return []redirect{{isDefault: true}}, nil
		}
		return nil, fmt.Errorf(`invalid parameter "%s"`, s.Arg(0))
	}
	return c.rule(s)
}

// rule reads a pair of what is matched and what replaces it.
func (c *Conf) rule(s *nginxconf.Setting) ([]redirect, error) {
	var rule redirect
	var err error
	from := s.Arg(0)
	switch {
	case strings.HasPrefix(from, "~*"):
		rule.re, err = rx.Compile(from[2:], rx.Caseless)
	case strings.HasPrefix(from, "~"):
		rule.re, err = rx.Compile(from[1:], 0)
	default:
		rule.from, err = ngx.ParseText(s, from)
	}
	if err != nil {
		return nil, err
	}
	rule.to, err = ngx.ParseText(s, s.Arg(1))
	return []redirect{rule}, err
}

func (c *Conf) parseCookieDomain(s *nginxconf.Setting) ([]redirect, error) {
	return c.cookieRule(s, &c.domainOff, len(c.CookieDomain.V) > 0 && c.CookieDomain.Own)
}

func (c *Conf) parseCookiePath(s *nginxconf.Setting) ([]redirect, error) {
	return c.cookieRule(s, &c.pathOff, len(c.CookiePath.V) > 0 && c.CookiePath.Own)
}

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

// defaultRule is proxy_redirect default: proxy_pass' URL becomes the location's name.
func (t *Target) defaultRule(location string) redirect {
	if t.HasURI {
		return redirect{from: ngx.Literal(t.URL), to: ngx.Literal(location)}
	}
	return redirect{from: ngx.Literal(t.URL + "/"), to: ngx.Literal("/")}
}

// prefix replaces the beginning of v that the rule matches; a regular expression replaces the whole.
func (d *redirect) prefix(r *ngx.Request, v []byte) ([]byte, bool) {
	if d.re != nil {
		return d.regex(r, v)
	}
	from := d.from.Bytes(r)
	if !bytes.HasPrefix(v, from) {
		return nil, false
	}
	out := r.Copy(d.to.Bytes(r))
	return append(out, v[len(from):]...), true
}

// regex replaces the part of v that the pattern matches.
func (d *redirect) regex(r *ngx.Request, v []byte) ([]byte, bool) {
	if !r.Match(d.re, v) {
		return nil, false
	}
	all := r.Capture(0)
	at := cap(v) - cap(all) // all is a part of v
	out := append([]byte(nil), v[:at]...)
	out = append(out, d.to.Bytes(r)...)
	return append(out, v[at+len(all):]...), true
}

// domain replaces a cookie's whole domain, without regard to case and a leading dot.
func (d *redirect) domain(r *ngx.Request, v []byte) ([]byte, bool) {
	if d.re != nil {
		return d.regex(r, bytes.TrimPrefix(v, []byte(".")))
	}
	from := bytes.TrimPrefix(d.from.Bytes(r), []byte("."))
	if !bytes.EqualFold(bytes.TrimPrefix(v, []byte(".")), from) {
		return nil, false
	}
	return d.to.Bytes(r), true
}

// rewriteURL applies the first rule that matches to a URL.
func rewriteURL(rules []redirect, r *ngx.Request, v []byte) ([]byte, bool) {
	for i := range rules {
		if out, ok := rules[i].prefix(r, v); ok {
			return out, true
		}
	}
	return v, false
}

// rewriteRefresh applies the rules to the URL of a Refresh field.
func rewriteRefresh(rules []redirect, r *ngx.Request, v []byte) []byte {
	at := bytes.Index(bytes.ToLower(v), []byte("url="))
	if at < 0 {
		return v
	}
	at += 4
	if out, ok := rewriteURL(rules, r, v[at:]); ok {
		return append(append([]byte(nil), v[:at]...), out...)
	}
	return v
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
		part = bytes.TrimLeft(part, " ")
		name, value, has := bytes.Cut(part, []byte("="))
		attrs = append(attrs, attr{name, value, !has})
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

// rewriteCookie applies the cookie rules to a Set-Cookie field's value.
func (h *handler) rewriteCookie(r *ngx.Request, v []byte) []byte {
	attrs := splitCookie(v)
	if len(attrs) == 0 {
		return v
	}
	for i := 1; i < len(attrs); i++ {
		a := &attrs[i]
		switch {
		case ngx.EqualFold(a.name, "domain") && len(a.value) > 0:
			for j := range h.conf.CookieDomain.V {
				if out, ok := h.conf.CookieDomain.V[j].domain(r, a.value); ok {
					a.value = out
					break
				}
			}
		case ngx.EqualFold(a.name, "path"):
			for j := range h.conf.CookiePath.V {
				if out, ok := h.conf.CookiePath.V[j].prefix(r, a.value); ok {
					a.value = out
					break
				}
			}
		}
	}
	for i := range h.conf.CookieFlags.V {
		if f := &h.conf.CookieFlags.V[i]; f.matches(r, attrs[0].name) {
			attrs = f.apply(r, attrs)
			break
		}
	}
	return joinCookie(attrs)
}

func (f *cookieFlags) apply(r *ngx.Request, attrs []attr) []attr {
	for i := range f.flags {
		flag, site, ok := flagOf(string(f.flags[i].Bytes(r)))
		if !ok {
			continue
		}
		switch flag {
		case flagSecure:
			attrs = setAttr(attrs, "Secure", "", true)
		case flagNoSecure:
			attrs = dropAttr(attrs, "Secure")
		case flagHTTPOnly:
			attrs = setAttr(attrs, "HttpOnly", "", true)
		case flagNoHTTPOnly:
			attrs = dropAttr(attrs, "HttpOnly")
		case flagSameSite:
			attrs = setAttr(attrs, "SameSite", site, site == "")
		case flagNoSameSite:
			attrs = dropAttr(attrs, "SameSite")
		}
	}
	return attrs
}

func setAttr(attrs []attr, name, value string, bare bool) []attr {
	for i := 1; i < len(attrs); i++ {
		if ngx.EqualFold(attrs[i].name, name) {
			attrs[i].value, attrs[i].bare = []byte(value), bare
			return attrs
		}
	}
	return append(attrs, attr{[]byte(name), []byte(value), bare})
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

package proxy

import (
	"bytes"
	"errors"
	"fmt"
	"strings"

	"limpet/internal/ngx"
	"limpet/internal/relay"
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

// defaultRule is proxy_redirect default: proxy_pass' URL becomes the location's name.
func defaultRule(t *relay.Target, location string) redirect {
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
	return join(r, d.to.Bytes(r), v[len(from):]), true
}

// regex replaces the whole of v when the pattern matches.
func (d *redirect) regex(r *ngx.Request, v []byte) ([]byte, bool) {
	if !r.Match(d.re, v) {
		return nil, false
	}
	return d.to.Bytes(r), true
}

// join returns a and b as one value of the request.
func join(r *ngx.Request, a, b []byte) []byte {
	v := r.Alloc(len(a) + len(b))
	copy(v[copy(v, a):], b)
	return v
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
		return join(r, v[:at], out)
	}
	return v
}

package sticky

import (
	"crypto/sha256"
	"fmt"
	"strings"

	"limpet/internal/ngx"
	conf "limpet/nginxconf"
	"limpet/upstream"
)

// parseNginx reads sticky as nginx, NGINX Plus and Angie have it.
func parseNginx(s *conf.Setting) error {
	if upstream.HasSticky(s) {
		return conf.ErrDuplicate
	}
	if len(s.Args) < 2 {
		return fmt.Errorf(`invalid number of arguments in "%s" directive`, s.Name)
	}
	switch s.Arg(0) {
	case "cookie":
		return parseCookie(s, s.Args[1:])
	case "route":
		return parseRoute(s)
	}
	return parseLearn(s)
}

// cookieSpec is what sticky cookie says.
type cookieSpec struct {
	extras
	name    string
	expires *attribute
	domain  *attribute
	path    *attribute
	angie   []attribute // all attributes as Angie writes them, in the file's order
	hasPath bool
	isAngie bool // a parameter that only Angie has was there
	seen    map[string]bool
}

// parseInsert reads sticky_cookie_insert, as sticky cookie was called in early releases of NGINX Plus.
// https://nginx.org/en/docs/http/ngx_http_upstream_module.html#sticky_cookie_insert
func parseInsert(s *conf.Setting) error {
	if upstream.HasSticky(s) {
		return conf.ErrDuplicate
	}
	return parseCookie(s, s.Args)
}

// parseCookie reads a cookie's name and parameters.
func parseCookie(s *conf.Setting, args []conf.Arg) error {
	c := &cookieSpec{name: args[0].Value, seen: make(map[string]bool)}
	if c.name == "" {
		return conf.Brief("empty cookie name")
	}
	for _, a := range args[1:] {
		if err := c.param(s, a.Value); err != nil {
			return err
		}
	}
	if err := c.check(); err != nil {
		return err
	}
	sticks(s, func(b *ngx.Build, g *upstream.Group) (maker, error) { return c.build(b, g, s), nil })
	return nil
}

// param takes one attribute, or a parameter of limpet's own.
func (c *cookieSpec) param(s *conf.Setting, p string) error {
	name, value, hasValue := strings.Cut(p, "=")
	switch name {
	case "expires", "domain", "path", "httponly", "secure", "samesite":
		if c.seen[name] {
			return conf.Brief(fmt.Sprintf(`parameter "%s" is duplicate`, name))
		}
		c.seen[name] = true
	}
	switch {
	case name == "expires" && hasValue:
		return c.takeExpires(s, p, value)
	case name == "domain" && hasValue:
		if value == "" {
			return conf.Brief(`no value for "domain"`)
		}
		t, err := ngx.ParseText(s, value)
		c.domain = &attribute{kind: variableAttr, text: "; domain=", val: t}
		return c.also(s, p, err)
	case name == "path" && hasValue:
		if value == "" {
			return conf.Brief(`no value for "path"`)
		}
		c.path, c.hasPath = &attribute{text: "; path=" + value}, true
		return c.also(s, p, nil)
	}
	if ok, err := c.take(s, p); ok {
		if !strings.HasPrefix(name, "hmac") && p != "secure=auto" {
			err = c.also(s, p, err)
		}
		return err
	}
	switch strings.ToLower(name) { // attributes of cookies that nginx has no parameter for
	case "max-age", "partitioned", "priority", "comment", "version":
		c.isAngie = true
		return c.also(s, p, nil)
	}
	return fmt.Errorf(`unknown parameter "%s"`, p)
}

// also notes the attribute as Angie would write it.
func (c *cookieSpec) also(s *conf.Setting, p string, err error) error {
	if err != nil {
		return err
	}
	t, err := ngx.ParseText(s, p)
	c.angie = append(c.angie, attribute{kind: verbatimAttr, text: "; ", val: t})
	return err
}

func (c *cookieSpec) takeExpires(s *conf.Setting, p, value string) error {
	var a attribute
	if value == "max" {
		a = attribute{text: expiresMax}
	} else if d, ok := conf.ParseTime(value, false); ok {
		a = expires(d)
	} else if strings.Contains(value, "$") || strings.Contains(value, ",") {
		c.isAngie = true // verbatim there
		return c.also(s, p, nil)
	} else {
		return conf.Brief(`invalid "expires" parameter value`)
	}
	c.expires = &a
	c.angie = append(c.angie, a)
	return nil
}

// attributes returns the attributes in nginx's order, or Angie's.
func (c *cookieSpec) attributes(angie bool) []attribute {
	if angie {
		attrs := c.angie
		if c.secureAuto {
			attrs = append(attrs, attribute{kind: secureAttr, text: "; secure"})
		}
		if !c.hasPath {
			attrs = append(attrs, attribute{text: "; path=/"})
		}
		return attrs
	}
	w := words{"; httponly", "; secure", "; samesite="}
	var attrs []attribute
	for _, a := range []*attribute{c.expires, c.domain} {
		if a != nil {
			attrs = append(attrs, *a)
		}
	}
	attrs = append(append(append(attrs, c.httpOnlyAttr(w)...), c.secureAttr(w)...), c.sameSiteAttr(w)...)
	if c.path != nil {
		attrs = append(attrs, *c.path)
	}
	return attrs
}

// build makes the policy, in Angie's way where the block has words of Angie's.
func (c *cookieSpec) build(b *ngx.Build, g *upstream.Group, s *conf.Setting) maker {
	block := conf.Of[*Conf](s.Level)
	base := newPolicy(b, g, s, c.dialect(g, block))
	base.angie(block)
	k := block.secret()
	k.hmac = c.keys().hmac
	own := ownValues(func(q *upstream.Peer, at int) []spelled {
		switch {
		case c.hmac != "":
			return []spelled{{hmacHex(sha256.New, c.key, sid(q)), KeyedSHA256}}
		case k.angie != nil:
			return []spelled{{md5hex(sid(q) + k.angie[0]), AngieSecret}}
		case q.Route != "":
			return []spelled{{sid(q), Route}}
		}
		return []spelled{{sid(q), AddressMD5}}
	})
	return func(ps *upstream.Peers) *Policy {
		p, salt := base.with(ps), block.salt(ps)
		reader := p.cookieOf(c.name, own, k)
		write := &setter{newCookie(c.name, own.written(ps), c.attributes(p.dialect == dialectAngie)), true}
		reader.salt, write.salt = salt, salt
		p.read, p.write = reader, write
		return p
	}
}

// The names of dialects whose directive is sticky with nginx's words.
const (
	dialectNginx = "nginx"
	dialectAngie = "Angie"
)

// dialect tells Angie by words that nginx hasn't: they are its own wherever they stand in the block.
func (c *cookieSpec) dialect(g *upstream.Group, block *Conf) string {
	if c.isAngie {
		return dialectAngie
	}
	return dialectOf(g, block)
}

func dialectOf(g *upstream.Group, block *Conf) string {
	for i := range g.Servers {
		if g.Servers[i].SID {
			return dialectAngie
		}
	}
	if block.Secret.Own || block.Strict.Own {
		return dialectAngie
	}
	return dialectNginx
}

// angie applies what Angie does otherwise: strictness, and wishes for backup peers.
func (p *Policy) angie(block *Conf) {
	p.backups = p.dialect == dialectAngie
	if block.Strict.V {
		p.strict = strictWish
	}
}

// parseRoute reads sticky route.
func parseRoute(s *conf.Setting) error {
	texts, err := variables(s, s.Args[1:])
	if err != nil {
		return err
	}
	sticks(s, func(b *ngx.Build, g *upstream.Group) (maker, error) {
		block := conf.Of[*Conf](s.Level)
		base := newPolicy(b, g, s, dialectOf(g, block))
		base.angie(block)
		k := block.secret()
		own := func(q *upstream.Peer, at int) []spelled {
			if k.angie != nil {
				return []spelled{{md5hex(sid(q) + k.angie[0]), AngieSecret}}
			}
			return []spelled{{sid(q), Route}}
		}
		return func(ps *upstream.Peers) *Policy {
			p := base.with(ps)
			// a number out of an application's session must not be taken for an index
			x := newIndex(ps.Ordered(), p.common.keys.and(k), own, func(sp Spelling) bool { return sp == Index })
			p.read = &routeReader{texts, x, block.salt(ps), newWishes()}
			return p
		}, nil
	})
	return nil
}

// variables compiles arguments that are variables, or, as in Angie, texts with variables.
func variables(s *conf.Setting, args []conf.Arg) ([]ngx.Text, error) {
	var texts []ngx.Text
	for _, a := range args {
		if !strings.Contains(a.Value, "$") {
			return nil, fmt.Errorf(`invalid variable name "%s"`, a.Value)
		}
		t, err := ngx.ParseText(s, a.Value)
		if err != nil {
			return nil, err
		}
		texts = append(texts, t)
	}
	return texts, nil
}

// routeReader reads the wish from the first of some texts that isn't empty.
type routeReader struct {
	texts []ngx.Text
	index *index
	salt  *salted // nil without
	none  wishes
}

// wish implements reader.
func (t *routeReader) wish(s *upstream.Session) (*wish, Spelling) {
	v := first(t.texts, s.Request)
	if len(v) == 0 {
		return &t.none.noCookie, NumSpellings
	}
	if w := t.salt.look(s.Request, v); w != nil {
		return w, AngieSecret
	}
	if w, sp := t.index.look(v, exact); w != nil {
		return w, sp
	}
	return &t.none.unknown, NumSpellings
}

// first returns the first of some texts that isn't empty for a request.
func first(texts []ngx.Text, r *ngx.Request) []byte {
	for i := range texts {
		if v := texts[i].Bytes(r); len(v) > 0 {
			return v
		}
	}
	return nil
}

package sticky

import (
	"bytes"
	"crypto/md5"
	"crypto/sha1"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"strconv"
	"strings"
	"time"

	"limpet/internal/ngx"
	conf "limpet/nginxconf"
	"limpet/upstream"
)

// The names of the two dialects of nginx-sticky-module.
const (
	dialectClassic = "nginx-sticky-module"
	dialectNG      = "nginx-sticky-module-ng"
)

// classicSpec is what sticky says in the words of nginx-sticky-module or its -ng fork.
type classicSpec struct {
	extras
	name       string
	domain     string
	path       string
	age        time.Duration
	hash       string // md5, sha1 or index, when given
	text       string // raw, md5 or sha1, when given
	noFallback bool
	hideCookie bool
	transfer   bool
	delimiter  string
	isNG       bool // a word that only -ng has was there
	isClassic  bool // a word that only the older one has was there
}

func parseClassic(s *conf.Setting) error {
	if upstream.MethodOf(s) != "" || upstream.HasSticky(s) {
		//lint:ignore ST1005 the module's words
		return errors.New("You can't use sticky with another upstream module")
	}
	c := &classicSpec{name: "route", path: "/", delimiter: " "}
	for i := range s.Args {
		if err := c.param(s, s.Arg(i)); err != nil {
			return err
		}
	}
	if err := c.check(); err != nil {
		return err
	}
	upstream.Forbid(s)
	sticks(s, func(b *ngx.Build, g *upstream.Group) (maker, error) { return c.build(b, g, s), nil })
	return nil
}

// param takes one parameter; several are recognised by their beginning alone, as in the module.
func (c *classicSpec) param(s *conf.Setting, p string) error {
	bad := fmt.Errorf("invalid arguement (%s)", p)
	name, value, ok := strings.Cut(p, "=")
	switch {
	case strings.HasPrefix(p, "no_fallback"):
		c.noFallback = true
		return nil
	case strings.HasPrefix(p, "hide_cookie"):
		c.hideCookie, c.isNG = true, true
		return nil
	case p == "transfer":
		c.transfer, c.isNG = true, true
		return nil
	case !ok:
		if is, err := c.take(s, p); is {
			return err
		}
		return bad
	}
	if value == "" {
		return bad
	}
	switch name {
	case "name":
		c.name = value
	case "domain":
		c.domain = value
	case "path":
		c.path = value
	case "delimiter":
		c.delimiter, c.isNG = value, true
	case "expires":
		d, ok := conf.ParseTime(value, false)
		if !ok || d < time.Second {
			return bad
		}
		c.age = d
	case "hash", "hmac", "text":
		return c.takeHash(name, value, bad)
	default:
		if is, err := c.take(s, p); is {
			return err
		}
		return bad
	}
	return nil
}

// takeHash takes the way in which values are made; there is only one.
func (c *classicSpec) takeHash(name, value string, bad error) error {
	fields := map[string]*string{"hash": &c.hash, "hmac": &c.hmac, "text": &c.text}
	for other, field := range fields {
		if other != name && *field != "" {
			return errors.New("please choose between text, hash and hmac")
		}
	}
	words := map[string][]string{"hash": {"index", "md5", "sha1"}, "hmac": {"sha256", "md5", "sha1"}, "text": {"raw", "md5", "sha1"}}
	for _, w := range words[name] {
		if strings.HasPrefix(value, w) {
			*fields[name] = w
			c.isClassic = c.isClassic || name == "text" && w != "raw"
			return nil
		}
	}
	return bad
}

func (c *classicSpec) build(b *ngx.Build, g *upstream.Group, s *conf.Setting) maker {
	file := shared(b).file
	ng := !c.isClassic && (c.isNG || file != nil && file.ng)
	dialect := dialectClassic
	if ng {
		dialect = dialectNG
	}
	base := newPolicy(b, g, s, dialect)
	if len(g.Peers().All) == 1 {
		base.note(b, `upstream "%s" has one server, so that its sticky does nothing, as in %s`, g.Name, dialect)
	} else {
		base.tellDialect(b, c, g.Peers())
	}
	if ng && c.noFallback {
		base.note(b, `upstream "%s" has no_fallback, which in %s refuses clients without a cookie, too`, g.Name, dialect)
	}
	return func(ps *upstream.Peers) *Policy {
		if len(ps.All) == 1 {
			return nil
		}
		p := base.with(ps)
		c.complete(p, ng)
		return p
	}
}

// complete gives a policy its reader and its writer.
func (c *classicSpec) complete(p *Policy, ng bool) {
	own := c.own(p.peers, ng)
	r := p.cookieOf(c.name, own, c.keys())
	ck := newCookie(c.name, own.written(p.peers), c.attributes())
	p.read = r
	if !ng {
		p.write = &setter{cookie: ck}
		if c.noFallback {
			p.strict = strictPeer
		}
		return
	}
	w := &ngWriter{cookie: ck, hide: c.hideCookie, hideHere: &p.common.hideCookie}
	if c.transfer {
		w.delimiter = c.delimiter
		p.read = &cutReader{r, []byte(c.delimiter)}
	}
	p.write, p.noFall = w, &p.common.noFallback
	if c.noFallback {
		p.strict = strictFirst
	}
}

// tellDialect says at -t how the two dialects were told apart.
func (p *Policy) tellDialect(b *ngx.Build, c *classicSpec, ps *upstream.Peers) {
	if p.dialect == dialectClassic && !c.isClassic && c.hash != "index" && c.text == "" {
		p.note(b, `upstream "%s": cookies of nginx-sticky-module-ng are read, too; add "delimiter= " to write them`, p.name)
	}
	for _, q := range ps.Backup {
		p.note(b, `upstream "%s": clients stick to the backup server %s, too, which they don't with nginx-sticky-module`, p.name, q.Name)
	}
}

// own returns the values that the dialect writes.
func (c *classicSpec) own(ps *upstream.Peers, ng bool) ownValues {
	texts := serverTexts(ps.Ordered())
	return func(q *upstream.Peer, at int) []spelled {
		in, sp := sockaddr(q), [3]Spelling{SockaddrMD5, SockaddrSHA1, SockaddrHMAC}
		if ng {
			in, sp = texts[at], [3]Spelling{TextMD5, TextSHA1, TextHMAC}
		}
		raw := string(q.Name)
		if ng {
			raw = texts[at]
		}
		switch {
		case c.hmac == "sha256":
			return []spelled{{hmacHex(sha256.New, c.key, sid(q)), KeyedSHA256}}
		case c.hmac != "":
			return []spelled{{hmacHex(digest(c.hmac), c.key, in), sp[2]}}
		case c.hash == "index":
			return []spelled{{strconv.Itoa(at), Index}}
		case c.text == "raw":
			return []spelled{{raw, Plain}}
		case c.text == "md5":
			return []spelled{{md5hex(string(q.Name)), AddressMD5}}
		case c.text == "sha1":
			return []spelled{{sha1hex(string(q.Name)), AddressSHA1}}
		case c.hash == "sha1":
			return []spelled{{sha1hex(in), sp[1]}}
		}
		return []spelled{{md5hex(in), sp[0]}}
	}
}

func digest(name string) func() hash.Hash {
	if name == "sha1" {
		return sha1.New
	}
	return md5.New
}

// serverTexts returns the text of each peer's server line as written, by
// position. Of the addresses of a name only the first has it: the others would
// all be taken for it, so that they have their addresses.
func serverTexts(peers []*upstream.Peer) []string {
	texts, taken := make([]string, len(peers)), make(map[string]bool)
	for at, q := range peers {
		texts[at] = q.Server
		if taken[q.Server] {
			texts[at] = string(q.Name)
		}
		taken[q.Server] = true
	}
	return texts
}

// attributes are those of both dialects, in their order.
func (c *classicSpec) attributes() []attribute {
	var attrs []attribute
	if c.domain != "" {
		attrs = append(attrs, attribute{text: "; Domain=" + c.domain})
	}
	if c.age > 0 {
		attrs = append(attrs, attribute{kind: expiresAttr, text: "; Expires=", age: c.age, form: longDate})
	}
	attrs = append(attrs, attribute{text: "; Path=" + c.path})
	w := words{"; HttpOnly", "; Secure", "; SameSite="}
	return append(append(append(attrs, c.secureAttr(w)...), c.httpOnlyAttr(w)...), c.sameSiteAttr(w)...)
}

// ngWriter writes the cookie behind the peer's own fields, in every answer, and
// takes the peer's cookie of that name out.
type ngWriter struct {
	cookie
	hide      bool
	hideHere  *ngx.Slot[bool]
	delimiter string // of transfer; "" without
}

// chosen implements writer.
func (t *ngWriter) chosen(*upstream.Session, int, bool) answer { return untouched }

// answered implements writer.
func (t *ngWriter) answered(s *upstream.Session, at int, fresh bool) answer {
	r := s.Request
	tail, has := t.takeOut(r)
	if t.hide || t.hideHere.Get(r) {
		return untouched
	}
	line := t.line(r, at)
	if t.delimiter != "" {
		if !has {
			tail = t.clientTail(r)
		}
		line = t.withTail(r, at, tail)
	}
	t.add(r, line)
	if fresh {
		return updated
	}
	return inserted
}

// takeOut hides the peer's cookies of that name and returns the value of the last.
func (t *ngWriter) takeOut(r *ngx.Request) (value []byte, has bool) {
	for i := range r.Out.Header.Fields {
		f := &r.Out.Header.Fields[i]
		if f.ID == ngx.HeaderSetCookie && !f.Hidden && sets(f.Value, t.name) {
			f.Hidden = true
			value, _, _ = bytes.Cut(f.Value[len(t.name)+1:], []byte(";"))
			has = true
		}
	}
	return value, has
}

// clientTail returns the application's part of the client's cookie, which the
// answer goes on with where the peer doesn't set it anew.
func (t *ngWriter) clientTail(r *ngx.Request) []byte {
	f, ok := find(&r.In, t.name, false)
	if !ok {
		return nil
	}
	_, tail, _ := bytes.Cut(f.value, []byte(t.delimiter))
	return tail
}

// withTail returns the field with the application's part behind the delimiter.
func (t *ngWriter) withTail(r *ngx.Request, at int, tail []byte) []byte {
	b := room(r, len(t.lines[at])+len(tail))
	b = append(append(append(b, t.name...), '='), t.values[at]...)
	if len(tail) > 0 {
		b = append(append(b, t.delimiter...), tail...)
	}
	return t.dress(r, append(b, t.fixed...))
}

// cutReader reads cookies whose value goes on with the application's behind a delimiter.
type cutReader struct {
	*cookieReader
	delimiter []byte
}

// wish implements reader.
func (c *cutReader) wish(s *upstream.Session) (*wish, Spelling) {
	return c.from(&s.Request.In, func(f found) (*wish, Spelling) {
		if i := bytes.Index(f.value, c.delimiter); i > 0 {
			return c.index.look(f.value[:i], exact)
		}
		return nil, NumSpellings
	})
}

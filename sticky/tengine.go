package sticky

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"limpet/internal/ngx"
	conf "limpet/nginxconf"
	"limpet/upstream"
)

const dialectTengine = "Tengine's session_sticky"

// mode is how Tengine's cookie travels.
type mode uint8

const (
	insertMode  mode = iota // a cookie of its own
	prefixMode              // before the value of the application's cookie, and ~
	rewriteMode             // in place of the value of the application's cookie
)

// tengineSpec is what session_sticky says.
type tengineSpec struct {
	extras
	name         string
	domain, path string
	mode         mode
	indirect     bool
	maxAge       time.Duration // 0: none given
	maxIdle      int64         // seconds; 0: none given
	maxLife      int64
	noFallback   bool
	plain        bool
}

func parseTengine(s *conf.Setting) error {
	t := &tengineSpec{name: "route", path: "/"}
	for i := range s.Args {
		if err := t.param(s, s.Arg(i)); err != nil {
			return err
		}
	}
	if err := t.check(); err != nil {
		return err
	}
	if t.mode == rewriteMode {
		t.indirect = false
	}
	if t.dated() {
		t.maxAge = 0
		for _, n := range []*int64{&t.maxIdle, &t.maxLife} {
			if *n == 0 {
				*n = math.MaxInt32
			}
		}
	}
	if upstream.HasSticky(s) {
		s.Warn(`"session_sticky" replaces the stickiness that is configured before`)
	}
	if m := upstream.MethodOf(s); m != "" {
		s.Note(`Tengine would lose "%s" before "session_sticky", limpet keeps it`, m)
	}
	upstream.Forbid(s)
	sticks(s, func(b *ngx.Build, g *upstream.Group) (maker, error) { return t.build(b, g, s), nil })
	return nil
}

// dated says that values carry the times of the first and the last visit.
func (t *tengineSpec) dated() bool { return t.maxIdle != 0 || t.maxLife != 0 }

func (t *tengineSpec) param(s *conf.Setting, p string) error {
	name, value, ok := strings.Cut(p, "=")
	bad := fmt.Errorf("invalid %s", name)
	if ok && value == "" {
		return bad
	}
	seconds := func(least int) (int64, error) {
		n, ok := conf.ParseNum(value)
		if !ok || n < least {
			return 0, bad
		}
		return int64(n), nil
	}
	var err error
	switch name {
	case "cookie":
		t.name = value
	case "domain":
		t.domain = value
	case "path":
		t.path = value
	case "maxage":
		var n int64
		n, err = seconds(1)
		t.maxAge = time.Duration(n) * time.Second
	case "maxidle":
		t.maxIdle, err = seconds(1)
	case "maxlife":
		t.maxLife, err = seconds(1)
	case "mode", "option", "fallback", "hash":
		return t.word(name, value)
	default:
		is := false
		if is, err = t.take(s, p); !is {
			return errors.New("invalid argument")
		}
	}
	return err
}

// word takes a parameter with a choice of words, recognised by their beginning but for hash=md5.
func (t *tengineSpec) word(name, value string) error {
	is := func(w string) bool { return strings.HasPrefix(value, w) }
	switch {
	case name == "mode" && is("insert"):
		t.mode = insertMode
	case name == "mode" && is("prefix"):
		t.mode = prefixMode
	case name == "mode" && is("rewrite"):
		t.mode = rewriteMode
	case name == "option" && is("indirect"):
		t.indirect = true
	case name == "option" && is("direct"):
		t.indirect = false
	case name == "fallback" && is("on"):
		t.noFallback = false
	case name == "fallback" && is("off"):
		t.noFallback = true
	case name == "hash" && is("plain"):
		t.plain = true
	case name == "hash" && value == "md5":
		t.plain = false
	case name == "hash":
		return errors.New("invalid hash mode")
	default:
		return fmt.Errorf("invalid %s", name)
	}
	return nil
}

// parseHide reads session_sticky_hide_cookie, whose upstream must be there in the end.
func parseHide(s *conf.Setting) error {
	if s.Name == "session_sticky_header" {
		s.Warn(`the "session_sticky_header" directive is deprecated, use the "session_sticky_hide_cookie" directive instead`)
	}
	name, ok := strings.CutPrefix(s.Arg(0), "upstream=")
	if !ok || name == "" {
		return conf.Brief("invalid argument of \"" + s.Arg(0) + "\"")
	}
	root(s.Level).hides[name] = true
	upstream.Named(s, name)
	return nil
}

func (t *tengineSpec) build(b *ngx.Build, g *upstream.Group, s *conf.Setting) maker {
	base := newPolicy(b, g, s, dialectTengine)
	if t.noFallback {
		base.strict = strictWish
	}
	t.lint(b, base, g.Peers())
	own := ownValues(func(q *upstream.Peer, at int) []spelled {
		switch {
		case t.hmac != "":
			return []spelled{{hmacHex(sha256.New, t.key, sid(q)), KeyedSHA256}}
		case t.plain && q.ID != "":
			return []spelled{{q.ID, Route}}
		case t.plain:
			return []spelled{{string(q.Name), Plain}}
		}
		return []spelled{{md5hex(string(q.Name)), AddressMD5}}
	})
	return func(ps *upstream.Peers) *Policy {
		p := base.with(ps)
		r := p.cookieOf(t.name, own, t.keys())
		r.exact = true
		p.read = &tengineReader{r, t}
		p.write = &tengineWriter{newCookie(t.name, own.written(ps), t.attributes()), t}
		return p
	}
}

// lint tells where Tengine itself would do otherwise than the file seems to say.
func (t *tengineSpec) lint(b *ngx.Build, p *Policy, ps *upstream.Peers) {
	name, file := p.name, p.common.file
	if (t.indirect || t.mode == prefixMode) && file != nil && !file.hides[name] {
		p.note(b, `upstream "%s": no location names it in session_sticky_hide_cookie; Tengine would then set no cookie, limpet does`, name)
	}
	if t.indirect && t.dated() {
		p.note(b, `upstream "%s": maxidle and maxlife hold also where the cookie is the only one, which they don't in Tengine`, name)
	}
	for _, q := range ps.All {
		if q.Down {
			p.note(b, `upstream "%s": clients don't stick to the server %s, which is down; in Tengine they do`, name, q.Name)
		}
	}
}

func (t *tengineSpec) attributes() []attribute {
	var attrs []attribute
	if t.domain != "" {
		attrs = append(attrs, attribute{text: "; Domain=" + t.domain})
	}
	if t.path != "" {
		attrs = append(attrs, attribute{text: "; Path=" + t.path})
	}
	if t.maxAge > 0 {
		attrs = append(attrs, attribute{kind: expiresAttr, text: "; Expires=", age: t.maxAge, form: netscapeDate, maxAge: maxAgeBefore})
	}
	return append(attrs, t.attrs()...)
}

// tengineReader reads Tengine's cookie, whose name has its case, and takes it out
// of the request where the peer isn't to see it.
type tengineReader struct {
	*cookieReader
	spec *tengineSpec
}

// wish implements reader.
func (t *tengineReader) wish(s *upstream.Session) (*wish, Spelling) {
	h := &s.Request.In
	own := func(f found) (*wish, Spelling) { return t.own(s, f) }
	w, sp := t.from(h, own)
	if w == &t.none.noCookie && (t.spec.indirect || t.spec.mode == prefixMode) {
		// perhaps it was taken out for a group asked before, from another location
		if f, ok := findHidden(h, t.name); ok {
			if w, sp = t.own(s, f); w == nil {
				w, sp = t.index.lookLoose(f.value, exact)
			}
			if w == nil {
				w = &t.none.unknown
			}
			return w, sp
		}
	}
	if f, ok := find(h, t.name, true); ok {
		t.takeOut(s.Request, f)
	}
	return w, sp
}

// own judges a value of the configured form; nil lets other dialects have their say.
func (t *tengineReader) own(s *upstream.Session, f found) (*wish, Spelling) {
	switch {
	case t.spec.mode == prefixMode:
		if i := bytes.IndexByte(f.value, '~'); i >= 0 {
			return t.index.look(f.value[:i], exact)
		}
		if w, sp := t.index.lookLoose(f.value, exact); w != nil {
			return w, sp
		}
		return &t.none.noCookie, NumSpellings // it is the application's
	case t.spec.mode == insertMode && t.spec.dated():
		return t.dated(s, f.value)
	}
	return nil, NumSpellings
}

// clockSkew is how far in the future a time may lie.
const clockSkew = 86400

// dated judges sid|last|first. Values of another form aren't Tengine's: undated
// ones of a peer are taken and get their times.
func (t *tengineReader) dated(s *upstream.Session, value []byte) (*wish, Spelling) {
	i := bytes.IndexByte(value, '|')
	if i < 0 {
		return t.index.look(value, dressed)
	}
	last, first, ok := bytes.Cut(value[i+1:], []byte("|"))
	seen, okLast := conf.ParseNum(string(last))
	born, okFirst := conf.ParseNum(string(first))
	if !ok || !okLast || !okFirst {
		if isHAProxyDate(last) && (!ok || isHAProxyDate(first)) {
			return t.index.look(value[:i], dressed)
		}
		return &t.none.malformed, NumSpellings
	}
	now := now(s.Request)
	if now-int64(seen) > t.spec.maxIdle || now-int64(born) > t.spec.maxLife || int64(seen)-now > clockSkew || int64(born)-now > clockSkew {
		return &t.none.expired, NumSpellings
	}
	s.Stamp = int64(born)
	return t.index.look(value[:i], exact)
}

// isHAProxyDate reports whether b has the form of a date in HAProxy's cookies.
func isHAProxyDate(b []byte) bool {
	if len(b) != 5 {
		return false
	}
	for _, c := range b {
		if !(c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '+' || c == '/') {
			return false
		}
	}
	return true
}

// takeOut takes the cookie, or the peer's name before the application's value,
// out of the request, and leaves blanks and an emptied field as Tengine does.
// The field as it was stays behind, hidden, for a second group that the request may come to.
func (t *tengineReader) takeOut(r *ngx.Request, f found) {
	line := r.In.Fields[f.field].Value
	var from, to int
	switch {
	case t.spec.mode == prefixMode:
		i := bytes.IndexByte(f.value, '~')
		if i < 0 {
			return
		}
		from, to = f.from, f.from+i+1
	case t.spec.indirect:
		from, to = f.start, min(f.end+1, len(line))
	default:
		return
	}
	rest := r.Alloc(len(line) - (to - from))
	copy(rest[copy(rest, line[:from]):], line[to:])
	was := r.In.Fields[f.field]
	was.Hidden = true
	r.In.Fields[f.field].Value = rest
	r.In.Fields = append(r.In.Fields, was)
}

// findHidden is find among fields that takeOut left behind.
func findHidden(h *ngx.Header, name string) (found, bool) {
	for i := range h.Fields {
		f := &h.Fields[i]
		if f.ID != ngx.HeaderCookie || !f.Hidden {
			continue
		}
		if start, from, end, ok := scan(f.Value, name, true); ok {
			return found{f.Value[from:end], i, start, from, end}, true
		}
	}
	return found{}, false
}

// tengineWriter writes into the peer's answer, unless it is an error.
type tengineWriter struct {
	cookie
	spec *tengineSpec
}

// chosen implements writer.
func (t *tengineWriter) chosen(*upstream.Session, int, bool) answer { return untouched }

// answered implements writer.
func (t *tengineWriter) answered(s *upstream.Session, at int, fresh bool) answer {
	r := s.Request
	if r.Out.Status >= 400 {
		return untouched
	}
	if t.spec.mode != insertMode {
		return t.change(r, at)
	}
	if fresh && !t.spec.dated() {
		return untouched
	}
	line := t.stamped(s, at)
	if f := t.theirs(r); f != nil && t.spec.indirect {
		f.Value = line
	} else {
		t.add(r, line)
	}
	if fresh {
		return updated
	}
	return inserted
}

// stamped returns the field, with the times of the first and this visit where they bound its life.
func (t *tengineWriter) stamped(s *upstream.Session, at int) []byte {
	r := s.Request
	if !t.spec.dated() {
		return t.line(r, at)
	}
	now := now(r)
	born := s.Stamp
	if born == 0 {
		born = now
	}
	b := append(append(append(room(r, len(t.lines[at])), t.name...), '='), t.values[at]...)
	b = strconv.AppendInt(append(b, '|'), now, 10)
	b = strconv.AppendInt(append(b, '|'), born, 10)
	return t.dress(r, append(b, t.fixed...))
}

// theirs returns the peer's own cookie of that name, the first.
func (t *tengineWriter) theirs(r *ngx.Request) *ngx.Field {
	for i := range r.Out.Header.Fields {
		if f := &r.Out.Header.Fields[i]; f.ID == ngx.HeaderSetCookie && !f.Hidden && sets(f.Value, t.name) {
			return f
		}
	}
	return nil
}

// change puts the peer's name into the application's cookie, if it sets one.
func (t *tengineWriter) change(r *ngx.Request, at int) answer {
	f := t.theirs(r)
	if f == nil {
		return untouched
	}
	head := len(t.name) + 1
	b := append(append(room(r, len(f.Value)+len(t.values[at])), f.Value[:head]...), t.values[at]...)
	rest := f.Value[head:]
	if t.spec.mode == prefixMode {
		b = append(b, '~')
	} else if i := bytes.IndexByte(rest, ';'); i >= 0 {
		rest = rest[i:]
	} else {
		rest = nil
	}
	f.Value = append(b, rest...)
	return rewritten
}

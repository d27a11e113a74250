package rx

import (
	"strings"
	"unicode"
)

// class reads a character class, at its bracket.
func (p *parser) class() (*node, error) {
	if p.has("[:") || p.has("[.") || p.has("[=") {
		if kind, ok := p.posixSyntax(p.i); ok {
			if kind == ':' {
				return nil, p.fail("POSIX named classes are supported only within a class", p.i)
			}
			return nil, p.fail("POSIX collating elements are not supported", p.i)
		}
	}
	p.i++
	c := &classReader{p: p, runes: make([]rune, 0, 8)}
	if p.has("^") {
		c.negated = true
		p.i++
	}
	for first := true; ; first = false {
		if !p.more() {
			return nil, p.fail("missing terminating ] for character class", p.i)
		}
		if p.quoted() {
			continue
		}
		if p.src[p.i] == ']' && !first && !p.quote {
			p.i++
			return c.node(), nil
		}
		if p.opt.extendedMore && !p.quote && (p.src[p.i] == ' ' || p.src[p.i] == '\t') {
			p.i++
			continue
		}
		if err := c.item(); err != nil {
			return nil, err
		}
	}
}

// classReader gathers a class.
type classReader struct {
	p       *parser
	set     set
	runes   []rune // pairs of bounds above 0x7f, in UTF mode
	negated bool
	// negRest is true when a class escape such as \W brought all characters above 0x7f in, in UTF mode.
	negRest bool
}

// posixSyntax reports whether [:, [. or [= begins a word that the same sign ends.
func (p *parser) posixSyntax(at int) (byte, bool) {
	kind := p.src[at+1]
	for i := at + 2; i+1 < len(p.src); i++ {
		switch c := p.src[i]; {
		case c == kind && p.src[i+1] == ']':
			return kind, true
		case c == ']' || c == '\\' || c == '[':
			return 0, false
		}
	}
	return 0, false
}

// item reads one character, range, escape or POSIX class.
func (c *classReader) item() error {
	p := c.p
	if !p.quote && (p.has("[:") || p.has("[.") || p.has("[=")) {
		if kind, ok := p.posixSyntax(p.i); ok {
			return c.posix(kind)
		}
	}
	lo, s, err := c.element()
	if err != nil {
		return err
	}
	if !p.has("-") || p.quote || p.i+1 >= len(p.src) || p.src[p.i+1] == ']' {
		c.put(lo, lo, s)
		return nil
	}
	if s != nil {
		// a hyphen behind a class escape is literal only at the end
		return p.fail("invalid range in character class", p.i)
	}
	p.i++
	if p.has(`\E`) {
		p.i += 2
	}
	if !p.more() {
		return p.fail("missing terminating ] for character class", p.i)
	}
	if p.has("[:") {
		if _, ok := p.posixSyntax(p.i); ok {
			return p.fail("invalid range in character class", p.i+1)
		}
	}
	hi, s, err := c.element()
	switch {
	case err != nil:
		return err
	case s != nil:
		return p.fail("invalid range in character class", p.i)
	case hi < lo:
		return p.fail("range out of order in character class", p.i-1)
	}
	c.put(lo, hi, nil)
	return nil
}

// put adds a range, or a set when it isn't nil.
func (c *classReader) put(lo, hi rune, s *set) {
	if s != nil {
		c.set.addSet(s)
		if c.p.utf && s.has(0xff) {
			c.negRest = true
		}
		return
	}
	limit := rune(0xff)
	if c.p.utf {
		limit = 0x7f
	}
	var one set
	if lo <= limit {
		one.addRange(byte(lo), byte(min(hi, limit)))
	}
	if c.p.opt.caseless {
		one.foldCase()
	}
	c.set.addSet(&one)
	if c.p.utf && hi > limit {
		c.runes = append(c.runes, max(lo, limit+1), hi)
		if c.p.opt.caseless {
			c.foldRunes(max(lo, limit+1), hi)
		}
	}
}

// foldRunes adds the other cases of a range's characters; huge ranges are taken for complete.
func (c *classReader) foldRunes(lo, hi rune) {
	if hi-lo > 0x3000 {
		return
	}
	for r := lo; r <= hi; r++ {
		for f := unicode.SimpleFold(r); f != r; f = unicode.SimpleFold(f) {
			if f <= 0x7f {
				c.set.add(byte(f))
			} else {
				c.runes = append(c.runes, f, f)
			}
		}
	}
}

func (c *classReader) posix(kind byte) error {
	p := c.p
	if kind != ':' {
		return p.fail("POSIX collating elements are not supported", p.i)
	}
	end := strings.Index(p.src[p.i:], ":]")
	name := p.src[p.i+2 : p.i+end]
	plain := strings.TrimPrefix(name, "^")
	s := posixSet(plain)
	if s == nil {
		return p.fail("unknown POSIX class name", p.i+2)
	}
	if c.p.opt.caseless && (plain == "lower" || plain == "upper") {
		s = posixSet("alpha")
	}
	if plain != name {
		s.invert()
	}
	p.i += end + 2
	c.put(0, 0, s)
	if p.has("-") && p.i+1 < len(p.src) && p.src[p.i+1] != ']' {
		return p.fail("invalid range in character class", p.i)
	}
	return nil
}

// element reads one character or class escape.
func (c *classReader) element() (rune, *set, error) {
	p := c.p
	if p.src[p.i] != '\\' || p.quote {
		if p.utf && p.src[p.i] >= 0x80 {
			r, size := decodeRune(p.src[p.i:])
			p.i += size
			return r, nil, nil
		}
		p.i++
		return rune(p.src[p.i-1]), nil, nil
	}
	if p.i+1 >= len(p.src) {
		return 0, nil, p.fail(`\ at end of pattern`, p.i+1)
	}
	switch e := p.src[p.i+1]; e {
	case 'b':
		p.i += 2
		return '\b', nil, nil
	case 'N':
		return 0, nil, p.fail(`\N is not supported in a class`, p.i+2)
	case 'B', 'R', 'X':
		p.i += 2
		return 0, nil, p.fail("escape sequence is invalid in character class", p.i-1)
	case 'd', 'D', 'w', 'W', 's', 'S', 'h', 'H', 'v', 'V':
		p.i += 2
		return 0, namedSet(e), nil
	case 'p', 'P':
		s, err := p.property()
		return 0, s, err
	}
	p.i++
	r, err := p.charEscape(true)
	return r, nil, err
}

// node makes the class's node.
func (c *classReader) node() *node {
	if !c.p.utf {
		if c.negated {
			c.set.invert()
		}
		s := c.set
		return &node{kind: kindSet, set: &s}
	}
	if c.negRest {
		c.runes = append(c.runes, 0x80, unicode.MaxRune)
	}
	return utfClass(&c.set, c.runes, c.negated)
}

package rx

import (
	"strings"
	"unicode"
)

// escape reads what a backslash begins, outside of classes.
func (p *parser) escape() (*node, error) {
	if p.i+1 >= len(p.src) {
		return nil, p.fail(`\ at end of pattern`, p.i+1)
	}
	start := p.i
	c := p.src[p.i+1]
	p.i += 2
	switch c {
	case 'A':
		return &node{kind: kindBegin}, nil
	case 'G': // every match is looked for from the subject's beginning
		return &node{kind: kindBegin}, nil
	case 'Z':
		return &node{kind: kindEnd}, nil
	case 'z':
		return &node{kind: kindVeryEnd}, nil
	case 'b', 'B':
		return &node{kind: kindWord, neg: c == 'B'}, nil
	case 'K':
		p.keepLook = p.keepLook || p.looks > 0
		return &node{kind: kindKeep}, nil
	case 'N':
		if p.has("{") {
			if _, ok, _ := (&parser{src: p.src, i: p.i}).bounds(&node{}); !ok {
				return nil, p.fail(unsupportedEscape, p.i)
			}
		}
		return p.dot(false), nil
	case 'C':
		return &node{kind: kindSet, set: &set{^uint64(0), ^uint64(0), ^uint64(0), ^uint64(0)}}, nil
	case 'R':
		return newline(p.utf), nil
	case 'X':
		return nil, p.fail(`\X is not supported`, p.i)
	case 'd', 'D', 'w', 'W', 's', 'S', 'h', 'H', 'v', 'V':
		s := namedSet(c)
		if p.utf {
			return utfAny(s), nil
		}
		return &node{kind: kindSet, set: s}, nil
	case 'p', 'P':
		p.i = start
		s, err := p.property()
		if err != nil {
			return nil, err
		}
		return &node{kind: kindSet, set: s}, nil
	case 'k':
		return p.namedRef(start)
	case 'g':
		return p.gRef()
	}
	if '1' <= c && c <= '9' {
		if n, ok := p.numberedRef(start); ok {
			return n, nil
		}
	}
	p.i = start + 1
	r, err := p.charEscape(false)
	if err != nil {
		return nil, err
	}
	if p.utf {
		return p.runeNode(r), nil
	}
	return p.char(byte(r)), nil
}

// unsupportedEscape is PCRE2's text for Perl's escapes that change case.
const unsupportedEscape = `PCRE2 does not support \F, \L, \l, \N{name}, \U, or \u`

// newline is \R, which gives nothing back.
func newline(utf bool) *node {
	crlf := &node{kind: kindConcat, sub: []*node{{kind: kindChar, char: '\r'}, {kind: kindChar, char: '\n'}}}
	one := &node{kind: kindSet, set: ranges('\n', '\r', 0x85, 0x85)}
	if utf {
		one = utfClass(ranges('\n', '\r'), []rune{0x85, 0x85, 0x2028, 0x2029}, false)
	}
	return &node{kind: kindAtomic, sub: []*node{{kind: kindAlternate, sub: []*node{crlf, one}}}}
}

// numberedRef reads \1 and its kin; false when the digits are an octal number instead.
func (p *parser) numberedRef(start int) (*node, bool) {
	n, i := 0, start+1
	for i < len(p.src) && isDigit(p.src[i]) && n <= maxRepeat {
		n = n*10 + int(p.src[i]-'0')
		i++
	}
	if n >= 10 && p.src[start+1] < '8' && n > p.groups {
		return nil, false
	}
	p.i = i
	return p.ref(&node{kind: kindBackref, group: n, at: i - 1, fold: p.opt.caseless}), true
}

// namedRef reads \k<name>, \k'name' and \k{name}.
func (p *parser) namedRef(start int) (*node, error) {
	end := byte(0)
	if p.more() {
		switch p.src[p.i] {
		case '<':
			end = '>'
		case '\'':
			end = '\''
		case '{':
			end = '}'
		}
	}
	if end == 0 {
		return nil, p.fail(`\k is not followed by a braced, angle-bracketed, or quoted name`, p.i)
	}
	p.i++
	at := p.i
	name, err := p.groupName(end)
	if err != nil {
		return nil, err
	}
	return p.ref(&node{kind: kindBackref, name: name, at: at, fold: p.opt.caseless}), nil
}

// gRef reads \g1, \g{-1}, \g{name}, and \g<name> for a call.
func (p *parser) gRef() (*node, error) {
	bad := p.fail(`\g is not followed by a braced, angle-bracketed, or quoted name/number or by a plain number`, p.i)
	if !p.more() {
		return nil, bad
	}
	kind, end := kindBackref, byte(0)
	switch p.src[p.i] {
	case '{':
		end = '}'
	case '<':
		kind, end = kindCall, '>'
	case '\'':
		kind, end = kindCall, '\''
	}
	if end != 0 {
		p.i++
	}
	if !p.more() {
		return nil, bad
	}
	n := &node{kind: kind, fold: p.opt.caseless, at: p.i}
	var err error
	switch c := p.src[p.i]; {
	case isDigit(c), c == '-', c == '+':
		open := p.i - 1
		if n.group, err = p.relative(); err != nil {
			if e := err.(*Error); end == '}' && c == '-' {
				e.Offset = open
			}
			return nil, err
		}
		n.at = p.i
		if end != 0 {
			if !p.more() || p.src[p.i] != end {
				return nil, bad
			}
			p.i++
		}
	case end == 0:
		return nil, bad
	default:
		if n.name, err = p.groupName(end); err != nil {
			return nil, err
		}
	}
	return p.ref(n), nil
}

// charEscape reads an escape that stands for one character, behind its backslash.
func (p *parser) charEscape(inClass bool) (rune, error) {
	c := p.src[p.i]
	p.i++
	switch c {
	case 'a':
		return '\a', nil
	case 'e':
		return 0x1b, nil
	case 'f':
		return '\f', nil
	case 'n':
		return '\n', nil
	case 'r':
		return '\r', nil
	case 't':
		return '\t', nil
	case 'c':
		if !p.more() {
			return 0, p.fail(`\c at end of pattern`, p.i)
		}
		p.i++
		return rune(upper(p.src[p.i-1]) ^ 0x40), nil
	case 'x':
		return p.hex()
	case 'o':
		if !p.has("{") {
			return 0, p.fail(`missing opening brace after \o`, p.i-1)
		}
		return p.braced(8, "non-octal character in \\o{} (closing brace missing?)")
	case 'u', 'U', 'l', 'L', 'F', 'N':
		return 0, p.fail(unsupportedEscape, p.i)
	}
	if '0' <= c && c <= '7' {
		return p.octal()
	}
	if isDigit(c) && inClass {
		return rune(c), nil
	}
	if isDigit(c) || isLetter(c) {
		switch {
		case inClass && c == 'g':
			return 'g', nil
		case inClass && c == 'k':
			return 0, p.fail("escape sequence is invalid in character class", p.i-1)
		case inClass && strings.IndexByte("AZzGKC", c) >= 0:
			return 0, p.fail("escape sequence is invalid in character class", p.i)
		}
		return 0, p.fail(`unrecognized character follows \`, p.i-1)
	}
	if p.utf && c >= 0x80 {
		r, size := decodeRune(p.src[p.i-1:])
		p.i += size - 1
		return r, nil
	}
	return rune(c), nil
}

func upper(c byte) byte {
	if 'a' <= c && c <= 'z' {
		return c - 32
	}
	return c
}

// octal reads up to three octal digits, of which the first was read.
func (p *parser) octal() (rune, error) {
	r := rune(p.src[p.i-1] - '0')
	for k := 0; k < 2 && p.more() && '0' <= p.src[p.i] && p.src[p.i] <= '7'; k++ {
		r = r*8 + rune(p.src[p.i]-'0')
		p.i++
	}
	if r > 0xff && !p.utf {
		return 0, p.fail(`octal value is greater than \377 in 8-bit non-UTF-8 mode`, p.i)
	}
	return r, nil
}

// hex reads what follows \x: up to two digits, or digits in braces.
func (p *parser) hex() (rune, error) {
	if p.has("{") {
		return p.braced(16, "non-hex character in \\x{} (closing brace missing?)")
	}
	r := rune(0)
	for k := 0; k < 2 && p.more() && hexDigit(p.src[p.i]) >= 0; k++ {
		r = r*16 + rune(hexDigit(p.src[p.i]))
		p.i++
	}
	return r, nil
}

// braced reads a number in braces.
func (p *parser) braced(base int, bad string) (rune, error) {
	p.i++
	if !p.more() || p.src[p.i] == '}' {
		return 0, p.fail(`digits missing in \x{} or \o{} or \N{U+}`, p.i)
	}
	r := 0
	for p.more() && hexDigit(p.src[p.i]) >= 0 && hexDigit(p.src[p.i]) < base {
		r = r*base + hexDigit(p.src[p.i])
		p.i++
		if r > 0xff && !p.utf || r > unicode.MaxRune {
			return 0, p.fail(`character code point value in \x{} or \o{} is too large`, p.i)
		}
	}
	if !p.has("}") {
		return 0, p.fail(bad, p.i)
	}
	p.i++
	return rune(r), nil
}

func hexDigit(c byte) int {
	switch {
	case isDigit(c):
		return int(c - '0')
	case 'a' <= c|0x20 && c|0x20 <= 'f':
		return int(c|0x20-'a') + 10
	}
	return -1
}

// property reads \p{Name}, \pL, \P{Name} and \p{^Name}, at the backslash, for
// the 256 characters that one byte can be.
func (p *parser) property() (*set, error) {
	negated := p.src[p.i+1] == 'P'
	p.i += 2
	name := ""
	switch {
	case p.has("{"):
		end := strings.IndexByte(p.src[p.i:], '}')
		if end < 0 {
			return nil, p.fail(`malformed \P or \p sequence`, len(p.src))
		}
		name = p.src[p.i+1 : p.i+end]
		p.i += end + 1
	case p.more():
		name = p.src[p.i : p.i+1]
		p.i++
	default:
		return nil, p.fail(`malformed \P or \p sequence`, p.i)
	}
	if rest, ok := strings.CutPrefix(name, "^"); ok {
		name, negated = rest, !negated
	}
	if p.utf {
		return nil, p.fail(`\p with (*UTF8) is not supported`, p.i)
	}
	s := new(set)
	table := unicode.Categories[name]
	if table == nil {
		table = unicode.Scripts[name]
	}
	switch {
	case table != nil:
		for c := rune(0); c < 256; c++ {
			if unicode.Is(table, c) {
				s.add(byte(c))
			}
		}
	case name == "Any":
		s.invert()
	case name == "L&":
		for c := rune(0); c < 256; c++ {
			if unicode.In(c, unicode.Lu, unicode.Ll, unicode.Lt) {
				s.add(byte(c))
			}
		}
	default:
		return nil, p.fail(`unknown property after \P or \p`, p.i)
	}
	if negated {
		s.invert()
	}
	return s, nil
}

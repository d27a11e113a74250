package rx

import "strings"

// options are the inline options in force.
type options struct {
	caseless, multiline, dotAll, extended, extendedMore, noCapture, dupNames, ungreedy bool
}

// maxDepth bounds nested parentheses, as PCRE2's default parens nest limit does.
const maxDepth = 250

// maxRepeat is the largest number in a quantifier.
const maxRepeat = 65535

// parser reads a pattern.
type parser struct {
	src    string
	i      int
	opt    options
	groups int // capturing groups so far
	depth  int
	names  []Name
	// byNumber are the capturing groups by number, for calls.
	byNumber map[int]*node
	refs     []*node // backreferences, conditions and calls to check when all is parsed
	quote    bool    // inside \Q...\E
	utf      bool    // (*UTF8): characters are those of UTF-8
	looks    int     // lookarounds around the place at hand
	keepLook bool    // \K stands in one
}

func parse(pattern string, flags Flags) (*parser, *node, error) {
	p := &parser{src: pattern, byNumber: make(map[int]*node)}
	p.opt.caseless = flags&Caseless != 0
	if err := p.verbs(); err != nil {
		return nil, nil, err
	}
	n, err := p.alternation()
	if err == nil && p.i < len(p.src) {
		err = p.fail("unmatched closing parenthesis", p.i)
	}
	if err == nil {
		err = p.resolve()
	}
	if err == nil && p.keepLook {
		err = p.fail(`\K is not allowed in lookarounds (but see PCRE2_EXTRA_ALLOW_LOOKAROUND_BSK)`, len(pattern))
	}
	return p, n, err
}

func (p *parser) fail(msg string, at int) error { return &Error{msg, p.src, min(at, len(p.src))} }

func (p *parser) more() bool { return p.i < len(p.src) }

func (p *parser) has(prefix string) bool { return strings.HasPrefix(p.src[p.i:], prefix) }

// alternation reads alternatives up to a closing parenthesis or the end. Options
// that are set inside hold to its end.
func (p *parser) alternation() (*node, error) {
	before := p.opt
	defer func() { p.opt = before }()
	if p.depth++; p.depth > maxDepth {
		return nil, p.fail("parentheses are too deeply nested", p.i)
	}
	defer func() { p.depth-- }()
	var alts []*node
	for {
		n, err := p.sequence()
		if err != nil {
			return nil, err
		}
		alts = append(alts, n)
		if !p.more() || p.src[p.i] != '|' {
			break
		}
		p.i++
	}
	if len(alts) == 1 {
		return alts[0], nil
	}
	return &node{kind: kindAlternate, sub: alts}, nil
}

// sequence reads one alternative.
func (p *parser) sequence() (*node, error) {
	var items []*node
	repeatable := false
	for p.more() {
		if p.quoted() {
			continue
		}
		c := p.src[p.i]
		if p.quote {
			items, repeatable = append(items, p.literal()), true
			continue
		}
		if c == '|' || c == ')' {
			break
		}
		if p.blank() {
			continue
		}
		if q, ok, err := p.quantifier(); err != nil {
			return nil, err
		} else if ok {
			if !repeatable {
				return nil, p.fail("quantifier does not follow a repeatable item", q.at)
			}
			q.sub = []*node{items[len(items)-1]}
			items[len(items)-1], repeatable = q, false
			continue
		}
		n, err := p.atom()
		if err != nil {
			return nil, err
		}
		if n == nil { // an option, a comment
			repeatable = false
			continue
		}
		repeatable = n.repeatable()
		items = append(items, n)
	}
	if len(items) == 1 {
		return items[0], nil
	}
	if len(items) == 0 {
		return &node{kind: kindEmpty}, nil
	}
	return &node{kind: kindConcat, sub: items}, nil
}

// repeatable reports whether a quantifier may follow.
func (n *node) repeatable() bool {
	switch n.kind {
	case kindBegin, kindLineBegin, kindEnd, kindLineEnd, kindVeryEnd, kindWord, kindKeep, kindFail:
		return false
	}
	return true
}

// quoted handles \Q and \E, which are no items of their own.
func (p *parser) quoted() bool {
	switch {
	case p.has(`\E`):
		p.quote = false
	case !p.quote && p.has(`\Q`):
		p.quote = true
	default:
		return false
	}
	p.i += 2
	return true
}

// blank skips comments, and white space in extended patterns.
func (p *parser) blank() bool {
	if p.has("(?#") {
		if end := strings.IndexByte(p.src[p.i:], ')'); end >= 0 {
			p.i += end + 1
			return true
		}
		return false // the error is atom's
	}
	if !p.opt.extended {
		return false
	}
	switch c := p.src[p.i]; {
	case c == ' ' || '\t' <= c && c <= '\r':
		p.i++
	case c == '#':
		if end := strings.IndexByte(p.src[p.i:], '\n'); end >= 0 {
			p.i += end + 1
		} else {
			p.i = len(p.src)
		}
	default:
		return false
	}
	return true
}

// quantifier reads a quantifier if one is there.
func (p *parser) quantifier() (*node, bool, error) {
	q := &node{kind: kindRepeat, max: -1, at: p.i}
	switch p.src[p.i] {
	case '*':
	case '+':
		q.min = 1
	case '?':
		q.max = 1
	case '{':
		return p.bounds(q)
	default:
		return nil, false, nil
	}
	p.i++
	p.suffix(q)
	return q, true, nil
}

// bounds reads {n}, {n,} and {n,m}; anything else in braces is literal.
func (p *parser) bounds(q *node) (*node, bool, error) {
	end := strings.IndexByte(p.src[p.i:], '}')
	if end < 2 {
		return nil, false, nil
	}
	inner := p.src[p.i+1 : p.i+end]
	low, high, comma := strings.Cut(inner, ",")
	if low == "" || !allDigits(low) || !allDigits(high) {
		return nil, false, nil
	}
	big := func(digits string) (int, error) {
		n := 0
		for i := range len(digits) {
			if n = n*10 + int(digits[i]-'0'); n > maxRepeat {
				return 0, p.fail("number too big in {} quantifier", p.i+1+strings.Index(inner, digits)+i+1)
			}
		}
		return n, nil
	}
	var err error
	if q.min, err = big(low); err != nil {
		return nil, false, err
	}
	switch {
	case !comma:
		q.max = q.min
	case high != "":
		if q.max, err = big(high); err != nil {
			return nil, false, err
		}
		if q.max < q.min {
			return nil, false, p.fail("numbers out of order in {} quantifier", p.i+end)
		}
	}
	p.i += end + 1
	q.at = p.i - 1
	p.suffix(q)
	return q, true, nil
}

func allDigits(s string) bool {
	for i := range len(s) {
		if !isDigit(s[i]) {
			return false
		}
	}
	return true
}

// suffix reads what makes a quantifier lazy or possessive.
func (p *parser) suffix(q *node) {
	if p.opt.ungreedy {
		q.mode = lazy
	}
	if !p.more() {
		return
	}
	switch p.src[p.i] {
	case '?':
		if q.mode == lazy {
			q.mode = greedy
		} else {
			q.mode = lazy
		}
		p.i++
	case '+':
		q.mode = possessive
		p.i++
	}
}

// atom reads one item; nil for what is none (an option setting).
func (p *parser) atom() (*node, error) {
	switch c := p.src[p.i]; c {
	case '^':
		p.i++
		if p.opt.multiline {
			return &node{kind: kindLineBegin}, nil
		}
		return &node{kind: kindBegin}, nil
	case '$':
		p.i++
		if p.opt.multiline {
			return &node{kind: kindLineEnd}, nil
		}
		return &node{kind: kindEnd}, nil
	case '.':
		p.i++
		return p.dot(p.opt.dotAll), nil
	case '[':
		return p.class()
	case '(':
		return p.group()
	case '\\':
		return p.escape()
	}
	return p.literal(), nil
}

// dot is any character; a newline only when all.
func (p *parser) dot(all bool) *node {
	s := new(set)
	if !all {
		s.add('\n')
	}
	s.invert()
	if p.utf {
		return utfAny(s)
	}
	return &node{kind: kindSet, set: s}
}

// literal reads one character that stands for itself.
func (p *parser) literal() *node {
	c := p.src[p.i]
	if p.utf && c >= 0x80 {
		r, size := decodeRune(p.src[p.i:])
		p.i += size
		return p.runeNode(r)
	}
	p.i++
	return p.char(c)
}

func (p *parser) char(c byte) *node {
	return &node{kind: kindChar, char: c, fold: p.opt.caseless && isLetter(c)}
}

// resolve checks references and gives calls the patterns of their groups.
func (p *parser) resolve() error {
	for _, n := range p.refs {
		if n.name != "" {
			n.group = p.numberOf(n.name)
		}
		if n.group == 0 && n.kind == kindCall {
			return p.fail("recursion is not supported", n.at)
		}
		if n.group <= 0 || n.group > p.groups {
			return p.fail("reference to non-existent subpattern", n.at)
		}
	}
	for _, n := range p.refs {
		if n.kind != kindCall {
			continue
		}
		body := p.byNumber[n.group]
		if body == nil || calls(body, n.group, 0) {
			return p.fail("recursion is not supported", n.at)
		}
		n.sub = body.sub
	}
	return nil
}

// calls reports whether a group's pattern calls the group again.
func calls(n *node, group, depth int) bool {
	if depth > maxDepth || n.kind == kindCall && n.group == group {
		return true
	}
	for _, s := range n.sub {
		if calls(s, group, depth+1) {
			return true
		}
	}
	return false
}

func (p *parser) numberOf(name string) int {
	for _, n := range p.names {
		if n.Name == name {
			return n.Index
		}
	}
	return -1
}

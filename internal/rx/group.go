package rx

import (
	"slices"
	"strings"
)

// verbs reads what stands at the pattern's beginning, such as (*UTF8).
func (p *parser) verbs() error {
	for p.has("(*") {
		end := strings.IndexByte(p.src[p.i:], ')')
		if end < 0 {
			return nil
		}
		name, _, _ := strings.Cut(p.src[p.i+2:p.i+end], "=")
		switch name {
		case "UTF8", "UTF":
			p.utf = true
		case "UCP", "NO_JIT", "NO_START_OPT", "NO_AUTO_POSSESS", "NO_DOTSTAR_ANCHOR", "NOTEMPTY", "NOTEMPTY_ATSTART",
			"LF", "CR", "CRLF", "ANY", "ANYCRLF", "NUL", "BSR_ANYCRLF", "BSR_UNICODE", "LIMIT_MATCH", "LIMIT_DEPTH", "LIMIT_HEAP":
			if name == "UCP" || name == "CR" || name == "CRLF" || name == "ANY" || name == "ANYCRLF" || name == "NUL" || strings.HasPrefix(name, "NOTEMPTY") {
				return p.fail("(*"+name+") is not supported", p.i+end)
			}
		default:
			return nil
		}
		p.i += end + 1
	}
	return nil
}

// group reads what an opening parenthesis begins; nil for an option setting.
func (p *parser) group() (*node, error) {
	start := p.i
	p.i++
	switch {
	case p.has("*"):
		return p.verb()
	case !p.has("?"):
		if p.opt.noCapture {
			return p.body(&node{kind: kindConcat})
		}
		return p.capture("")
	}
	p.i++
	if !p.more() {
		return nil, p.fail("missing closing parenthesis", p.i)
	}
	c := p.src[p.i]
	switch c {
	case ':':
		p.i++
		return p.body(&node{kind: kindConcat})
	case '|':
		p.i++
		return p.branchReset()
	case '>':
		p.i++
		return p.body(&node{kind: kindAtomic})
	case '=', '!':
		p.i++
		return p.body(&node{kind: kindLook, neg: c == '!'})
	case '#':
		return nil, p.fail("missing ) after (?# comment", len(p.src))
	case '(':
		p.i++
		return p.conditional()
	case '<':
		if p.has("<=") || p.has("<!") {
			n := &node{kind: kindLook, behind: true, neg: p.src[p.i+1] == '!', at: start}
			p.i += 2
			return p.lookbehind(n)
		}
		return p.named('>')
	case '\'':
		return p.named('\'')
	case 'P':
		return p.python()
	case '&':
		p.i++
		return p.callName()
	case 'R', '0', '1', '2', '3', '4', '5', '6', '7', '8', '9', '+':
		return p.callNumber()
	case '*':
		return nil, p.fail("(?*...) is not supported", p.i)
	case '-':
		if p.i+1 < len(p.src) && isDigit(p.src[p.i+1]) {
			return p.callNumber()
		}
	}
	return p.setting()
}

// body reads a group's alternatives and its closing parenthesis into n.
func (p *parser) body(n *node) (*node, error) {
	if n.kind == kindLook {
		p.looks++
		defer func() { p.looks-- }()
	}
	inner, err := p.alternation()
	if err != nil {
		return nil, err
	}
	if !p.more() {
		return nil, p.fail("missing closing parenthesis", p.i)
	}
	p.i++
	n.sub = []*node{inner}
	return n, nil
}

// lookbehind reads a lookbehind, whose alternatives have a fixed length each.
func (p *parser) lookbehind(n *node) (*node, error) {
	if _, err := p.body(n); err != nil {
		return nil, err
	}
	alts := []*node{n.sub[0]}
	if alts[0].kind == kindAlternate {
		alts = alts[0].sub
	}
	for _, a := range alts {
		if _, ok := a.width(); !ok {
			return nil, p.fail("lookbehind assertion is not fixed length", n.at)
		}
	}
	return n, nil
}

// capture reads a capturing group, named or not.
func (p *parser) capture(name string) (*node, error) {
	p.groups++
	n := &node{kind: kindGroup, group: p.groups}
	if name != "" {
		p.names = append(p.names, Name{name, p.groups})
	}
	if p.byNumber[n.group] == nil {
		p.byNumber[n.group] = n
	}
	return p.body(n)
}

// branchReset reads (?|...), whose alternatives number their groups alike.
func (p *parser) branchReset() (*node, error) {
	before := p.opt
	defer func() { p.opt = before }()
	first, most := p.groups, p.groups
	var alts []*node
	for {
		p.groups = first
		n, err := p.sequence()
		if err != nil {
			return nil, err
		}
		most = max(most, p.groups)
		alts = append(alts, n)
		if !p.more() {
			return nil, p.fail("missing closing parenthesis", p.i)
		}
		p.i++
		if p.src[p.i-1] == ')' {
			break
		}
	}
	p.groups = most
	return &node{kind: kindAlternate, sub: alts}, nil
}

// named reads (?<name>...) and its kin, at the delimiter before the name.
func (p *parser) named(end byte) (*node, error) {
	p.i++
	name, err := p.groupName(end)
	if err != nil {
		return nil, err
	}
	if p.numberOf(name) > 0 && !p.opt.dupNames {
		i := slices.IndexFunc(p.names, func(n Name) bool { return n.Name == name })
		if p.names[i].Index != p.groups+1 {
			return nil, p.fail("two named subpatterns have the same name (PCRE2_DUPNAMES not set)", p.i)
		}
		name = ""
	}
	return p.capture(name)
}

// groupName reads a name and the delimiter behind it.
func (p *parser) groupName(end byte) (string, error) {
	start := p.i
	switch {
	case !p.more() || p.src[p.i] == end:
		return "", p.fail("subpattern name expected", p.i)
	case isDigit(p.src[p.i]):
		return "", p.fail("subpattern name must start with a non-digit", p.i)
	}
	for p.more() && isWord(p.src[p.i]) {
		p.i++
	}
	name := p.src[start:p.i]
	switch {
	case name == "":
		return "", p.fail("subpattern name expected", p.i)
	case len(name) > 32:
		return "", p.fail("subpattern name is too long (maximum 32 code units)", p.i)
	case !p.more() || p.src[p.i] != end:
		return "", p.fail("syntax error in subpattern name (missing terminator?)", p.i)
	}
	p.i++
	return name, nil
}

// python reads (?P<name>...), (?P=name) and (?P>name).
func (p *parser) python() (*node, error) {
	p.i++
	if !p.more() {
		return nil, p.fail("missing closing parenthesis", p.i)
	}
	switch p.src[p.i] {
	case '<':
		return p.named('>')
	case '=':
		p.i++
		start := p.i
		name, err := p.groupName(')')
		if err != nil {
			return nil, err
		}
		return p.ref(&node{kind: kindBackref, name: name, at: start, fold: p.opt.caseless}), nil
	case '>':
		p.i++
		return p.callName()
	}
	return nil, p.fail("unrecognized character after (?P", p.i)
}

// ref notes a reference to check when all groups are known.
func (p *parser) ref(n *node) *node {
	p.refs = append(p.refs, n)
	return n
}

func (p *parser) callName() (*node, error) {
	start := p.i
	name, err := p.groupName(')')
	if err != nil {
		return nil, err
	}
	return p.ref(&node{kind: kindCall, name: name, at: start}), nil
}

// callNumber reads (?R), (?1), (?+1) and (?-1).
func (p *parser) callNumber() (*node, error) {
	if p.has("R") {
		p.i++
		return p.endCall(&node{kind: kindCall, at: p.i})
	}
	n, err := p.relative()
	if err != nil {
		return nil, err
	}
	return p.endCall(&node{kind: kindCall, group: n, at: p.i})
}

func (p *parser) endCall(n *node) (*node, error) {
	if !p.has(")") {
		return nil, p.fail("missing closing parenthesis", p.i)
	}
	p.i++
	return p.ref(n), nil
}

// relative reads a group number, which a sign makes relative to the groups so far.
func (p *parser) relative() (int, error) {
	sign := byte(0)
	if c := p.src[p.i]; c == '+' || c == '-' {
		sign = c
		p.i++
	}
	n, start := 0, p.i
	for p.more() && isDigit(p.src[p.i]) && n <= maxRepeat {
		n = n*10 + int(p.src[p.i]-'0')
		p.i++
	}
	if p.i == start {
		return 0, p.fail("digit expected after (?+ or (?-", p.i)
	}
	if sign != 0 && n == 0 {
		return 0, p.fail("(?+ or (?- or (?(+ or (?(- must be followed by a non-zero number", p.i)
	}
	switch sign {
	case '+':
		n += p.groups
	case '-':
		if n = p.groups - n + 1; n <= 0 {
			return 0, p.fail("reference to non-existent subpattern", p.i)
		}
	}
	return n, nil
}

// conditional reads (?(condition)yes|no), behind its second parenthesis.
func (p *parser) conditional() (*node, error) {
	n := &node{kind: kindCond, at: p.i - 1}
	none := &node{kind: kindEmpty}
	define := false
	switch {
	case p.has("?=") || p.has("?!") || p.has("?<=") || p.has("?<!"):
		p.i--
		look, err := p.group()
		if err != nil {
			return nil, err
		}
		n.sub = []*node{nil, none, look}
	case p.has("DEFINE)"):
		p.i += len("DEFINE)")
		define = true
	case p.has("?"):
		return nil, p.fail("assertion expected after (?( or (?(?C)", p.i-1)
	case p.has("R"):
		return nil, p.fail("recursion is not supported", p.i)
	default:
		if err := p.conditionGroup(n); err != nil {
			return nil, err
		}
		n.sub = []*node{nil, none}
	}
	inner, err := p.alternation()
	if err != nil {
		return nil, err
	}
	if !p.more() {
		return nil, p.fail("missing closing parenthesis", p.i)
	}
	p.i++
	branches := []*node{inner}
	if inner.kind == kindAlternate {
		branches = inner.sub
	}
	switch {
	case define && len(branches) > 1:
		return nil, p.fail("DEFINE subpattern contains more than one branch", n.at+1)
	case define:
		return none, nil
	case len(branches) > 2:
		return nil, p.fail("conditional subpattern contains more than two branches", n.at)
	case len(branches) == 2:
		n.sub[1] = branches[1]
	}
	n.sub[0] = branches[0]
	return n, nil
}

// conditionGroup reads the condition that a group is set.
func (p *parser) conditionGroup(n *node) error {
	if !p.more() {
		return p.fail("missing closing parenthesis", p.i)
	}
	n.at = p.i
	var err error
	switch c := p.src[p.i]; {
	case isDigit(c), c == '+', c == '-':
		n.at--
		if n.group, err = p.relative(); err != nil {
			return err
		}
		if !p.has(")") {
			return p.fail("missing closing parenthesis for condition", p.i)
		}
		p.i++
	case c == '<' || c == '\'':
		p.i++
		end := c
		if c == '<' {
			end = '>'
		}
		n.at = p.i
		if n.name, err = p.groupName(end); err == nil && !p.has(")") {
			err = p.fail("missing closing parenthesis for condition", p.i)
		}
		p.i++
	default:
		n.name, err = p.groupName(')')
	}
	if err == nil {
		p.ref(n)
	}
	return err
}

// setting reads (?imsx-imsx) to the enclosing group's end, or (?imsx-imsx:...).
func (p *parser) setting() (*node, error) {
	before := p.opt
	on := true
	if p.has("^") {
		p.opt.caseless, p.opt.multiline, p.opt.dotAll, p.opt.extended, p.opt.extendedMore, p.opt.noCapture = false, false, false, false, false, false
		p.i++
	}
	for ; p.more(); p.i++ {
		switch c := p.src[p.i]; c {
		case '-':
			on = false
		case 'i':
			p.opt.caseless = on
		case 'm':
			p.opt.multiline = on
		case 's':
			p.opt.dotAll = on
		case 'n':
			p.opt.noCapture = on
		case 'J':
			p.opt.dupNames = on
		case 'U':
			p.opt.ungreedy = on
		case 'x':
			p.opt.extended = on
			if p.opt.extendedMore = on && p.i+1 < len(p.src) && p.src[p.i+1] == 'x'; p.opt.extendedMore {
				p.i++
			}
		case ')':
			p.i++
			return nil, nil
		case ':':
			p.i++
			n, err := p.body(&node{kind: kindConcat})
			p.opt = before
			return n, err
		default:
			return nil, p.fail("unrecognized character after (? or (?-", p.i)
		}
	}
	return nil, p.fail("missing closing parenthesis", p.i)
}

// verb reads (*NAME), behind the parenthesis, or a group of that form.
func (p *parser) verb() (*node, error) {
	p.i++
	start := p.i
	for p.more() && (isWord(p.src[p.i])) {
		p.i++
	}
	name := p.src[start:p.i]
	if p.has(":") {
		if n := wordGroup(name); n != nil {
			n.at = start - 2
			p.i++
			if n.behind {
				return p.lookbehind(n)
			}
			return p.body(n)
		}
	}
	if p.has(")") {
		switch name {
		case "F", "FAIL":
			p.i++
			return &node{kind: kindFail}, nil
		case "ACCEPT", "COMMIT", "PRUNE", "SKIP", "THEN":
			return nil, p.fail("(*"+name+") is not supported", p.i)
		}
	}
	return nil, p.fail("(*VERB) not recognized or malformed", p.i)
}

// wordGroup returns the group that a word such as atomic or pla stands for.
func wordGroup(name string) *node {
	switch name {
	case "atomic":
		return &node{kind: kindAtomic}
	case "pla", "positive_lookahead":
		return &node{kind: kindLook}
	case "nla", "negative_lookahead":
		return &node{kind: kindLook, neg: true}
	case "plb", "positive_lookbehind":
		return &node{kind: kindLook, behind: true}
	case "nlb", "negative_lookbehind":
		return &node{kind: kindLook, behind: true, neg: true}
	}
	return nil
}

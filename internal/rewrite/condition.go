package rewrite

import (
	"fmt"
	"strings"
	"syscall"

	"limpet/internal/errlog"
	"limpet/internal/ngx"
	"limpet/nginxconf"
)

// condition says whether an `if` holds. quoted is true while captures in its values are escaped (see state).
type condition func(r *ngx.Request, quoted bool) bool

// test is a condition as parsed.
type test struct {
	op      string // "" for a variable alone, = != ~ ~* !~ !~* or -f and its kin
	v       *ngx.Var
	text    ngx.Text
	pattern *ngx.Pattern
}

// parseCondition reads what stands between the parentheses of an `if`, which
// may be words of their own or parts of the first and last word.
func parseCondition(s *nginxconf.Setting) (*test, error) {
	words := make([]string, len(s.Args))
	for i := range s.Args {
		words[i] = s.Arg(i)
	}
	first := words[0]
	if !strings.HasPrefix(first, "(") {
		return nil, invalidCondition(first)
	}
	if words[0] = first[1:]; words[0] == "" {
		words = words[1:]
	}
	if len(words) == 0 {
		return nil, invalidCondition("(")
	}
	end := len(words) - 1
	last := words[end]
	if !strings.HasSuffix(last, ")") {
		if end == 0 && first != "(" {
			return nil, invalidCondition(last)
		}
		return nil, invalidCondition(last)
	}
	if last == ")" {
		if words = words[:end]; len(words) == 0 {
			return nil, invalidCondition(last)
		}
	} else {
		words[end] = last[:len(last)-1]
	}
	return parseTest(s, words)
}

func invalidCondition(word string) error { return fmt.Errorf(`invalid condition "%s"`, word) }

func parseTest(s *nginxconf.Setting, words []string) (*test, error) {
	w := words[0]
	switch {
	case len(w) > 1 && w[0] == '$':
		return parseComparison(s, words)
	case len(w) == 2 && w[0] == '-', len(w) == 3 && w[0] == '!' && w[1] == '-':
		if len(words) != 2 || !strings.Contains("fdex", w[len(w)-1:]) {
			return nil, invalidCondition(w)
		}
		text, err := ngx.ParseText(s, words[1])
		return &test{op: w, text: text}, err
	}
	return nil, invalidCondition(w)
}

// parseComparison reads a variable, alone or with an operator and a value.
func parseComparison(s *nginxconf.Setting, words []string) (*test, error) {
	if len(words) != 1 && len(words) != 3 {
		return nil, invalidCondition(words[0])
	}
	t := &test{v: nginxconf.Of[*ngx.VarConf](s.Level.Root()).Vars.Use(words[0][1:])}
	if len(words) == 1 {
		return t, nil
	}
	t.op = words[1]
	var err error
	switch t.op {
	case "=", "!=":
		t.text, err = ngx.ParseText(s, words[2])
	case "~", "~*", "!~", "!~*":
		t.pattern, err = parsePattern(s, words[2], strings.HasSuffix(t.op, "*"))
	default:
		return nil, fmt.Errorf(`unexpected "%s" in condition`, t.op)
	}
	return t, err
}

func (t *test) compile(c *compiler) condition {
	negate := strings.HasPrefix(t.op, "!")
	switch {
	case t.op == "":
		return t.truth
	case t.pattern != nil:
		return t.match(negate, c.log)
	case strings.HasSuffix(t.op, "="):
		return func(r *ngx.Request, quoted bool) bool { return t.equal(r, quoted, negate) != negate }
	}
	return t.file(t.op[len(t.op)-1], negate)
}

// truth is that of a variable: everything but the empty string and 0.
func (t *test) truth(r *ngx.Request, _ bool) bool {
	b := t.v.Bytes(r)
	if r.Debugging() {
		r.Debugf(`http script var: "%s"`, b)
	}
	return len(b) > 0 && !(len(b) == 1 && b[0] == '0')
}

// equal compares; negate is for the debug line.
func (t *test) equal(r *ngx.Request, quoted, negate bool) bool {
	is, want := t.v.Bytes(r), textBytes(&t.text, r, quoted)
	ok := string(is) == string(want)
	if r.Debugging() {
		r.Debugf(`http script var: "%s"`, is)
		r.Debugf(`http script value: "%s"`, want)
		what, no := "equal", ""
		if negate {
			what = "not equal"
		}
		if ok == negate {
			no = ": no"
		}
		r.Debugf("http script %s%s", what, no)
	}
	return ok
}

func (t *test) match(negate, log bool) condition {
	p := t.pattern
	return func(r *ngx.Request, _ bool) bool {
		ok := matchPattern(p, r, t.v.Bytes(r), log)
		return ok != negate
	}
}

// matchPattern matches as scripts do: a failure forgets the captures.
func matchPattern(p *ngx.Pattern, r *ngx.Request, subject []byte, log bool) bool {
	if r.Debugging() {
		r.Debugf(`http script regex: "%s"`, p.Text)
	}
	ok := p.Match(r, subject)
	if r.Debugging() {
		debugMatch(r, ok, p, subject)
	}
	if !ok {
		r.DropCaptures()
	}
	if log {
		how := "matches"
		if !ok {
			how = "does not match"
		}
		r.Logf(errlog.Notice, `"%s" %s "%s"`, p.Text, how, subject)
	}
	return ok
}

// debugMatch tells whether a pattern matches and what its groups are.
func debugMatch(r *ngx.Request, ok bool, p *ngx.Pattern, subject []byte) {
	if !ok {
		r.Debugf(`"%s" does not match "%s"`, p.Text, subject)
		return
	}
	r.Debugf(`"%s" matches "%s"`, p.Text, subject)
	for i := 1; i < r.Captures(); i++ {
		r.Debugf(`http script capture: "%s"`, r.Capture(i))
	}
}

// file makes the tests -f -d -e -x.
func (t *test) file(kind byte, negate bool) condition {
	return func(r *ngx.Request, quoted bool) bool {
		name := textBytes(&t.text, r, quoted)
		var st syscall.Stat_t
		call, err := "stat()", error(nil)
		if r.Scope.Stat != nil {
			call, err = r.Scope.Stat(r, name, &st)
		} else {
			err = syscall.Stat(string(name), &st)
		}
		if err != nil {
			switch err {
			case syscall.ENOENT, syscall.ENOTDIR, syscall.ENAMETOOLONG:
			default:
				r.Critf(`%s "%s" failed %s`, call, name, errlog.Errno(err))
			}
			if r.Debugging() {
				debugFile(r, kind, name, negate)
			}
			return negate
		}
		mode := st.Mode & syscall.S_IFMT
		yes := false
		switch kind {
		case 'f':
			yes = mode == syscall.S_IFREG
		case 'd':
			yes = mode == syscall.S_IFDIR
		case 'e':
			yes = mode == syscall.S_IFREG || mode == syscall.S_IFDIR
		case 'x':
			yes = st.Mode&syscall.S_IXUSR != 0
		}
		if r.Debugging() {
			debugFile(r, kind, name, yes != negate)
		}
		return yes != negate
	}
}

// debugFile tells of a test of a file and what it came to.
func debugFile(r *ngx.Request, kind byte, name []byte, yes bool) {
	r.Debugf(`http script file op -%c "%s"`, kind, name)
	if !yes {
		r.Debugf("http script file op false")
	}
}

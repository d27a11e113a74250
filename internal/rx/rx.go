// Package rx is regular expressions with PCRE2's meaning, as nginx's
// configurations need them: on bytes, in the C locale, with lookaround,
// backreferences and possessive quantifiers, and $ before a final newline, too.
// https://www.pcre.org/current/doc/html/pcre2pattern.html
//
// A pattern becomes a program for a backtracking machine of this package. Go's
// own package matches characters in place of bytes and knows no lookaround;
// what libraries there are match characters, too, and copy each subject.
// Patterns that are a mere prefix, suffix or word need no machine at all.
//
// Not done, and refused by name: recursion, \X, verbs that direct backtracking,
// newline conventions other than LF, \p together with (*UTF8).
package rx

import (
	"bytes"
	"strings"
	"sync"
)

// Flags change how a pattern matches.
type Flags uint8

// Caseless ignores the case of ASCII letters.
const Caseless Flags = 1

// Name is a named group.
type Name struct {
	Name  string
	Index int
}

// Error is an error of a pattern in nginx's words with PCRE2's text.
type Error struct {
	Msg     string
	Pattern string
	Offset  int // in the pattern
}

// Error implements error.
func (e *Error) Error() string {
	s := `pcre2_compile() failed: ` + e.Msg + ` in "` + e.Pattern + `"`
	if e.Offset < len(e.Pattern) {
		s += ` at "` + e.Pattern[e.Offset:] + `"`
	}
	return s
}

// Regexp is a compiled pattern. It may be used by several goroutines at once.
type Regexp struct {
	text   string
	insts  []inst
	groups int
	slots  int
	names  []Name
	plan   plan
	pool   sync.Pool // of *machine
}

// machine returns a machine to match a subject with.
func (re *Regexp) machine(subject []byte) *machine {
	m, ok := re.pool.Get().(*machine)
	if !ok {
		m = &machine{stack: make([]frame, 0, 32), slots: make([]int32, re.slots)}
	}
	m.subject, m.steps = subject, 0
	return m
}

// maxIdleStack is the largest stack that an idle machine keeps.
const maxIdleStack = 4096

func (re *Regexp) free(m *machine) {
	m.subject = nil
	if cap(m.stack) <= maxIdleStack {
		re.pool.Put(m)
	}
}

// Compile compiles a pattern; errors are *Error.
func Compile(pattern string, flags Flags) (*Regexp, error) {
	p, n, err := parse(pattern, flags)
	if err != nil {
		return nil, err
	}
	c := &compiler{slots: 3 * (p.groups + 1)}
	c.node(n)
	c.add(inst{op: opMatch})
	if c.tooBig {
		return nil, p.fail("regular expression is too large", len(pattern))
	}
	c.settle()
	re := &Regexp{text: pattern, insts: c.insts, groups: p.groups, slots: c.slots, names: p.names}
	re.plan = makePlan(n, re)
	return re, nil
}

// Names returns the named groups in the order of the pattern.
func (re *Regexp) Names() []Name { return re.names }

// String returns the pattern as written.
func (re *Regexp) String() string { return re.text }

// NumCaptures returns the number of capturing groups.
func (re *Regexp) NumCaptures() int { return re.groups }

// Match reports whether the subject matches, and appends the offsets of the
// whole match and of each group to caps, -1 for a group that isn't set. caps
// is returned as it was, its memory untouched, when there is no match.
func (re *Regexp) Match(subject []byte, caps []int) ([]int, bool) {
	caps, err := re.Exec(subject, caps)
	return caps, err == nil
}

// Exec is Match that tells a subject without a match, ErrNoMatch, from one that
// took too long, ErrLimit.
func (re *Regexp) Exec(subject []byte, caps []int) ([]int, error) {
	return re.ExecFrom(subject, 0, caps)
}

// ExecFrom is Exec for a match that begins at the offset from or behind it. What
// is before from is still the subject's: ^ doesn't match at from, and lookbehind sees it.
func (re *Regexp) ExecFrom(subject []byte, from int, caps []int) ([]int, error) {
	if from > len(subject) || from > 0 && re.plan.anchored {
		return caps, ErrNoMatch
	}
	if re.plan.whole {
		start, end, ok := re.plan.find(subject[from:])
		if !ok {
			return caps, ErrNoMatch
		}
		return append(caps, from+start, from+end), nil
	}
	if re.plan.suffix != "" && !re.plan.hasSuffix(subject) {
		return caps, ErrNoMatch
	}
	m := re.machine(subject)
	defer re.free(m)
	for start := from; ; start++ {
		if start = re.plan.next(subject, start); start < 0 {
			return caps, ErrNoMatch
		}
		for i := range m.slots {
			m.slots[i] = -1
		}
		end, result := re.run(m, start)
		switch result {
		case gaveUp:
			return caps, ErrLimit
		case matched:
			if keep := m.slots[0]; keep >= 0 {
				start = int(keep)
			}
			return re.appendCaps(caps, m, start, end), nil
		}
		if re.plan.anchored {
			return caps, ErrNoMatch
		}
	}
}

func (re *Regexp) appendCaps(caps []int, m *machine, start, end int) []int {
	caps = append(caps, start, end)
	for g := 1; g <= re.groups; g++ {
		caps = append(caps, int(m.slots[3*g]), int(m.slots[3*g+1]))
	}
	return caps
}

// matchError is an outcome of Exec.
type matchError string

func (e matchError) Error() string { return string(e) }

const (
	// ErrNoMatch says that the subject doesn't match.
	ErrNoMatch = matchError("no match")
	// ErrLimit says that matching was given up after as many steps as PCRE2 takes by default.
	ErrLimit = matchError("match limit exceeded")
)

// plan is what is known of a pattern's matches without running it.
type plan struct {
	// whole says that the pattern is nothing but text, perhaps anchored.
	whole    bool
	fold     bool
	text     string // in lower case when fold
	anchored bool   // a match begins at the subject's beginning
	ended    bool   // and ends at its end, or before a final newline
	first    *set   // a match's first byte; nil when it may be any or empty
	firstOne int    // the one byte in first, else -1
	suffix   string // the subject ends in it, or in it and a newline
}

func makePlan(n *node, re *Regexp) plan {
	pl := plan{firstOne: -1}
	subs := []*node{n}
	if n.kind == kindConcat {
		subs = n.sub
	}
	pl.anchored = begins(n)
	text := subs
	if len(text) > 0 && text[0].kind == kindBegin {
		text = text[1:]
	}
	if len(text) > 0 && text[len(text)-1].kind == kindEnd {
		text = text[:len(text)-1]
		pl.ended = true
	}
	if lit, fold, ok := literal(text); ok && re.groups == 0 {
		pl.whole, pl.text, pl.fold = true, lit, fold
		return pl
	}
	if pl.ended {
		at := len(text)
		for at > 0 && text[at-1].kind == kindChar {
			at--
		}
		if lit, fold, ok := literal(text[at:]); ok {
			pl.suffix, pl.fold = lit, fold
		}
	}
	if s := new(set); firstBytes(n, s) {
		pl.first = s
		for c, count := 0, 0; c < 256; c++ {
			if s.has(byte(c)) {
				if count++; count > 1 {
					pl.firstOne = -1
					break
				}
				pl.firstOne = c
			}
		}
	}
	return pl
}

// begins reports whether every match begins at the subject's beginning.
func begins(n *node) bool {
	switch n.kind {
	case kindBegin:
		return true
	case kindConcat:
		return len(n.sub) > 0 && begins(n.sub[0])
	case kindGroup, kindAtomic:
		return begins(n.sub[0])
	case kindAlternate:
		for _, s := range n.sub {
			if !begins(s) {
				return false
			}
		}
		return true
	}
	return false
}

// literal returns the text of nodes that are all characters of one way of folding.
func literal(nodes []*node) (text string, fold, ok bool) {
	var b strings.Builder
	for _, n := range nodes {
		if n.kind != kindChar {
			return "", false, false
		}
		fold = fold || n.fold
	}
	if fold && !foldable(nodes) {
		return "", false, false
	}
	for _, n := range nodes {
		c := n.char
		if fold {
			c = lower(c)
		}
		b.WriteByte(c)
	}
	return b.String(), fold, true
}

// firstBytes adds the bytes with which a match can begin; false when it can be empty or isn't known.
func firstBytes(n *node, s *set) bool {
	switch n.kind {
	case kindChar, kindSet:
		s.addSet(n.byteSet())
		return true
	case kindConcat:
		for _, sub := range n.sub {
			switch sub.kind {
			case kindBegin, kindWord, kindLineBegin, kindEmpty:
				continue
			case kindLook:
				continue
			}
			if firstBytes(sub, s) {
				return true
			}
			if !sub.nullable() || sub.kind == kindKeep || !plainEmpty(sub) {
				return false
			}
		}
		return false
	case kindAlternate:
		for _, sub := range n.sub {
			if !firstBytes(sub, s) {
				return false
			}
		}
		return true
	case kindGroup, kindAtomic:
		return firstBytes(n.sub[0], s)
	case kindRepeat:
		return firstBytes(n.sub[0], s) && n.min > 0
	}
	return false
}

// plainEmpty reports whether a nullable node's first bytes were all added before it was found to be nullable.
func plainEmpty(n *node) bool { return n.kind == kindRepeat && n.sub[0].byteSet() != nil }

// next returns the first position from start on where a match may begin, -1 for none.
func (pl *plan) next(s []byte, start int) int {
	switch {
	case start > len(s):
		return -1
	case pl.anchored || pl.first == nil:
		return start
	case pl.firstOne >= 0:
		i := bytes.IndexByte(s[start:], byte(pl.firstOne))
		if i < 0 {
			return -1
		}
		return start + i
	}
	for ; start < len(s); start++ {
		if pl.first.has(s[start]) {
			return start
		}
	}
	return -1
}

// hasSuffix reports whether the subject ends as a match must.
func (pl *plan) hasSuffix(s []byte) bool {
	return pl.endsAt(s, len(s)) || len(s) > 0 && s[len(s)-1] == '\n' && pl.endsAt(s, len(s)-1)
}

func (pl *plan) endsAt(s []byte, end int) bool {
	n := len(pl.suffix)
	if end < n {
		return false
	}
	if pl.fold {
		return hasFold(s[end-n:end], pl.suffix)
	}
	return string(s[end-n:end]) == pl.suffix
}

// find matches a pattern that is nothing but text.
func (pl *plan) find(s []byte) (from, to int, ok bool) {
	n := len(pl.text)
	equal := func(at int) bool {
		if at < 0 || at+n > len(s) {
			return false
		}
		if pl.fold {
			return hasFold(s[at:], pl.text)
		}
		return string(s[at:at+n]) == pl.text
	}
	newline := len(s) > 0 && s[len(s)-1] == '\n'
	switch {
	case pl.anchored && pl.ended:
		return 0, n, (len(s) == n || newline && len(s) == n+1) && equal(0)
	case pl.anchored:
		return 0, n, equal(0)
	case pl.ended:
		if at := len(s) - 1 - n; newline && equal(at) {
			return at, at + n, true
		}
		return len(s) - n, len(s), equal(len(s) - n)
	case !pl.fold:
		at := bytes.Index(s, []byte(pl.text))
		return at, at + n, at >= 0
	}
	for at := 0; at+n <= len(s); at++ {
		if equal(at) {
			return at, at + n, true
		}
	}
	return 0, 0, false
}

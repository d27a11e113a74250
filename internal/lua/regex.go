package lua

import (
	"strings"

	lua "github.com/yuin/gopher-lua"

	"limpet/internal/rx"
)

// pattern is a compiled pattern with its options.
type pattern struct {
	re       *rx.Regexp
	anchored bool
}

// maxPatterns bounds how many patterns a state keeps compiled.
const maxPatterns = 1024

// pattern compiles the pattern of argument 2 with the options of argument i.
func (m *machine) pattern(L *lua.LState, i int) (*pattern, string) {
	re, opts := m.checkString(L, 2), ""
	if L.Get(i) != lua.LNil {
		opts = m.checkString(L, i)
	}
	key := opts + "/" + re
	if p := m.patterns[key]; p != nil {
		return p, ""
	}
	p := &pattern{}
	var flags rx.Flags
	inline, utf := "", false
	for _, o := range opts {
		switch o {
		case 'i':
			flags |= rx.Caseless
		case 's', 'm', 'x':
			inline += string(o)
		case 'a':
			p.anchored = true
		case 'u', 'U':
			utf = true
		case 'D':
			inline += "J"
		case 'd', 'j', 'o', 'J':
		default:
			raise(L, "unknown flag \"%c\" (flags \"%s\")", o, opts)
		}
	}
	text := re
	if inline != "" {
		text = "(?" + inline + ")" + text
	}
	if utf {
		text = "(*UTF8)" + text
	}
	var err error
	if p.re, err = rx.Compile(text, flags); err != nil {
		return nil, err.Error()
	}
	if m.patterns == nil || len(m.patterns) >= maxPatterns {
		m.patterns = make(map[string]*pattern)
	}
	m.patterns[key] = p
	return p, ""
}

// match matches from an offset on.
func (p *pattern) match(subject string, from int) ([]int, bool) {
	caps, err := p.re.ExecFrom([]byte(subject), from, nil)
	if err == nil && p.anchored && caps[0] != from {
		return nil, false
	}
	return caps, err == nil
}

func (m *machine) openRegex(t *lua.LTable) {
	re := m.L.NewTable()
	m.set(re, "match", m.reMatch)
	m.set(re, "find", m.reFind)
	m.set(re, "gmatch", m.reGmatch)
	m.set(re, "sub", func(L *lua.LState) int { return m.reSub(L, false) })
	m.set(re, "gsub", func(L *lua.LState) int { return m.reSub(L, true) })
	t.RawSetString("re", re)
}

// position reads the pos of a context table, argument i.
func position(L *lua.LState, i int) (ctx *lua.LTable, pos int) {
	ctx, _ = L.Get(i).(*lua.LTable)
	if ctx == nil {
		return nil, 0
	}
	if n, ok := ctx.RawGetString("pos").(lua.LNumber); ok && n > 1 {
		return ctx, int(n) - 1
	}
	return ctx, 0
}

// captures returns the table of a match.
func (m *machine) captures(p *pattern, subject string, caps []int, t *lua.LTable) *lua.LTable {
	if t == nil {
		t = m.L.CreateTable(len(caps)/2, 1)
	}
	value := func(i int) lua.LValue {
		if 2*i+1 >= len(caps) || caps[2*i] < 0 {
			return lua.LFalse
		}
		return lua.LString(subject[caps[2*i]:caps[2*i+1]])
	}
	for i := 0; i <= p.re.NumCaptures(); i++ {
		t.RawSetInt(i, value(i))
	}
	for _, n := range p.re.Names() {
		if v := value(n.Index); v != lua.LFalse || t.RawGetString(n.Name) == lua.LNil {
			t.RawSetString(n.Name, v)
		}
	}
	return t
}

// matchAt matches from the place that argument 4 says, a table with pos, where it then notes the match's end.
func matchAt(L *lua.LState, p *pattern, s string) (caps []int, ok bool) {
	ctx, pos := position(L, 4)
	if pos > len(s) {
		return nil, false
	}
	if caps, ok = p.match(s, pos); ok && ctx != nil {
		ctx.RawSetString("pos", lua.LNumber(caps[1]+1))
	}
	return caps, ok
}

func (m *machine) reMatch(L *lua.LState) int {
	s := m.loose(L, 1)
	p, msg := m.pattern(L, 3)
	if p == nil {
		return fail(L, msg)
	}
	caps, ok := matchAt(L, p, s)
	if !ok {
		L.Push(lua.LNil)
		return 1
	}
	into, _ := L.Get(5).(*lua.LTable)
	L.Push(m.captures(p, s, caps, into))
	return 1
}

func (m *machine) reFind(L *lua.LState) int {
	s := m.loose(L, 1)
	p, msg := m.pattern(L, 3)
	if p == nil {
		L.Push(lua.LNil)
		L.Push(lua.LNil)
		L.Push(lua.LString(msg))
		return 3
	}
	caps, ok := matchAt(L, p, s)
	if !ok {
		L.Push(lua.LNil)
		return 1
	}
	nth := L.OptInt(5, 0)
	if nth < 0 || nth > p.re.NumCaptures() {
		L.Push(lua.LNil)
		L.Push(lua.LNil)
		L.Push(lua.LString("nth out of bound"))
		return 3
	}
	if 2*nth+1 >= len(caps) || caps[2*nth] < 0 {
		L.Push(lua.LNil)
		return 1
	}
	L.Push(lua.LNumber(caps[2*nth] + 1))
	L.Push(lua.LNumber(caps[2*nth+1]))
	return 2
}

func (m *machine) reGmatch(L *lua.LState) int {
	s := m.loose(L, 1)
	p, msg := m.pattern(L, 3)
	if p == nil {
		return fail(L, msg)
	}
	pos := 0
	L.Push(L.NewFunction(func(L *lua.LState) int {
		if pos > len(s) {
			L.Push(lua.LNil)
			return 1
		}
		caps, ok := p.match(s, pos)
		if !ok {
			pos = len(s) + 1
			L.Push(lua.LNil)
			return 1
		}
		if pos = caps[1]; caps[0] == caps[1] {
			pos++
		}
		L.Push(m.captures(p, s, caps, nil))
		return 1
	}))
	return 1
}

// reSub is ngx.re.sub and gsub.
func (m *machine) reSub(L *lua.LState, all bool) int {
	s := m.loose(L, 1)
	p, msg := m.pattern(L, 4)
	if p == nil {
		L.Push(lua.LNil)
		L.Push(lua.LNil)
		L.Push(lua.LString(msg))
		return 3
	}
	fn, _ := L.Get(3).(*lua.LFunction)
	template := ""
	if fn == nil {
		template = m.loose(L, 3)
	}
	var b strings.Builder
	n, pos, copied := 0, 0, 0
	for pos <= len(s) {
		caps, ok := p.match(s, pos)
		if !ok {
			break
		}
		b.WriteString(s[copied:caps[0]])
		if fn != nil {
			L.Push(fn)
			L.Push(m.captures(p, s, caps, nil))
			L.Call(1, 1)
			b.WriteString(m.loose(L, -1))
			L.Pop(1)
		} else if !expand(&b, template, s, caps) {
			L.Push(lua.LNil)
			L.Push(lua.LNil)
			L.Push(lua.LString("failed to compile the replacement template"))
			return 3
		}
		n++
		copied, pos = caps[1], caps[1]
		if b.Len() > maxString {
			raise(L, "not enough memory")
		}
		if !all {
			break
		}
		if caps[0] == caps[1] {
			pos++
			if copied < len(s) {
				b.WriteByte(s[copied])
				copied++
			}
		}
	}
	if copied < len(s) {
		b.WriteString(s[copied:])
	}
	L.Push(lua.LString(b.String()))
	L.Push(lua.LNumber(n))
	return 2
}

// expand writes a replacement: $1, ${1}, $0 and $$.
func expand(b *strings.Builder, t, s string, caps []int) bool {
	for i := 0; i < len(t); i++ {
		if t[i] != '$' {
			b.WriteByte(t[i])
			continue
		}
		i++
		if i >= len(t) {
			return false
		}
		if t[i] == '$' {
			b.WriteByte('$')
			continue
		}
		brace := t[i] == '{'
		if brace {
			i++
		}
		n, digits := 0, 0
		for i < len(t) && t[i] >= '0' && t[i] <= '9' && digits < 4 {
			n, i, digits = n*10+int(t[i]-'0'), i+1, digits+1
		}
		if digits == 0 || brace && (i >= len(t) || t[i] != '}') {
			return false
		}
		if !brace {
			i--
		}
		if 2*n+1 < len(caps) && caps[2*n] >= 0 {
			b.WriteString(s[caps[2*n]:caps[2*n+1]])
		}
	}
	return true
}

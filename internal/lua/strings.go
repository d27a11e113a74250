package lua

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	lua "github.com/yuin/gopher-lua"
)

// openString replaces functions of the string library that differ from LuaJIT's or have no bound.
func (m *machine) openString(t *lua.LTable) {
	t.RawSetString("dump", lua.LNil)
	ascii := func(from, to byte, diff int) lua.LGFunction {
		return func(L *lua.LState) int {
			b := []byte(m.checkString(L, 1))
			for i, c := range b {
				if from <= c && c <= to {
					b[i] = byte(int(c) + diff)
				}
			}
			L.Push(lua.LString(b))
			return 1
		}
	}
	m.set(t, "upper", ascii('a', 'z', -32))
	m.set(t, "lower", ascii('A', 'Z', 32))
	m.set(t, "rep", func(L *lua.LState) int {
		s, n, sep := m.checkString(L, 1), L.CheckInt(2), L.OptString(3, "")
		if n <= 0 {
			L.Push(lua.LString(""))
			return 1
		}
		if (len(s)+len(sep))*n > maxString {
			raise(L, "not enough memory")
		}
		m.guard.took((len(s) + len(sep)) * n)
		if sep != "" {
			L.Push(lua.LString(strings.Repeat(s+sep, n-1) + s))
		} else {
			L.Push(lua.LString(strings.Repeat(s, n)))
		}
		return 1
	})
	m.set(t, "format", m.format)
	patterns := t.RawGetString("find").(*lua.LFunction).GFunction
	m.set(t, "find", func(L *lua.LState) int { return find(L, patterns) })
}

// find is string.find. What isn't a pattern is searched for at once: the interpreter
// compiles patterns anew at each call.
func find(L *lua.LState, patterns lua.LGFunction) int {
	s, ok := text(L.Get(1))
	p, ok2 := text(L.Get(2))
	if !ok || !ok2 || strings.ContainsAny(p, "^$*+?.([%-") && !L.ToBool(4) {
		return patterns(L)
	}
	from := L.OptInt(3, 1)
	switch {
	case from > 0:
		from--
	case from < 0:
		from = max(len(s)+from, 0)
	}
	from = min(from, len(s))
	at := strings.Index(s[from:], p)
	if at < 0 {
		L.Push(lua.LNil)
		return 1
	}
	L.Push(lua.LNumber(from + at + 1))
	L.Push(lua.LNumber(from + at + len(p)))
	return 2
}

// checkString is the argument as a string, numbers in Lua's form.
func (m *machine) checkString(L *lua.LState, i int) string {
	s, ok := text(L.Get(i))
	if !ok {
		got := L.Get(i).Type().String()
		if i > L.GetTop() {
			got = "no value"
		}
		argError(L, i, "string expected, got "+got)
	}
	return s
}

// format is string.format with C's formats.
func (m *machine) format(L *lua.LState) int {
	f := m.checkString(L, 1)
	arg := 1
	var b strings.Builder
	for i := 0; i < len(f); i++ {
		if f[i] != '%' {
			b.WriteByte(f[i])
			continue
		}
		j := i + 1
		for j < len(f) && strings.IndexByte("-+ #0123456789.", f[j]) >= 0 {
			j++
		}
		if j >= len(f) || j-i > 20 {
			raise(L, "invalid option '%%%s' to 'format'", f[i+1:j])
		}
		spec, verb := f[i:j], f[j]
		i = j
		if verb == '%' {
			b.WriteByte('%')
			continue
		}
		arg++
		m.formatOne(L, &b, spec, verb, arg)
		if b.Len() > maxString {
			raise(L, "not enough memory")
		}
	}
	L.Push(lua.LString(b.String()))
	return 1
}

func (m *machine) formatOne(L *lua.LState, b *strings.Builder, spec string, verb byte, arg int) {
	if arg > L.GetTop() {
		raise(L, "bad argument #%d to 'format' (no value)", arg)
	}
	switch verb {
	case 'd', 'i':
		fmt.Fprintf(b, spec+"d", int64(float64(L.CheckNumber(arg))))
	case 'u':
		fmt.Fprintf(b, spec+"d", uint64(int64(float64(L.CheckNumber(arg)))))
	case 'x', 'X', 'o':
		fmt.Fprintf(b, spec+string(verb), uint64(int64(float64(L.CheckNumber(arg)))))
	case 'c':
		b.WriteByte(byte(L.CheckInt(arg)))
	case 'e', 'E', 'f', 'g', 'G':
		b.WriteString(formatFloat(spec, verb, float64(L.CheckNumber(arg))))
	case 's':
		fmt.Fprintf(b, spec+"s", byteString(m.tostring(L, L.Get(arg))))
	case 'q':
		b.WriteString(quoted(m.checkString(L, arg)))
	default:
		raise(L, "invalid option '%%%c' to 'format'", verb)
	}
}

// byteString counts widths in bytes, as C does.
type byteString string

// Format implements fmt.Formatter.
func (s byteString) Format(f fmt.State, _ rune) {
	t := string(s)
	if p, ok := f.Precision(); ok && p < len(t) {
		t = t[:p]
	}
	pad := ""
	if w, ok := f.Width(); ok && w > len(t) {
		pad = strings.Repeat(" ", w-len(t))
	}
	if f.Flag('-') {
		fmt.Fprint(f, t, pad)
	} else {
		fmt.Fprint(f, pad, t)
	}
}

func formatFloat(spec string, verb byte, v float64) string {
	switch {
	case math.IsInf(v, 0), v != v:
		width := strings.TrimLeft(strings.SplitN(spec[1:], ".", 2)[0], "+ #0")
		return fmt.Sprintf("%"+width+"s", numText(lua.LNumber(v)))
	case verb == 'g' || verb == 'G':
		prec := 6
		if _, p, ok := strings.Cut(spec, "."); ok {
			prec, _ = strconv.Atoi(p)
		}
		s := trimG(strconv.FormatFloat(v, verb, max(prec, 1), 64))
		width := strings.SplitN(spec[1:], ".", 2)[0]
		return fmt.Sprintf("%"+strings.Trim(width, "+ #")+"s", s)
	}
	return fmt.Sprintf(spec+string(verb), v)
}

func quoted(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for i := range len(s) {
		switch c := s[i]; c {
		case '"', '\\', '\n':
			b.WriteByte('\\')
			b.WriteByte(c)
		case '\r':
			b.WriteString(`\r`)
		case 0:
			b.WriteString(`\0`)
		default:
			b.WriteByte(c)
		}
	}
	b.WriteByte('"')
	return b.String()
}

// plain puts an error text of the interpreter into LuaJIT's words.
func plain(msg string) string {
	at, text := "", msg
	if i := strings.Index(msg, ": "); i >= 0 {
		at, text = msg[:i+2], msg[i+2:]
	}
	switch {
	case strings.HasPrefix(text, "attempt to index a non-table object("):
		typ, _, _ := strings.Cut(text[len("attempt to index a non-table object("):], ")")
		return at + "attempt to index a " + typ + " value"
	case text == "attempt to call a non-function object":
		return at + "attempt to call a nil value"
	case strings.HasPrefix(text, "cannot perform "):
		return at + arithmetic(text)
	case text == "__len undefined":
		return at + "attempt to get length of a nil value"
	case text == "__unm undefined":
		return at + "attempt to perform arithmetic on a nil value"
	case strings.HasPrefix(text, "for statement "):
		what := strings.Fields(text)[2]
		if what == "init" {
			what = "initial"
		}
		return at + "'for' " + strings.Replace(what, "initial", "initial value", 1) + " must be a number"
	case strings.HasPrefix(text, "bad argument #"):
		return at + badArgument(text)
	case strings.HasPrefix(text, "attempt to compare "):
		return at + comparison(text)
	}
	return msg
}

// arithmetic names the operand at fault of `cannot perform add operation between nil and number`.
func arithmetic(text string) string {
	_, types, _ := strings.Cut(text, " between ")
	a, b, _ := strings.Cut(types, " and ")
	if a == "number" {
		a = b
	}
	return "attempt to perform arithmetic on a " + a + " value"
}

// comparison is `attempt to compare two nil values` where both are of one type.
func comparison(text string) string {
	a, b, ok := strings.Cut(text[len("attempt to compare "):], " with ")
	if ok && a == b {
		return "attempt to compare two " + a + " values"
	}
	return text
}

// badArgument puts the function's name into quotes, without its library.
func badArgument(text string) string {
	before, rest, ok := strings.Cut(text, " to ")
	if !ok || strings.HasPrefix(rest, "'") {
		return text
	}
	name, tail, _ := strings.Cut(rest, " (")
	if i := strings.LastIndexAny(name, ".:"); i >= 0 {
		name = name[i+1:]
	}
	if name == "anonymous)" || strings.HasPrefix(rest, "(") {
		name, tail = "?", rest[strings.Index(rest, ") (")+3:]
	}
	return before + " to '" + name + "' (" + tail
}

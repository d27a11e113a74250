package lua

import (
	"math"
	"strconv"
	"strings"

	lua "github.com/yuin/gopher-lua"
)

// openLibs fills a new state: Lua's own libraries, less what reaches outside, and the API.
func (m *machine) openLibs() {
	L := m.L
	for _, lib := range []struct {
		name string
		open lua.LGFunction
	}{{"", lua.OpenBase}, {"table", lua.OpenTable}, {"string", lua.OpenString}, {"math", lua.OpenMath}, {"coroutine", lua.OpenCoroutine}} {
		L.Push(L.NewFunction(lib.open))
		L.Push(lua.LString(lib.name))
		L.Call(1, 0)
	}
	g := L.G.Global
	for _, name := range []string{"dofile", "loadfile", "_printregs", "newproxy", "_GOPHER_LUA_VERSION", "module"} {
		g.RawSetString(name, lua.LNil)
	}
	m.null = L.NewUserData()
	mt := L.NewTable()
	mt.RawSetString("__tostring", L.NewFunction(func(L *lua.LState) int { L.Push(lua.LString("userdata: NULL")); return 1 }))
	m.null.Metatable = mt
	m.set(g, "tostring", func(L *lua.LState) int {
		L.CheckAny(1)
		L.Push(lua.LString(m.tostring(L, L.Get(1))))
		return 1
	})
	m.set(g, "print", func(L *lua.LState) int { return m.logAt(L, levelNotice, 1) })
	m.set(g, concatName, m.concat)
	m.set(g, "error", luaError)
	m.set(g, "tonumber", toNumber)
	m.set(g, "load", m.load)
	m.set(g, "loadstring", m.load)
	m.set(g, "pcall", m.pcall)
	m.set(g, "xpcall", m.xpcall)
	m.set(g, "collectgarbage", func(L *lua.LState) int { L.Push(lua.LNumber(0)); return 1 })
	g.RawSetString("_VERSION", lua.LString("Lua 5.1"))
	m.seesWhole(g, "pairs", "next", "rawget", "rawset", "getmetatable", "setmetatable")
	m.openString(g.RawGetString("string").(*lua.LTable))
	m.openTable(g.RawGetString("table").(*lua.LTable))
	m.openCoroutine(g.RawGetString("coroutine").(*lua.LTable))
	g.RawGetString("math").(*lua.LTable).RawSetString("huge", lua.LNumber(math.Inf(1)))
	m.openSafe(g)
	jit := L.NewTable()
	for k, v := range map[string]string{"version": "LuaJIT 2.1.0-beta3", "os": "Linux", "arch": "x64"} {
		jit.RawSetString(k, lua.LString(v))
	}
	jit.RawSetString("version_num", lua.LNumber(20100))
	g.RawSetString("jit", jit)
	m.openPackages(g)
	m.openAPI(g)
}

// set puts a Go function into a table.
func (m *machine) set(t *lua.LTable, name string, fn lua.LGFunction) {
	t.RawSetString(name, m.L.NewFunction(fn))
}

// openSafe adds what is harmless of os and debug.
func (m *machine) openSafe(g *lua.LTable) {
	L := m.L
	lib := L.NewTable()
	L.Push(L.NewFunction(lua.OpenOs))
	L.Push(lua.LString("os"))
	L.Call(1, 0)
	full := g.RawGetString("os").(*lua.LTable)
	for _, name := range []string{"time", "date", "clock", "difftime"} {
		lib.RawSetString(name, full.RawGetString(name))
	}
	m.set(lib, "getenv", func(L *lua.LState) int { L.Push(lua.LNil); return 1 })
	g.RawSetString("os", lib)
	debug := L.NewTable()
	m.set(debug, "traceback", func(L *lua.LState) int {
		msg := ""
		if v := L.Get(1); v.Type() == lua.LTString || v.Type() == lua.LTNumber {
			msg = m.tostring(L, v) + "\n"
		}
		L.Push(lua.LString(msg + "stack traceback:" + here(L)))
		return 1
	})
	m.set(debug, "getinfo", func(L *lua.LState) int {
		level := L.OptInt(1, 1)
		d, ok := L.GetStack(level)
		if !ok {
			L.Push(lua.LNil)
			return 1
		}
		L.GetInfo("nSl", d, lua.LNil)
		t := L.NewTable()
		t.RawSetString("currentline", lua.LNumber(d.CurrentLine))
		t.RawSetString("short_src", lua.LString(d.Source))
		t.RawSetString("source", lua.LString("="+d.Source))
		t.RawSetString("name", lua.LString(d.Name))
		L.Push(t)
		return 1
	})
	g.RawSetString("debug", debug)
}

// numText writes a number as LuaJIT does, with 14 digits.
func numText(n lua.LNumber) string {
	f := float64(n)
	if f == math.Trunc(f) && math.Abs(f) < 1e14 {
		return strconv.FormatInt(int64(f), 10)
	}
	switch {
	case math.IsInf(f, 1):
		return "inf"
	case math.IsInf(f, -1):
		return "-inf"
	case f != f && math.Signbit(f):
		return "-nan"
	case f != f:
		return "nan"
	}
	s := strconv.FormatFloat(f, 'g', 14, 64)
	return trimG(s)
}

// trimG drops what C's %g doesn't write: zeros at a fraction's end.
func trimG(s string) string {
	mant, exp, hasExp := strings.Cut(s, "e")
	if strings.ContainsRune(mant, '.') {
		mant = strings.TrimRight(strings.TrimRight(mant, "0"), ".")
	}
	if hasExp {
		return mant + "e" + exp
	}
	return mant
}

// tostring is Lua's tostring.
func (m *machine) tostring(L *lua.LState, v lua.LValue) string {
	switch v := v.(type) {
	case lua.LString:
		return string(v)
	case lua.LNumber:
		return numText(v)
	case *lua.LNilType, lua.LBool:
		return v.String()
	}
	if s, ok := L.ToStringMeta(v).(lua.LString); ok {
		return string(s)
	}
	return v.String()
}

// text returns the bytes of a string or number.
func text(v lua.LValue) (string, bool) {
	switch v := v.(type) {
	case lua.LString:
		return string(v), true
	case lua.LNumber:
		return numText(v), true
	}
	return "", false
}

// concat is the .. operator for any number of operands.
func (m *machine) concat(L *lua.LState) int {
	n := L.GetTop()
	var small [8]string
	parts := small[:0]
	size := 0
	for i := 1; i <= n; i++ {
		s, ok := text(L.Get(i))
		if !ok {
			return m.concatMeta(L, n)
		}
		parts = append(parts, s)
		size += len(s)
	}
	if size > maxString {
		raise(L, "not enough memory")
	}
	m.guard.took(size)
	L.Push(lua.LString(strings.Join(parts, "")))
	return 1
}

// concatMeta concatenates from the right, with metamethods.
func (m *machine) concatMeta(L *lua.LState, n int) int {
	acc := L.Get(n)
	for i := n - 1; i >= 1; i-- {
		left := L.Get(i)
		a, ok := text(left)
		b, ok2 := text(acc)
		if ok && ok2 {
			acc = lua.LString(a + b)
			continue
		}
		mm := L.GetMetaField(left, "__concat")
		if mm == lua.LNil {
			mm = L.GetMetaField(acc, "__concat")
		}
		if mm == lua.LNil {
			bad := acc
			if !ok {
				bad = left
			}
			raise(L, "attempt to concatenate a %s value", bad.Type())
		}
		L.Push(mm)
		L.Push(left)
		L.Push(acc)
		L.Call(2, 1)
		acc = L.Get(-1)
		L.Pop(1)
	}
	L.Push(acc)
	return 1
}

// load is load and loadstring, which in LuaJIT take a string or a function that
// returns pieces, then the chunk's name, the mode and the environment.
func (m *machine) load(L *lua.LState) int {
	program, ok := text(L.Get(1))
	name := L.OptString(2, program)
	if !ok {
		fn := L.CheckFunction(1)
		name = L.OptString(2, "=(load)")
		var b strings.Builder
		for {
			L.Push(fn)
			if err := L.PCall(0, 1, nil); err != nil {
				L.Push(lua.LNil)
				L.Push(m.caught(L, err))
				return 2
			}
			piece, ok := text(L.Get(-1))
			L.Pop(1)
			if !ok || piece == "" {
				break
			}
			if b.WriteString(piece); b.Len() > maxString {
				raise(L, "not enough memory")
			}
		}
		program = b.String()
	}
	c := &code{chunk: chunkName(name)}
	if c.compile(program); c.err != nil {
		return fail(L, c.err.msg)
	}
	f := L.NewFunctionFromProto(c.proto)
	if env, ok := L.Get(4).(*lua.LTable); ok {
		f.Env = env
	}
	L.Push(f)
	return 1
}

// chunkName is how messages name a chunk: by what stands behind = or @, else by its first line.
func chunkName(s string) string {
	if s != "" && (s[0] == '=' || s[0] == '@') {
		return chunkID(s[1:], s[0] == '@')
	}
	const most = 60 - len(`[string "..."]`) - 1
	line, _, more := strings.Cut(s, "\n")
	if more || len(line) > most {
		line = line[:min(len(line), most)] + "..."
	}
	return `[string "` + line + `"]`
}

// pcall is Lua's, but that it lets the end of a script pass.
func (m *machine) pcall(L *lua.LState) int {
	L.CheckAny(1)
	err := L.PCall(L.GetTop()-1, lua.MultRet, nil)
	if err != nil {
		L.Push(lua.LFalse)
		L.Push(m.caught(L, err))
		return 2
	}
	L.Insert(lua.LTrue, 1)
	return L.GetTop()
}

func (m *machine) xpcall(L *lua.LState) int {
	fn, handler := L.CheckAny(1), L.CheckFunction(2)
	args := L.GetTop() - 2
	L.Push(fn)
	for i := range args {
		L.Push(L.Get(3 + i))
	}
	base := L.GetTop() - args - 1
	err := L.PCall(args, lua.MultRet, nil)
	if err != nil {
		v := m.caught(L, err)
		L.Push(lua.LFalse)
		L.Push(handler)
		L.Push(v)
		L.Call(1, 1)
		return 2
	}
	L.Insert(lua.LTrue, base+1)
	return L.GetTop() - base
}

// caught returns the value of an error that a script catches; an error that ends the script goes on.
func (m *machine) caught(L *lua.LState, err error) lua.LValue {
	if m.exiting(err) || m.guard.stopped != nil {
		panic(err)
	}
	ae, ok := err.(*lua.ApiError)
	if !ok {
		return lua.LString(err.Error())
	}
	if s, ok := ae.Object.(lua.LString); ok {
		return lua.LString(plain(string(s)))
	}
	return ae.Object
}

func (m *machine) openCoroutine(t *lua.LTable) {
	create := t.RawGetString("create").(*lua.LFunction)
	resume := t.RawGetString("resume").(*lua.LFunction)
	m.set(t, "create", func(L *lua.LState) int {
		L.CheckFunction(1)
		L.Push(create)
		L.Push(L.Get(1))
		L.Call(1, 1)
		L.Get(-1).(*lua.LState).SetContext(&m.guard)
		return 1
	})
	m.set(t, "wrap", func(L *lua.LState) int {
		L.CheckFunction(1)
		L.Push(create)
		L.Push(L.Get(1))
		L.Call(1, 1)
		th := L.Get(-1).(*lua.LState)
		th.SetContext(&m.guard)
		L.Push(L.NewFunction(func(L *lua.LState) int {
			n := L.GetTop()
			L.Push(resume)
			L.Push(th)
			for i := 1; i <= n; i++ {
				L.Push(L.Get(i))
			}
			L.Call(n+1, lua.MultRet)
			if L.Get(n+1) == lua.LFalse {
				L.Error(L.Get(n+2), 0)
			}
			return L.GetTop() - n - 1
		}))
		return 1
	})
}

func (m *machine) openTable(t *lua.LTable) {
	m.set(t, "new", func(L *lua.LState) int {
		L.Push(L.CreateTable(min(max(L.CheckInt(1), 0), 1<<16), min(max(L.OptInt(2, 0), 0), 1<<16)))
		return 1
	})
	m.set(t, "clear", func(L *lua.LState) int {
		tb := L.CheckTable(1)
		var keys []lua.LValue
		tb.ForEach(func(k, _ lua.LValue) { keys = append(keys, k) })
		for i := len(keys) - 1; i >= 0; i-- {
			tb.RawSet(keys[i], lua.LNil)
		}
		return 0
	})
	count := func(tb *lua.LTable) (n int) {
		tb.ForEach(func(_, _ lua.LValue) { n++ })
		return n
	}
	m.set(t, "nkeys", func(L *lua.LState) int { L.Push(lua.LNumber(count(L.CheckTable(1)))); return 1 })
	m.set(t, "isempty", func(L *lua.LState) int { L.Push(lua.LBool(count(L.CheckTable(1)) == 0)); return 1 })
	m.set(t, "isarray", func(L *lua.LState) int {
		tb := L.CheckTable(1)
		L.Push(lua.LBool(count(tb) == tb.Len()))
		return 1
	})
	m.set(t, "clone", func(L *lua.LState) int {
		to := L.NewTable()
		L.CheckTable(1).ForEach(func(k, v lua.LValue) { to.RawSet(k, v) })
		L.Push(to)
		return 1
	})
	m.set(t, "concat", func(L *lua.LState) int {
		tb, sep := L.CheckTable(1), L.OptString(2, "")
		from, to := L.OptInt(3, 1), L.OptInt(4, tb.Len())
		var b strings.Builder
		for i := from; i <= to; i++ {
			s, ok := text(tb.RawGetInt(i))
			if !ok {
				raise(L, "bad argument #1 to 'concat' (invalid value (%s) at index %d in table)", tb.RawGetInt(i).Type(), i)
			}
			if b.WriteString(s); i < to {
				b.WriteString(sep)
			}
			if b.Len() > maxString {
				raise(L, "not enough memory")
			}
		}
		L.Push(lua.LString(b.String()))
		return 1
	})
	t.RawSetString("pack", lua.LNil)
	m.seesWhole(t, "clear", "nkeys", "isempty", "isarray", "clone")
}

// luaError is error: a message gets the place of the function at the level, unless that isn't Lua.
func luaError(L *lua.LState) int {
	v, level := L.Get(1), L.OptInt(2, 1)
	if s, ok := text(v); ok && level > 0 {
		if d, ok := L.GetStack(level); ok {
			L.GetInfo("Sl", d, lua.LNil)
			if d.What != "G" {
				v = lua.LString(d.Source + ":" + strconv.Itoa(d.CurrentLine) + ": " + s)
			}
		}
	}
	L.Error(v, 0)
	return 0
}

// toNumber is tonumber for decimal and hexadecimal numerals, and for other bases.
func toNumber(L *lua.LState) int {
	v := L.CheckAny(1)
	if n, ok := v.(lua.LNumber); ok {
		L.Push(n)
		return 1
	}
	s, ok := v.(lua.LString)
	if !ok {
		L.Push(lua.LNil)
		return 1
	}
	t := strings.ToLower(strings.TrimSpace(string(s)))
	base := L.OptInt(2, 10)
	if base != 10 {
		n, err := strconv.ParseInt(t, base, 64)
		if err != nil {
			L.Push(lua.LNil)
		} else {
			L.Push(lua.LNumber(n))
		}
		return 1
	}
	digits := strings.TrimLeft(t, "+-")
	if strings.HasPrefix(digits, "0x") {
		if n, err := strconv.ParseUint(digits[2:], 16, 64); err == nil && len(t)-len(digits) < 2 {
			f := float64(n)
			if t[0] == '-' {
				f = -f
			}
			L.Push(lua.LNumber(f))
			return 1
		}
	}
	f, err := strconv.ParseFloat(t, 64)
	if err != nil && !math.IsInf(f, 0) || strings.ContainsAny(t, "_pxn") {
		L.Push(lua.LNil)
		return 1
	}
	L.Push(lua.LNumber(f))
	return 1
}

package lua

import (
	"strings"
	"testing"
	"time"

	lua "github.com/yuin/gopher-lua"
	"github.com/yuin/gopher-lua/ast"

	"limpet/internal/errlog"
	"limpet/internal/ngx"
	"limpet/nginxconf"
)

// testRuntime returns a runtime without a configuration.
func testRuntime() *runtime {
	b := &ngx.Build{Vars: ngx.NewVars(nil), Config: &nginxconf.Config{}}
	return &runtime{build: b, log: new(errlog.Log), prefix: "/p/", stats: new(Stats), workers: 1, maxPending: 1, maxRunning: 1,
		dicts: map[string]*dict{"d": newDict("d", 1<<20)}, begun: make(chan struct{}), done: make(chan struct{}), testing: true}
}

// eval runs a chunk and returns its value as a string, or the error's first line.
func eval(t testing.TB, text string) string {
	t.Helper()
	rt := testRuntime()
	m, err := rt.newMachine(0)
	if err != nil {
		t.Fatal(err)
	}
	defer m.L.Close()
	c := &code{chunk: "chunk"}
	c.compile(text)
	if c.err != nil {
		return "load: " + c.err.msg
	}
	v, err := m.runValue(c, &call{phase: phaseInit}, 1)
	if err != nil {
		line, _, _ := strings.Cut(err.Error(), "\n")
		return "error: " + line
	}
	return m.tostring(m.L, v)
}

// The expectations are those of LuaJIT in nginx's Lua module.
func TestLuaIsLuaJITs(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{`return 1e15`, "1e+15"},
		{`return 0.1 + 0.2`, "0.3"},
		{`return 10/3`, "3.3333333333333"},
		{`return "a" .. 1.5 .. 2^53`, "a1.59.007199254741e+15"},
		{`return 123456789012345`, "1.2345678901234e+14"},
		{`return 0/0 ~= 0/0`, "true"},
		{`return 1/0`, "inf"},
		{`return tonumber("0x10") + tonumber("1e1")`, "26"},
		{`return tostring(tonumber("abc"))`, "nil"},
		{`return ("é"):upper()`, "é"},
		{`return "\x41\u{e9}\065"`, "AéA"},
		{"return 'a\\z\n   b'", "ab"},
		{`return string.format("%5.2f|%-3s|%03d|%x|%s|%g", 3.14159, "a", 7, 255, nil, 1e20)`, " 3.14|a  |007|ff|nil|1e+20"},
		{`return bit.tohex(bit.bor(1, 2)) .. bit.lshift(1, 31)`, "00000003-2147483648"},
		{`return select(2, pcall(error, "msg"))`, "msg"},
		{`return select(2, pcall(function() error("msg") end))`, "chunk:1: msg"},
		{`return select(2, pcall(string.find, nil, ":"))`, "chunk:1: bad argument #1 to '?' (string expected, got nil)"},
		{`local t = setmetatable({}, {__concat = function() return "c" end}) return "x" .. t .. "y"`, "xc"},
		{`local a = "x" .. nil`, "error: chunk:1: attempt to concatenate a nil value"},
		{`local a = {} a.b.c = 1`, "error: chunk:1: attempt to index a nil value"},
		{`return 1 + nil`, "error: chunk:1: attempt to perform arithmetic on a nil value"},
		{`return {} < {}`, "error: chunk:1: attempt to compare two table values"},
		{`goto done do return 1 end ::done:: return 2`, "2"},
		{`local co = coroutine.wrap(function(a) local b = coroutine.yield(a + 1) return b * 2 end) return co(1) + co(5)`, "12"},
		{`return loadstring("return ... .. 1.5")("a")`, "a1.5"},
		{`return select(2, load("x = = 1"))`, `[string "x = = 1"]:1: unexpected symbol near '='`},
		{`return select(2, load("x = = 1\n", "=name"))`, `name:1: unexpected symbol near '='`},
		{`return select(2, pcall(load("local a = 'a chunk of more than sixty bytes, so that it is cut' error(a)", nil)))`, `[string "local a = 'a chunk of more than sixty bytes, ..."]:1: a chunk of more than sixty bytes, so that it is cut`},
		{`return load("return v", "c", "t", { v = 3 })()`, "3"},
		{`local p = { "return ", "4" } return load(function() return table.remove(p, 1) end)()`, "4"},
		{`return select(2, load(function() error("x") end))`, "chunk:1: x"},
		{`return table.concat({ string.find("abc", "", 10), string.find("a.c", ".", 2, true), string.find("abc", "c", -1) })`, "4233"},
		{`return os.execute`, "nil"},
		{`return io`, "nil"},
		{`return dofile`, "nil"},
		{`return require("table.new") ~= nil and require("resty.core") ~= nil`, "true"},
		{`return ngx.md5("a")`, "0cc175b9c0f1b6a831c399e269772661"},
		{`return ngx.escape_uri("a b+c/é?~!'()*-._:@&=,;$")`, "a%20b%2Bc%2F%C3%A9%3F~!'()*-._%3A%40%26%3D%2C%3B%24"},
		{`return ngx.unescape_uri("a%20b+c%zz%4")`, "a b c%zz%4"},
		{`return ngx.re.gsub("aaa", "^a", "b")`, "baa"},
		{`return ngx.re.gsub("abc", "", "-")`, "-a-b-c-"},
		{`return require("cjson").encode({1, {a = "x/y\n"}, true})`, `[1,{"a":"x\/y\n"},true]`},
		{`return select(2, pcall(require("cjson").decode, "{bad"))`, "Expected object key string but found invalid token at character 2"},
		{`ngx.say("x")`, "error: chunk:1: API disabled in the context of init_by_lua*"},
		{`return ngx.var.x`, "error: chunk:1: no request found"},
	} {
		if got := eval(t, c.text); got != c.want {
			t.Errorf("%s\n got %s\nwant %s", c.text, got, c.want)
		}
	}
}

// The messages were recorded from LuaJIT in nginx's Lua module.
func TestSyntaxErrorsAreLuaJITs(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"if x then", "'end' expected near '<eof>'"},
		{"if x\nthen\n\nfoo(\n", "unexpected symbol near '<eof>'"},
		{"x", "'=' expected near '<eof>'"},
		{"local x = = 1", "unexpected symbol near '='"},
		{"function f( end", "<name> or '...' expected near 'end'"},
		{"x = 'abc", "unfinished string near '<eof>'"},
		{"x = 'abc\n", "unfinished string near ''abc'"},
		{"x = '\\q'", "invalid escape sequence near '''"},
		{"break", "no loop to break"},
		{"function f() return ... end", "cannot use '...' outside a vararg function near '...'"},
		{"for i do end", "'=' or 'in' expected near 'do'"},
		{"a() = 1", "unexpected symbol near '='"},
		{"end", "'<eof>' expected near 'end'"},
		{"x = {\n1, 2", "'}' expected (to close '{' at line 1) near '<eof>'"},
	} {
		_, err := checkSyntax(c.text, "c")
		if err == nil {
			t.Errorf("%q: no error", c.text)
			continue
		}
		if _, msg, _ := strings.Cut(err.Error(), ": "); msg != c.want {
			t.Errorf("%q: %s, want %s", c.text, msg, c.want)
		}
	}
}

func TestRunawayScriptIsStopped(t *testing.T) {
	for _, text := range []string{
		`while true do end`,
		`while true do pcall(function() while true do end end) end`,
		`local co = coroutine.wrap(function() while true do end end) co()`,
	} {
		rt := testRuntime()
		m, err := rt.newMachine(0)
		if err != nil {
			t.Fatal(err)
		}
		c := &code{chunk: "c"}
		c.compile(text)
		m.call = &call{phase: phaseInit}
		m.guard.begin(200_000, time.Minute, maxHeap)
		m.L.Push(m.function(c))
		err = m.L.PCall(0, 0, nil)
		if err == nil || !strings.Contains(err.Error(), errRunaway.Error()) {
			t.Errorf("%s: %v", text, err)
		}
	}
}

func TestMemoryIsBounded(t *testing.T) {
	for _, text := range []string{
		`local t = {} for i = 1, 1e9 do t[#t + 1] = i + 0.5 end`,
		`local t = {} while true do t = { t, pcall(function() t = { t } end) } end`,
		`local t = {} for i = 1, 1e9 do t[i] = string.rep("x", 2e6) end`,
	} {
		m, err := testRuntime().newMachine(0)
		if err != nil {
			t.Fatal(err)
		}
		c := &code{chunk: "c"}
		c.compile(text)
		m.call = &call{phase: phaseInit}
		m.guard.begin(requestBudget, time.Minute, 16<<20)
		m.L.Push(m.function(c))
		err = m.L.PCall(0, 0, nil)
		if err == nil || !strings.Contains(err.Error(), errMemory.Error()) {
			t.Errorf("%s: %v", text, err)
		}
	}
}

func TestStringsAreBounded(t *testing.T) {
	for _, text := range []string{`return #string.rep("x", 1e9)`, `local s = "x" for i = 1, 60 do s = s .. s end return #s`} {
		if got := eval(t, text); got != "error: chunk:1: not enough memory" {
			t.Errorf("%s: %s", text, got)
		}
	}
}

// The counts are those of nginx's slab allocator.
func TestDictHoldsAsManyAsTheOriginal(t *testing.T) {
	small := newDict("d", 12<<10)
	if small.freeSpace() != 0 {
		t.Errorf("12k: %d bytes free, want 0", small.freeSpace())
	}
	for i := 1; ; i++ {
		if _, forcible := small.store(strings.Repeat("k", 3)+numText(lua.LNumber(i)), float64(i), 0, 0, setAny, false); forcible {
			if i != 32 {
				t.Errorf("12k: eviction at item %d, want 32", i)
			}
			break
		}
	}
	if msg, _ := small.store("safe", 1.0, 0, 0, setAny, true); msg != "no memory" {
		t.Errorf("safe_set into a full dictionary: %q", msg)
	}
	big := newDict("big", 1<<20)
	if big.freeSpace() != 1032192 {
		t.Errorf("1m: %d bytes free, want 1032192", big.freeSpace())
	}
	for i := 1; ; i++ {
		n := numText(lua.LNumber(i))
		if _, forcible := big.store("key"+n, "value"+n, 0, 0, setAny, false); forcible {
			if i != 8096 {
				t.Errorf("1m: eviction at item %d, want 8096", i)
			}
			break
		}
	}
}

func TestRefusedWhereItCanBeSeen(t *testing.T) {
	for text, want := range map[string]string{
		`local ffi = require "ffi"`:           `require "ffi"`,
		`local s = ngx.socket.tcp()`:          "ngx.socket.tcp",
		`local t = ngx.thread.spawn(f)`:       "ngx.thread.spawn",
		`local ok, f = pcall(require, "ffi")`: "",
		`ngx.say("ngx.socket.tcp")`:           "",
	} {
		c := &code{chunk: "c"}
		c.compile(text)
		found := ""
		walkStmts(c.tree, func(e ast.Expr) ast.Expr {
			if found == "" {
				found = absent(e)
			}
			return e
		})
		if found != want {
			t.Errorf("%s: found %q, want %q", text, found, want)
		}
	}
}

func FuzzSyntax(f *testing.F) {
	f.Add(seed(f))
	f.Add("local t = { [1] = 'x', y = [[z]] } goto a ::a::")
	f.Fuzz(func(t *testing.T, text string) {
		c := &code{chunk: "c"}
		c.compile(text)
		if c.err == nil && c.proto == nil {
			t.Error("neither code nor an error")
		}
	})
}

package lua

import (
	"testing"

	lua "github.com/yuin/gopher-lua"
)

// BenchmarkScript runs what a small balancer script does besides choosing the peer.
func BenchmarkScript(b *testing.B) {
	rt := testRuntime()
	m, err := rt.newMachine(0)
	if err != nil {
		b.Fatal(err)
	}
	c := &code{chunk: "c"}
	c.compile(`
local d = ngx.shared.d
local function index()
  local i = d:get("k")
  if i == nil or i > 2 then i = 1 d:set("k", i) end
  d:incr("k", 1)
  return i
end
local list = { { addr = "127.0.0.1:80" }, { addr = "127.0.0.2:80" } }
local server = list[index()].addr
local cookie = 'route=' .. ngx.md5(server) .. '; path=/;'
local at = string.find(server, ':')
local host, port = string.sub(server, 1, at - 1), tonumber(string.sub(server, at + 1))
`)
	b.ReportAllocs()
	for b.Loop() {
		if err := m.runCode(c, &call{phase: phaseInit}); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkConcat(b *testing.B) {
	rt := testRuntime()
	m, err := rt.newMachine(0)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		m.L.Push(m.L.G.Global.RawGetString(concatName))
		m.L.Push(lua.LString("a"))
		m.L.Push(lua.LNumber(1.5))
		m.L.Call(2, 1)
		m.L.Pop(1)
	}
}

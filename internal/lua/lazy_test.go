package lua

import "testing"

func TestTablesOfPeersAreAsAnyOther(t *testing.T) {
	const begin = `local u = require "ngx.upstream" local p = u.get_primary_peers("backend")[1] `
	for _, c := range []struct{ text, want string }{
		{`return p.name`, "127.0.0.1:80"},
		{`return tostring(p.down)`, "nil"},
		{`return tostring(getmetatable(p))`, "nil"},
		{`local n = 0 for k in pairs(p) do n = n + 1 end return n`, "9"},
		{`return next(p)`, "id"},
		{`return rawget(p, "weight")`, "1"},
		{`return require("table.nkeys")(p)`, "9"},
		{`p.weight = nil return tostring(p.weight)`, "nil"},
		{`p.mine = 1 p.weight = 7 return p.mine + p.weight + p.id`, "8"},
		{`p.weight = 7 return u.get_primary_peers("backend")[1].weight`, "1"},
		{`rawset(p, "weight", nil) return tostring(p.weight)`, "nil"},
		{`return setmetatable(p, { __index = function() return "x" end }).name .. p.other`, "127.0.0.1:80x"},
		{`return require("cjson").encode({ n = require("table.clone")(p).fails })`, `{"n":0}`},
		{`u.set_peer_down("backend", false, 0, true) local down = u.get_primary_peers("backend")[1].down
			u.set_peer_down("backend", false, 0, false) return tostring(down) .. tostring(p.down)`, "truenil"},
		{`local s = u.get_servers("backend") s[1].addr = nil table.remove(s) return #s + #u.get_servers("backend")`, "3"},
	} {
		m, err := seedBalancer(t).rt.newMachine(0)
		if err != nil {
			t.Fatal(err)
		}
		code := &code{chunk: "c"}
		code.compile(begin + c.text)
		v, err := m.runValue(code, &call{phase: phaseInit}, 1)
		if err != nil {
			t.Errorf("%s: %v", c.text, err)
		} else if got := m.tostring(m.L, v); got != c.want {
			t.Errorf("%s: got %s, want %s", c.text, got, c.want)
		}
	}
}

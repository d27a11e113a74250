package lua

import (
	"strings"
	"time"

	lua "github.com/yuin/gopher-lua"

	"limpet/internal/ngx"
	"limpet/nginxconf"
	"limpet/upstream"
)

// openUpstream returns the module ngx.upstream.
// https://github.com/openresty/lua-upstream-nginx-module
func (m *machine) openUpstream() *lua.LTable {
	t := m.L.NewTable()
	groups := ngx.Shared[upstream.Groups](m.rt.build)
	m.set(t, "get_upstreams", func(L *lua.LState) int {
		if L.GetTop() != 0 {
			raise(L, "no argument expected")
		}
		list := L.CreateTable(len(groups.List), 0)
		for _, g := range groups.List {
			list.Append(lua.LString(g.FullName()))
		}
		L.Push(list)
		return 1
	})
	one := func(name string, f func(L *lua.LState, g *upstream.Group) *lua.LTable) {
		m.set(t, name, func(L *lua.LState) int {
			if L.GetTop() != 1 {
				raise(L, "exactly one argument expected")
			}
			g := groups.Find([]byte(m.checkString(L, 1)))
			if g == nil {
				return fail(L, "upstream not found")
			}
			L.Push(f(L, g))
			return 1
		})
	}
	one("get_servers", m.servers)
	one("get_primary_peers", func(L *lua.LState, g *upstream.Group) *lua.LTable { return peerList(L, g, g.Peers().Primary) })
	one("get_backup_peers", func(L *lua.LState, g *upstream.Group) *lua.LTable { return peerList(L, g, g.Peers().Backup) })
	m.set(t, "set_peer_down", func(L *lua.LState) int { return m.setPeerDown(L, groups) })
	m.set(t, "current_upstream_name", func(L *lua.LState) int {
		if m.call == nil || m.r == nil {
			raise(L, "no request object found")
		}
		if m.s == nil {
			L.Push(lua.LNil)
			return 1
		}
		return str(L, m.s.Group.FullName())
	})
	return t
}

func (m *machine) servers(L *lua.LState, g *upstream.Group) *lua.LTable {
	list := L.CreateTable(len(g.Servers), 0)
	for i := range g.Servers {
		sv := &g.Servers[i]
		t := L.CreateTable(0, 7)
		if sv.Text != "" {
			t.RawSetString("name", lua.LString(sv.Text))
		}
		if len(sv.Addrs) == 1 {
			t.RawSetString("addr", lua.LString(sv.Addrs[0]))
		} else {
			addrs := L.CreateTable(len(sv.Addrs), 0)
			for _, a := range sv.Addrs {
				addrs.Append(lua.LString(a))
			}
			t.RawSetString("addr", addrs)
		}
		t.RawSetString("weight", lua.LNumber(sv.Weight))
		t.RawSetString("max_fails", lua.LNumber(sv.MaxFails))
		t.RawSetString("fail_timeout", lua.LNumber(sv.FailTimeout/time.Second))
		if sv.Backup {
			t.RawSetString("backup", lua.LTrue)
		}
		if sv.Down {
			t.RawSetString("down", lua.LTrue)
		}
		list.Append(t)
	}
	return list
}

func peerList(L *lua.LState, g *upstream.Group, peers []*upstream.Peer) *lua.LTable {
	list := L.CreateTable(len(peers), 0)
	for i, p := range peers {
		t := L.CreateTable(0, 12)
		current, effective := g.Weights(p)
		num := func(name string, n int) { t.RawSetString(name, lua.LNumber(n)) }
		num("id", i)
		t.RawSetString("name", lua.LString(p.Name))
		num("weight", p.Weight())
		num("current_weight", current)
		num("effective_weight", effective)
		num("conns", int(p.Conns()))
		num("fails", g.Fails(p))
		num("max_fails", p.MaxFails())
		num("fail_timeout", int(p.FailTimeout()/time.Second))
		if accessed, checked := g.LastFailure(p); accessed != 0 {
			num("accessed", int(accessed))
			num("checked", int(checked))
		}
		if p.IsDown() {
			t.RawSetString("down", lua.LTrue)
		}
		list.Append(t)
	}
	return list
}

// luaCheck is the number of the check of upstream.State.SetDown that set_peer_down stands for.
const luaCheck = 31

func (m *machine) setPeerDown(L *lua.LState, groups *upstream.Groups) int {
	if L.GetTop() != 4 {
		raise(L, "exactly 4 arguments expected")
	}
	g := groups.Find([]byte(m.checkString(L, 1)))
	if g == nil {
		return fail(L, "upstream not found")
	}
	peers := g.Peers().Primary
	if L.ToBool(2) {
		if peers = g.Peers().Backup; len(peers) == 0 {
			return fail(L, "no backup peers")
		}
	}
	id := L.CheckInt(3)
	if id < 0 || id >= len(peers) {
		return fail(L, "bad peer id")
	}
	p, down := peers[id], L.ToBool(4)
	p.SetDown(luaCheck, down)
	if !down {
		g.ClearFails(p)
	}
	L.Push(lua.LTrue)
	return 1
}

// balancerRows lists balancer_by_lua_block and balancer_by_lua_file.
func (c *Conf) balancerRows() []nginxconf.Directive {
	set := func(s *nginxconf.Setting) error {
		if c.balancer {
			return nginxconf.ErrDuplicate
		}
		c.balancer = true
		sc, err := parseScript(s, "balancer_by_lua", phaseBalancer, 0)
		if err != nil {
			return err
		}
		if c.recognise {
			done, err := recognised(s, sc)
			if done || err != nil {
				return err
			}
		}
		if sc.code == nil || sc.err == nil {
			s.Note("balancer script isn't the route-cookie balancer that limpet does natively: it runs in the Lua sandbox for each try, in upstream \"%s\"", upstream.NameOf(s))
		}
		return upstream.SetScript(s, func(b *ngx.Build, g *upstream.Group) (upstream.Script, error) {
			return &balancer{rt: runtimeOf(b), script: sc, group: g}, nil
		})
	}
	const doc = "Lets Lua choose the peer of each try."
	block := nginxconf.Call("balancer_by_lua_block", nginxconf.Upstream, nginxconf.NoArgs, set, doc)
	block.Body = &nginxconf.BlockBody{}
	return []nginxconf.Directive{block, nginxconf.Call("balancer_by_lua_file", nginxconf.Upstream, nginxconf.Args1, set, doc)}
}

// isUnix reports whether a peer's host is a socket's path.
func isUnix(host string) bool { return strings.HasPrefix(host, "unix:") }

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
	one := func(name string, f func(v *groupView) *lua.LTable) {
		m.set(t, name, func(L *lua.LState) int {
			if L.GetTop() != 1 {
				raise(L, "exactly one argument expected")
			}
			v := m.view(groups, m.checkString(L, 1))
			if v == nil {
				return fail(L, "upstream not found")
			}
			L.Push(f(v))
			return 1
		})
	}
	one("get_servers", m.servers)
	one("get_primary_peers", func(v *groupView) *lua.LTable { return m.peers(v, v.group.Peers().Primary) })
	one("get_backup_peers", func(v *groupView) *lua.LTable { return m.peers(v, v.group.Peers().Backup) })
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

// groupView is what a state keeps of a group to describe it quickly.
type groupView struct {
	group   *upstream.Group
	servers []*lua.LTable            // metatables of the servers' tables
	seen    map[peerView]*lua.LTable // metatables of tables of peers
	figures []upstream.Figures       // of the last look, for its memory
}

// peerView is how a peer was once: conns and weights go up and down among few values.
type peerView struct {
	id      int
	peer    *upstream.Peer
	figures upstream.Figures
}

// maxSeen bounds how many descriptions of peers a state keeps, a group.
const maxSeen = 1024

// view finds a group by the name that a script gives it.
func (m *machine) view(groups *upstream.Groups, name string) *groupView {
	if v := m.groups[name]; v != nil {
		return v
	}
	g := groups.Find([]byte(name))
	if g == nil {
		return nil
	}
	if m.groups == nil {
		m.groups = make(map[string]*groupView)
	}
	v := &groupView{group: g, seen: make(map[peerView]*lua.LTable)}
	m.groups[name] = v
	return v
}

// servers is get_servers.
func (m *machine) servers(v *groupView) *lua.LTable {
	if v.servers == nil {
		for i := range v.group.Servers {
			v.servers = append(v.servers, m.lazyMeta(m.server(&v.group.Servers[i])))
		}
	}
	list := m.lazyList(len(v.servers), func(i int) *lua.LTable { return v.servers[i] })
	for i := range v.group.Servers {
		if addrs := v.group.Servers[i].Addrs; len(addrs) != 1 {
			t := m.L.CreateTable(len(addrs), 0)
			for _, a := range addrs {
				t.Append(lua.LString(a))
			}
			list.RawGetInt(i+1).(*lua.LTable).RawSetString("addr", t)
		}
	}
	return list
}

// server describes a server, but for the list of addresses where it hasn't just one.
func (m *machine) server(sv *upstream.Server) *lua.LTable {
	t := m.L.CreateTable(0, 7)
	if sv.Text != "" {
		t.RawSetString("name", lua.LString(sv.Text))
	}
	if len(sv.Addrs) == 1 {
		t.RawSetString("addr", lua.LString(sv.Addrs[0]))
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
	return t
}

// peers is get_primary_peers and get_backup_peers.
func (m *machine) peers(v *groupView, peers []*upstream.Peer) *lua.LTable {
	v.figures = v.group.Figures(v.figures[:0], peers)
	return m.lazyList(len(peers), func(i int) *lua.LTable {
		is := peerView{i, peers[i], v.figures[i]}
		meta := v.seen[is]
		if meta == nil {
			if len(v.seen) >= maxSeen {
				clear(v.seen)
			}
			meta = m.lazyMeta(m.peerTable(&is))
			v.seen[is] = meta
		}
		return meta
	})
}

func (m *machine) peerTable(is *peerView) *lua.LTable {
	p, f := is.peer, &is.figures
	t := m.L.CreateTable(0, 12)
	num := func(name string, n int) { t.RawSetString(name, lua.LNumber(n)) }
	num("id", is.id)
	t.RawSetString("name", lua.LString(p.Name))
	num("weight", p.Weight())
	num("current_weight", f.Current)
	num("effective_weight", f.Effective)
	num("conns", f.Conns)
	num("fails", f.Fails)
	num("max_fails", p.MaxFails())
	num("fail_timeout", int(p.FailTimeout()/time.Second))
	if f.Accessed != 0 {
		num("accessed", int(f.Accessed))
		num("checked", int(f.Checked))
	}
	if f.Down {
		t.RawSetString("down", lua.LTrue)
	}
	return t
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

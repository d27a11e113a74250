package lua

import (
	"net"
	"net/netip"
	"strconv"
	"sync"
	"time"

	lua "github.com/yuin/gopher-lua"

	"limpet/internal/errlog"
	"limpet/upstream"
)

// balancer is balancer_by_lua of one group.
type balancer struct {
	rt     *runtime
	script *script
	group  *upstream.Group

	mu    sync.RWMutex
	peers map[target]*upstream.Peer // guarded by mu
}

// target is where a script says that a peer is.
type target struct {
	host string
	port int
}

// maxPeers bounds how many peers outside the group are kept.
const maxPeers = 4096

// peer returns the peer of an address, or what is wrong with it. The peer is Foreign even when the group has the
// address: the original counts neither failures nor connections of a peer that a script chose.
func (b *balancer) peer(at target) (p *upstream.Peer, msg string) {
	b.mu.RLock()
	p = b.peers[at]
	b.mu.RUnlock()
	if p != nil {
		return p, ""
	}
	addr, msg := peerAddr(at.host, at.port)
	if msg != "" {
		return nil, msg
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.peers == nil || len(b.peers) >= maxPeers {
		b.peers = make(map[target]*upstream.Peer)
	}
	p = b.group.Foreign(addr)
	b.peers[at] = p
	return p, ""
}

// Choose implements upstream.Script.
func (b *balancer) Choose(s *upstream.Session) (*upstream.Peer, int) {
	r := s.Request
	m, err := b.rt.machineFor(r, b.script.fresh)
	if err != nil {
		r.Errorf("%s", err)
		return nil, 500
	}
	defer b.rt.giveBack(m, r, b.script.fresh)
	c := b.script.codeFor(b.rt, r)
	what := &call{phase: phaseBalancer, r: r, s: s, b: b}
	if c.err != nil {
		r.Logf(errlog.Error, "%s%s", c.err, phaseBalancer.doing())
		if c.err.missing {
			return nil, 0
		}
		return nil, 500
	}
	if err := m.runCode(c, what); err != nil {
		r.Logf(errlog.Error, "failed to run balancer_by_lua*: %s%s", err, phaseBalancer.doing())
		return nil, 500
	}
	if what.exited && what.code != 0 {
		switch {
		case what.code >= 100:
			return nil, what.code
		case what.code == -3: // NGX_BUSY
			return nil, 502
		}
		return nil, 500
	}
	return what.peer, 0
}

// openBalancer returns the module ngx.balancer.
// https://github.com/openresty/lua-resty-core/blob/master/lib/ngx/balancer.md
func (m *machine) openBalancer() *lua.LTable {
	t := m.L.NewTable()
	t.RawSetString("version", lua.LString("0.1.32"))
	api := func(name string, f func(L *lua.LState, s *upstream.Session) int) {
		m.set(t, name, func(L *lua.LState) int {
			if m.call == nil || m.r == nil {
				raise(L, "no request found")
			}
			if m.phase != phaseBalancer {
				return fail(L, "API disabled in the current context")
			}
			return f(L, m.s)
		})
	}
	api("set_current_peer", m.setCurrentPeer)
	api("set_more_tries", m.setMoreTries)
	api("get_last_failure", m.getLastFailure)
	api("set_timeouts", m.setTimeouts)
	api("enable_keepalive", m.enableKeepalive)
	api("bind_to_local_addr", m.bindToLocalAddr)
	api("recreate_request", func(L *lua.LState, s *upstream.Session) int {
		s.Asked.Recreate = true
		L.Push(lua.LTrue)
		return 1
	})
	api("set_upstream_tls", func(L *lua.LState, s *upstream.Session) int {
		on := L.ToBool(1)
		s.Asked.TLS = &on
		L.Push(lua.LTrue)
		return 1
	})
	return t
}

// setMoreTries is set_more_tries(n).
func (m *machine) setMoreTries(L *lua.LState, s *upstream.Session) int {
	n := L.CheckInt(1)
	reduced := false
	if total := s.Number + s.Tries - 1; s.MaxTries > 0 && total+n > s.MaxTries {
		n, reduced = s.MaxTries-total, true
	}
	s.Tries += n
	L.Push(lua.LTrue)
	if reduced {
		L.Push(lua.LString("reduced tries due to limit"))
		return 2
	}
	return 1
}

// getLastFailure is get_last_failure().
func (m *machine) getLastFailure(L *lua.LState, s *upstream.Session) int {
	if s.Number <= 1 || len(m.r.Tries) == 0 {
		L.Push(lua.LNil)
		return 1
	}
	state := "failed"
	if s.LastOutcome == upstream.Next {
		state = "next"
	}
	L.Push(lua.LString(state))
	L.Push(lua.LNumber(m.r.Tries[len(m.r.Tries)-1].Status))
	return 2
}

// setTimeouts is set_timeouts(connect, send, read), in seconds.
func (m *machine) setTimeouts(L *lua.LState, s *upstream.Session) int {
	for i, f := range []struct {
		name string
		to   *time.Duration
	}{{"connect", &s.Asked.Connect}, {"send", &s.Asked.Send}, {"read", &s.Asked.Read}} {
		v := L.Get(i + 1)
		if v == lua.LNil {
			continue
		}
		n, ok := v.(lua.LNumber)
		if !ok || n <= 0 {
			raise(L, "bad %s timeout", f.name)
		}
		*f.to = time.Duration(float64(n) * float64(time.Second))
	}
	L.Push(lua.LTrue)
	return 1
}

// enableKeepalive is enable_keepalive(idle, max).
func (m *machine) enableKeepalive(L *lua.LState, s *upstream.Session) int {
	idle, max := float64(L.OptNumber(1, 60)), L.OptInt(2, 100)
	if idle < 0 || max < 0 {
		raise(L, "bad idle_timeout or max_requests")
	}
	s.Asked.Keep, s.Asked.KeepIdle, s.Asked.KeepRequests = true, time.Duration(idle*float64(time.Second)), max
	L.Push(lua.LTrue)
	return 1
}

// bindToLocalAddr is bind_to_local_addr(addr).
func (m *machine) bindToLocalAddr(L *lua.LState, s *upstream.Session) int {
	addr := m.checkString(L, 1)
	if _, err := netip.ParseAddr(addr); err != nil {
		if _, err := netip.ParseAddrPort(addr); err != nil {
			return fail(L, "invalid address")
		}
	}
	s.Asked.LocalAddr = addr
	L.Push(lua.LTrue)
	return 1
}

// setCurrentPeer is set_current_peer(addr, port, host).
func (m *machine) setCurrentPeer(L *lua.LState, s *upstream.Session) int {
	host := m.checkString(L, 1)
	port, ok := portOf(L.Get(2))
	if !ok {
		raise(L, "bad argument #2 to 'set_current_peer' (number expected, got %s)", L.Get(2).Type())
	}
	if h, isStr := L.Get(3).(lua.LString); isStr {
		s.Asked.Host = string(h)
	}
	p, msg := m.b.peer(target{host, port})
	if msg != "" {
		return fail(L, msg)
	}
	m.peer = p
	L.Push(lua.LTrue)
	return 1
}

// portOf reads a port, which may be a numeric string; nil is 0.
func portOf(v lua.LValue) (int, bool) {
	switch v := v.(type) {
	case *lua.LNilType:
		return 0, true
	case lua.LNumber:
		return int(v), true
	case lua.LString:
		n, err := strconv.Atoi(string(v))
		return n, err == nil
	}
	return 0, false
}

// peerAddr makes the address to dial. The message is that of nginx's parser of URLs.
func peerAddr(host string, port int) (addr, msg string) {
	if isUnix(host) {
		if host == "unix:" {
			return "", "no path in the unix domain socket"
		}
		return host, ""
	}
	bare := host
	if len(bare) > 1 && bare[0] == '[' {
		end := len(bare) - 1
		if bare[end] != ']' {
			return "", "invalid host"
		}
		bare = bare[1:end]
	}
	a, err := netip.ParseAddr(bare)
	if err == nil && a.Zone() == "" && (a.Is4() || bare != host) {
		if port < 0 || port > 65535 {
			return "", "invalid port"
		}
		return net.JoinHostPort(bare, strconv.Itoa(port)), ""
	}
	if h, p, err := net.SplitHostPort(host); err == nil && port == 0 {
		if n, err := strconv.Atoi(p); err == nil {
			return peerAddr(h, n)
		}
	}
	switch {
	case host == "":
		return "", "no host"
	case bare != host:
		return "", "invalid IPv6 address"
	}
	return "", "no host allowed"
}

package upstream

import (
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"limpet/internal/resolver"
)

// resolvable is a group of lines: a static address and names that are resolved.
func resolvable(lines ...*serverSpec) *followed {
	g := &Group{Name: "g", mu: new(sync.Mutex)}
	f := &followed{group: g, servers: lines, states: new(Table[*State]), found: make(map[string][]resolver.Target)}
	g.publish(f.peers(nil))
	return f
}

func line(text string) *serverSpec {
	return &serverSpec{text: text, host: text, port: 80, resolve: true, weight: 1, maxFails: 1, failTimeout: 10 * time.Second}
}

// found are the addresses of a host.
func found(addrs ...string) (ts []resolver.Target) {
	for _, a := range addrs {
		ts = append(ts, resolver.Target{Addr: netip.AddrPortFrom(netip.MustParseAddr(a), 0)})
	}
	return ts
}

func names(ps *Peers) string {
	var s []string
	for _, p := range ps.All {
		role := ""
		if p.Backup {
			role = " backup"
		}
		s = append(s, string(p.Name)+role)
	}
	return strings.Join(s, ", ")
}

func TestPeersFollowAName(t *testing.T) {
	static := line("")
	static.resolve, static.addrs = false, []string{"192.0.2.9:80"}
	name := line("a.test")
	f := resolvable(static, name)
	key := keyOf(f.group, name)
	for _, tt := range []struct {
		found []resolver.Target
		want  string
	}{
		{nil, "192.0.2.9:80"},
		{found("192.0.2.1"), "192.0.2.9:80, 192.0.2.1:80"},
		{found("192.0.2.1", "2001:db8::1"), "192.0.2.9:80, 192.0.2.1:80, [2001:db8::1]:80"},
		{found("2001:db8::1"), "192.0.2.9:80, [2001:db8::1]:80"},
		{nil, "192.0.2.9:80"},
	} {
		f.update(key, tt.found)
		if got := names(f.group.Peers()); got != tt.want {
			t.Errorf("%v: %s, want %s", tt.found, got, tt.want)
		}
	}
}

func TestStateOfPeersThatStayIsKept(t *testing.T) {
	name := line("a.test")
	f := resolvable(name)
	key := keyOf(f.group, name)
	f.update(key, found("192.0.2.1", "192.0.2.2"))
	before := f.group.Peers()
	before.All[1].fails = 3
	draw(f.group, 1)
	f.update(key, found("192.0.2.2", "192.0.2.3"))
	after := f.group.Peers()
	if after.All[0].State != before.All[1].State || after.All[0].turn != before.All[1].turn || after.All[0].fails != 3 {
		t.Error("the peer that stayed lost what was known of it")
	}
	if !before.All[0].IsDown() || after.All[0].IsDown() {
		t.Error("the peer that went can still be asked, or the one that stayed can't")
	}
	f.update(key, found("192.0.2.1"))
	if p := f.group.Peers().All[0]; p.State == before.All[0].State || p.IsDown() {
		t.Error("a peer that came again isn't new")
	}
}

func TestSameAnswerChangesNothing(t *testing.T) {
	name := line("a.test")
	f := resolvable(name)
	f.update(keyOf(f.group, name), found("192.0.2.1"))
	before := f.group.Peers()
	f.update(keyOf(f.group, name), found("192.0.2.1"))
	if f.group.Peers() != before {
		t.Error("there are new peers")
	}
}

func TestSessionGoesOnWithItsPeers(t *testing.T) {
	name := line("a.test")
	f := resolvable(name)
	key := keyOf(f.group, name)
	f.update(key, found("192.0.2.1", "192.0.2.2", "192.0.2.3"))
	var s Session
	f.group.Begin(&s, nil)
	s.Next()
	f.update(key, found("192.0.2.2"))
	s.Done(Failed)
	if p := s.Next(); string(p.Name) != "192.0.2.2:80" { // the third is gone
		t.Errorf("the second try went to %s", p.Name)
	}
	s.Done(Good)
	if p := s.Next(); p != nil {
		t.Errorf("the third try went to %s", p.Name)
	}
}

func TestSessionsAndChangesAtOnce(t *testing.T) {
	name := line("a.test")
	f := resolvable(name)
	f.group.method.Make = func(ps *Peers) Balancer { return &leastTime{} }
	key := keyOf(f.group, name)
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for range 300 {
				draw(f.group, 1)
			}
		})
	}
	for i := range 300 {
		if i%2 == 0 {
			f.update(key, found("192.0.2.1", "192.0.2.2"))
		} else {
			f.update(key, found("192.0.2.2"))
		}
	}
	all.Wait()
	for _, p := range f.group.Peers().All {
		if p.Conns() != 0 {
			t.Errorf("%s is still busy", p.Name)
		}
	}
}

// https://nginx.org/en/docs/http/ngx_http_upstream_module.html#service
func TestPriorityAndWeightOfServices(t *testing.T) {
	targets := []resolver.Target{
		{Addr: netip.MustParseAddrPort("192.0.2.1:81"), Name: "one.test", Priority: 1, Weight: 5},
		{Addr: netip.MustParseAddrPort("192.0.2.2:82"), Name: "two.test", Priority: 2, Weight: 0},
	}
	for _, tt := range []struct {
		weight, want int
		backup       bool
		names        string
	}{
		{1, 5, false, "192.0.2.1:81, 192.0.2.2:82 backup"},
		{3, 3, false, "192.0.2.1:81, 192.0.2.2:82 backup"},
		{1, 5, true, "192.0.2.1:81 backup"},
	} {
		l := line("test")
		l.service, l.weight, l.backup = "http", tt.weight, tt.backup
		f := resolvable(l)
		f.update(keyOf(f.group, l), targets)
		ps := f.group.Peers()
		if got := names(ps); got != tt.names || ps.All[0].weight != tt.want || ps.All[0].Server != "one.test" {
			t.Errorf("%s, weight %d, server %s", got, ps.All[0].weight, ps.All[0].Server)
		}
	}
}

func TestEqualTargetsArePeersOfTheirOwn(t *testing.T) {
	l := line("test")
	l.service = "http"
	f := resolvable(l)
	same := resolver.Target{Addr: netip.MustParseAddrPort("192.0.2.1:81"), Name: "one.test", Weight: 1}
	f.update(keyOf(f.group, l), []resolver.Target{same, same})
	ps := f.group.Peers()
	if len(ps.All) != 2 || ps.All[0].State == ps.All[1].State {
		t.Error(names(ps))
	}
}

func TestWhoListensHearsOfPeersFirst(t *testing.T) {
	name := line("a.test")
	f := resolvable(name)
	var told *Peers
	f.group.OnChange(func(ps *Peers) {
		told = ps
		if f.group.Peers() == ps {
			t.Error("they could be asked already")
		}
	})
	f.update(keyOf(f.group, name), found("192.0.2.1"))
	if told != f.group.Peers() {
		t.Error("it heard of others")
	}
}

func TestEmptyGroupHasNoPeer(t *testing.T) {
	f := resolvable(line("a.test"))
	if got := draw(f.group, 1); got != "-" {
		t.Error(got)
	}
}

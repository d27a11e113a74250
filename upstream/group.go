package upstream

import (
	"bytes"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"limpet/internal/ngx"
	"limpet/nginxconf"
)

// Group is an upstream: its peers and how one is chosen. It is read-only once
// built, but for what mu guards.
type Group struct {
	Name     string
	Implicit bool // made by proxy_pass, not by an upstream block
	Port     int  // of an implicit group, as proxy_pass gave it; else 0
	Peers    []*Peer
	Primary  []*Peer // of Peers
	Backup   []*Peer
	Conf     *Conf
	Servers  []Server // as configured, for status pages and Lua
	// FailOpen serves from peers that checks have turned down when no other is left.
	FailOpen bool
	Balancer Balancer
	Sticky   Sticky // nil without
	Script   Script // nil without; comes before Sticky and Balancer
	Kept     *Kept  // nil where connections aren't kept

	// mu guards the peers' weights and failures. Those of the configurations before
	// and behind a reload count on the same peers: it is theirs, too.
	mu    *sync.Mutex
	tries int  // tries of a request: peers that aren't down in the file
	slow  bool // some peer of several has slow_start
}

// Server is a server line as configured.
type Server struct {
	Text         string // as written; "" in an implicit group
	Addrs        []string
	Weight       int
	MaxFails     int
	FailTimeout  time.Duration
	Backup, Down bool
}

// Peer is one address of a group.
type Peer struct {
	Name    []byte // as logs show it: 127.0.0.1:8080, [::1]:80, unix:/path
	Label   string // Name, with " #2" behind it for the second peer of that address in the group
	Network string // tcp or unix
	Addr    string // to dial
	Server  string // as written in its server line
	Backup  bool
	Down    bool // by the file, whatever checks say
	Drain   bool // by the file: only clients that stick to it
	// What its server line says of it to those who stick: route= (Angie also:
	// sid=, and SID is true), Tengine's id=, jvm_route's srun_id=.
	Route, ID, SrunID string
	SID               bool
	Foreign           bool // not of the group: a script chose it
	Index             int  // in Primary or Backup
	*State

	weight      int
	maxFails    int
	maxConns    int
	failTimeout time.Duration
	slowStart   time.Duration

	// guarded by Group.mu
	currentWeight   int
	effectiveWeight int
}

// State is what is known of a peer. It is kept over reloads by group and address.
type State struct {
	unhealthy atomic.Uint32 // a bit for each check that turned the peer down
	upSince   atomic.Int64  // Unix milliseconds of the last coming back; 0: it never was away
	conns     atomic.Int64
	drain     atomic.Bool

	// guarded by the Group's mu
	fails    int
	accessed int64 // Unix seconds
	checked  int64

	Stats Stats
}

// Stats count what a peer did, for metrics. Session counts Fails; internal/proxy counts the others, at the end of each try.
type Stats struct {
	Requests, Fails, Sent, Received atomic.Int64
	Classes                         [6]atomic.Int64 // responses by first digit of the status
	Times                           Histogram       // of answers, from the choice of the peer to the last byte
}

// Observe notes the time that a try took, for metrics; a negative one is of no answer.
func (s *Stats) Observe(d time.Duration) {
	if d >= 0 {
		s.Times.Observe(d)
	}
}

// SetDown lets check number n (0-31) turn the peer down or up again.
func (s *State) SetDown(n uint, down bool) {
	for {
		old := s.unhealthy.Load()
		mask := old &^ (1 << n)
		if down {
			mask = old | 1<<n
		}
		if s.unhealthy.CompareAndSwap(old, mask) {
			if old != 0 && mask == 0 {
				s.cameUp()
			}
			return
		}
	}
}

// DownBy reports whether check number n has turned the peer down.
func (s *State) DownBy(n uint) bool { return s.unhealthy.Load()&(1<<n) != 0 }

// Unhealthy reports whether a check has turned the peer down.
func (s *State) Unhealthy() bool { return s.unhealthy.Load() != 0 }

// Conns returns the number of requests that the peer is serving.
func (s *State) Conns() int64 { return s.conns.Load() }

// IsDown reports whether the file or a check keeps requests away from the peer.
func (p *Peer) IsDown() bool { return p.Down || p.Unhealthy() }

// SetDrain keeps new clients away from the peer, or no longer; those who stick to
// it go on. It holds beside the file's drain, over reloads.
func (s *State) SetDrain(on bool) { s.drain.Store(on) }

// Draining reports whether only clients that stick to the peer are sent to it,
// by the file or by SetDrain.
func (p *Peer) Draining() bool { return p.Drain || p.drain.Load() }

// Weight returns the configured weight.
func (p *Peer) Weight() int { return p.weight }

// MaxFails and FailTimeout return the parameters of the server line.
func (p *Peer) MaxFails() int { return p.maxFails }

// FailTimeout returns the parameter of the server line.
func (p *Peer) FailTimeout() time.Duration { return p.failTimeout }

// MaxConns returns the parameter of the server line; 0 is no limit.
func (p *Peer) MaxConns() int { return p.maxConns }

// Fails returns the number of failures that count against the peer.
func (g *Group) Fails(p *Peer) int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return p.fails
}

// Failed reports whether the peer has failed too often of late to be asked.
func (g *Group) Failed(p *Peer) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return p.failed(time.Now().Unix())
}

// ClearFails forgets the failures, as a check does that turns a peer up.
func (g *Group) ClearFails(p *Peer) {
	g.mu.Lock()
	defer g.mu.Unlock()
	p.fails = 0
}

// LastFailure returns when the peer failed last and when its failures began to
// count, in Unix seconds; 0 for never.
func (g *Group) LastFailure(p *Peer) (accessed, checked int64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return p.accessed, p.checked
}

// Weights returns the current and the effective weight of round robin.
func (g *Group) Weights(p *Peer) (current, effective int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return p.currentWeight / g.scaled(1), p.effectiveWeight
}

// Groups are the groups of a configuration, explicit ones first, in the file's order.
type Groups struct{ List []*Group }

// Named returns the group that a host of a URL names: an upstream block's name,
// or the host and port that an implicit group was made of; nil when there is none.
func (gs *Groups) Named(host string) *Group {
	for _, g := range gs.List {
		if g.Name == host && !g.Implicit {
			return g
		}
	}
	return nil
}

// Single returns a group that lives as long as a request, of addresses that came by variables.
func Single(name string, addrs ...string) *Group {
	g := &Group{Name: name, Implicit: true, Conf: new(Conf), Balancer: roundRobin{}, tries: len(addrs), mu: new(sync.Mutex)}
	for i, a := range addrs {
		p := Foreign(a)
		p.Foreign, p.Index, p.effectiveWeight = false, i, 1
		g.Peers = append(g.Peers, p)
	}
	g.Primary = g.Peers
	return g
}

// Find returns the group of that name, host or host:port; nil when there is none.
func (gs *Groups) Find(name []byte) *Group {
	for _, g := range gs.List {
		if string(name) == g.Name {
			return g
		}
	}
	i := bytes.IndexByte(name, ':')
	if i < 0 {
		return nil
	}
	port, ok := nginxconf.ParseNum(string(name[i+1:]))
	for _, g := range gs.List {
		if ok && string(name[:i]) == g.Name && port == g.Port {
			return g
		}
	}
	return nil
}

// FullName returns the group's name as Lua and status pages show it: with the port where proxy_pass gave one.
func (g *Group) FullName() string {
	if g.Port == 0 {
		return g.Name
	}
	return g.Name + ":" + strconv.Itoa(g.Port)
}

// Module returns the upstream module.
func Module() ngx.Module {
	return ngx.Module{Name: "upstream", Conf: func() nginxconf.Settings { return new(Conf) }, Vars: Vars, Config: buildAll}
}

// buildAll builds every group of the configuration.
func buildAll(b *ngx.Build) error {
	groups := ngx.Shared[Groups](b)
	for _, http := range b.Config.Root.Inner {
		if http.Context != nginxconf.HTTP {
			continue
		}
		c := nginxconf.Of[*Conf](http)
		for _, explicit := range []bool{true, false} {
			for _, sp := range c.specs {
				if (sp.level != nil) != explicit {
					continue
				}
				if err := sp.build(b, c); err != nil {
					return err
				}
				groups.List = append(groups.List, sp.group)
			}
		}
	}
	return nil
}

// Check resolves the hosts of implicit groups, looks at the zones' sizes and
// refuses names of groups that aren't there.
func (c *Conf) Check(lv *nginxconf.Level) error {
	if lv.Context != nginxconf.HTTP {
		return nil
	}
	if err := c.checkNamed(); err != nil {
		return err
	}
	for _, sp := range c.specs {
		if sp.level != nil {
			continue
		}
		port := sp.port
		if port == 0 {
			port = sp.deflt
		}
		addrs, err := lookup(sp.name, port, lv.Loader().Offline)
		if err == nil && sp.port != 0 && !isUnix(sp.name) {
			addrs, err = lookup(sp.name+":"+strconv.Itoa(port), port, lv.Loader().Offline)
		}
		if err != nil {
			return nginxconf.Errorf(sp.at.File, sp.at.Line, `%s in upstream "%s"`, err, sp.name)
		}
		sp.servers = []*serverSpec{{addrs: addrs, weight: 1}}
	}
	return c.checkZones()
}

func isUnix(name string) bool { return len(name) > 5 && name[:5] == "unix:" }

func (sp *spec) build(b *ngx.Build, outer *Conf) error {
	g := sp.group
	g.Conf = outer
	if sp.level != nil {
		g.Conf = nginxconf.Of[*Conf](sp.level)
	}
	g.mu = ngx.Keep(b, "lock "+g.Name, func() *sync.Mutex { return new(sync.Mutex) })
	for _, sv := range sp.servers {
		g.Servers = append(g.Servers, Server{sv.text, sv.addrs, sv.weight, sv.maxFails, sv.failTimeout, sv.backup, sv.down})
		for _, a := range sv.addrs {
			g.addPeer(b, sp, sv, a)
		}
	}
	g.slow = len(g.Peers) > 1 && slices.ContainsFunc(g.Peers, func(p *Peer) bool { return p.slowStart > 0 })
	if len(g.Primary) == 0 && sp.level != nil {
		return nginxconf.Errorf(sp.at.File, sp.at.Line, `no servers in upstream "%s"`, sp.name)
	}
	if k := g.Conf.Keepalive.V; sp.level != nil && k.Max > 0 {
		g.Kept = ngx.Keep(b, "kept "+g.Name, func() *Kept { return new(Kept) })
		g.Kept.configure(g.Conf)
	}
	g.Balancer = roundRobin{}
	if sp.method.Make != nil {
		bal, err := sp.method.Make(b, g)
		if err != nil {
			return err
		}
		g.Balancer = bal
	}
	if sp.sticky != nil {
		st, err := sp.sticky(b, g)
		if err != nil {
			return err
		}
		g.Sticky = st
	}
	if sp.script != nil {
		sc, err := sp.script(b, g)
		if err != nil {
			return err
		}
		g.Script = sc
	}
	return nil
}

func (g *Group) addPeer(b *ngx.Build, sp *spec, sv *serverSpec, addr string) {
	p := &Peer{
		Name: []byte(addr), Network: "tcp", Addr: addr, Server: sv.text, Backup: sv.backup, Down: sv.down, Drain: sv.drain,
		Route: sv.route, ID: sv.id, SrunID: sv.srunID, SID: sv.sid, weight: sv.weight, effectiveWeight: sv.weight, maxFails: sv.maxFails, maxConns: sv.maxConns,
		failTimeout: sv.failTimeout, slowStart: sv.slowStart,
	}
	if isUnix(addr) {
		p.Network, p.Addr = "unix", addr[5:]
	}
	if sp.level == nil {
		p.maxFails = 0
	}
	p.Label = addr + g.again(addr)
	p.State = ngx.Keep(b, "peer "+g.Name+" "+p.Label, func() *State { return new(State) })
	if sv.backup {
		p.Index = len(g.Backup)
		g.Backup = append(g.Backup, p)
	} else {
		p.Index = len(g.Primary)
		g.Primary = append(g.Primary, p)
	}
	g.Peers = append(g.Peers, p)
	if !sv.down && !sv.drain {
		g.tries++
	}
}

// again tells the servers of a group apart that have the same address: each fails on its own, as in nginx.
func (g *Group) again(addr string) string {
	n := 0
	for _, p := range g.Peers {
		if string(p.Name) == addr {
			n++
		}
	}
	if n == 0 {
		return ""
	}
	return " #" + strconv.Itoa(n+1)
}

// Foreign returns a peer that isn't of any group, for a script's choice; addr is
// ip:port, [ip]:port or unix:path.
func Foreign(addr string) *Peer {
	p := &Peer{Name: []byte(addr), Network: "tcp", Addr: addr, Foreign: true, weight: 1, State: new(State)}
	if isUnix(addr) {
		p.Network, p.Addr = "unix", addr[5:]
	}
	return p
}

// Foreign returns a peer for a script's choice: one whose address is a peer's of
// the group shares that one's State, so that its requests are counted there.
func (g *Group) Foreign(addr string) *Peer {
	p := Foreign(addr)
	for _, own := range g.Peers {
		if string(own.Name) == addr {
			p.State, p.Server = own.State, own.Server
			break
		}
	}
	return p
}

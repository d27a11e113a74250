package upstream

import (
	"bytes"
	"math"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"limpet/internal/ngx"
	"limpet/nginxconf"
)

// Group is an upstream: its peers and how one is chosen. It is read-only once
// built, but for its peers where their names are resolved anew.
type Group struct {
	Name     string
	Implicit bool // made by proxy_pass, not by an upstream block
	Port     int  // of an implicit group, as proxy_pass gave it; else 0
	Conf     *Conf
	Servers  []Server // as configured, for status pages and Lua
	// FailOpen serves from peers that checks have turned down when no other is left.
	FailOpen bool
	Script   Script // nil without; comes before Sticky and Balancer
	Kept     *Kept  // nil where connections aren't kept
	Queue    *Queue // nil where requests don't wait for peers

	dialed int // port of an implicit group, the default one included
	method Method
	sticky StickyMaker
	// heard are told of peers before they become the group's.
	heard []func(ps *Peers)
	peers atomic.Pointer[Peers]
	// mu guards the peers' weights and failures. Configurations share it as they
	// share the peers' State.
	mu *sync.Mutex
}

// Peers returns the peers at the moment.
func (g *Group) Peers() *Peers { return g.peers.Load() }

// Server is a server line as configured.
type Server struct {
	Text         string // as written; "" in an implicit group
	Addrs        []string
	Weight       int
	MaxFails     int
	FailTimeout  time.Duration
	Backup, Down bool
	SID          bool // it has Angie's sid=
}

// Peer is one address of a group.
type Peer struct {
	Name    []byte // as logs show it: 127.0.0.1:8080, [::1]:80, unix:/path
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
	maxConns    int // of all worker processes
	failTimeout time.Duration
	slowStart   time.Duration

	*turn
	key string // of its State among the group's
}

// turn is a peer's standing in round robin. The Group's mu guards it. Peers of one
// configuration that stand for the same server have it together.
type turn struct {
	current   int // weight
	effective int // weight
}

// State is what is known of a peer. It is kept over reloads by group and address.
type State struct {
	unhealthy atomic.Uint32 // a bit for each check that turned the peer down
	upSince   atomic.Int64  // Unix milliseconds of the last coming back; 0: it never was away
	conns     atomic.Int64
	drain     atomic.Bool
	queue     atomic.Pointer[Queue] // of those who may wait for the peer; nil: nobody does

	// guarded by the Group's mu
	fails    int
	accessed int64 // Unix seconds
	checked  int64
	timing   timing

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
			if old != mask {
				s.offerAll() // when it went down, the group may fail open by that
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
func (s *State) SetDrain(on bool) {
	s.drain.Store(on)
	s.offerAll()
}

// Draining reports whether only clients that stick to the peer are sent to it,
// by the file or by SetDrain.
func (p *Peer) Draining() bool { return p.Drain || p.drain.Load() }

// Weight returns the configured weight.
func (p *Peer) Weight() int { return p.weight }

// MaxFails and FailTimeout return the parameters of the server line.
func (p *Peer) MaxFails() int { return p.maxFails }

// FailTimeout returns the parameter of the server line.
func (p *Peer) FailTimeout() time.Duration { return p.failTimeout }

// MaxConns returns how many requests the peer may serve at once; 0 is no limit.
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
	p.fails = 0
	g.mu.Unlock()
	p.offerAll()
}

// Figures are what changes of a peer while it serves.
type Figures struct {
	Current, Effective int // weights of round robin
	Conns, Fails       int
	Accessed, Checked  int64 // when it failed last and when its failures began to count, Unix seconds; 0: never
	Down               bool
}

// Figures appends those of some of the group's peers to dst, all of one moment.
func (g *Group) Figures(dst []Figures, peers []*Peer) []Figures {
	g.mu.Lock()
	defer g.mu.Unlock()
	scale := g.Peers().scaled(1)
	for _, p := range peers {
		dst = append(dst, Figures{p.current / scale, p.effective, int(p.Conns()), p.fails, p.accessed, p.checked, p.IsDown()})
	}
	return dst
}

// Groups are the groups of a configuration, explicit ones first, in the file's order.
type Groups struct{ List []*Group }

// Named returns the group that a host of a URL names: an upstream block's name,
// or the host and port that an implicit group was made of; nil when there is none.
func (gs *Groups) Named(host string) *Group {
	for _, g := range gs.List {
		if !g.Implicit && strings.EqualFold(g.Name, host) {
			return g
		}
	}
	return nil
}

// At returns the implicit group of a host and a port, nil when there is none.
func (gs *Groups) At(host string, port int) *Group {
	for _, g := range gs.List {
		if g.Implicit && g.dialed == port && strings.EqualFold(g.Name, host) {
			return g
		}
	}
	return nil
}

// Single returns a group that lives as long as a request, of addresses that came by variables.
func Single(name string, addrs ...string) *Group {
	g := &Group{Name: name, Implicit: true, Conf: new(Conf), mu: new(sync.Mutex)}
	var all []*Peer
	for _, a := range addrs {
		p := Foreign(a)
		p.Foreign = false
		all = append(all, p)
	}
	ps := newPeers(all)
	ps.Balancer = roundRobin{}
	g.peers.Store(ps)
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
		if port == 0 && !isUnix(sp.name) {
			return nginxconf.Errorf(sp.at.File, sp.at.Line, `no port in upstream "%s"`, sp.name)
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
	g.Conf, g.method = outer, sp.method
	g.mu = ngx.Keep(b, "lock "+g.FullName(), func() *sync.Mutex { return new(sync.Mutex) })
	if sp.level != nil {
		g.Conf = nginxconf.Of[*Conf](sp.level)
	}
	for _, sv := range sp.servers {
		g.Servers = append(g.Servers, Server{sv.text, sv.addrs, sv.weight, sv.maxFails, sv.failTimeout, sv.backup, sv.down, sv.sid})
		if sp.level == nil {
			sv.maxFails = 0
		}
	}
	if k := g.Conf.Keepalive.V; sp.level != nil && k.Max > 0 {
		g.Kept = ngx.Keep(b, "kept "+g.Name, func() *Kept { return new(Kept) })
		g.Kept.configure(g.Conf, b.Workers)
	}
	if sp.level != nil && g.Conf.Queue.IsSet() {
		g.Queue = ngx.Keep(b, "queue "+g.Name, func() *Queue { return new(Queue) })
	}
	ps, err := sp.firstPeers(b)
	if err != nil {
		return err
	}
	g.peers.Store(ps)
	if sp.sticky != nil {
		if g.sticky, err = sp.sticky(b, g); err != nil {
			return err
		}
	}
	if sp.script != nil {
		if g.Script, err = sp.script(b, g); err != nil {
			return err
		}
	}
	g.publish(ps)
	return nil
}

// firstPeers returns the peers that a new configuration begins with.
func (sp *spec) firstPeers(b *ngx.Build) (*Peers, error) {
	if slices.ContainsFunc(sp.servers, func(sv *serverSpec) bool { return sv.resolve }) {
		return sp.follow(b)
	}
	var all []*Peer
	times := make(map[string]int)
	for _, sv := range sp.servers {
		for _, a := range sv.addrs {
			p := sv.peer(a)
			p.maxConns = sp.maxConns(b, sv)
			p.State = ngx.Keep(b, "peer "+sp.group.Name+" "+nth(a, times), func() *State { return new(State) })
			all = append(all, p)
		}
	}
	ps := newPeers(all)
	if len(ps.Primary) == 0 && sp.level != nil {
		return nil, nginxconf.Errorf(sp.at.File, sp.at.Line, `no servers in upstream "%s"`, sp.name)
	}
	return ps, nil
}

// maxConns returns the bound of a server line's max_conns: without a zone nginx
// counts, and bounds, in each worker process for itself.
// https://nginx.org/en/docs/http/ngx_http_upstream_module.html#max_conns
func (sp *spec) maxConns(b *ngx.Build, sv *serverSpec) int {
	if sp.zone || sv.maxConns == 0 || b.Workers == 1 {
		return sv.maxConns
	}
	if !sp.counted {
		sp.counted = true
		b.Notice("notice", `max_conns in upstream "%s" counts for each of %d worker processes, as the group has no zone, in %s:%d`, sp.name, b.Workers, sp.at.File, sp.at.Line)
	}
	return sv.maxConns * min(b.Workers, math.MaxInt/sv.maxConns)
}

// OnChange has f told of the group's peers whenever there are others, before
// any is asked. It is called while a configuration is built; f runs in a goroutine of its own, one at a time.
func (g *Group) OnChange(f func(ps *Peers)) { g.heard = append(g.heard, f) }

// publish makes ps the group's peers.
func (g *Group) publish(ps *Peers) {
	if g.method.Make != nil {
		ps.balance(g.method.Make(ps))
	} else {
		ps.balance(roundRobin{})
	}
	if g.sticky != nil {
		ps.Sticky = g.sticky(ps)
	}
	g.peers.Store(ps)
	if q := g.Queue; q != nil {
		for _, p := range ps.All {
			p.State.queue.Store(q)
		}
		q.offer(anyNumber)
	}
}

// nth tells the servers of one address apart, whose failures and connections
// count for each alone.
func nth(addr string, times map[string]int) string {
	times[addr]++
	if n := times[addr]; n > 1 {
		return addr + " " + strconv.Itoa(n)
	}
	return addr
}

// peer returns a peer of the server line, without a State.
func (sv *serverSpec) peer(addr string) *Peer {
	p := &Peer{
		Name: []byte(addr), Network: "tcp", Addr: addr, Server: sv.text, Backup: sv.backup, Down: sv.down, Drain: sv.drain,
		Route: sv.route, ID: sv.id, SrunID: sv.srunID, SID: sv.sid, weight: sv.weight, turn: &turn{effective: sv.weight}, maxFails: sv.maxFails, maxConns: sv.maxConns,
		failTimeout: sv.failTimeout, slowStart: sv.slowStart,
	}
	if isUnix(addr) {
		p.Network, p.Addr = "unix", addr[5:]
	}
	return p
}

// Foreign returns a peer that isn't of any group, for a script's choice; addr is
// ip:port, [ip]:port or unix:path.
func Foreign(addr string) *Peer {
	p := &Peer{Name: []byte(addr), Network: "tcp", Addr: addr, Foreign: true, weight: 1, State: new(State), turn: &turn{effective: 1}}
	if isUnix(addr) {
		p.Network, p.Addr = "unix", addr[5:]
	}
	return p
}

// Foreign returns a peer for a script's choice: one whose address is a peer's of
// the group shares that one's State, so that its requests are counted there.
func (g *Group) Foreign(addr string) *Peer {
	p := Foreign(addr)
	for _, own := range g.Peers().All {
		if string(own.Name) == addr {
			p.State, p.Server = own.State, own.Server
			break
		}
	}
	return p
}

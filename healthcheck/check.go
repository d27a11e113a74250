package healthcheck

import (
	"slices"
	"sync/atomic"
	"time"

	"limpet/internal/errlog"
	"limpet/internal/ngx"
	"limpet/internal/tcp"
	"limpet/upstream"

	"crypto/tls"
)

// Checks are the checks of a configuration. Once it is in force, prober.mu guards
// what changes with the peers of groups whose names are resolved anew.
type Checks struct {
	list   []*Check
	tasks  []*task
	shared map[string]*target // of unique checks, by key
	marks  map[*upstream.State][]*Mark
	prober *prober
	groups *upstream.Groups
}

// Check is one check of a group: how its peers are asked, when, and what it
// takes to turn them down and up. It is read-only once built.
type Check struct {
	Group    *upstream.Group
	Dialect  string // resty, check, health_check or upstream_probe: the directive's or library's name
	Name     string // tells apart the checks of a group in metrics; may be ""
	Type     string // http, tcp, mysql...
	Interval time.Duration
	Jitter   time.Duration // a random delay of up to this is added to each interval
	Fall     int           // failures in a row that turn a peer down
	Rise     int           // passes in a row that turn it up
	Port     int           // asked in place of the peer's own; 0: its own

	identity  string // what makes it another check than those of the group, and than one before a reload
	timeouts  timeouts
	protocol  protocol
	words     words
	tls       *tls.Config // nil: plain
	log       *errlog.Log
	startDown bool          // a peer that was never checked is down
	spread    time.Duration // the first probe comes after a random part of this
	requests  int           // of a connection; 1: each on its own
	life      time.Duration // of a connection; 0: no bound
	when      when
	targets   atomic.Pointer[[]*target] // of the group's peers at the moment
	arrange   func(c *Check) []*task    // makes the tasks for the targets
	cycles    bool                      // one task has all targets
	tables    *upstream.Table[*Mark]    // by address
}

// at returns the check's targets at the moment. They are read-only.
func (c *Check) at() []*target {
	if ts := c.targets.Load(); ts != nil {
		return *ts
	}
	return nil
}

// when says which peers a check asks.
type when uint8

const (
	always when = iota
	idle        // unhealthy ones, and those without a client's request since the last probe
	onFail      // unhealthy ones
)

// timeouts bound the steps of a probe, each as a whole; total, where it isn't 0,
// bounds all of them together in their place.
type timeouts struct {
	connect, send, read time.Duration
	total               time.Duration
}

// words tells of a check's findings in the log lines of its dialect.
type words interface {
	// failed tells of one failed probe; down says that the peer was down before.
	failed(c *Check, t *target, x *exchange, down bool)
	// flipped tells that a peer was turned down or up by the n-th result in a row.
	flipped(c *Check, t *target, x *exchange, down bool, n int64)
}

// Mark is what a check knows of one address. It is kept over reloads. The
// prober writes it, one probe at a time; it may be read at any time.
type Mark struct {
	down   atomic.Bool
	passed atomic.Int64 // passes in a row
	failed atomic.Int64 // failures in a row
	last   atomic.Int64 // Unix nanoseconds of the last probe's start; 0: never asked

	checks     atomic.Int64
	results    [numResults]atomic.Int64
	wentDown   atomic.Int64
	wentUp     atomic.Int64
	duration   atomic.Int64 // nanoseconds of the last probe
	lastPassed atomic.Bool
	traffic    int64 // requests of clients at the last probe
}

// Result is how a probe went, for metrics.
type Result uint8

// The results of a probe.
const (
	Passed    Result = iota
	Refused          // no connection
	TimedOut         // in any step
	Handshake        // TLS failed or the certificate isn't trusted
	Broken           // the connection ended before the answer
	Malformed        // the answer isn't of the protocol
	Status           // the status isn't accepted
	Mismatch         // the header, the body or a variable isn't as asked
	numResults
)

// String returns the word for a metric's label.
func (r Result) String() string {
	return [numResults]string{"passed", "refused", "timeout", "handshake", "closed", "malformed", "status", "mismatch"}[r]
}

// Report is what a check knows of a peer at a moment.
type Report struct {
	Check      *Check
	Group      *upstream.Group
	Peer       *upstream.Peer
	Down       bool
	Passed     int64 // in a row
	Failed     int64 // in a row
	Checks     int64 // since the mark was made
	Results    [numResults]int64
	WentDown   int64 // flips
	WentUp     int64
	Last       time.Time // of the last probe; zero: never asked
	Duration   time.Duration
	LastPassed bool
}

// Of returns the checks of a configuration.
func Of(b *ngx.Build) *Checks { return ngx.Shared[Checks](b) }

// Each calls fn for every peer of every check, in the order of checks and peers. It may be
// called at any time, by any number of goroutines.
func (s *Checks) Each(fn func(r Report)) {
	for _, c := range s.list {
		for _, t := range c.at() {
			for _, m := range t.members {
				if m.group == c.Group {
					fn(t.mark.report(c, m))
				}
			}
		}
	}
}

func (m *Mark) report(c *Check, mem member) Report {
	r := Report{
		Check: c, Group: mem.group, Peer: mem.peer, Down: m.down.Load(), Passed: m.passed.Load(), Failed: m.failed.Load(),
		Checks: m.checks.Load(), WentDown: m.wentDown.Load(), WentUp: m.wentUp.Load(),
		Duration: time.Duration(m.duration.Load()), LastPassed: m.lastPassed.Load(),
	}
	for i := range r.Results {
		r.Results[i] = m.results[i].Load()
	}
	if ns := m.last.Load(); ns != 0 {
		r.Last = time.Unix(0, ns)
	}
	return r
}

// Generation returns how many configurations were in force before and with this one.
func (s *Checks) Generation() int64 {
	if s.prober == nil {
		return 0
	}
	return s.prober.generation.Load()
}

// checked reports whether any check looks after a group.
func (s *Checks) checked(g *upstream.Group) bool {
	return slices.ContainsFunc(s.list, func(c *Check) bool { return c.Group == g })
}

// target is one address as one check asks it.
type target struct {
	check   *Check
	mark    *Mark
	members []member
	network string
	addr    string // to dial
	task    *task

	// Of the worker that probes it; kept between probes.
	conn   *tcp.Conn
	to     *tcp.Address // of addr; nil before the first connection
	uses   int
	opened time.Time
}

// member is a peer that a target speaks for.
type member struct {
	group *upstream.Group
	peer  *upstream.Peer
}

// name returns the peer's name for log lines.
func (t *target) name() []byte { return t.members[0].peer.Name }

// add adds a check to the configuration that is being built, with a target for
// each address of the group that the file doesn't hold down. identity is what
// makes it another check than the one before the reload. A unique check shares its targets with
// those of the same identity in other groups, as far as their addresses are known by then. arrange makes the
// tasks that probe the targets; it runs again when the group has other peers.
func (s *Checks) add(b *ngx.Build, c *Check, identity string, unique bool, arrange func(c *Check) []*task) {
	for s.has(c.Group, identity) { // the same directive in two locations
		identity += " again"
	}
	c.identity, c.arrange = identity, arrange
	s.list = append(s.list, c)
	c.log = orLog(c.log, b.Log)
	c.tables = ngx.Keep(b, "checks "+c.Group.Name+" "+identity, func() *upstream.Table[*Mark] { return new(upstream.Table[*Mark]) })
	var sharing func(p *upstream.Peer) *target
	if unique {
		sharing = func(p *upstream.Peer) *target { return s.sharing(b, c, p, identity) }
	}
	s.aim(c, c.Group.Peers(), sharing)
	s.tasks = append(s.tasks, arrange(c)...)
	c.Group.OnChange(func(ps *upstream.Peers) { s.prober.follow(s, c, ps) })
}

func (s *Checks) has(g *upstream.Group, identity string) bool {
	return slices.ContainsFunc(s.list, func(c *Check) bool { return c.Group == g && c.identity == identity })
}

func orLog(l, other *errlog.Log) *errlog.Log {
	if l != nil {
		return l
	}
	return other
}

// aim gives a check its targets for some peers. Targets of peers that it had go on. sharing, if not nil,
// returns a target of another group for a peer, or makes one that others may share.
func (s *Checks) aim(c *Check, ps *upstream.Peers, sharing func(p *upstream.Peer) *target) {
	had := make(map[*upstream.State]*target)
	for _, t := range c.at() {
		had[t.members[0].peer.State] = t
	}
	times := make(map[string]int)
	for _, p := range ps.All {
		times[p.Addr]++
	}
	byAddr := make(map[string]*target)
	var targets []*target
	for _, p := range ps.All {
		if p.Down {
			continue
		}
		mem := member{c.Group, p}
		t := byAddr[p.Addr]
		switch old := had[p.State]; {
		case t != nil:
			t.members = append(t.members, mem)
		case old != nil && !c.cycles && len(old.members) == 1 && times[p.Addr] == 1 && old.members[0].peer.Backup == p.Backup:
			t = old
		case sharing != nil:
			t = sharing(p)
		default:
			t = newTarget(c, p)
			t.mark = c.tables.Get(string(p.Name), c.newMark)
		}
		if byAddr[p.Addr] == nil {
			targets = append(targets, t)
			byAddr[p.Addr] = t
		}
		s.mark(p, t.mark)
	}
	c.targets.Store(&targets)
}

func newTarget(c *Check, p *upstream.Peer) *target {
	t := &target{check: c, members: []member{{c.Group, p}}, network: p.Network, addr: p.Addr}
	if c.Port != 0 && p.Network != "unix" {
		t.addr = withPort(p.Addr, c.Port)
	}
	return t
}

func (c *Check) newMark() *Mark {
	m := new(Mark)
	m.down.Store(c.startDown)
	return m
}

// sharing returns the target of a unique check for a peer, another group's if it is there.
func (s *Checks) sharing(b *ngx.Build, c *Check, p *upstream.Peer, identity string) *target {
	key := "check unique " + string(p.Name) + " " + identity
	if t := s.shared[key]; t != nil {
		t.members = append(t.members, member{c.Group, p})
		return t
	}
	t := newTarget(c, p)
	t.mark = ngx.Keep(b, key, c.newMark)
	if s.shared == nil {
		s.shared = make(map[string]*target)
	}
	s.shared[key] = t
	return t
}

// mark notes that a mark counts for a peer.
func (s *Checks) mark(p *upstream.Peer, m *Mark) {
	if s.marks == nil {
		s.marks = make(map[*upstream.State][]*Mark)
	}
	if !slices.Contains(s.marks[p.State], m) {
		s.marks[p.State] = append(s.marks[p.State], m)
	}
}

// forget takes back what mark noted of a target's peers.
func (s *Checks) forget(t *target) {
	for _, m := range t.members {
		s.marks[m.peer.State] = slices.DeleteFunc(s.marks[m.peer.State], func(k *Mark) bool { return k == t.mark })
		if len(s.marks[m.peer.State]) == 0 {
			delete(s.marks, m.peer.State)
		}
	}
}

// down reports whether any check holds a peer down.
func (s *Checks) down(p *upstream.Peer) bool {
	return slices.ContainsFunc(s.marks[p.State], func(m *Mark) bool { return m.down.Load() })
}

// each makes a task for every target of a check that has none.
func each(c *Check) []*task {
	var tasks []*task
	for _, t := range c.at() {
		if t.task != nil { // it goes on, or another group's unique check has it
			continue
		}
		t.task = &task{check: c, period: c.Interval, stages: [][]lane{{{targets: []*target{t}}}}}
		t.task.own()
		tasks = append(tasks, t.task)
	}
	return tasks
}

package upstream

import (
	"time"

	"limpet/internal/ngx"
)

// Session is one request's dealing with a group over its tries. The zero value
// is to be begun; it is used by one goroutine and can be begun again.
type Session struct {
	Group   *Group
	Peers   *Peers // of the group when the session began
	Request *ngx.Request
	Peer    *Peer // the one at hand
	Tries   int   // that are left, the one at hand included
	// At is when Peer was chosen.
	At time.Time
	// Number counts the tries: 0 before the first.
	Number int
	// Hash, Rehash and Probes are the balancer's own from try to try: a hash, how
	// often it was made, and how many peers it led to that couldn't be asked.
	Hash, Rehash uint32
	Probes       int
	// Mark and Stamp are the stickiness's own from try to try.
	Mark  any
	Stamp int64
	// Own is the client's own peer where Choose couldn't return it: a backup peer,
	// asked when the backup peers' turn comes, or one that is down, asked where the
	// group fails open.
	Own *Peer
	// Refusal is the status to answer with when Next returned nil; 0 is 502, no live upstreams.
	Refusal int
	// MaxTries is proxy_next_upstream_tries, which bounds what a script may add to Tries; 0: no bound.
	MaxTries int
	// While is what was being done when the try failed, for log lines.
	While string
	// LastOutcome tells how the try before went.
	LastOutcome Outcome
	// Asked is what a script wants of this try and later ones; the zero value changes nothing.
	Asked Asked
	// Of the balancers of this package: the key once it was made, and when the try began that is under way.
	keyed    bool
	keyValue []byte
	begun    int64

	backup bool // the backup peers' turn
	open   bool // it fails open: peers that checks have turned down are asked
	tried  []uint64
	inline [2]uint64 // tried of groups of up to 128 peers
}

// Asked is what balancer_by_lua asks for besides a peer (ngx.balancer). Who talks
// to the peer honours it; zero values leave the location's settings in force.
type Asked struct {
	Connect, Send, Read time.Duration // set_timeouts
	// Keep says that the connection is to be kept, whatever the group's keepalive
	// says, for KeepIdle and KeepRequests requests (0: no bound).
	Keep         bool
	KeepIdle     time.Duration
	KeepRequests int
	LocalAddr    string // bind_to_local_addr: an address, or address:port
	Recreate     bool   // the request is to be made anew, variables and all; to be cleared by who does it
	TLS          *bool  // set_upstream_tls
	Host         string // of set_current_peer: for SNI and for keeping connections apart
}

// Outcome is how a try went, as it counts against the peer.
type Outcome uint8

// The outcomes of a try.
const (
	Good   Outcome = iota
	Failed         // counts as a failure: no connection, no or a broken answer
	Next           // another peer is asked, and it isn't the peer's fault (403, 404)
)

// Balancer chooses a peer among those that Session.May allows.
type Balancer interface {
	// Pick returns a peer of peers or nil when none may be asked. The group is locked.
	Pick(s *Session, peers []*Peer, now int64) *Peer
}

// Sticky says which peer a client belongs to. Its methods run without the group's
// lock, in the request's goroutine, once a try; s.Number is 1 at the first.
type Sticky interface {
	// Begun is called once a session, before the request's head for the peer is
	// made: what it changes of s.Request.In reaches the peer.
	Begun(s *Session)
	// Choose returns the client's peer, nil to let the balancer choose. A peer
	// that may not be asked (down, failed, full, tried) gives way to the balancer's
	// choice, unless s.Refusal was set.
	Choose(s *Session) *Peer
	// Chosen tells which peer is asked, after either way. A cookie that it adds to
	// s.Request.Out.Header comes before the peer's own fields and stays whatever
	// is answered, error pages included; at a later try it replaces that of the one before.
	Chosen(s *Session, p *Peer)
	// Answered tells that the answer's head of p was taken over into s.Request.Out
	// and s.Request.UpHead and is about to go to the client.
	Answered(s *Session, p *Peer)
	// Ended tells how the try with p ended.
	Ended(s *Session, p *Peer, out Outcome)
}

// Charger is a Balancer that takes note of a peer that a client sticks to, so
// that it gets the fewer new ones.
type Charger interface {
	// Charge counts p, one of peers, as picked. The group is locked.
	Charge(s *Session, peers []*Peer, p *Peer, now int64)
}

// Observer is a Balancer that looks at how tries go. The group is locked.
type Observer interface {
	// Headed tells that p's answer has begun: its header is there.
	Headed(s *Session, p *Peer)
	// Done tells that the try with p has ended; the last one of s.Request.Tries tells more of it.
	Done(s *Session, p *Peer, out Outcome)
}

// Script chooses the peer of every try (balancer_by_lua).
type Script interface {
	// Choose returns a peer of the group or a Foreign one; nil lets the group's
	// balancer choose; a status other than 0 ends the request with it. It may change s.Tries.
	Choose(s *Session) (p *Peer, status int)
}

// Begin starts a session.
func (g *Group) Begin(s *Session, r *ngx.Request) {
	ps := g.Peers()
	*s = Session{Group: g, Peers: ps, Request: r, Tries: ps.tries}
	words := (len(ps.All) + 63) / 64
	if words <= len(s.inline) {
		s.tried = s.inline[:words]
	} else {
		s.tried = make([]uint64, words)
	}
	if ps.Sticky != nil {
		ps.Sticky.Begun(s)
	}
}

// Next chooses the peer for the next try and counts it as busy until Done; nil
// when no peer is live.
func (s *Session) Next() *Peer {
	g := s.Group
	s.Number++
	s.At = time.Now()
	now := s.At.Unix()
	if s.debugging() {
		s.debugOut(s.At)
	}
	if g.Script != nil {
		p, status := g.Script.Choose(s)
		if s.Refusal = status; status != 0 {
			return nil
		}
		if p != nil {
			p.conns.Add(1)
			s.Peer = p
			if s.debugging() {
				s.debugChosen(p, "the script")
			}
			return p
		}
	}
	sticky := s.Peers.Sticky
	if sticky != nil {
		if p := sticky.Choose(s); p != nil && s.take(p, now) {
			if s.debugging() {
				s.debugChosen(p, "stickiness")
			}
			sticky.Chosen(s, p)
			return p
		}
		if s.Refusal != 0 {
			return nil
		}
	}
	p := s.choose(now)
	if s.debugging() {
		s.debugChosen(p, "the balancer")
	}
	if p == nil {
		return nil
	}
	s.Peer = p
	if sticky != nil {
		sticky.Chosen(s, p)
	}
	return p
}

// choose picks a peer, marks it as tried and counts it as busy.
func (s *Session) choose(now int64) *Peer {
	s.Group.mu.Lock()
	defer s.Group.mu.Unlock()
	p := s.pick(now)
	if p != nil {
		s.mark(p)
		p.conns.Add(1) // under the lock, so that max_conns holds
	}
	return p
}

// pick asks the balancer for a primary peer, then for a backup peer, then for
// one that checks have turned down, where the group fails open.
func (s *Session) pick(now int64) *Peer {
	ps := s.Peers
	if !s.backup {
		if p := s.among(ps.Primary, now); p != nil {
			return p
		}
		if len(ps.Backup) > 0 {
			s.backup = true
			if s.debugging() {
				s.Request.Debugf("backup servers")
			}
		}
	}
	if s.backup {
		if p := s.Own; p != nil && p.Backup && s.May(p, now) {
			return p
		}
		if p := s.among(ps.Backup, now); p != nil {
			return p
		}
	}
	if s.Group.FailOpen {
		if p := s.Own; p != nil && !p.Down && p.Unhealthy() && !s.Tried(p) {
			return p
		}
		return s.failOpen(now)
	}
	return nil
}

// failOpen asks the balancer for one of the peers that checks have turned down, primary ones first.
func (s *Session) failOpen(now int64) *Peer {
	s.open = true
	if s.debugging() {
		s.Request.Debugf(`upstream "%s": fails open: peers that checks have turned down are asked`, s.Group.Name)
	}
	defer func() { s.open = false }()
	if p := s.among(s.Peers.Primary, now); p != nil {
		return p
	}
	return s.among(s.Peers.Backup, now)
}

func (s *Session) among(peers []*Peer, now int64) *Peer {
	if len(peers) == 1 && len(s.Peers.All) == 1 {
		// nginx's single peer: failures don't take it out, and it may be tried again
		if s.debugging() {
			s.Request.Debugf("get rr peer, try: %d", s.Tries)
		}
		if p := peers[0]; !p.Down && p.Unhealthy() == s.open && !p.Draining() && !p.full() {
			return p
		}
		return nil
	}
	if len(peers) == 0 {
		return nil
	}
	return s.Peers.Balancer.Pick(s, peers, now)
}

// take makes the client's own peer the one at hand, if it may be asked.
func (s *Session) take(p *Peer, now int64) bool {
	g, ps := s.Group, s.Peers
	g.mu.Lock()
	ok := len(ps.All) == 1 && !p.IsDown() && !p.full() || s.May(p, now)
	if ok {
		if c, is := ps.Balancer.(Charger); is && len(ps.All) > 1 {
			peers := ps.Primary
			if p.Backup {
				peers = ps.Backup
			}
			c.Charge(s, peers, p, now)
		}
		s.mark(p)
		p.conns.Add(1)
		s.Peer = p
	}
	g.mu.Unlock()
	return ok
}

// May reports whether a peer may be asked: not tried yet, not down, not failed
// too often of late, not full; while the group fails open, one that only checks
// hold down. The group is locked.
func (s *Session) May(p *Peer, now int64) bool {
	if p.Down || p.Unhealthy() != s.open || s.Tried(p) || p.full() {
		return false
	}
	return s.open || !p.failed(now)
}

// MayNew is May for a client that doesn't stick to the peer. The group is locked.
func (s *Session) MayNew(p *Peer, now int64) bool { return s.May(p, now) && !p.Draining() }

// failed reports whether failures keep requests away from the peer. The group is locked.
func (p *Peer) failed(now int64) bool {
	return p.maxFails > 0 && p.fails >= p.maxFails && now-p.checked <= p.failSeconds()
}

func (p *Peer) failSeconds() int64 { return int64(p.failTimeout / time.Second) }

func (p *Peer) full() bool { return p.maxConns > 0 && p.conns.Load() >= int64(p.maxConns) }

// Tried reports whether the session has asked the peer before.
func (s *Session) Tried(p *Peer) bool {
	i := s.bit(p)
	return s.tried[i>>6]&(1<<(i&63)) != 0
}

func (s *Session) mark(p *Peer) {
	i := s.bit(p)
	s.tried[i>>6] |= 1 << (i & 63)
}

func (s *Session) bit(p *Peer) int {
	if p.Backup {
		return len(s.Peers.Primary) + p.Index
	}
	return p.Index
}

// Headed tells that the header of the answer of the peer at hand is there.
func (s *Session) Headed() {
	if o := s.Peers.observer; o != nil && s.Peer != nil && !s.Peer.Foreign {
		s.Group.mu.Lock()
		o.Headed(s, s.Peer)
		s.Group.mu.Unlock()
	}
}

// Done ends the try at hand.
func (s *Session) Done(out Outcome) {
	p, g, ps := s.Peer, s.Group, s.Peers
	if p == nil {
		return
	}
	s.Peer = nil
	s.LastOutcome = out
	if s.debugging() {
		s.debugFree(out)
	}
	p.conns.Add(-1)
	s.Tries--
	if ps.Sticky != nil {
		ps.Sticky.Ended(s, p, out)
	}
	if p.Foreign {
		return
	}
	if len(ps.All) == 1 {
		s.Tries = 0
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if ps.observer != nil {
		ps.observer.Done(s, p, out)
	}
	if out != Failed {
		if p.fails > 0 && p.accessed < p.checked {
			if p.maxFails > 0 && p.fails >= p.maxFails {
				p.cameUp()
			}
			p.fails = 0
		}
		return
	}
	p.Stats.Fails.Add(1)
	now := time.Now().Unix()
	p.fails++
	p.accessed, p.checked = now, now
	if s.debugging() {
		s.Request.Debugf("free rr peer failed: %s %d, fails: %d of %d", p.Name, p.effective, p.fails, p.maxFails)
	}
	if p.maxFails > 0 {
		p.effective = max(p.effective-p.weight/p.maxFails, 0)
		if p.fails >= p.maxFails && s.Request != nil {
			s.Request.Warnf("upstream server temporarily disabled while %s", s.While)
		}
	}
}

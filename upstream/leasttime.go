package upstream

import (
	"fmt"
	"strings"
	"time"

	"limpet/nginxconf"
)

// parseLeastTime reads least_time header|last_byte [inflight].
// https://nginx.org/en/docs/http/ngx_http_upstream_module.html#least_time
func parseLeastTime(s *nginxconf.Setting) error {
	var m leastTime
	if len(s.Args) == 2 && s.Arg(1) != "inflight" {
		return fmt.Errorf(`invalid parameter "%s"`, s.Arg(1))
	}
	m.inflight = len(s.Args) == 2
	switch strings.ToLower(s.Arg(0)) {
	case "header":
		m.header = true
	case "last_byte":
	default:
		return fmt.Errorf(`invalid value "%s"`, s.Arg(0))
	}
	return SetMethod(s, Method{Name: s.Name, Make: func(*Peers) Balancer { return &m }})
}

// leastTime chooses the peer with the least product of mean time and requests
// under way for its weight; several of that kind take turns.
//
// The documentation leaves the means open. Here they are exponential moving
// averages over good answers, in steps of timeStep so that noise doesn't count.
// A peer that was slow wouldn't be asked again, so that for each second that it
// isn't asked, beyond its fail_timeout, its mean counts half; what it then does
// weighs as much as all before.
type leastTime struct {
	header   bool // the time to the header, else to the last byte
	inflight bool // requests under way count with the time that they took so far
}

const (
	// timeStep is the least difference of means that counts, in milliseconds.
	timeStep = 20
	// meanParts is the inverse of the weight of one answer in the mean.
	meanParts = 8
	// meanUnit is the parts of a millisecond in which a mean is kept.
	meanUnit = 16
)

// timing is what least_time knows of a peer. The group's lock guards it.
type timing struct {
	mean   int64 // in parts of a millisecond; 0: nothing known
	chosen int64 // Unix milliseconds of the last request
	stale  bool  // the mean had begun to fade when the last request was sent
	// of the requests under way: how many, and the sum of their beginnings in Unix milliseconds
	waiting int64
	begun   int64
}

// Pick implements Balancer.
func (m *leastTime) Pick(s *Session, peers []*Peer, now int64) *Peer {
	ms := nowMillis()
	if s.debugging() {
		s.Request.Debugf("get least time peer, try: %d", s.Tries)
	}
	var best *Peer
	var least int64
	first, ties := 0, false
	for i, p := range peers {
		if !s.MayNew(p, now) {
			continue
		}
		cost := m.cost(p, ms)
		if s.debugging() {
			s.Request.Debugf("get least time peer, %s: %d ms, cost: %d", p.Name, m.expected(p, ms), cost)
		}
		d := int64(-1)
		if best != nil {
			d = cost*m.share(s, best) - least*m.share(s, p)
		}
		switch {
		case d < 0:
			best, least, first, ties = p, cost, i, false
		case d == 0:
			ties = true
		}
	}
	if ties {
		if s.debugging() {
			s.Request.Debugf("get least time peer, many")
		}
		c := contest{peers: s.Peers}
		for _, p := range peers[first:] {
			if s.MayNew(p, now) && m.cost(p, ms)*m.share(s, best) == least*m.share(s, p) {
				c.enter(p)
			}
		}
		best = c.end(now)
	} else if best != nil {
		best.Checked(now)
	}
	m.begin(s, best, ms)
	return best
}

func (m *leastTime) share(s *Session, p *Peer) int64 { return int64(s.Peers.ramped(p, p.weight)) }

// cost returns what a request to the peer costs beside its weight.
func (m *leastTime) cost(p *Peer, ms int64) int64 {
	return (p.conns.Load() + 1) * (m.expected(p, ms)/timeStep + 1)
}

// expected returns the milliseconds that the peer may take.
func (m *leastTime) expected(p *Peer, ms int64) int64 {
	t := &p.timing
	mean := t.mean / meanUnit >> p.fading(ms)
	if m.inflight && t.waiting > 0 {
		mean = max(mean, ms-t.begun/t.waiting)
	}
	return mean
}

// fading returns for how many seconds the peer's mean has been fading.
func (p *Peer) fading(ms int64) int64 {
	return min(max(ms-p.timing.chosen-p.failTimeout.Milliseconds(), 0)/1000, 62)
}

// begin notes that a request goes to p.
func (m *leastTime) begin(s *Session, p *Peer, ms int64) {
	if p == nil {
		return
	}
	t := &p.timing
	t.stale = p.fading(ms) > 0
	t.chosen = ms
	t.waiting++
	t.begun += ms
	s.begun = ms
}

// Charge implements Charger.
func (m *leastTime) Charge(s *Session, _ []*Peer, p *Peer, _ int64) { m.begin(s, p, nowMillis()) }

// Headed implements Observer.
func (m *leastTime) Headed(s *Session, p *Peer) {
	if m.header {
		m.end(s, p)
	}
}

func (m *leastTime) end(s *Session, p *Peer) {
	if s.begun != 0 {
		p.timing.waiting--
		p.timing.begun -= s.begun
		s.begun = 0
	}
}

// Done implements Observer.
func (m *leastTime) Done(s *Session, p *Peer, out Outcome) {
	m.end(s, p)
	if s.Request == nil || len(s.Request.Tries) == 0 || out == Failed {
		return
	}
	try := &s.Request.Tries[len(s.Request.Tries)-1]
	took := try.Response
	if m.header {
		took = try.Header
	}
	if took >= 0 {
		p.timing.observe(took)
	}
}

func (t *timing) observe(took time.Duration) {
	v := max(took.Microseconds()*meanUnit/1000, 1)
	switch {
	case t.mean == 0:
		t.mean = v
	case t.stale:
		t.mean = (t.mean + v) / 2
		t.stale = false
	default:
		t.mean += (v - t.mean) / meanParts
	}
}

func nowMillis() int64 { return time.Now().UnixMilli() }

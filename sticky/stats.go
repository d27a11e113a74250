package sticky

import (
	"hash/maphash"
	"sync/atomic"
	"time"

	"limpet/internal/ngx"
	"limpet/upstream"
)

// Stats count what the stickiness of a group did. They are kept over reloads by the group's name.
type Stats struct {
	reasons [NumReasons]atomic.Int64
	seen    [NumSpellings]sighting
	seed    maphash.Seed
}

// sighting counts the cookies of one spelling.
type sighting struct{ n, last atomic.Int64 }

func newStats() *Stats { return &Stats{seed: maphash.MakeSeed()} }

func (st *Stats) see(r *ngx.Request, sp Spelling) {
	c := &st.seen[sp]
	c.n.Add(1)
	if t := now(r); c.last.Load() != t {
		c.last.Store(t)
	}
}

// Of returns the stickiness of a group, nil when it has none.
func Of(g *upstream.Group) *Policy {
	p, _ := g.Peers().Sticky.(*Policy)
	return p
}

// Dialect says in whose words the group's stickiness is configured, Where says at which FILE:LINE.
func (p *Policy) Dialect() string { return p.dialect }

// Where returns the FILE:LINE of the directive.
func (p *Policy) Where() string { return p.where }

// Reasons returns how many choices of a peer had the reason. A try that follows a
// failed one counts again.
func (p *Policy) Reasons(r Reason) int64 { return p.stats.reasons[r].Load() }

// Seen returns how many requests named a peer of the group in a spelling, and
// when the last one did; the zero time when none did.
func (p *Policy) Seen(sp Spelling) (n int64, last time.Time) {
	c := &p.stats.seen[sp]
	if t := c.last.Load(); t != 0 {
		last = time.Unix(t, 0)
	}
	return c.n.Load(), last
}

// Clients estimates how many distinct clients, by address and user agent, the
// peer served within the window, in whole minutes. It is exact when there was
// none and within some percent else.
func (p *Policy) Clients(q *upstream.Peer, window time.Duration) int {
	at := p.peers.Position(q)
	if at < 0 {
		return 0
	}
	return p.clients[at].count(window, time.Now().Unix())
}

// LastSeen returns when the peer last served a request; the zero time when it never did.
func (p *Policy) LastSeen(q *upstream.Peer) time.Time {
	at := p.peers.Position(q)
	if at < 0 || p.clients[at].last.Load() == 0 {
		return time.Time{}
	}
	return time.Unix(p.clients[at].last.Load(), 0)
}

// Value returns the value that the configured dialect writes for the peer, without
// what may stand behind it; "" when it writes none, or makes one for each request.
func (p *Policy) Value(q *upstream.Peer) string {
	if at := p.peers.Position(q); p.write != nil && at >= 0 {
		return p.write.value(at)
	}
	return ""
}

// Sessions returns how many sessions are learned; learns is false where none ever are.
func (p *Policy) Sessions() (n int, learns bool) {
	if p.learn == nil {
		return 0, false
	}
	return p.learn.zone.len(), true
}

package upstream

import (
	"sync"
	"time"

	"limpet/internal/tcp"
)

// Link is a connection to a peer with its history.
type Link struct {
	Conn     *tcp.Conn
	Requests int // that it served
	Opened   time.Time
	// Idle and Limit are used in place of the group's keepalive_timeout and
	// keepalive_requests; 0 is the group's.
	Idle  time.Duration
	Limit int
}

// Kept is the idle connections of a group. It outlives configurations.
type Kept struct {
	mu      sync.Mutex
	max     int
	local   bool
	limit   int
	life    time.Duration
	timeout time.Duration
	idle    []keptLink // oldest first
	timer   *time.Timer
}

type keptLink struct {
	Link
	peer  *State
	key   uint64
	since time.Time
}

// sweepEvery is how often connections that were closed by their peers, or that
// waited too long, are looked for.
const sweepEvery = time.Second

// configure sets the limits: keepalive is that of each of nginx's worker processes.
func (k *Kept) configure(c *Conf, workers int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.max, k.local = c.Keepalive.V.Max*workers, c.Keepalive.V.Local
	k.limit, k.life, k.timeout = c.KeepaliveRequests.V, c.KeepaliveTime.V, c.KeepaliveTimeout.V
}

// Get returns an idle connection to a peer that was opened for the same use:
// key stands for what must agree (the location under `keepalive N local`, TLS settings).
// now is the time. Its peer may have closed it: whoever asks over it looks first, by Fresh or a quiet Exchange.
func (k *Kept) Get(p *Peer, key uint64, now time.Time) (Link, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for i := len(k.idle) - 1; i >= 0; i-- {
		if e := &k.idle[i]; e.peer == p.State && e.key == key && !k.stale(e, now) {
			l := e.Link
			k.remove(i)
			return l, true
		}
	}
	return Link{}, false
}

// stale reports whether a connection was idle for too long; the sweep closes it. k.mu is held.
func (k *Kept) stale(e *keptLink, now time.Time) bool {
	idle := k.timeout
	if e.Idle > 0 {
		idle = e.Idle
	}
	return now.Sub(e.since) >= idle
}

func (k *Kept) remove(i int) {
	last := len(k.idle) - 1
	copy(k.idle[i:], k.idle[i+1:])
	k.idle[last] = keptLink{}
	k.idle = k.idle[:last]
}

// Put keeps a connection that is ready for another request, or closes it when it
// served enough; the longest idle one goes when there are too many. now is the time.
func (k *Kept) Put(p *Peer, key uint64, l Link, now time.Time) {
	var old *tcp.Conn
	k.mu.Lock()
	limit := k.limit
	if l.Limit > 0 {
		limit = l.Limit
	}
	if l.Requests >= limit || now.Sub(l.Opened) > k.life {
		k.mu.Unlock()
		l.Conn.Close()
		return
	}
	if len(k.idle) >= k.max {
		old = k.idle[0].Conn
		k.remove(0)
	}
	k.idle = append(k.idle, keptLink{l, p.State, key, now})
	if k.timer == nil {
		k.timer = time.AfterFunc(sweepEvery, k.sweep)
	}
	k.mu.Unlock()
	if old != nil {
		old.Close()
	}
}

// Len returns how many connections to a peer are idle.
func (k *Kept) Len(p *Peer) int {
	k.mu.Lock()
	defer k.mu.Unlock()
	n := 0
	for i := range k.idle {
		if k.idle[i].peer == p.State {
			n++
		}
	}
	return n
}

// sweep closes what went stale, and runs again as long as anything is kept.
func (k *Kept) sweep() {
	k.mu.Lock()
	var stale []*tcp.Conn
	now := time.Now()
	for i := 0; i < len(k.idle); {
		e := &k.idle[i]
		if !k.stale(e, now) && e.Conn.Fresh() {
			i++
			continue
		}
		stale = append(stale, e.Conn)
		k.remove(i)
	}
	if len(k.idle) > 0 {
		k.timer.Reset(sweepEvery)
	} else {
		k.timer = nil
	}
	k.mu.Unlock()
	for _, c := range stale {
		c.Close()
	}
}

// drop closes the idle connections to a peer that isn't there any more. A nil Kept has none.
func (k *Kept) drop(p *State) {
	if k == nil {
		return
	}
	k.mu.Lock()
	var gone []*tcp.Conn
	for i := len(k.idle) - 1; i >= 0; i-- {
		if k.idle[i].peer == p {
			gone = append(gone, k.idle[i].Conn)
			k.remove(i)
		}
	}
	k.mu.Unlock()
	for _, c := range gone {
		c.Close()
	}
}

// Close closes all idle connections.
func (k *Kept) Close() {
	k.mu.Lock()
	idle := k.idle
	k.idle = nil
	if k.timer != nil && k.timer.Stop() {
		k.timer = nil
	}
	k.mu.Unlock()
	for _, e := range idle {
		e.Conn.Close()
	}
}

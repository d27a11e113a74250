package upstream

import (
	"slices"
	"sync"
)

// Peers are the peers of a group at a moment, and what was made for them. They are
// read-only, but for what the group's lock guards; a group whose names are
// resolved anew gets others. A session goes on with those that it began with.
type Peers struct {
	All      []*Peer // in the file's order
	Primary  []*Peer // of All
	Backup   []*Peer
	Balancer Balancer
	Sticky   Sticky // nil without

	observer Observer // Balancer, if it is one
	tries    int      // tries of a request: peers that aren't down in the file
	slow     bool     // some peer of several has slow_start
}

// Table keeps a value for each of some names, such as a group's addresses. The zero
// Table is empty. Its methods may be called at once.
type Table[T any] struct {
	mu sync.Mutex
	m  map[string]T
}

// Get returns the value of a name, made by fresh when there is none.
func (t *Table[T]) Get(name string, fresh func() T) T {
	t.mu.Lock()
	defer t.mu.Unlock()
	v, ok := t.m[name]
	if !ok {
		if t.m == nil {
			t.m = make(map[string]T)
		}
		v = fresh()
		t.m[name] = v
	}
	return v
}

// Retain drops the values of other names than those for which keep is true.
func (t *Table[T]) Retain(keep func(name string) bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for name := range t.m {
		if !keep(name) {
			delete(t.m, name)
		}
	}
}

// newPeers sorts peers, without a balancer.
func newPeers(all []*Peer) *Peers {
	ps := &Peers{All: all}
	for _, p := range all {
		list := &ps.Primary
		if p.Backup {
			list = &ps.Backup
		}
		p.Index = len(*list)
		*list = append(*list, p)
		if !p.Down && !p.Drain {
			ps.tries++
		}
	}
	ps.slow = len(all) > 1 && slices.ContainsFunc(all, func(p *Peer) bool { return p.slowStart > 0 })
	return ps
}

// balance sets the balancer.
func (ps *Peers) balance(b Balancer) {
	ps.Balancer = b
	ps.observer, _ = b.(Observer)
}

// Position returns a peer's place among these, primary ones first; -1 when it is
// none of them, as a script's own.
func (ps *Peers) Position(p *Peer) int {
	at := p.Index
	if p.Backup {
		at += len(ps.Primary)
	}
	if p.Foreign || at >= len(ps.All) || ps.At(at) != p {
		return -1
	}
	return at
}

// At returns the peer of a position.
func (ps *Peers) At(at int) *Peer {
	if at < len(ps.Primary) {
		return ps.Primary[at]
	}
	return ps.Backup[at-len(ps.Primary)]
}

// Ordered returns the peers by position.
func (ps *Peers) Ordered() []*Peer {
	return append(ps.Primary[:len(ps.Primary):len(ps.Primary)], ps.Backup...)
}

// weight returns the sum of the primary peers' weights.
func (ps *Peers) weight() int {
	sum := 0
	for _, p := range ps.Primary {
		sum += p.weight
	}
	return sum
}

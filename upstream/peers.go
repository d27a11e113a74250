package upstream

import "slices"

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

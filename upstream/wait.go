package upstream

import (
	"time"

	"limpet/internal/tcp"
)

// isBehind reports whether somebody waits who could take any peer that the session could.
func (s *Session) isBehind() bool {
	q := s.Group.Queue
	if q == nil || s.queued || q.waiting.Load() == 0 {
		return false
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	for w := q.first; w != nil; w = w.next {
		if !w.particular && w.peers == s.Peers {
			return true
		}
	}
	return false
}

// called with what is to be guarded against the client's going, and with nil at the end.
func (s *Session) Wait(guard func(*tcp.Conn)) *Peer {
	q := s.Group.Queue
	if q == nil || !s.mayWait() {
		return nil
	}
	w := q.join(s)
	if w == nil {
		s.Refusal, s.why = 0, "upstream queue is full: no live upstreams"
		return nil
	}
	if s.debugging() {
		s.Request.Debugf(`upstream "%s": waits in the queue, %d do`, s.Group.Name, q.Len())
	}
	begun := time.Now()
	s.queued = true
	guard(w.conn)
	p, err := q.await(w, begun.Add(s.Group.Conf.Queue.V.Timeout))
	guard(nil)
	s.queued, s.Queued = false, time.Since(begun)
	switch {
	case err != nil:
		q.Stats.Dropped.Add(1)
		s.Refusal = 499
		if err == tcp.ErrHangup {
			s.Request.Infof("epoll_wait() reported that client prematurely closed connection while connecting to upstream")
		}
	case p == nil:
		q.Stats.TimedOut.Add(1)
		s.Refusal, s.why = 0, "upstream queue timed out: no live upstreams"
	default:
		q.Stats.Served.Add(1)
		if s.debugging() {
			s.debugChosen(p, "the queue")
		}
	}
	return p
}

// the request, nor after every peer was tried that may be.
func (s *Session) mayWait() bool {
	if s.Refusal != 0 {
		return s.bound() != nil
	}
	for _, p := range s.Peers.All {
		if !s.Tried(p) {
			return true
		}
	}
	return len(s.Peers.All) < 2
}

// bound returns the peer of a client that isn't to be sent to another one; nil where it may be.
func (s *Session) bound() *Peer {
	switch {
	case s.Refusal == 0:
		return nil
	case s.want != nil:
		return s.want
	}
	return s.Own
}

// Why returns why there was no peer, for the log.
func (s *Session) Why() string {
	if s.why == "" {
		return "no live upstreams"
	}
	return s.why
}

// the moment. again is when a peer that failed may be asked again, Unix seconds; 0: none will.
func (s *Session) retry() (p *Peer, again int64) {
	s.move()
	s.At = time.Now()
	now := s.At.Unix()
	s.backup = false
	if s.Number == 1 { // the balancer begins anew
		s.keyed, s.Hash, s.Rehash, s.Probes = false, 0, 0, 0
	}
	only := s.bound()
	if own := s.want; own != nil && s.take(own, now) {
		p = own
	} else if only != nil && only != own && s.take(only, now) {
		p = only
	} else if only == nil {
		p = s.choose(now)
	}
	if p == nil {
		return nil, s.revival(now)
	}
	s.Peer, s.Refusal = p, 0
	if sticky := s.Peers.Sticky; sticky != nil {
		sticky.Chosen(s, p)
	}
	return p, 0
}

// revival returns when the first of the peers that failed may be asked again, 0 for none.
func (s *Session) revival(now int64) (at int64) {
	s.Group.mu.Lock()
	defer s.Group.mu.Unlock()
	for _, p := range s.Peers.All {
		if !p.failed(now) || s.Tried(p) {
			continue
		}
		if t := p.checked + p.failSeconds() + 1; at == 0 || t < at {
			at = t
		}
	}
	return at
}

// move has the session go on with the peers that the group has at the moment.
func (s *Session) move() {
	before, ps := s.Peers, s.Group.Peers()
	if ps == before {
		return
	}
	var tried []*Peer
	for _, p := range before.All {
		if s.Tried(p) {
			tried = append(tried, p)
		}
	}
	s.setPeers(ps)
	for _, p := range tried {
		if q := ps.with(p.State); q != nil {
			s.mark(q)
		}
	}
	s.want, s.Own = ps.successor(s.want), ps.successor(s.Own)
	if s.Number == 1 {
		if s.Tries = ps.tries; s.MaxTries > 0 {
			s.Tries = min(s.Tries, s.MaxTries)
		}
	}
	if ps.Sticky != nil {
		ps.Sticky.Moved(s, before)
	}
}

// with returns the peer of a State, nil when there is none.
func (ps *Peers) with(st *State) *Peer {
	for _, p := range ps.All {
		if p.State == st {
			return p
		}
	}
	return nil
}

// successor returns the peer that stands for p, a peer of others than these or nil.
func (ps *Peers) successor(p *Peer) *Peer {
	if p == nil {
		return nil
	}
	return ps.with(p.State)
}

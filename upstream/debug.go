package upstream

import "time"

// debugging reports whether the error log takes debug lines about the session's request. The functions below write
// them; whoever calls one has asked.
func (s *Session) debugging() bool { return s.Request != nil && s.Request.Debugging() }

// debugOut tells of the peers that may not be asked and why, before one is chosen.
func (s *Session) debugOut(now time.Time) {
	g := s.Group
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, p := range s.Peers.All {
		if why := s.whyNot(p, now.Unix()); why != "" {
			s.Request.Debugf(`upstream "%s": peer %s is left out: %s`, g.Name, p.Name, why)
		}
	}
}

// whyNot says in words why May and MayNew don't let the peer be asked; "" when they do. The group is locked.
func (s *Session) whyNot(p *Peer, now int64) string {
	switch {
	case p.Down:
		return "down"
	case p.Unhealthy():
		return "checks failed"
	case s.Tried(p):
		return "tried before"
	case p.full():
		return "max_conns reached"
	case p.failed(now) && len(s.Peers.All) > 1:
		return "max_fails reached"
	case p.Draining():
		return "draining, for its own clients only"
	}
	return ""
}

// debugChosen tells which peer is asked and who chose it; nil is none.
func (s *Session) debugChosen(p *Peer, by string) {
	if p == nil {
		s.Request.Debugf(`upstream "%s": no live peer, refusal: %d`, s.Group.Name, s.Refusal)
		return
	}
	s.Request.Debugf(`upstream "%s": peer %s chosen by %s, try %d, conns: %d`, s.Group.Name, p.Name, by, s.Number, p.Conns())
}

// debugFree tells how a try ended: nginx's state is 0 for a good one, 4 for a failure, 2 where another peer is asked
// for no fault of this one.
func (s *Session) debugFree(out Outcome) {
	s.Request.Debugf("free rr peer %d %d", s.Tries, [...]int{Good: 0, Failed: 4, Next: 2}[out])
}

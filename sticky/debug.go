package sticky

import (
	"bytes"

	"limpet/upstream"
)

// The functions here write debug lines; whoever calls them has asked Debugging.

// debugSource tells what of the request may name the client's peer, before it is read: reading may take it out.
func (p *Policy) debugSource(s *upstream.Session) {
	r := s.Request
	r.Debugf(`sticky: upstream "%s", as by %s in %s`, p.name, p.dialect, p.where)
	switch from := p.read.(type) {
	case interface{ lookup() (string, *index) }:
		name, _ := from.lookup()
		if f, ok := find(&r.In, name, false); ok {
			r.Debugf(`sticky: cookie "%s": "%s"`, name, f.value)
		} else {
			r.Debugf(`sticky: no cookie "%s"`, name)
		}
	case *routeReader:
		r.Debugf(`sticky: route: "%s"`, first(from.texts, r))
	case *learner:
		r.Debugf(`sticky: session: "%s"`, first(from.spec.lookup, r))
	}
}

// debugWish tells which peers the request names, and in which spelling.
func debugWish(s *upstream.Session, w *wish, sp Spelling) {
	if len(w.peers) == 0 {
		s.Request.Debugf("sticky: names no peer: %s", w.reason)
		return
	}
	var names [][]byte
	for _, q := range w.peers {
		names = append(names, q.Name)
	}
	spelling := "session"
	if sp < NumSpellings {
		spelling = sp.String()
	}
	s.Request.Debugf("sticky: names peer %s, spelling: %s, reason: %s", bytes.Join(names, []byte(" ")), spelling, w.reason)
}

// debugChosen tells what became of the wish; q is the peer that is asked.
func debugChosen(s *upstream.Session, w *wish, q *upstream.Peer, reason Reason, a answer) {
	if len(w.peers) > 0 && !w.names(q) {
		s.Request.Debugf("sticky: server with requested SID is unavailable: %s, %s", w.peers[0].Name, reason)
	}
	s.Request.Debugf("sticky: peer %s, status: %s, reason: %s, cookie: %c", q.Name, reason.Status(), reason, a.letter())
}

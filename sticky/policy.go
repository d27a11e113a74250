package sticky

import (
	"limpet/internal/ngx"
	"limpet/upstream"
)

// Policy is the stickiness of one group: it reads a client's wish for a peer
// and writes the configured dialect's cookie. It is an upstream.Sticky.
// What it has counted outlives configurations.
type Policy struct {
	name    string          // of the group
	peers   *upstream.Peers // for which this is
	dialect string
	where   string // FILE:LINE of the directive
	read    reader
	write   writer // nil: the dialect sets no cookie
	learn   *learner
	strict  strictness
	// backups says that a wish for a backup peer is granted while primary peers serve.
	backups bool
	noFall  *ngx.Slot[bool] // of sticky_no_fallback; nil where the configuration has none

	common  *common
	stats   *Stats
	tables  *upstream.Table[*clientTable] // by address
	clients []*clientTable                // by position
}

// reader finds a client's wish in a request.
type reader interface {
	// wish is asked once a session; the spelling is NumSpellings where no cookie or
	// route names a peer. It may change the request's cookies.
	wish(s *upstream.Session) (*wish, Spelling)
}

// writer puts the client's peer into the answer. at is the peer's position, fresh
// says that the client has the value already as the dialect writes it.
type writer interface {
	// chosen is called at each try, before anything of the peer's answer is there.
	chosen(s *upstream.Session, at int, fresh bool) answer
	// answered is called with the peer's answer in place.
	answered(s *upstream.Session, at int, fresh bool) answer
	// value returns the value that names the peer, for those who ask what it would be.
	value(at int) string
}

// wish is what a client's request says of its peer. It is read-only.
type wish struct {
	peers  []*upstream.Peer // that it names, in the file's order; none for a first visit
	reason Reason
	fresh  bool // its value is as the configured dialect writes it
}

// strictness says when a request is refused rather than balanced.
type strictness uint8

const (
	lenient     strictness = iota
	strictPeer             // when the peer that it names can't be asked
	strictWish             // also when it names none of the group
	strictFirst            // also when it names none at all
)

// Begun implements upstream.Sticky.
func (p *Policy) Begun(s *upstream.Session) {
	if s.Request.Debugging() {
		p.debugSource(s)
	}
	w, sp := p.read.wish(s)
	s.Mark = w
	if s.Request.Debugging() {
		debugWish(s, w, sp)
	}
	if sp < NumSpellings {
		p.stats.see(s.Request, sp)
	}
}

// Choose implements upstream.Sticky.
func (p *Policy) Choose(s *upstream.Session) *upstream.Peer {
	w := wishOf(s)
	peer := p.candidate(s, w)
	s.Refusal = 0
	if p.refuses(s, w) {
		s.Refusal = 502
		if peer == nil && s.Request.Debugging() {
			s.Request.Debugf("sticky: refused, its peer can't be asked and no other may be")
		}
	}
	return peer
}

// candidate returns the first peer of the wish that isn't down or tried, primary ones first.
func (p *Policy) candidate(s *upstream.Session, w *wish) *upstream.Peer {
	s.Own = nil
	var first *upstream.Peer
	for _, q := range w.peers {
		switch {
		case s.Tried(q) && len(p.peers.All) > 1:
		case q.IsDown(), q.Backup && !p.backups:
			if s.Own == nil {
				s.Own = q
			}
		case first == nil:
			first = q
		}
	}
	return first
}

func (p *Policy) refuses(s *upstream.Session, w *wish) bool {
	level := p.strict
	if p.noFall != nil && p.noFall.Get(s.Request) {
		level = strictFirst
	}
	switch {
	case level == lenient:
		return false
	case len(w.peers) > 0:
		return !w.peers[0].Backup
	case w.reason == NoCookie:
		return level >= strictFirst
	}
	return level >= strictWish
}

// Chosen implements upstream.Sticky.
func (p *Policy) Chosen(s *upstream.Session, q *upstream.Peer) {
	w, at := wishOf(s), p.peers.Position(q)
	if at < 0 {
		return
	}
	reason, fresh := w.reason, false
	if len(w.peers) > 0 {
		if w.names(q) {
			fresh = w.fresh
		} else {
			reason = why(s, w.peers[0])
		}
	}
	a := untouched
	if p.write != nil {
		a = p.write.chosen(s, at, fresh)
	}
	if s.Request.Debugging() {
		debugChosen(s, w, q, reason, a)
	}
	p.record(s, reason, a)
	p.clients[at].see(p.stats, s.Request)
}

// record notes the decision for the variables and counts it.
func (p *Policy) record(s *upstream.Session, reason Reason, a answer) {
	p.stats.reasons[reason].Add(1)
	d := &p.common.decisions[reason][a]
	if before, ok := s.Request.Sticky.(*decision); ok && s.Number > 1 {
		d = &decision{reason, a, before}
	}
	s.Request.Sticky = d
}

// Answered implements upstream.Sticky.
func (p *Policy) Answered(s *upstream.Session, q *upstream.Peer) {
	w, at := wishOf(s), p.peers.Position(q)
	if at < 0 {
		return
	}
	if p.learn != nil {
		p.learn.answered(s, at)
	}
	if p.write == nil {
		return
	}
	a := p.write.answered(s, at, w.fresh && w.names(q))
	if a != untouched && s.Request.Debugging() {
		s.Request.Debugf("sticky: peer %s, cookie in the answer: %c", q.Name, a.letter())
	}
	d, ok := s.Request.Sticky.(*decision)
	switch {
	case !ok || a == untouched || d.answer == a:
	case d.before == nil:
		s.Request.Sticky = &p.common.decisions[d.reason][a]
	default:
		s.Request.Sticky = &decision{d.reason, a, d.before}
	}
}

// Ended implements upstream.Sticky.
func (p *Policy) Ended(s *upstream.Session, q *upstream.Peer, out upstream.Outcome) {
	if at := p.peers.Position(q); p.learn != nil && at >= 0 && out == upstream.Good {
		p.learn.ended(s, at)
	}
}

// wishOf returns the session's wish.
func wishOf(s *upstream.Session) *wish { return s.Mark.(*wish) }

func (w *wish) names(q *upstream.Peer) bool {
	for _, own := range w.peers {
		if own == q {
			return true
		}
	}
	return false
}

// why says why the client's own peer wasn't taken.
func why(s *upstream.Session, own *upstream.Peer) Reason {
	switch {
	case own.IsDown():
		return PeerDown
	case s.Tried(own):
		return Retried
	case own.MaxConns() > 0 && own.Conns() >= int64(own.MaxConns()):
		return PeerFull
	case s.Group.Failed(own):
		return PeerFailed
	case own.Backup:
		return Backup
	}
	return PeerFull // it was, a moment ago
}

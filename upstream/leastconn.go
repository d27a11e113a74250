package upstream

import "limpet/nginxconf"

// parseLeastConn reads least_conn.
// https://nginx.org/en/docs/http/ngx_http_upstream_module.html#least_conn
func parseLeastConn(s *nginxconf.Setting) error {
	return SetMethod(s, Method{Name: s.Name, Make: func(*Peers) Balancer { return leastConn{} }})
}

// leastConn chooses the peer with the fewest requests for its weight; several of
// that kind take turns.
type leastConn struct{}

// Pick implements Balancer.
func (leastConn) Pick(s *Session, peers []*Peer, now int64) *Peer {
	if s.debugging() {
		s.Request.Debugf("get least conn peer, try: %d", s.Tries)
	}
	var best *Peer
	first, ties := 0, false
	for i, p := range peers {
		if !s.MayNew(p, now) {
			continue
		}
		switch d := s.Peers.busier(p, best); {
		case d < 0:
			best, first, ties = p, i, false
		case d == 0:
			ties = true
		}
	}
	if best == nil {
		if s.debugging() {
			s.Request.Debugf("get least conn peer, no peer found")
		}
		return nil
	}
	if !ties {
		best.Checked(now)
		return best
	}
	if s.debugging() {
		s.Request.Debugf("get least conn peer, many")
	}
	c := contest{peers: s.Peers}
	for _, p := range peers[first:] {
		if s.Peers.busier(p, best) == 0 && s.MayNew(p, now) {
			c.enter(p)
		}
	}
	return c.end(now)
}

// busier compares how many requests two peers have for their weights: below 0
// when p has fewer than q, or q is nil.
func (ps *Peers) busier(p, q *Peer) int64 {
	if q == nil {
		return -1
	}
	return p.conns.Load()*int64(ps.ramped(q, q.weight)) - q.conns.Load()*int64(ps.ramped(p, p.weight))
}

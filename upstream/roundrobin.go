package upstream

// roundRobin is nginx's smooth weighted round robin.
// https://github.com/phusion/nginx/commit/27e94984486058d73157038f7950a0a36ecc6e35
type roundRobin struct{}

// Pick implements Balancer.
func (roundRobin) Pick(s *Session, peers []*Peer, now int64) *Peer {
	if s.debugging() {
		s.Request.Debugf("get rr peer, try: %d", s.Tries)
	}
	c := contest{peers: s.Peers}
	for _, p := range peers {
		if s.MayNew(p, now) {
			c.enter(p)
		}
	}
	best := c.end(now)
	if s.debugging() && best != nil {
		s.Request.Debugf("get rr peer, current: %s %d", best.Name, best.current)
	}
	return best
}

// contest is one round of smooth weighted round robin among the peers that
// enter it. The group is locked.
type contest struct {
	peers *Peers
	best  *Peer
	total int
}

func (c *contest) enter(p *Peer) {
	c.total += c.peers.advance(p)
	if c.best == nil || p.current > c.best.current {
		c.best = p
	}
}

// end returns the winner, nil when nobody took part.
func (c *contest) end(now int64) *Peer {
	if c.best != nil {
		c.best.current -= c.total
		c.best.Checked(now)
	}
	return c.best
}

// advance adds a peer's effective weight to its current one, and returns it.
func (ps *Peers) advance(p *Peer) int {
	w := ps.ramped(p, p.effective)
	p.current += w
	if p.effective < p.weight {
		p.effective++
	}
	return w
}

// Charge implements Charger. A peer that many clients stick to is charged no
// further than one round's worth, so that it isn't kept from new ones for long.
// https://nginx.org/en/docs/http/ngx_http_upstream_module.html#sticky
func (roundRobin) Charge(s *Session, peers []*Peer, p *Peer, now int64) {
	total := 0
	for _, q := range peers {
		total += q.weight
	}
	if p.current <= -s.Peers.scaled(total-p.weight) {
		return
	}
	total = 0
	for _, q := range peers {
		if q == p || s.MayNew(q, now) {
			total += s.Peers.advance(q)
		}
	}
	p.current -= total
	p.Checked(now)
}

// Checked notes that a peer that had failed is given another chance. The group is locked.
func (p *Peer) Checked(now int64) {
	if now-p.checked > p.failSeconds() {
		p.checked = now
	}
}

package upstream

import (
	"fmt"
	"math/rand/v2"
	"sort"

	"limpet/nginxconf"
)

// parseRandom reads random [two [least_conn|least_time=header|least_time=last_byte]].
// https://nginx.org/en/docs/http/ngx_http_upstream_module.html#random
func parseRandom(s *nginxconf.Setting) error {
	two := len(s.Args) > 0
	if two && s.Arg(0) != "two" {
		return fmt.Errorf(`invalid parameter "%s"`, s.Arg(0))
	}
	var by *leastTime
	if len(s.Args) == 2 {
		switch s.Arg(1) {
		case "least_conn":
		case "least_time=header":
			by = &leastTime{header: true}
		case "least_time=last_byte":
			by = &leastTime{}
		default:
			return fmt.Errorf(`invalid parameter "%s"`, s.Arg(1))
		}
	}
	return SetMethod(s, Method{Name: s.Name, NoBackup: true, NoSlowStart: true, Make: func(ps *Peers) Balancer {
		r := newRandom(ps.Primary, two)
		if by != nil {
			return &timedRandom{r, *by}
		}
		return r
	}})
}

// random chooses a peer at random by weight; with two, the better one of two.
type random struct {
	ends []int // where each peer's share of the weights ends
	two  bool
}

func newRandom(peers []*Peer, two bool) *random {
	r := &random{two: two}
	end := 0
	for _, p := range peers {
		end += p.weight
		r.ends = append(r.ends, end)
	}
	return r
}

// Pick implements Balancer.
func (r *random) Pick(s *Session, peers []*Peer, now int64) *Peer {
	return r.pick(s, peers, now, func(p, q *Peer) bool { return p.conns.Load()*int64(q.weight) > q.conns.Load()*int64(p.weight) })
}

// pick chooses; worse tells which of two gives way.
func (r *random) pick(s *Session, peers []*Peer, now int64, worse func(p, q *Peer) bool) *Peer {
	if len(peers) < 2 || peers[0].Backup {
		return roundRobin{}.Pick(s, peers, now)
	}
	if s.debugging() {
		two := ""
		if r.two {
			two = "2"
		}
		s.Request.Debugf("get random%s peer, try: %d", two, s.Tries)
	}
	var one *Peer
	for s.Probes <= maxProbes {
		w := rand.IntN(r.ends[len(r.ends)-1])
		p := peers[sort.SearchInts(r.ends, w+1)]
		switch {
		case p == one || !s.MayNew(p, now):
			s.Probes++
			continue
		case one == nil && r.two:
			one = p
			continue
		case one != nil && worse(p, one):
			p = one
		}
		p.Checked(now)
		return p
	}
	return roundRobin{}.Pick(s, peers, now)
}

// timedRandom is random two least_time.
type timedRandom struct {
	*random
	leastTime
}

// Pick implements Balancer.
func (r *timedRandom) Pick(s *Session, peers []*Peer, now int64) *Peer {
	ms := nowMillis()
	p := r.random.pick(s, peers, now, func(p, q *Peer) bool {
		return r.cost(p, ms)*int64(q.weight) > r.cost(q, ms)*int64(p.weight)
	})
	r.begin(s, p, ms)
	return p
}

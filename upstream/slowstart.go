package upstream

import "time"

// fine is how many parts a weight has in a group with slow_start, so that a
// small weight can be ramped, too.
const fine = 256

// cameUp notes the moment in which a peer came back.
func (s *State) cameUp() { s.upSince.Store(time.Now().UnixMilli()) }

// scaled returns a weight in the unit of the group's current weights.
func (g *Group) scaled(w int) int {
	if g.slow {
		return w * fine
	}
	return w
}

// ramped returns the peer's effective weight in the unit of the group's current
// weights: from almost nothing up to the whole while slow_start goes on behind
// the peer's coming back, by a check or after failures.
// https://nginx.org/en/docs/http/ngx_http_upstream_module.html#slow_start
func (g *Group) ramped(p *Peer) int {
	w := g.scaled(p.effectiveWeight)
	if p.slowStart == 0 || !g.slow {
		return w
	}
	since := p.upSince.Load()
	if since == 0 {
		return w
	}
	gone := time.Now().UnixMilli() - since
	if whole := p.slowStart.Milliseconds(); gone < whole {
		return max(1, int(int64(w)*max(gone, 0)/whole))
	}
	return w
}

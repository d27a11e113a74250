package upstream

import "time"

// fine is how many parts a weight has in a group with slow_start, so that a
// small weight can be ramped, too.
const fine = 256

// cameUp notes the moment in which a peer came back.
func (s *State) cameUp() { s.upSince.Store(time.Now().UnixMilli()) }

// scaled returns a weight in the unit of the peers' current weights.
func (ps *Peers) scaled(w int) int {
	if ps.slow {
		return w * fine
	}
	return w
}

// ramped returns a weight of the peer in the unit of the group's current
// weights: from almost nothing up to the whole while slow_start goes on behind
// the peer's coming back, by a check or after failures.
// https://nginx.org/en/docs/http/ngx_http_upstream_module.html#slow_start
func (ps *Peers) ramped(p *Peer, w int) int {
	w = ps.scaled(w)
	if p.slowStart == 0 || !ps.slow {
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

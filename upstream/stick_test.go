package upstream

import (
	"strings"
	"testing"

	"limpet/internal/ngx"
)

// pinned is a Sticky whose clients want one peer.
type pinned struct {
	want    *Peer
	own     *Peer
	refusal int
	ended   []Outcome
}

func (p *pinned) Begun(*Session)                       {}
func (p *pinned) Choose(s *Session) *Peer              { s.Own, s.Refusal = p.own, p.refusal; return p.want }
func (p *pinned) Chosen(*Session, *Peer)               {}
func (p *pinned) Answered(*Session, *Peer)             {}
func (p *pinned) Moved(*Session, *Peers)               {}
func (p *pinned) Ended(_ *Session, _ *Peer, o Outcome) { p.ended = append(p.ended, o) }

func TestDrainingPeerGetsOnlyItsClients(t *testing.T) {
	for _, drain := range []func(p *Peer){func(p *Peer) { p.Drain = true }, func(p *Peer) { p.SetDrain(true) }} {
		g := group(1, 1, 1)
		drain(g.Peers().All[1])
		if got := draw(g, 4); got != "acac" {
			t.Errorf("new clients went to %s", got)
		}
		g.Peers().Sticky = &pinned{want: g.Peers().All[1]}
		if got := draw(g, 3); got != "bbb" {
			t.Errorf("its own clients went to %s", got)
		}
	}
}

func TestSingleDrainingPeerGetsOnlyItsClients(t *testing.T) {
	g := group(1)
	g.Peers().All[0].SetDrain(true)
	if got := draw(g, 1); got != "-" {
		t.Errorf("a new client went to %s", got)
	}
	g.Peers().Sticky = &pinned{want: g.Peers().All[0]}
	if got := draw(g, 1); got != "a" {
		t.Errorf("its own client went to %s", got)
	}
}

// nginx-tests' upstream_sticky.t: new requests after many sticky ones are spread
// by weight, give or take one.
func TestStickyRequestsCountWithinBounds(t *testing.T) {
	g := group(1, 2, 3, 4)
	pin := &pinned{want: g.Peers().All[1]}
	g.Peers().Sticky = pin
	draw(g, 100)
	pin.want = nil
	got := draw(g, 10)
	for i, want := range []int{1, 2, 3, 4} {
		n := strings.Count(got, string(rune('a'+i)))
		if n < want-1 || n > want+1 {
			t.Errorf("%s: %d requests to the peer of weight %d", got, n, want)
		}
	}
}

func TestBackupPeerOfAClientGoesFirstAmongBackupPeers(t *testing.T) {
	g := group(1, 1, 1)
	for _, p := range g.Peers().All[1:] {
		p.Backup = true
	}
	g.publish(newPeers(g.Peers().All))
	g.Peers().Sticky = &pinned{own: g.Peers().All[2]}
	if got := draw(g, 2); got != "aa" {
		t.Errorf("primary peer alive: %s", got)
	}
	g.Peers().All[0].Down = true
	if got := draw(g, 2); got != "cc" {
		t.Errorf("primary peer down: %s", got)
	}
}

func TestRefusalHoldsOnlyWhenTheClientsPeerCannotBeAsked(t *testing.T) {
	g := group(1, 1)
	g.Peers().Sticky = &pinned{want: g.Peers().All[0], refusal: 502}
	if got := draw(g, 1); got != "a" {
		t.Error(got)
	}
	g.Peers().All[0].Down = true
	if got := draw(g, 1); got != "-" {
		t.Error(got)
	}
}

func TestEndOfEachTryIsTold(t *testing.T) {
	g := group(1, 1)
	pin := &pinned{}
	g.Peers().Sticky = pin
	var s Session
	g.Begin(&s, &ngx.Request{Scope: &ngx.Scope{Core: &ngx.Core{}}, Client: &ngx.Client{}})
	s.Next()
	s.Done(Failed)
	s.Next()
	s.Done(Good)
	if len(pin.ended) != 2 || pin.ended[0] != Failed || pin.ended[1] != Good {
		t.Error(pin.ended)
	}
}

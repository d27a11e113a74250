package upstream

import (
	"strings"
	"sync"
	"testing"
)

// group makes a group of peers named a, b, c... with the given weights.
func group(weights ...int) *Group {
	return groupBy(Method{}, weights...)
}

// groupBy is group with a method.
func groupBy(m Method, weights ...int) *Group {
	g := &Group{Name: "g", method: m, mu: new(sync.Mutex)}
	var all []*Peer
	for i, w := range weights {
		p := &Peer{Name: []byte{byte('a' + i)}, Server: string(rune('a' + i)), weight: w, turn: &turn{effective: w}, maxFails: 1, failTimeout: 10e9, State: new(State)}
		all = append(all, p)
	}
	g.publish(newPeers(all))
	return g
}

// draw runs n sessions of one good try each and returns the peers' names.
func draw(g *Group, n int) string {
	var names []string
	for range n {
		var s Session
		g.Begin(&s, nil)
		p := s.Next()
		if p == nil {
			names = append(names, "-")
			continue
		}
		names = append(names, string(p.Name))
		s.Done(Good)
	}
	return strings.Join(names, "")
}

// The sequence is the example of nginx's own description of the algorithm.
func TestWeightsAreSpreadSmoothly(t *testing.T) {
	if got := draw(group(5, 1, 1), 7); got != "aabacaa" {
		t.Errorf("weights 5 1 1: %s, want aabacaa", got)
	}
}

func TestDownPeerIsSkipped(t *testing.T) {
	g := group(1, 1, 1)
	g.Peers().All[1].Down = true
	g.Peers().All[2].SetDown(3, true)
	if got := draw(g, 3); got != "aaa" {
		t.Errorf("got %s", got)
	}
	g.Peers().All[2].SetDown(3, false)
	if got := draw(g, 4); !strings.Contains(got, "c") || strings.Contains(got, "b") {
		t.Errorf("after one came up: %s", got)
	}
}

func TestEachPeerIsTriedOnce(t *testing.T) {
	g := group(1, 1, 1)
	var s Session
	g.Begin(&s, nil)
	seen := ""
	for s.Tries > 0 {
		seen += string(s.Next().Name)
		s.Done(Failed)
	}
	if seen != "abc" {
		t.Errorf("tries went to %s", seen)
	}
	if got := draw(g, 1); got != "-" {
		t.Errorf("all failed just now, yet %s was asked", got)
	}
}

func BenchmarkNext(b *testing.B) {
	g := group(1, 1, 1)
	b.ReportAllocs()
	var s Session
	for b.Loop() {
		g.Begin(&s, nil)
		s.Next()
		s.Done(Good)
	}
}

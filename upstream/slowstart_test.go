package upstream

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// slow is a group of two peers, the second with a slow start of 10 seconds.
func slow() *Group {
	g := group(1, 1)
	g.Peers().slow = true
	g.Peers().All[1].slowStart = 10 * time.Second
	return g
}

func TestSlowStartRampsTheWeight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := slow()
		if got := draw(g, 4); got != "abab" {
			t.Errorf("at the start: %s", got)
		}
		g.Peers().All[1].SetDown(0, true)
		g.Peers().All[1].SetDown(0, false)
		share := func() int { return strings.Count(draw(g, 100), "b") }
		for _, tt := range []struct {
			wait   time.Duration
			lo, hi int
		}{{0, 0, 2}, {time.Second, 7, 11}, {4 * time.Second, 31, 35}, {5 * time.Second, 49, 51}} {
			time.Sleep(tt.wait)
			if n := share(); n < tt.lo || n > tt.hi {
				t.Errorf("after %v more: %d of 100, want %d-%d", tt.wait, n, tt.lo, tt.hi)
			}
		}
	})
}

func TestSlowStartFollowsFailures(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := slow()
		var s Session
		g.Begin(&s, nil)
		s.Next()
		s.Done(Good)
		g.Begin(&s, nil)
		if p := s.Next(); string(p.Name) != "b" {
			t.Fatalf("second is %s", p.Name)
		}
		s.Done(Failed)
		time.Sleep(11 * time.Second) // past fail_timeout
		for range 4 {                // one of them gives it its chance
			draw(g, 1)
		}
		if n := strings.Count(draw(g, 20), "b"); n > 2 {
			t.Errorf("%d of 20 right after it came back", n)
		}
	})
}

func TestFailOpenGoesRoundThosePutDownByChecks(t *testing.T) {
	g := group(1, 1, 1)
	for _, p := range g.Peers().All {
		p.SetDown(0, true)
	}
	if got := draw(g, 2); got != "--" {
		t.Errorf("closed: %s", got)
	}
	g.FailOpen = true
	g.Peers().All[1].Down = true
	if got := draw(g, 4); got != "acac" {
		t.Errorf("open: %s", got)
	}
	g.Peers().All[2].SetDown(0, false)
	if got := draw(g, 2); got != "cc" {
		t.Errorf("with one up: %s", got)
	}
}

func TestFailOpenOfASinglePeer(t *testing.T) {
	g := group(1)
	g.FailOpen = true
	g.Peers().All[0].SetDown(0, true)
	if got := draw(g, 2); got != "aa" {
		t.Errorf("got %s", got)
	}
	g.Peers().All[0].Down = true
	if got := draw(g, 1); got != "-" {
		t.Errorf("down in the file: %s", got)
	}
}

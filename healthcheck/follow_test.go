package healthcheck

import (
	"testing"
	"time"

	"limpet/internal/errlog"
	"limpet/upstream"
)

// followed is a check of a group of some addresses, in force with a prober that
// doesn't probe: its clock doesn't run.
func followed(t *testing.T, cycles bool, addrs ...string) (*Checks, *Check) {
	t.Helper()
	p := newProber(nil)
	p.done = make(chan struct{})
	c := &Check{Group: upstream.Single("u", addrs...), Interval: time.Hour, startDown: true, cycles: cycles,
		log: new(errlog.Log), tables: new(upstream.Table[*Mark]), arrange: each}
	if cycles {
		c.arrange = func(c *Check) []*task {
			cycle := &task{check: c, period: c.Interval, stages: [][]lane{lanes(c.at(), 1)}}
			cycle.own()
			return []*task{cycle}
		}
	}
	s := &Checks{prober: p, list: []*Check{c}, groups: &upstream.Groups{List: []*upstream.Group{c.Group}}}
	s.aim(c, c.Group.Peers(), nil)
	s.tasks = c.arrange(c)
	p.install(s)
	return s, c
}

func targetNames(c *Check) (names []string) {
	for _, t := range c.at() {
		names = append(names, string(t.name()))
	}
	return names
}

func TestChecksFollowTheGroupsPeers(t *testing.T) {
	for _, cycles := range []bool{false, true} {
		s, c := followed(t, cycles, "192.0.2.1:80", "192.0.2.2:80")
		before := c.Group.Peers().All
		kept, gone := c.at()[1], c.at()[0]
		kept.mark.down.Store(false)
		other := upstream.Single("u", "192.0.2.3:80").Peers().All[0]
		ps := &upstream.Peers{All: []*upstream.Peer{before[1], other}}
		s.prober.follow(s, c, ps)
		if got := targetNames(c); len(got) != 2 || got[0] != "192.0.2.2:80" || got[1] != "192.0.2.3:80" {
			t.Fatalf("cycles %t: %v", cycles, got)
		}
		if now := c.at()[0]; now.mark != kept.mark || !cycles && now != kept {
			t.Errorf("cycles %t: the target that stayed isn't the same", cycles)
		}
		if !gone.task.gone.Load() || c.at()[1].task.gone.Load() {
			t.Errorf("cycles %t: the wrong tasks go on", cycles)
		}
		if before[1].IsDown() || !other.IsDown() {
			t.Errorf("cycles %t: a new peer is up before its first check, or one that passed is down", cycles)
		}
		if len(s.marks[before[0].State]) != 0 || len(s.marks[other.State]) != 1 {
			t.Errorf("cycles %t: marks %v", cycles, s.marks)
		}
		s.prober.follow(s, c, ps)
		if n := len(s.marks[before[1].State]); n != 1 {
			t.Errorf("cycles %t: %d marks of one check", cycles, n)
		}
	}
}

func TestTwiceTheSameAddressIsProbedOnce(t *testing.T) {
	s, c := followed(t, false, "192.0.2.1:80")
	twin := upstream.Single("u", "192.0.2.1:80").Peers().All[0]
	s.prober.follow(s, c, &upstream.Peers{All: []*upstream.Peer{c.Group.Peers().All[0], twin}})
	if len(c.at()) != 1 || len(c.at()[0].members) != 2 {
		t.Errorf("%d targets", len(c.at()))
	}
	if !twin.IsDown() {
		t.Error("the second one isn't down")
	}
}

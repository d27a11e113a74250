package upstream

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"limpet/internal/ngx"
	"limpet/internal/resolver"
	"limpet/internal/tcp"
)

// queued gives a group a queue and its peers a bound of one request each.
func queued(g *Group, limit int, timeout time.Duration) *Group {
	g.Conf, g.Queue = new(Conf), new(Queue)
	g.Conf.Queue.V = Waiting{limit, timeout}
	for _, p := range g.Peers().All {
		p.maxConns = 1
	}
	g.publish(g.Peers())
	return g
}

// asker is a request of a test.
type asker struct {
	Session
	conn   *tcp.Conn
	result *string
	mu     *sync.Mutex
}

// crowd runs requests and notes, in order, who was served by which peer: "1a 2b 3-".
type crowd struct {
	g      *Group
	mu     sync.Mutex
	result string
}

// ask begins request n, which waits until it is served; it must be ended by Done.
func (c *crowd) ask(n int, before ...func(s *Session)) *asker {
	a := &asker{result: &c.result, mu: &c.mu}
	c.g.Begin(&a.Session, nil)
	for _, f := range before {
		f(&a.Session)
	}
	go func() {
		p := a.Next()
		if p == nil {
			p = a.Wait(func(conn *tcp.Conn) {
				if conn != nil {
					a.conn = conn
				}
			})
		}
		name := "-"
		if p != nil {
			name = string(p.Name)
		}
		c.mu.Lock()
		c.result += fmt.Sprintf("%d%s ", n, name)
		c.mu.Unlock()
	}()
	synctest.Wait()
	return a
}

// want compares what was served since the last call.
func (c *crowd) want(t *testing.T, want string) {
	t.Helper()
	synctest.Wait()
	c.mu.Lock()
	defer c.mu.Unlock()
	if got := strings.TrimSpace(c.result); got != want {
		t.Errorf("served: %q, want %q", got, want)
	}
	c.result = ""
}

func TestWhoWaitsIsServedInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &crowd{g: queued(group(1, 1), 9, time.Minute)}
		first, second := c.ask(1), c.ask(2)
		third := c.ask(3)
		c.ask(4)
		c.ask(5)
		c.want(t, "1a 2b")
		if n := c.g.Queue.Len(); n != 3 {
			t.Errorf("%d wait", n)
		}
		time.Sleep(time.Second)
		second.Done(Good)
		c.want(t, "3b")
		if third.Queued != time.Second {
			t.Errorf("the third waited %v", third.Queued)
		}
		first.Done(Good)
		third.Done(Good)
		c.want(t, "4b 5a")
		if n := c.g.Queue.Len(); n != 0 {
			t.Errorf("%d wait", n)
		}
	})
}

func TestSlotsThatComeAtOnceAreAllTaken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &crowd{g: queued(group(1, 1, 1), 9, time.Minute)}
		var busy []*asker
		for i := range 3 {
			busy = append(busy, c.ask(i))
		}
		for i := range 4 {
			c.ask(3 + i)
		}
		c.want(t, "0a 1b 2c")
		for _, a := range busy {
			a.Done(Good) // nobody who waits runs in between
		}
		c.want(t, "3c 4b 5a")
		time.Sleep(time.Minute)
		c.want(t, "6-")
	})
}

func TestFullQueueAndTimeoutAreTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &crowd{g: queued(group(1), 1, 5*time.Second)}
		c.ask(1)
		late := c.ask(2)
		over := c.ask(3)
		c.want(t, "1a 3-")
		if got := over.Why(); got != "upstream queue is full: no live upstreams" {
			t.Error(got)
		}
		time.Sleep(5*time.Second - 1)
		c.want(t, "")
		time.Sleep(1)
		c.want(t, "2-")
		if got := late.Why(); got != "upstream queue timed out: no live upstreams" || late.Queued != 5*time.Second {
			t.Error(got, late.Queued)
		}
		st := &c.g.Queue.Stats
		if a, b, o := st.Served.Load(), st.TimedOut.Load(), st.Overflow.Load(); a != 0 || b != 1 || o != 1 {
			t.Errorf("served %d, timed out %d, overflow %d", a, b, o)
		}
	})
}

func TestClientThatGoesLeavesTheQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &crowd{g: queued(group(1), 9, time.Minute)}
		first := c.ask(1)
		gone := c.ask(2)
		c.ask(3)
		c.want(t, "1a")
		gone.conn.Abort()
		c.want(t, "2-")
		if gone.Refusal != 499 || c.g.Queue.Len() != 1 || c.g.Queue.Stats.Dropped.Load() != 1 {
			t.Errorf("status %d, %d wait", gone.Refusal, c.g.Queue.Len())
		}
		first.Done(Good)
		c.want(t, "3a")
	})
}

// A client that goes at the moment in which it has the turn doesn't keep it.
func TestTurnOfAClientThatGoesIsHandedOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for range 50 {
			c := &crowd{g: queued(group(1), 9, time.Minute)}
			first := c.ask(1)
			gone := c.ask(2)
			third := c.ask(3)
			c.want(t, "1a")
			first.Done(Good)
			gone.conn.Abort()
			synctest.Wait()
			gone.Done(Good) // where it was served all the same
			synctest.Wait()
			if third.Peer == nil {
				t.Fatal("the third still waits")
			}
		}
	})
}

func TestPeersThatComeBackServeAllWhoWait(t *testing.T) {
	for name, back := range map[string]struct{ away, back func(g *Group, p *Peer) }{
		"check": {func(g *Group, p *Peer) { p.SetDown(0, true) }, func(g *Group, p *Peer) { p.SetDown(0, false) }},
		"drain": {func(g *Group, p *Peer) { p.SetDrain(true) }, func(g *Group, p *Peer) { p.SetDrain(false) }},
		"fails": {func(g *Group, p *Peer) {
			now := time.Now().Unix()
			p.fails, p.accessed, p.checked = 1, now, now
		}, func(g *Group, p *Peer) { time.Sleep(11 * time.Second) }},
		"cleared": {func(g *Group, p *Peer) {
			now := time.Now().Unix()
			p.fails, p.accessed, p.checked = 1, now, now
		}, func(g *Group, p *Peer) { g.ClearFails(p) }},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := &crowd{g: queued(group(1, 1), 9, time.Minute)}
				for _, p := range c.g.Peers().All {
					p.maxConns = 2
					back.away(c.g, p)
				}
				first := c.ask(0)
				c.ask(1)
				c.ask(2)
				c.want(t, "")
				back.back(c.g, c.g.Peers().All[1])
				time.Sleep(time.Second)
				if name == "fails" {
					c.want(t, "0a 1b") // each is given one chance
					first.Done(Good)
					c.want(t, "2a")
				} else {
					c.want(t, "0b 1b")
					first.Done(Good)
					c.want(t, "2b")
				}
			})
		})
	}
}

func TestPeersThatAreResolvedServeWhoWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		name := line("a.test")
		f := resolvable(name)
		c := &crowd{g: queued(f.group, 9, time.Minute)}
		a := c.ask(1)
		c.want(t, "")
		f.update(keyOf(f.group, name), []resolver.Target{found("192.0.2.1")[0], found("192.0.2.2")[0]})
		c.want(t, "1192.0.2.1:80")
		if a.Tries != 2 {
			t.Errorf("%d tries", a.Tries)
		}
	})
}

// What a request has tried it doesn't try again, though its peers are others by now.
func TestTriesGoOnOverAChangeOfPeers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		name := line("a.test")
		f := resolvable(name)
		key := keyOf(f.group, name)
		f.update(key, found("192.0.2.1", "192.0.2.2"))
		c := &crowd{g: queued(f.group, 9, time.Minute)}
		busy, a := c.ask(1), c.ask(2)
		c.want(t, "1192.0.2.1:80 2192.0.2.2:80")
		a.Done(Failed)
		go func() {
			a.Next()
			a.Wait(func(*tcp.Conn) {})
		}()
		synctest.Wait()
		f.update(key, found("192.0.2.2", "192.0.2.3"))
		synctest.Wait()
		if a.Peer == nil || string(a.Peer.Name) != "192.0.2.3:80" {
			t.Errorf("it is at %v", a.Peer)
		}
		busy.Done(Good)
	})
}

// Who has tried one peer waits for the other, and holds nobody up.
func TestRetryWaitsForAPeerNotTried(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &crowd{g: queued(group(1, 1), 9, time.Minute)}
		a, b := c.ask(1), c.ask(2)
		c.want(t, "1a 2b")
		c.g.Peers().All[0].maxFails = 0
		a.Done(Failed)
		other := c.ask(3)
		c.want(t, "3a")
		done := false
		go func() {
			done = a.Next() == nil && a.Wait(func(*tcp.Conn) {}) != nil
		}()
		synctest.Wait()
		c.ask(4)
		other.Done(Good)
		c.want(t, "4a")
		if done {
			t.Error("the retry was served by the peer that it had tried")
		}
		b.Done(Good)
		synctest.Wait()
		if !done || string(a.Peer.Name) != "b" {
			t.Error("the retry wasn't served")
		}
		a.Done(Failed)
		if a.Wait(nil) != nil {
			t.Error("it waits though it has tried all")
		}
	})
}

// Nobody overtakes who waits.
func TestWhoComesGoesBehindWhoWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &crowd{g: queued(group(1), 9, time.Minute)}
		first := c.ask(1)
		c.ask(2)
		c.want(t, "1a")
		var s Session
		c.g.Begin(&s, nil)
		first.Done(Good)
		if s.Next() != nil {
			t.Error("it overtook")
		}
		c.want(t, "2a")
	})
}

func TestClientOfAFullPeerTakesTheFirstPeer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := queued(group(1, 1), 9, time.Minute)
		c := &crowd{g: g}
		c.ask(1)
		b := c.ask(2)
		c.want(t, "1a 2b")
		g.Peers().Sticky = &pinned{want: g.Peers().All[0]}
		c.ask(3)
		b.Done(Good)
		c.want(t, "3b")
	})
}

func TestStrictClientWaitsForItsPeer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := queued(group(1, 1), 9, time.Minute)
		c := &crowd{g: g}
		a, b := c.ask(1), c.ask(2)
		c.want(t, "1a 2b")
		pin := &pinned{want: g.Peers().All[0], refusal: 502}
		g.Peers().Sticky = pin
		c.ask(3)
		*pin = pinned{}
		c.ask(4)
		b.Done(Good)
		c.want(t, "4b")
		a.Done(Good)
		c.want(t, "3a")
		*pin = pinned{refusal: 502}
		refused := c.ask(5)
		c.want(t, "5-")
		if refused.Refusal != 502 {
			t.Error(refused.Refusal)
		}
	})
}

// A request of a configuration without a queue frees a slot for those who wait under another.
func TestOtherConfigurationsWakeWhoWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := queued(group(1), 9, time.Minute)
		old := &Group{Name: "g", mu: g.mu}
		old.publish(newPeers([]*Peer{g.Peers().All[0]}))
		var s Session
		old.Begin(&s, nil)
		s.Next()
		c := &crowd{g: g}
		c.ask(1)
		c.want(t, "")
		s.Done(Good)
		c.want(t, "1a")
	})
}

// Many requests at once, with retries and clients that go, leave nothing behind.
func TestNobodyIsForgotten(t *testing.T) {
	g := queued(group(1, 1, 1), 1000, time.Minute)
	var wait sync.WaitGroup
	for i := range 500 {
		wait.Go(func() {
			for range 20 {
				var s Session
				g.Begin(&s, nil)
				for tries := 0; ; tries++ {
					p := s.Next()
					if p == nil {
						p = s.Wait(func(c *tcp.Conn) {
							if c != nil && i%50 == 0 {
								go c.Abort()
							}
						})
					}
					if p == nil {
						if s.Refusal != 499 && tries == 0 {
							t.Errorf("%s (%d)", s.Why(), s.Refusal)
						}
						break
					}
					if i%7 == 0 && tries == 0 {
						s.Done(Next)
						continue
					}
					s.Done(Good)
					break
				}
			}
		})
	}
	wait.Wait()
	if n := g.Queue.Len(); n != 0 || g.Queue.first != nil || g.Queue.turn != nil {
		t.Errorf("%d wait", n)
	}
	for _, p := range g.Peers().All {
		if p.Conns() != 0 {
			t.Errorf("%s has %d requests", p.Name, p.Conns())
		}
	}
}

func BenchmarkQueue(b *testing.B) {
	g := queued(group(1, 1), 1000, time.Minute)
	b.ReportAllocs()
	b.SetParallelism(50)
	b.RunParallel(func(pb *testing.PB) {
		var s Session
		r := new(ngx.Request)
		for pb.Next() {
			g.Begin(&s, r)
			if s.Next() != nil || s.Wait(func(*tcp.Conn) {}) != nil {
				s.Done(Good)
			}
		}
	})
}

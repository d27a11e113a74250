package tcp

import (
	"errors"
	"io"
	"net"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func TestCloseEndsWaits(t *testing.T) {
	for name, wait := range map[string]func(c *Conn) error{
		"Read":  func(c *Conn) error { _, err := c.Read(make([]byte, 1)); return err },
		"Wait":  (*Conn).Wait,
		"Write": func(c *Conn) error { _, err := c.Write(make([]byte, 64<<20)); return err },
	} {
		server, _ := pair(t, "tcp")
		time.AfterFunc(20*time.Millisecond, func() { server.Close() })
		if err := wait(server); !errors.Is(err, net.ErrClosed) {
			t.Errorf("%s: %v", name, err)
		}
		if err := wait(server); !errors.Is(err, net.ErrClosed) {
			t.Errorf("%s behind Close: %v", name, err)
		}
	}
}

// The word of the poller that comes together with a deadline, or before it, isn't lost.
func TestReadinessOutlivesADeadline(t *testing.T) {
	g := gate{due: new(atomic.Int64)}
	g.notify()
	g.setDeadline(longAgo)
	if err := g.wait(); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("wait behind the deadline: %v", err)
	}
	g.setDeadline(0)
	if err := g.wait(); err != nil {
		t.Errorf("wait for what was told before: %v", err)
	}
	for range 1000 { // both at once
		both := make(chan struct{})
		var done sync.WaitGroup
		for _, f := range []func(){g.notify, func() { g.setDeadline(longAgo) }} {
			done.Go(func() { <-both; f() })
		}
		close(both)
		err := g.wait()
		done.Wait()
		g.setDeadline(0)
		if err != nil {
			if err := g.wait(); err != nil {
				t.Fatalf("the word was lost: %v", err)
			}
		}
		g.state.Store(gateIdle)
	}
}

// A deadline that is moved while it passes ends no wait for good.
func TestMovedDeadlineHolds(t *testing.T) {
	c, _ := pair(t, "tcp")
	g := &c.sock.in
	begun := now()
	g.setDeadline(begun + time.Millisecond)
	time.Sleep(grain) // it has passed, or is about to
	g.setDeadline(begun + 50*time.Millisecond)
	if err := g.wait(); !errors.Is(err, os.ErrDeadlineExceeded) || now()-begun < 50*time.Millisecond {
		t.Errorf("wait: %v after %v", err, now()-begun)
	}
}

// Events for a closed connection don't reach the next one under the same descriptor, and none of its own are lost.
func TestDescriptorsAreUsedAgain(t *testing.T) {
	p := poller(t)
	l, err := Listen("tcp", "127.0.0.1:0", ListenOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	var served sync.WaitGroup
	served.Go(func() {
		for {
			c, err := l.Accept(p)
			if err != nil {
				return
			}
			c.Watch()
			served.Go(func() {
				defer c.Close()
				c.SetReadTimeout(20 * time.Second)
				buf := make([]byte, 8)
				for {
					n, err := c.Read(buf)
					if err != nil {
						if err != io.EOF {
							t.Error(err)
						}
						return
					}
					c.WriteWait(buf[:n], func() bool { return true })
				}
			})
		}
	})
	var clients sync.WaitGroup
	for range 8 {
		clients.Go(func() {
			for range 100 {
				c, err := p.Dial("tcp", l.Addr().String(), DialOptions{Timeout: 20 * time.Second})
				if err != nil {
					t.Error(err)
					return
				}
				c.SetReadTimeout(20 * time.Second)
				buf := make([]byte, 8)
				for i := range 5 {
					_, n, err := c.Exchange([]byte("ask"), []byte("ed"), buf, i > 0)
					if err != nil || string(buf[:n]) != "asked" {
						t.Errorf("exchange %d: %q, %v", i, buf[:n], err)
					}
				}
				c.Close()
			}
		})
	}
	clients.Wait()
	l.Close()
	served.Wait()
	for fd, s := range p.table {
		if s != nil {
			t.Errorf("descriptor %d is still known", fd)
		}
	}
}

// A connection that was read to the end of what is known isn't looked at again before its exchange, and one whose peer
// spoke or left is found stale.
func TestKeptConnectionIsKnownToBeFresh(t *testing.T) {
	for name, c := range map[string]struct {
		spoil func(server *Conn)
		want  error
	}{
		"silent": {func(*Conn) {}, nil},
		"spoke":  {func(s *Conn) { s.Write([]byte("x")) }, ErrStale},
		"left":   {func(s *Conn) { s.CloseWrite() }, ErrStale},
	} {
		server, client := pair(t, "tcp")
		exchange := func() error {
			_, _, err := client.Exchange([]byte("ask"), nil, make([]byte, 64), true)
			return err
		}
		var answered sync.WaitGroup
		answer := func() {
			server.Read(make([]byte, 8))
			server.Write([]byte("answer"))
		}
		answered.Go(answer)
		if err := exchange(); err != nil {
			t.Fatal(err)
		}
		answered.Wait()
		c.spoil(server)
		if c.want == nil {
			// The poller may tell of an answer behind the read that took it; hardly ever of each of many.
			quiet := !client.mayRead()
			for n := 0; n < 20 && !quiet; n++ {
				answered.Go(answer)
				if err := exchange(); err != nil {
					t.Fatal(err)
				}
				answered.Wait()
				quiet = !client.mayRead()
			}
			if !quiet {
				t.Error("a silent connection would be looked at")
			}
			answered.Go(answer)
		} else {
			for !client.sock.in.ready() { // the poller is told
				runtime.Gosched()
			}
		}
		if err := exchange(); err != c.want {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestClosedPollerEndsWaits(t *testing.T) {
	p, err := NewPoller()
	if err != nil {
		t.Fatal(err)
	}
	l, err := Listen("tcp", "127.0.0.1:0", ListenOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c, err := p.Dial("tcp", l.Addr().String(), DialOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	time.AfterFunc(10*time.Millisecond, func() { p.Close() })
	c.SetReadTimeout(time.Hour)
	if _, err := c.Read(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
		t.Error(err)
	}
}

// A deadline that is sooner than all others is kept, and so are those behind it.
func TestDeadlinesPassInAnyOrder(t *testing.T) {
	p := poller(t)
	l, err := Listen("tcp", "127.0.0.1:0", ListenOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	var done sync.WaitGroup
	for _, ms := range []time.Duration{400, 200, 40, 80, 20, 300, 0, 41} {
		c, err := p.Dial("tcp", l.Addr().String(), DialOptions{})
		if err != nil {
			t.Fatal(err)
		}
		done.Go(func() {
			defer c.Close()
			timeout := ms*time.Millisecond + 1
			begun := time.Now()
			c.SetReadTimeout(timeout)
			_, err := c.Read(make([]byte, 1))
			if past := time.Since(begun); err != ErrTimeout || past < timeout {
				t.Errorf("%v: %v after %v", timeout, err, past)
			}
		})
		time.Sleep(5 * time.Millisecond)
	}
	done.Wait()
}

// BenchmarkDeadlines is a look at the deadlines of 100,000 sockets.
func BenchmarkDeadlines(b *testing.B) {
	var p Poller
	p.due.init()
	for fd := range 100000 {
		in, out := p.due.place(fd)
		in.Store(never - 1)
		out.Store(never - 2)
	}
	b.ReportAllocs()
	for b.Loop() {
		p.expireDue(now())
	}
}

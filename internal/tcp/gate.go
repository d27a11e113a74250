package tcp

import (
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// gate is where one goroutine waits for one direction of a socket.
type gate struct {
	state atomic.Uint32
	wake  chan struct{} // has room for one
	// over says that no wait is possible: the deadline has passed, or the socket is closed.
	over atomic.Bool

	mu       sync.Mutex // guards what follows
	err      error      // for good
	deadline time.Time
	timer    *time.Timer // calls expire
}

// The states of a gate.
const (
	gateIdle    uint32 = iota
	gateReady          // something has come that nobody waited for
	gateWaiting        // somebody waits
)

func (g *gate) init() { g.wake = make(chan struct{}, 1) }

// ready says whether the next wait returns at once.
func (g *gate) ready() bool { return g.state.Load() == gateReady }

// wait waits until the socket is ready, or was since the last wait. An error is os.ErrDeadlineExceeded or net.ErrClosed;
// readiness isn't lost by it.
func (g *gate) wait() error {
	if g.over.Load() {
		return g.why()
	}
	if !g.state.CompareAndSwap(gateIdle, gateWaiting) {
		g.state.Store(gateIdle) // it was ready: nobody else waits
		return nil
	}
	if g.over.Load() && g.state.CompareAndSwap(gateWaiting, gateIdle) {
		return g.why()
	}
	<-g.wake
	if g.state.CompareAndSwap(gateReady, gateIdle) {
		return nil
	}
	return g.why()
}

// why is the error of a gate that is over, or was when its waiter was woken.
func (g *gate) why() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.err != nil {
		return g.err
	}
	return os.ErrDeadlineExceeded
}

// notify wakes who waits, or has the next wait return.
func (g *gate) notify() {
	for {
		switch g.state.Load() {
		case gateReady:
			return
		case gateIdle:
			if g.state.CompareAndSwap(gateIdle, gateReady) {
				return
			}
		default:
			if g.state.CompareAndSwap(gateWaiting, gateReady) {
				g.wake <- struct{}{}
				return
			}
		}
	}
}

// kick has the wait under way fail.
func (g *gate) kick() {
	if g.state.CompareAndSwap(gateWaiting, gateIdle) {
		g.wake <- struct{}{}
	}
}

// end has every wait fail for good.
func (g *gate) end(err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.err = err
	if g.timer != nil {
		g.timer.Stop()
	}
	g.over.Store(true)
	g.kick()
}

// setDeadline has waits fail from t on; zero: never.
func (g *gate) setDeadline(t time.Time) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.err != nil {
		return net.ErrClosed
	}
	g.deadline = t
	if t.IsZero() {
		g.over.Store(false)
		if g.timer != nil {
			g.timer.Stop()
		}
		return nil
	}
	d := time.Until(t)
	if d <= 0 {
		g.over.Store(true)
		g.kick()
		return nil
	}
	g.over.Store(false)
	if g.timer == nil {
		g.timer = time.AfterFunc(d, g.expire)
	} else {
		g.timer.Reset(d)
	}
	return nil
}

// expire is the timer's call, which may come late, when the deadline has been moved.
func (g *gate) expire() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.err != nil || g.deadline.IsZero() || time.Now().Before(g.deadline) {
		return
	}
	g.over.Store(true)
	g.kick()
}

package tcp

import (
	"net"
	"os"
	"sync"
	"sync/atomic"
)

// gate is where one goroutine waits for one direction of a socket.
type gate struct {
	state atomic.Uint32
	wake  chan struct{} // has room for one; made at the first wait
	// over says that no wait is possible: the deadline has passed, or the socket is closed.
	over atomic.Bool

	// due is the deadline in the poller's table, a moment, or 0. Operations alone set it, as the place is another
	// socket's once the descriptor was closed.
	due   *atomic.Int64
	table *deadlines

	mu  sync.Mutex // guards what follows, and changes of due and over
	err error      // for good
}

// The states of a gate.
const (
	gateIdle    uint32 = iota
	gateReady          // something has come that nobody waited for
	gateWaiting        // somebody waits
)

// ready says whether the next wait returns at once.
func (g *gate) ready() bool { return g.state.Load() == gateReady }

// wait waits until the socket is ready, or was since the last wait. An error is os.ErrDeadlineExceeded or net.ErrClosed;
// readiness isn't lost by it.
func (g *gate) wait() error {
	if g.over.Load() {
		return g.why()
	}
	if g.wake == nil {
		g.wake = make(chan struct{}, 1)
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
	g.over.Store(true)
	g.kick()
}

// setDeadline has waits fail from a moment on, at most grain later; zero: never; longAgo: at once.
func (g *gate) setDeadline(at moment) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.err != nil {
		return net.ErrClosed
	}
	if at == longAgo {
		g.over.Store(true)
		g.kick()
		return nil
	}
	g.over.Store(false)
	g.due.Store(int64(at))
	if at != 0 {
		g.table.expect(at)
	}
	return nil
}

// expire has waits fail when the deadline, which is due, is still the gate's. The poller's mu is held.
func (g *gate) expire(due int64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.err == nil && g.due.CompareAndSwap(due, 0) {
		g.over.Store(true)
		g.kick()
	}
}

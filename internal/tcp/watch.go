package tcp

import (
	"os"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Watcher notices that a peer has closed its side (FIN or RST) while nobody reads from it. It has an epoll instance of
// its own on which each connection is registered once, edge-triggered, for hangups alone: a request costs nothing.
// The instance itself sits in the runtime's poller, so that no thread is blocked.
type Watcher struct {
	fd   int
	file *os.File
	done chan struct{}

	mu    sync.Mutex
	last  uint64
	conns map[uint64]*Conn // by a number that is never used again, unlike a descriptor
}

// NewWatcher starts a watcher. Close ends it.
func NewWatcher() (*Watcher, error) {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("epoll_create1", err)
	}
	if err := unix.SetNonblock(fd, true); err != nil {
		unix.Close(fd)
		return nil, err
	}
	w := &Watcher{fd: fd, file: os.NewFile(uintptr(fd), "hangup watch"), done: make(chan struct{}), conns: map[uint64]*Conn{}}
	raw, err := w.file.SyscallConn()
	if err == nil {
		err = w.file.SetDeadline(time.Time{}) // fails unless the poller has it
	}
	if err != nil {
		w.file.Close()
		return nil, err
	}
	go w.run(raw)
	return w, nil
}

// Close stops the watch and waits for its goroutine. Connections live on, unwatched.
func (w *Watcher) Close() error {
	err := w.file.Close()
	<-w.done
	return err
}

// run hands out hangups until the watcher is closed.
func (w *Watcher) run(raw syscall.RawConn) {
	defer close(w.done)
	events := make([]unix.EpollEvent, 128)
	raw.Read(func(fd uintptr) bool {
		for {
			n, err := unix.EpollWait(int(fd), events, 0)
			if err == unix.EINTR {
				continue
			}
			if err != nil {
				return true
			}
			if n == 0 {
				return false
			}
			for _, e := range events[:n] {
				id := uint64(uint32(e.Fd)) | uint64(uint32(e.Pad))<<32
				w.mu.Lock()
				c := w.conns[id]
				w.mu.Unlock()
				if c != nil {
					c.hangup()
				}
			}
		}
	})
}

// Watch registers c, once in its life; Close ends it.
func (w *Watcher) Watch(c *Conn) error {
	w.mu.Lock()
	w.last++
	id := w.last
	w.conns[id] = c
	w.mu.Unlock()
	c.mu.Lock()
	c.watcher, c.watchID = w, id
	c.mu.Unlock()
	err := c.Control(func(fd int) error {
		return unix.EpollCtl(w.fd, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{
			Events: unix.EPOLLRDHUP | unix.EPOLLET,
			Fd:     int32(uint32(id)),
			Pad:    int32(uint32(id >> 32)),
		})
	})
	if err != nil {
		c.unwatch()
	}
	return err
}

// unwatch forgets the connection; the kernel does so when it is closed.
func (c *Conn) unwatch() {
	c.mu.Lock()
	w, id := c.watcher, c.watchID
	c.watcher, c.guarded = nil, nil
	c.mu.Unlock()
	if w != nil {
		w.mu.Lock()
		delete(w.conns, id)
		w.mu.Unlock()
	}
}

// hangup notes that the peer has gone and interrupts what waits on its behalf.
func (c *Conn) hangup() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.hungup = true
	if c.guarded != nil && !c.bound {
		c.guarded.interrupt(ErrHangup)
	}
	c.wakeSleeper()
}

// Guard ends what waits on behalf of a client that goes. A Conn is one.
type Guard interface {
	// Guard makes other's waits fail with ErrHangup once the client has gone, which it may have already. Guard(nil)
	// ends that: when it returns, other isn't interrupted any more.
	Guard(other *Conn)
}

// Hangup makes the connection's waits fail with ErrHangup: the client on whose behalf they are has gone.
func (c *Conn) Hangup() { c.interrupt(ErrHangup) }

// HungUp says whether the watched peer has closed its side.
func (c *Conn) HungUp() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.hungup
}

// Guard makes other's waits fail with ErrHangup once c's peer has gone, which it may have already, and with ErrAborted
// once c was aborted. Guard(nil) ends that: when it returns, other isn't interrupted any more (it may have been before,
// and then isn't Fresh).
func (c *Conn) Guard(other *Conn) { c.guard(other, false) }

// Bind is Guard for Abort alone: a hangup of c's peer doesn't matter.
func (c *Conn) Bind(other *Conn) { c.guard(other, true) }

func (c *Conn) guard(other *Conn, bound bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.guarded, c.bound = other, bound
	switch {
	case other == nil:
	case c.interrupted != nil:
		other.interrupt(c.interrupted)
	case c.hungup && !bound:
		other.interrupt(ErrHangup)
	}
}

// Sleep waits for d. It returns early with ErrHangup when the watched peer goes and with ErrAborted after Abort.
func (c *Conn) Sleep(d time.Duration) error { return c.Await(nil, d) }

// Await is Sleep that also returns, without an error, when done is closed: for what somebody else does meanwhile.
func (c *Conn) Await(done <-chan struct{}, d time.Duration) error {
	c.mu.Lock()
	if c.wake == nil {
		c.wake = make(chan struct{}, 1)
	}
	err, wake := c.gone(), c.wake
	c.mu.Unlock()
	if err != nil {
		return err
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-done:
	case <-wake:
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.gone()
}

// gone returns why nobody should wait for the peer. c.mu is held.
func (c *Conn) gone() error {
	if c.interrupted == nil && c.hungup {
		return ErrHangup
	}
	return c.interrupted
}

// wakeSleeper ends a Sleep. c.mu is held.
func (c *Conn) wakeSleeper() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

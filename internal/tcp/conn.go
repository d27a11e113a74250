// Package tcp is the stream connection of the data plane, TCP or unix, plain or under TLS, for clients and for
// upstreams; it stands where nginx has ngx_connection_t, ngx_recv and ngx_send. It knows no protocol above.
//
// A connection blocks its goroutine. On a system socket it reads and writes by raw recvfrom and sendto on the
// non-blocking descriptor, inside callbacks of syscall.RawConn that are made once a connection: the runtime's poller
// waits, but its accounting of system calls and the allocations of net.Conn are saved.
//
// Linux only.
package tcp

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// The errors that this package adds to the system's.
var (
	// ErrTimeout is a read or a write that made no progress within its timeout; it is a net.Error.
	ErrTimeout error = &netError{"connection timed out", true, true}
	// ErrWouldBlock is TryRead's word for nothing to read yet.
	ErrWouldBlock error = &netError{"operation would block", false, true}
	// ErrHangup says that the client, on whose behalf the operation waited, has gone.
	ErrHangup = errors.New("client closed connection")
	// ErrStale says that a kept connection can't be used any more.
	ErrStale = errors.New("connection is stale")
	// ErrAborted says that Abort was called.
	ErrAborted = errors.New("connection aborted")
)

// netError is a net.Error. crypto/tls keeps a session usable after a temporary one when reading, which TryRead and
// waits that go on after a timeout rest on.
type netError struct {
	text               string
	timeout, temporary bool
}

func (e *netError) Error() string   { return e.text }
func (e *netError) Timeout() bool   { return e.timeout }
func (e *netError) Temporary() bool { return e.temporary }

// Is lets ErrTimeout match the standard library's deadline error.
func (e *netError) Is(target error) bool { return e.timeout && target == os.ErrDeadlineExceeded }

// socket is what the fast path needs: *net.TCPConn, *net.UnixConn and a socket's *os.File have it.
type socket interface {
	SetReadDeadline(time.Time) error
	SetWriteDeadline(time.Time) error
	Close() error
}

// Conn is one stream connection. One goroutine at a time reads and one writes; Abort, Guard's effect and Close may
// come from others.
type Conn struct {
	sock socket
	nc   net.Conn        // nil: made by Dial from a descriptor
	raw  syscall.RawConn // nil: not a system socket, the methods of nc do
	tls  *tls.Conn       // nil: plain
	// record bounds what goes into a TLS record; 0 for as much as fits.
	record int

	pushed []byte  // what the next Read gives first
	one    [1]byte // where Wait puts its byte
	in     reader
	out    writer
	addrs  addrs
	// touched is when a tunnel last wrote, in Unix nanoseconds.
	touched atomic.Int64

	mu          sync.Mutex // guards what follows, and that no deadline is set after an interruption
	interrupted error      // why every wait fails from now on
	hungup      bool       // the peer has closed its side (only when watched)
	guarded     *Conn      // interrupted when this peer goes
	bound       bool       // guarded is interrupted by Abort alone
	wake        chan struct{}
	watcher     *Watcher
	watchID     uint64
}

// New returns a connection over nc, which it owns from then on. A *net.TCPConn or *net.UnixConn gets the fast path;
// anything else is used through its methods.
func New(nc net.Conn) *Conn {
	c := &Conn{sock: nc, nc: nc}
	switch nc := nc.(type) {
	case *net.TCPConn:
		c.raw, _ = nc.SyscallConn()
	case *net.UnixConn:
		c.raw, _ = nc.SyscallConn()
	}
	c.init()
	return c
}

// init makes the callbacks, once.
func (c *Conn) init() {
	c.in.side.set, c.out.side.set = c.sock.SetReadDeadline, c.sock.SetWriteDeadline
	c.in.call, c.out.call = c.readReady, c.writeReady
}

// SetReadTimeout bounds the time that a Read or Wait spends waiting; 0 is no bound.
func (c *Conn) SetReadTimeout(d time.Duration) { c.in.side.timeout = d }

// SetWriteTimeout bounds the time between two successful writes; 0 is no bound.
func (c *Conn) SetWriteTimeout(d time.Duration) { c.out.side.timeout = d }

// Unread puts bytes in front of what the next Read gives. It keeps p.
func (c *Conn) Unread(p []byte) {
	if len(c.pushed) > 0 {
		p = append(p[:len(p):len(p)], c.pushed...)
	}
	c.pushed = p
}

// Buffered returns the number of bytes that were put back and not read again.
func (c *Conn) Buffered() int { return len(c.pushed) }

// Read waits for bytes, at most for the read timeout. The end of the stream is io.EOF.
func (c *Conn) Read(p []byte) (int, error) {
	if len(c.pushed) > 0 {
		return c.readPushed(p)
	}
	if c.tls != nil {
		return c.readTLS(p)
	}
	return c.readWire(p)
}

// readTLS reads from the session. Where crypto/tls gives the end of the stream, or an error, together with bytes, as it does
// under TLS 1.2 when close_notify has come with them, it comes again at the next Read.
func (c *Conn) readTLS(p []byte) (int, error) {
	n, err := c.tls.Read(p)
	if n > 0 {
		err = nil
	}
	return n, err
}

// readPushed gives the bytes that were put back, and behind the one that Wait took from a TLS session what came with it.
func (c *Conn) readPushed(p []byte) (int, error) {
	waited := c.tls != nil && &c.pushed[0] == &c.one[0]
	n := copy(p, c.pushed)
	if c.pushed = c.pushed[n:]; len(c.pushed) == 0 {
		c.pushed = nil
	}
	if waited && n == 1 && len(p) > 1 {
		m, _ := c.TryRead(p[1:]) // an error comes again at the next Read
		n += m
	}
	return n, nil
}

// TryRead reads what is there without waiting: (0, ErrWouldBlock) when nothing is.
func (c *Conn) TryRead(p []byte) (int, error) {
	if len(c.pushed) > 0 {
		return c.readPushed(p)
	}
	c.in.try = true
	defer func() { c.in.try = false }()
	if c.tls != nil {
		return c.readTLS(p)
	}
	return c.readWire(p)
}

// Wait returns when there is something to read, the end of the stream included, so that nobody holds a buffer for an
// idle connection. It waits at most for the read timeout.
func (c *Conn) Wait() error {
	if len(c.pushed) > 0 {
		return nil
	}
	if c.tls == nil && c.raw != nil {
		c.in.op, c.in.waited = opWait, false
		_, err := c.waitRead()
		return err
	}
	n, err := c.Read(c.one[:])
	if n == 1 {
		c.pushed = c.one[:]
		return nil
	}
	if err == io.EOF {
		return nil
	}
	return err
}

// Write writes all of p.
func (c *Conn) Write(p []byte) (int, error) {
	if c.tls != nil {
		return c.writeRecords(p)
	}
	return c.writeWire(p)
}

// Fresh says whether a connection kept idle can still be used: its peer hasn't closed it and hasn't sent a byte that
// nobody asked for.
func (c *Conn) Fresh() bool {
	if !c.usable() {
		return false
	}
	if c.tls != nil || c.raw == nil {
		_, err := c.TryRead(c.one[:])
		return err == ErrWouldBlock
	}
	c.in.op, c.in.buf, c.in.try = opPeek, c.one[:], true
	_, err := c.waitRead()
	c.in.try = false
	return err == ErrWouldBlock
}

// usable is Fresh without a look at the socket.
func (c *Conn) usable() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.interrupted == nil && !c.hungup && len(c.pushed) == 0
}

// CloseWrite ends the stream towards the peer.
func (c *Conn) CloseWrite() error {
	if c.tls != nil {
		if err := c.tls.CloseWrite(); err != nil {
			return err
		}
	}
	if c.raw == nil {
		if h, ok := c.nc.(interface{ CloseWrite() error }); ok {
			return h.CloseWrite()
		}
		return nil
	}
	return c.Control(func(fd int) error { return syscall.Shutdown(fd, syscall.SHUT_WR) })
}

// Close closes the connection; under TLS the peer is told first.
func (c *Conn) Close() error {
	c.unwatch()
	if c.tls != nil {
		late := time.AfterFunc(5*time.Second, c.Abort) // a peer that doesn't read can't hold the goodbye up
		defer late.Stop()
		return c.tls.Close() // closes the socket through wire
	}
	return c.sock.Close()
}

// Reset closes the connection with a RST.
func (c *Conn) Reset() error {
	c.unwatch()
	c.Control(func(fd int) error {
		return syscall.SetsockoptLinger(fd, syscall.SOL_SOCKET, syscall.SO_LINGER, &syscall.Linger{Onoff: 1})
	})
	return c.sock.Close()
}

// Control calls f with the descriptor, for options of the socket.
func (c *Conn) Control(f func(fd int) error) error {
	if c.raw == nil {
		return errors.ErrUnsupported
	}
	var err error
	if e := c.raw.Control(func(fd uintptr) { err = f(int(fd)) }); e != nil {
		return e
	}
	return err
}

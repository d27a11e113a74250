// Package tcp is the stream connection of the data plane, TCP or unix, plain or under TLS, for clients and for
// upstreams; it stands where nginx has ngx_connection_t, ngx_recv and ngx_send. It knows no protocol above.
//
// A connection blocks its goroutine. On a system socket it reads and writes by raw recvfrom and sendto on the
// non-blocking descriptor and waits by a Poller of its own: the runtime's accounting of system calls, its looks at
// sockets known to be empty and the allocations of net.Conn are saved. A process makes one Poller, which dials and to
// which accepted connections are handed.
//
// Linux only.
package tcp

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/netip"
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

// Conn is one stream connection. One goroutine at a time reads and one writes; Abort, Guard's effect and Close may
// come from others.
type Conn struct {
	sock *socket   // nil: the methods of nc do
	nc   net.Conn  // nil: sock does
	tls  *tls.Conn // nil: plain
	// record bounds what goes into a TLS record; 0 for as much as fits.
	record int

	pushed []byte  // what the next Read gives first
	one    [1]byte // where Wait puts its byte
	in     reader
	out    writer
	addrs  addrs
	// touched is when a tunnel last wrote, a moment; 0: never.
	touched atomic.Int64
	held    atomic.Pointer[atomic.Int64] // lowered when the connection is closed

	mu          sync.Mutex // guards what follows, and that no deadline is set after an interruption
	interrupted error      // why every wait fails from now on
	hungup      bool       // the peer has closed its side (only when watched)
	guarded     *Conn      // interrupted when this peer goes
	bound       bool       // guarded is interrupted by Abort alone
	wake        chan struct{}
}

// New returns a connection that goes by the methods of nc, which it owns from then on: for what is no system socket.
func New(nc net.Conn) *Conn {
	c := &Conn{nc: nc}
	c.in.side.set, c.out.side.set = nc.SetReadDeadline, nc.SetWriteDeadline
	return c
}

// conn makes a connection of a non-blocking socket, which it owns and closes in an error.
func (p *Poller) conn(fd int, remote netip.AddrPort) (*Conn, error) {
	both := new(struct { // one allocation
		c Conn
		s socket
	})
	c, s := &both.c, &both.s
	c.sock = s
	c.addrs.remote = remote
	c.in.more = true
	c.in.side.gate, c.out.side.gate = &s.in, &s.out
	if err := p.register(s, fd); err != nil {
		return nil, err
	}
	return c, nil
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
	c.in.try, c.in.more = true, true
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
	if c.tls == nil && c.sock != nil {
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
	if c.tls != nil || c.sock == nil {
		_, err := c.TryRead(c.one[:])
		return err == ErrWouldBlock
	}
	c.in.op, c.in.buf, c.in.try, c.in.more = opPeek, c.one[:], true, true
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
	if c.sock == nil {
		if h, ok := c.nc.(interface{ CloseWrite() error }); ok {
			return h.CloseWrite()
		}
		return nil
	}
	return c.Control(func(fd int) error { return syscall.Shutdown(fd, syscall.SHUT_WR) })
}

// Close closes the connection; under TLS the peer is told first.
func (c *Conn) Close() error {
	c.leave()
	if c.tls != nil {
		late := time.AfterFunc(5*time.Second, c.Abort) // a peer that doesn't read can't hold the goodbye up
		defer late.Stop()
		return c.tls.Close() // closes the socket through wire
	}
	return c.closeSocket()
}

// closeSocket closes what is underneath a TLS session.
func (c *Conn) closeSocket() error {
	if c.sock == nil {
		return c.nc.Close()
	}
	return c.sock.Close()
}

// leave takes the connection out of all that knows it.
func (c *Conn) leave() {
	c.Guard(nil)
	if held := c.held.Swap(nil); held != nil {
		held.Add(-1)
	}
}

// Reset closes the connection with a RST.
func (c *Conn) Reset() error {
	c.leave()
	c.Control(func(fd int) error {
		return syscall.SetsockoptLinger(fd, syscall.SOL_SOCKET, syscall.SO_LINGER, &syscall.Linger{Onoff: 1})
	})
	return c.closeSocket()
}

// FD returns the socket's descriptor for log lines, -1 where there is none any more.
func (c *Conn) FD() int {
	fd := -1
	c.Control(func(own int) error { fd = own; return nil })
	return fd
}

// Control calls f with the descriptor, for options of the socket.
func (c *Conn) Control(f func(fd int) error) error {
	if c.sock == nil {
		return errors.ErrUnsupported
	}
	if !c.sock.enter() {
		return net.ErrClosed
	}
	defer c.sock.leave()
	return f(c.sock.fd)
}

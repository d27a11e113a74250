package tcp

import (
	"io"
	"net"
	"os"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// op is what a callback does with the descriptor.
type op uint8

const (
	opPlain     op = iota // recvfrom, sendto
	opPeek                // recvfrom that takes nothing
	opWait                // opPeek where there may be something, then the poller's word is enough
	opExchange            // opPeek likewise, sendmsg, then recvfrom once there is something
	opWriteWait           // sendmsg, then opWait
	opSplice              // splice to or from a pipe
	opVector              // sendmsg
	opSendFile            // sendfile
	opConnect             // the end of connect
)

// reader is the state of the read operation under way.
type reader struct {
	side side
	op   op
	try  bool // don't wait
	// more says that the socket isn't known to be empty: bytes, or the end, may be there of which the poller won't speak
	// again.
	more bool
	// waited says that readReady was called before in this operation: opWait, opWriteWait, opExchange.
	waited bool
	quiet  bool        // opExchange: nothing may have come before
	sent   func() bool // opWriteWait
	buf    []byte
	pipe   int // opSplice
	max    int // opSplice
	n      int
	err    error
}

// writer is the state of the write operation under way.
type writer struct {
	side side
	op   op
	try  bool // don't wait
	// blocked is called before a wait; nil for nothing.
	blocked func()
	buf     []byte
	file    int   // opSplice, opSendFile
	off     int64 // opSendFile
	max     int   // opSplice, opSendFile
	iov     [3]unix.Iovec
	msg     unix.Msghdr
	n       int
	err     error
}

// readWire reads from the socket itself.
func (c *Conn) readWire(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	if c.sock == nil {
		return c.readMethod(p)
	}
	c.in.op, c.in.buf = opPlain, p
	n, err := c.waitRead()
	if n == 0 && err == nil {
		err = io.EOF
	}
	return n, err
}

// waitRead does the read operation: it tries and waits until the work is done or the wait has failed.
func (c *Conn) waitRead() (int, error) {
	in := &c.in
	in.side.begin()
	err := c.readLoop()
	in.buf = nil
	if err != nil {
		return 0, err
	}
	return in.n, nil
}

func (c *Conn) readLoop() error {
	in, s := &c.in, c.sock
	if !s.enter() {
		return net.ErrClosed
	}
	defer s.leave()
	if s.in.over.Load() {
		if err := c.late(&in.side, s.in.why()); err != nil {
			if in.try && err == ErrTimeout {
				err = ErrWouldBlock
			}
			return err
		}
	}
	for !c.readReady(uintptr(s.fd)) {
		if err := c.await(&in.side, &s.in); err != nil {
			return err
		}
		in.more = true
	}
	return in.err
}

// await waits at a gate until the socket is ready, or the time of the side is up.
func (c *Conn) await(s *side, g *gate) error {
	for {
		err := g.wait()
		if err == nil {
			return nil
		}
		if err = c.late(s, err); err != nil {
			return err
		}
	}
}

// mayRead says whether there may be something to read, the end of the stream included. What came in this moment may
// not be known yet.
func (c *Conn) mayRead() bool {
	return c.in.more || c.sock.in.ready() || c.sock.hup.Load()
}

// recv is recvfrom; it keeps count of whether there may be more.
func (c *Conn) recv(fd uintptr, p []byte, flags uintptr) (int, syscall.Errno) {
	if !c.mayRead() {
		return 0, syscall.EAGAIN
	}
	for {
		n, _, e := syscall.RawSyscall6(unix.SYS_RECVFROM, fd, uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p)), flags, 0, 0)
		switch {
		case e == syscall.EINTR:
			continue
		case e == syscall.EAGAIN:
			c.in.more = false
		case e != 0:
			c.in.more = true
		case flags == 0:
			// A stream that gave less than there was room for is empty, but for its end.
			c.in.more = int(n) == len(p) || n == 0
		}
		return int(n), e
	}
}

// readReady tries the read operation. It says whether the operation has ended.
func (c *Conn) readReady(fd uintptr) bool {
	in := &c.in
	var n int
	var e syscall.Errno
	switch in.op {
	case opWait, opWriteWait:
		if in.waited {
			in.n, in.err = 0, nil
			return true
		}
		in.waited = true
		if in.op == opWriteWait {
			if !c.sendNow(fd) {
				return true
			}
			if !in.sent() {
				in.err = ErrAborted
				return true
			}
		}
		n, e = c.recv(fd, c.one[:], unix.MSG_PEEK)
	case opExchange:
		if !in.waited {
			in.waited = true
			if in.quiet && !c.silent(fd) {
				in.err = ErrStale
				return true
			}
			if !c.sendNow(fd) {
				return true
			}
		}
		n, e = c.recv(fd, in.buf, 0)
	case opSplice:
		n, e = c.spliceIn(fd)
	case opPeek:
		n, e = c.recv(fd, in.buf, unix.MSG_PEEK)
	default:
		n, e = c.recv(fd, in.buf, 0)
	}
	switch e {
	case 0:
		in.n, in.err = n, nil
		return true
	case syscall.EAGAIN:
		if in.try {
			in.err = ErrWouldBlock
			return true
		}
		in.err = c.arm(&in.side)
		return in.err != nil
	}
	in.err = e
	return true
}

// spliceIn moves bytes to the pipe.
func (c *Conn) spliceIn(fd uintptr) (int, syscall.Errno) {
	for {
		n, _, e := syscall.RawSyscall6(unix.SYS_SPLICE, fd, 0, uintptr(c.in.pipe), 0, uintptr(c.in.max), unix.SPLICE_F_NONBLOCK|unix.SPLICE_F_MOVE)
		if e != syscall.EINTR {
			c.in.more = e != syscall.EAGAIN
			return int(n), e
		}
	}
}

// readMethod is readWire through the methods of net.Conn.
func (c *Conn) readMethod(p []byte) (int, error) {
	in := &c.in
	if in.try {
		in.side.at = longAgo
		in.side.setDeadline(longAgo)
		n, err := c.nc.Read(p)
		if err != nil && isDeadline(err) {
			err = ErrWouldBlock
		}
		return n, err
	}
	in.side.begin()
	if err := c.arm(&in.side); err != nil {
		return 0, err
	}
	for {
		n, err := c.nc.Read(p)
		if n > 0 || err == nil || err == io.EOF {
			return n, err
		}
		if err = c.late(&in.side, err); err != nil {
			return 0, err
		}
	}
}

// writeWire writes all of p to the socket itself.
func (c *Conn) writeWire(p []byte) (int, error) {
	done := 0
	for done < len(p) {
		var n int
		var err error
		if c.sock == nil {
			n, err = c.writeMethod(p[done:])
		} else {
			c.out.op, c.out.buf = opPlain, p[done:]
			n, err = c.waitWrite()
		}
		done += n
		if err != nil {
			return done, err
		}
	}
	return done, nil
}

// waitWrite does the write operation: it tries and waits until the work is done or the wait has failed.
func (c *Conn) waitWrite() (int, error) {
	out := &c.out
	out.side.begin()
	err := c.writeLoop()
	out.buf = nil
	if err != nil {
		return 0, err
	}
	return out.n, nil
}

func (c *Conn) writeLoop() error {
	out, s := &c.out, c.sock
	if !s.enter() {
		return net.ErrClosed
	}
	defer s.leave()
	if s.out.over.Load() {
		if err := c.late(&out.side, s.out.why()); err != nil {
			return err
		}
	}
	for !c.writeReady(uintptr(s.fd)) {
		if err := c.await(&out.side, &s.out); err != nil {
			return err
		}
	}
	return out.err
}

// writeReady tries the write operation. It says whether the operation has ended.
func (c *Conn) writeReady(fd uintptr) bool {
	out := &c.out
	for {
		var n uintptr
		var e syscall.Errno
		switch out.op {
		case opSplice:
			n, _, e = syscall.RawSyscall6(unix.SYS_SPLICE, uintptr(out.file), 0, fd, 0, uintptr(out.max), unix.SPLICE_F_NONBLOCK|unix.SPLICE_F_MOVE)
		case opSendFile:
			// Reading the file may wait for the disk: the scheduler has to know.
			n, _, e = syscall.Syscall6(unix.SYS_SENDFILE, fd, uintptr(out.file), uintptr(unsafe.Pointer(&out.off)), uintptr(out.max), 0, 0)
		case opVector:
			n, _, e = syscall.RawSyscall6(unix.SYS_SENDMSG, fd, uintptr(unsafe.Pointer(&out.msg)), unix.MSG_NOSIGNAL, 0, 0, 0)
		case opConnect:
			n, e = 0, connectState(int(fd))
		default:
			n, _, e = syscall.RawSyscall6(unix.SYS_SENDTO, fd, uintptr(unsafe.Pointer(unsafe.SliceData(out.buf))), uintptr(len(out.buf)), unix.MSG_NOSIGNAL, 0, 0)
		}
		switch e {
		case 0:
			out.n, out.err = int(n), nil
			return true
		case syscall.EINTR:
			continue
		case syscall.EAGAIN:
			if out.try {
				out.err = ErrWouldBlock
				return true
			}
			if out.blocked != nil {
				out.blocked()
			}
			out.err = c.arm(&out.side)
			return out.err != nil
		}
		out.err = e
		return true
	}
}

// OnWriteBlocked has f called, in the writer's goroutine, each time that a write on a plain socket is about to wait;
// nil ends that. f must not use the connection.
func (c *Conn) OnWriteBlocked(f func()) { c.out.blocked = f }

// writeMethod is one write through the methods of net.Conn.
func (c *Conn) writeMethod(p []byte) (int, error) {
	c.out.side.begin()
	if err := c.arm(&c.out.side); err != nil {
		return 0, err
	}
	n, err := c.nc.Write(p)
	if n == 0 && err != nil {
		err = c.late(&c.out.side, err)
	} else if err != nil && isDeadline(err) {
		err = nil // some of it went: that is progress
	}
	return n, err
}

// Writev writes a, then b, with one system call where the socket takes them at once.
func (c *Conn) Writev(a, b []byte) (int, error) {
	if c.tls != nil && len(a) > 0 && len(b) > 0 {
		return c.writeJoined(a, b)
	}
	if len(a) == 0 || len(b) == 0 || c.sock == nil {
		n, err := c.Write(a)
		if err != nil || len(b) == 0 {
			return n, err
		}
		m, err := c.Write(b)
		return n + m, err
	}
	out := &c.out
	out.op = opVector
	c.setVector(a, b)
	n, err := c.waitWrite()
	out.iov[0].Base, out.iov[1].Base = nil, nil
	switch {
	case err != nil:
		return n, err
	case n < len(a):
		m, err := c.writeWire(a[n:])
		if n += m; err != nil {
			return n, err
		}
		m, err = c.writeWire(b)
		return n + m, err
	}
	m, err := c.writeWire(b[n-len(a):])
	return n + m, err
}

// isDeadline says whether err is a passed deadline of the runtime.
func isDeadline(err error) bool {
	if e, ok := err.(*net.OpError); ok {
		err = e.Err
	}
	if e, ok := err.(*os.PathError); ok {
		err = e.Err
	}
	return err == os.ErrDeadlineExceeded
}

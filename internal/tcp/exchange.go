package tcp

import (
	"io"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Exchange writes a, then b, and waits for bytes in answer, which it reads into p; the timeouts are those of Write and
// Read. sent is how many bytes were written, all of them unless writing failed; the end of the stream is io.EOF.
//
// quiet asks for what Fresh says of a kept connection: where the peer has sent something before it was asked, or has
// closed, nothing is written and the error is ErrStale.
//
// On a plain socket that takes all at once the write is made inside the read operation. Unlike Fresh it looks at the
// socket only where the poller has told of something: that the peer has closed in this moment shows in the answer.
func (c *Conn) Exchange(a, b, p []byte, quiet bool) (sent, n int, err error) {
	if quiet && !c.usable() {
		return 0, 0, ErrStale
	}
	if c.tls != nil || c.sock == nil || len(c.pushed) > 0 || len(p) == 0 {
		if quiet && !c.Fresh() {
			return 0, 0, ErrStale
		}
		return c.writeRead(a, b, p)
	}
	c.setVector(a, b)
	c.in.op, c.in.waited, c.in.quiet, c.in.buf = opExchange, false, quiet, p
	c.out.n = 0
	n, err = c.waitRead()
	c.out.iov[0].Base, c.out.iov[1].Base = nil, nil
	sent = c.out.n
	if sent < len(a)+len(b) {
		if err != nil {
			return sent, 0, err
		}
		more, n, err := c.writeRead(cut(a, sent), cut(b, max(sent-len(a), 0)), p)
		return sent + more, n, err
	}
	if n == 0 && err == nil {
		err = io.EOF
	}
	return sent, n, err
}

// silent says whether there is nothing to read, the end of the stream included.
func (c *Conn) silent(fd uintptr) bool {
	_, e := c.recv(fd, c.one[:], unix.MSG_PEEK)
	return e == syscall.EAGAIN
}

// cut returns what follows the first n bytes of b.
func cut(b []byte, n int) []byte { return b[min(n, len(b)):] }

// writeRead is Exchange in two operations.
func (c *Conn) writeRead(a, b, p []byte) (sent, n int, err error) {
	if sent, err = c.WriteUnlessAnswered(a, b); err != nil && err != ErrAnswered {
		return sent, 0, err
	}
	n, err = c.Read(p)
	return sent, n, err
}

// setVector makes the message of a and b.
func (c *Conn) setVector(a, b []byte) {
	out := &c.out
	out.iov[0].Base, out.iov[1].Base = unsafe.SliceData(a), unsafe.SliceData(b)
	out.iov[0].SetLen(len(a))
	out.iov[1].SetLen(len(b))
	out.msg.Iov, out.msg.Iovlen = &out.iov[0], 2
}

// sendNow sends the message inside a read callback. False ends the operation: not all was taken, or in.err is set.
func (c *Conn) sendNow(fd uintptr) bool {
	out := &c.out
	size := int(out.iov[0].Len + out.iov[1].Len)
	for {
		var n uintptr
		var e syscall.Errno
		if out.iov[1].Len == 0 {
			n, _, e = syscall.RawSyscall6(unix.SYS_SENDTO, fd, uintptr(unsafe.Pointer(out.iov[0].Base)), uintptr(size), unix.MSG_NOSIGNAL, 0, 0)
		} else {
			n, _, e = syscall.RawSyscall6(unix.SYS_SENDMSG, fd, uintptr(unsafe.Pointer(&out.msg)), unix.MSG_NOSIGNAL, 0, 0, 0)
		}
		switch e {
		case 0:
			out.n = int(n)
			c.in.n, c.in.err = 0, nil
			return out.n == size
		case syscall.EINTR:
			continue
		case syscall.EAGAIN:
			c.in.n, c.in.err = 0, nil
			return false
		}
		c.in.n, c.in.err = 0, e
		return false
	}
}

// WriteWait writes p, calls sent, and waits as Wait does; sent may say false to end the wait at once with ErrAborted.
// The write and the wait have the timeouts of Write and of the next Read. p is not used after sent was called.
//
// On a plain socket that takes all of p at once both are one operation, and what came since the last read, such as a
// pipelined request, ends the wait at once.
func (c *Conn) WriteWait(p []byte, sent func() bool) error {
	if c.tls == nil && c.sock != nil && len(c.pushed) == 0 {
		c.setVector(p, nil)
		c.in.op, c.in.waited, c.in.sent = opWriteWait, false, sent
		c.out.n = 0
		_, err := c.waitRead()
		c.out.iov[0].Base, c.in.sent = nil, nil
		if c.out.n == len(p) || err != nil {
			return err
		}
		p = p[c.out.n:]
	}
	if _, err := c.Write(p); err != nil {
		return err
	}
	if !sent() {
		return ErrAborted
	}
	return c.Wait()
}

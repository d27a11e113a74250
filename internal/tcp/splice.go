package tcp

import (
	"errors"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// chunk is how much one splice, sendfile or copy moves.
const chunk = 64 << 10

// SendFile writes n bytes of f from off, by sendfile on a plain connection. It returns how many were written; a file
// that ends early is io.ErrUnexpectedEOF.
func (c *Conn) SendFile(f *os.File, off, n int64) (int64, error) {
	if c.sock == nil || c.tls != nil {
		m, err := io.CopyN(onlyWriter{c}, io.NewSectionReader(f, off, n), n)
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return m, err
	}
	raw, err := f.SyscallConn()
	if err != nil {
		return 0, err
	}
	done := int64(0)
	// Control, not Fd: Fd would make the file blocking, and Control keeps it open meanwhile.
	e := raw.Control(func(fd uintptr) {
		for done < n && err == nil {
			var m int
			c.out.op, c.out.file, c.out.off, c.out.max = opSendFile, int(fd), off+done, int(min(n-done, 1<<30))
			if m, err = c.waitWrite(); m == 0 && err == nil {
				err = io.ErrUnexpectedEOF
			}
			done += int64(m)
		}
	})
	if err == nil {
		err = e
	}
	return done, err
}

// onlyWriter hides everything but Write.
type onlyWriter struct{ io.Writer }

// Splice moves n bytes from src to dst, or everything until src ends when n < 0, through a pipe in the kernel where both
// are plain. It returns how many reached dst; src ending before n is io.ErrUnexpectedEOF. Bytes that were put back on
// src go first. With n < 0, as one direction of a tunnel, each piece makes a read timeout of dst count anew.
func Splice(dst, src *Conn, n int64) (int64, error) {
	if dst.sock == nil || src.sock == nil || dst.tls != nil || src.tls != nil {
		return copyConn(dst, src, n)
	}
	done := int64(0)
	if k := len(src.pushed); k > 0 {
		if n >= 0 {
			k = int(min(int64(k), n))
		}
		m, err := dst.Write(src.pushed[:k])
		src.pushed = src.pushed[m:]
		if done += int64(m); err != nil {
			return done, err
		}
	}
	if done == n {
		return done, nil
	}
	p, err := NewPipe()
	if err != nil {
		m, err := copyConn(dst, src, n-done)
		return done + m, err
	}
	defer p.Close()
	for done != n {
		limit := int64(chunk)
		if n > 0 {
			limit = n - done
		}
		m, srcErr, dstErr := p.Move(dst, src, limit)
		done += int64(m)
		if n < 0 {
			dst.touch()
		}
		switch {
		case dstErr != nil:
			return done, dstErr
		case srcErr == io.EOF && n >= 0:
			return done, io.ErrUnexpectedEOF
		case srcErr == io.EOF:
			return done, nil
		case srcErr != nil:
			return done, srcErr
		}
	}
	return done, nil
}

// ErrUnsupported says that a way of moving bytes isn't possible here.
var ErrUnsupported = errors.ErrUnsupported

// Pipe is a pipe in the kernel through which bytes go from one socket to another.
type Pipe struct{ fd [2]int }

// NewPipe opens a pipe; Close ends it.
func NewPipe() (*Pipe, error) {
	p := &Pipe{}
	if err := unix.Pipe2(p.fd[:], unix.O_CLOEXEC|unix.O_NONBLOCK); err != nil {
		return nil, os.NewSyscallError("pipe2", err)
	}
	return p, nil
}

// Close closes the pipe.
func (p *Pipe) Close() {
	unix.Close(p.fd[0])
	unix.Close(p.fd[1])
}

// Move waits for bytes on src and moves at most limit of them, and at most 64 KiB, to dst. Both must be plain sockets
// without bytes put back. An end of src is io.EOF as srcErr; after a dstErr the pipe is only good for Close.
func (p *Pipe) Move(dst, src *Conn, limit int64) (n int, srcErr, dstErr error) {
	if dst.sock == nil || src.sock == nil || dst.tls != nil || src.tls != nil || len(src.pushed) > 0 {
		return 0, ErrUnsupported, nil
	}
	src.in.op, src.in.pipe, src.in.max = opSplice, p.fd[1], int(min(limit, chunk))
	k, err := src.waitRead()
	if k == 0 && err == nil {
		err = io.EOF
	}
	if err != nil {
		return 0, err, nil
	}
	for n < k {
		dst.out.op, dst.out.file, dst.out.max = opSplice, p.fd[0], k-n
		m, err := dst.waitWrite()
		n += m
		if err != nil {
			return n, nil, err
		}
	}
	return n, nil, nil
}

// copyConn is Splice through a buffer.
func copyConn(dst, src *Conn, n int64) (int64, error) {
	buf := make([]byte, 32<<10)
	done := int64(0)
	for n < 0 || done < n {
		p := buf
		if n >= 0 {
			p = p[:min(int64(len(p)), n-done)]
		}
		k, err := src.Read(p)
		m, werr := dst.Write(p[:k])
		done += int64(m)
		if n < 0 {
			dst.touch()
		}
		switch {
		case werr != nil:
			return done, werr
		case err == io.EOF && n < 0:
			return done, nil
		case err == io.EOF:
			return done, io.ErrUnexpectedEOF
		case err != nil:
			return done, err
		}
	}
	return done, nil
}

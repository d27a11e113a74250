package tcp

import (
	"crypto/tls"
	"net"
	"sync"
	"time"
)

// ServerTLS starts a TLS session as the server and does the handshake, within timeout (0: none). Bytes that were put back
// are part of it. After an error the connection is only good for Close.
func (c *Conn) ServerTLS(cfg *tls.Config, timeout time.Duration) error {
	return c.startTLS(tls.Server(&wire{c: c, before: c.pushed}, cfg), timeout)
}

// ClientTLS starts a TLS session as the client and does the handshake, within timeout (0: none).
func (c *Conn) ClientTLS(cfg *tls.Config, timeout time.Duration) error {
	return c.startTLS(tls.Client(&wire{c: c, before: c.pushed}, cfg), timeout)
}

// startTLS does the handshake, during which the timeout bounds each wait and a timer the whole.
func (c *Conn) startTLS(session *tls.Conn, timeout time.Duration) error {
	c.pushed = nil
	read, write := c.in.side.timeout, c.out.side.timeout
	if timeout > 0 {
		c.SetReadTimeout(timeout)
		c.SetWriteTimeout(timeout)
		late := time.AfterFunc(timeout, func() { c.interrupt(ErrTimeout) })
		defer late.Stop()
	}
	err := session.Handshake()
	c.SetReadTimeout(read)
	c.SetWriteTimeout(write)
	if err == nil {
		c.tls = session
	}
	return err
}

// maxRecord is the most that a TLS record holds, RFC 8446 section 5.1.
const maxRecord = 16 << 10

// SetRecordSize bounds how much of what is written goes into a TLS record; 0, and what no record holds, is no bound.
func (c *Conn) SetRecordSize(n int) {
	if c.record = n; n >= maxRecord {
		c.record = 0
	}
}

// writeRecords writes p in records of the size that is set.
func (c *Conn) writeRecords(p []byte) (int, error) {
	if c.record == 0 || len(p) <= c.record {
		return c.tls.Write(p)
	}
	done := 0
	for done < len(p) {
		n, err := c.tls.Write(p[done:min(len(p), done+c.record)])
		if done += n; err != nil {
			return done, err
		}
	}
	return done, nil
}

// joined is a buffer of a record's size.
type joined [maxRecord]byte

func newJoined() any { return new(joined) }

var joinedBuffers = sync.Pool{New: newJoined}

// writeJoined writes a and b so that the end of a and the beginning of b share a record, which saves a
// record and a system call for a head and its body.
func (c *Conn) writeJoined(a, b []byte) (int, error) {
	size := c.record
	if size == 0 {
		size = maxRecord
	}
	if len(a) >= size {
		n, err := c.writeRecords(a)
		if err != nil {
			return n, err
		}
		m, err := c.writeRecords(b)
		return n + m, err
	}
	buf := joinedBuffers.Get().(*joined)
	defer joinedBuffers.Put(buf)
	n := copy(buf[:], a)
	m := copy(buf[n:size], b)
	done, err := c.tls.Write(buf[:n+m])
	if err != nil || m == len(b) {
		return done, err
	}
	more, err := c.writeRecords(b[m:])
	return done + more, err
}

// Secure says whether the connection has a TLS session.
func (c *Conn) Secure() bool { return c.tls != nil }

// TLS returns the session's state, or nil on a plain connection.
func (c *Conn) TLS() *tls.ConnectionState {
	if c.tls == nil {
		return nil
	}
	state := c.tls.ConnectionState()
	return &state
}

// wire is the connection underneath a TLS session, so that its timeouts and interruptions hold there too.
type wire struct {
	c      *Conn
	before []byte // read from the socket before the session began
}

func (w *wire) Read(p []byte) (int, error) {
	if len(w.before) > 0 {
		n := copy(p, w.before)
		w.before = w.before[n:]
		return n, nil
	}
	return w.c.readWire(p)
}

func (w *wire) Write(p []byte) (int, error)      { return w.c.writeWire(p) }
func (w *wire) Close() error                     { return w.c.closeSocket() }
func (w *wire) LocalAddr() net.Addr              { return w.c.LocalAddr() }
func (w *wire) RemoteAddr() net.Addr             { return w.c.RemoteAddr() }
func (w *wire) SetDeadline(time.Time) error      { return nil } // the connection's timeouts hold
func (w *wire) SetReadDeadline(time.Time) error  { return nil }
func (w *wire) SetWriteDeadline(time.Time) error { return nil }

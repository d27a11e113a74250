package http1

import (
	"errors"
	"fmt"
	"io"
	"time"

	"limpet/internal/ngx"
	"limpet/internal/tcp"
)

// bodyReader is where the reading of a request's body stands.
type bodyReader struct {
	done    bool
	chunked bool
	remain  int64 // of a body with Content-Length
	dec     ChunkDecoder
	got     int64 // bytes handed out
	expect  bool  // the client waits for 100 Continue
	broken  bool  // the framing is: nothing more can be read
	try     bool  // reading doesn't wait
	trailer ngx.Header
}

// startBody sets the reading of a body up by the request's framing.
func (c *conn) startBody(r *ngx.Request) {
	b := &c.x.body
	trailer := b.trailer
	trailer.Reset()
	*b = bodyReader{chunked: r.Chunked, remain: max(r.Length, 0), done: !r.HasBody(), trailer: trailer}
	if r.Chunked {
		b.dec.Reset()
	}
	if h := r.In.Get(ngx.HeaderExpect); h != nil && r.Proto >= ngx.HTTP11 && ngx.EqualFold(h, "100-continue") {
		b.expect = true
	}
}

// ReadBody implements ngx.Wire.
func (c *conn) ReadBody(r *ngx.Request, p []byte) (int, error) {
	b := &c.x.body
	if b.expect {
		b.expect = false
		if err := c.SendInterim(r, 100, nil); err != nil {
			return 0, err
		}
	}
	if b.done {
		return 0, io.EOF
	}
	c.tc.SetReadTimeout(r.Scope.Core.ClientBodyTimeout.V)
	if b.chunked {
		return c.readChunked(r, p)
	}
	p = p[:min(int64(len(p)), b.remain)]
	n, err := c.readRaw(p)
	b.remain -= int64(n)
	b.got += int64(n)
	r.Received += int64(n)
	b.done = b.remain == 0
	return n, c.bodyError(r, err)
}

// TryReadBody implements ngx.BodyWaiter.
func (c *conn) TryReadBody(r *ngx.Request, p []byte) (int, error) {
	c.x.body.try = true
	n, err := c.ReadBody(r, p)
	c.x.body.try = false
	return n, err
}

// WaitBody implements ngx.BodyWaiter.
func (c *conn) WaitBody(r *ngx.Request, peer *tcp.Conn) error {
	if x := c.x; x.body.done || x.r < x.w {
		return nil
	}
	c.tc.SetReadTimeout(r.Scope.Core.ClientBodyTimeout.V)
	err := c.tc.WaitOr(peer)
	if err == tcp.ErrAnswered {
		return err
	}
	return c.bodyError(r, err)
}

// receive reads from the connection.
func (c *conn) receive(p []byte) (int, error) {
	if c.x.body.try {
		return c.tc.TryRead(p)
	}
	return c.tc.Read(p)
}

// readRaw reads what was read ahead, then the connection.
func (c *conn) readRaw(p []byte) (int, error) {
	x := c.x
	if x.r < x.w {
		n := copy(p, x.in[x.r:x.w])
		x.r += n
		return n, nil
	}
	return c.receive(p)
}

// readChunked decodes chunks from the connection's buffer.
func (c *conn) readChunked(r *ngx.Request, p []byte) (int, error) {
	x := c.x
	b := &x.body
	for {
		if x.r == x.w {
			if err := c.fillBody(); err != nil {
				return 0, c.bodyError(r, err)
			}
		}
		data, n, err := b.dec.Next(x.in[x.r:x.w], len(p))
		if err != nil {
			b.broken = true
			return 0, &ngx.StatusError{Status: 400, Msg: "client sent invalid chunked body"}
		}
		copied := copy(p, data)
		x.r += n
		r.Received += int64(n)
		if err := b.count(r, int64(copied)); err != nil {
			return 0, err
		}
		if b.dec.Done() {
			b.done = true
			if copied > 0 {
				return copied, nil
			}
			return 0, io.EOF
		}
		if copied > 0 {
			return copied, nil
		}
	}
}

// fillBody reads into the buffer behind the head, whose bytes the request still uses.
func (c *conn) fillBody() error {
	x := c.x
	if len(x.in)-x.w < 512 {
		x.in = make([]byte, inSize) // the head lives on in the old one
		x.r, x.w = 0, 0
	}
	n, err := c.receive(x.in[x.w:])
	x.w += n
	if n > 0 {
		return nil
	}
	if err == nil {
		err = io.EOF
	}
	return err
}

// bodyError turns an error of the connection into what ReadBody promises.
func (c *conn) bodyError(r *ngx.Request, err error) error {
	switch {
	case err == nil, err == tcp.ErrWouldBlock:
		return err
	case errors.Is(err, tcp.ErrTimeout):
		c.broken = true
		return &ngx.StatusError{Status: 408, Msg: ""}
	}
	c.eof = true
	return tcp.ErrHangup
}

// Discard implements ngx.Wire.
func (c *conn) Discard(r *ngx.Request) error {
	x := c.x
	b := &x.body
	if b.expect && !r.BodyRefused {
		b.expect = false
		if err := c.SendInterim(r, 100, nil); err != nil {
			return err
		}
	}
	for !b.done && x.r < x.w {
		if !b.chunked {
			n := min(int64(x.w-x.r), b.remain)
			x.r += int(n)
			b.remain -= n
			b.done = b.remain == 0
			continue
		}
		data, n, err := b.dec.Next(x.in[x.r:x.w], x.w-x.r)
		if err != nil {
			b.broken = true
			return &ngx.StatusError{Status: 400, Msg: "client sent invalid chunked body"}
		}
		x.r += n
		if err := b.count(r, int64(len(data))); err != nil {
			return err
		}
		b.done = b.dec.Done()
	}
	return nil
}

// count adds bytes of a chunked body up and refuses one that is, or is going to be, too large.
func (b *bodyReader) count(r *ngx.Request, n int64) error {
	b.got += n
	if limit := r.Scope.Core.ClientMaxBodySize.V; limit > 0 && b.got+b.dec.Pending() > limit {
		b.broken = true
		return &ngx.StatusError{Status: 413, Msg: fmt.Sprintf("client intended to send too large chunked body: %d+%d bytes", b.got-n, b.dec.Pending()+n)}
	}
	return nil
}

// BodyTrailer implements ngx.Wire.
func (c *conn) BodyTrailer() *ngx.Header { return &c.x.body.trailer }

// discardBody reads the rest of a body that nobody wanted, so that the next
// request can be read. False means that the connection can't be kept.
func (c *conn) discardBody(core *ngx.Core) bool {
	x := c.x
	x.body.expect = false
	until := time.Now().Add(core.LingeringTime.V)
	r := &x.req
	if r.Debugging() {
		r.Debugf("http read discarded body")
	}
	var buf [2 << 10]byte
	for !x.body.done {
		c.tc.SetReadTimeout(core.LingeringTimeout.V)
		if x.r == x.w && time.Now().After(until) {
			return false
		}
		n, err := c.discardSome(r, buf[:])
		if err != nil && !x.body.done || n == 0 && err == nil {
			return false
		}
	}
	return true
}

func (c *conn) discardSome(r *ngx.Request, p []byte) (int, error) {
	b := &c.x.body
	if b.chunked {
		return c.readChunked(r, p)
	}
	n, err := c.readRaw(p[:min(int64(len(p)), b.remain)])
	b.remain -= int64(n)
	b.done = b.remain == 0
	return n, err
}

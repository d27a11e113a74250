package tcp

// ErrAnswered ends a write whose peer has sent something while it took no more bytes, and a wait for what it is to be sent.
var ErrAnswered error = &netError{"peer answered before it had all", false, true}

// Readable says whether there is something to read, the end of the stream or an error included, without waiting.
func (c *Conn) Readable() bool {
	if len(c.pushed) > 0 {
		return true
	}
	if c.tls != nil || c.sock == nil {
		n, err := c.TryRead(c.one[:])
		if n == 1 {
			c.pushed = c.one[:]
		}
		return err != ErrWouldBlock
	}
	c.in.op, c.in.buf, c.in.try, c.in.more = opPeek, c.one[:], true, true
	_, err := c.waitRead()
	c.in.try = false
	return err != ErrWouldBlock
}

// WriteUnlessAnswered writes a, then b. When the peer takes no more bytes and sends some, or ends its stream, it stops
// with ErrAnswered: a peer that answers early may never read the rest. n is how many bytes were written.
func (c *Conn) WriteUnlessAnswered(a, b []byte) (n int, err error) {
	if c.tls != nil || c.sock == nil {
		return c.Writev(a, b)
	}
	for _, p := range [2][]byte{a, b} {
		for len(p) > 0 {
			c.out.op, c.out.buf, c.out.try = opPlain, p, true
			m, err := c.waitWrite()
			c.out.try = false
			if err == ErrWouldBlock {
				m, err = c.writeOrAnswered(p)
			}
			p = p[m:]
			n += m
			if err != nil {
				return n, err
			}
		}
	}
	return n, nil
}

// writeOrAnswered waits until the socket takes some of p, within the write timeout, or has something to read:
// ErrAnswered. The reading side is waited for in a goroutine of its own, which has ended when writeOrAnswered returns.
func (c *Conn) writeOrAnswered(p []byte) (int, error) {
	end := c.WhenReadable(func() { c.stop(&c.out.side, ErrAnswered) })
	c.out.op, c.out.buf = opPlain, p
	n, err := c.waitWrite()
	end()
	c.unstop(&c.out.side)
	return n, err
}

// WaitOr is Wait that ends with ErrAnswered when there is something to read from other, the end of its stream included.
// Nobody may read from other meanwhile.
func (c *Conn) WaitOr(other *Conn) error {
	end := other.WhenReadable(func() { c.stop(&c.in.side, ErrAnswered) })
	err := c.Wait()
	end()
	c.unstop(&c.in.side)
	return err
}

// WhenReadable calls f, in a goroutine of its own, once the socket has something to read, unless end is called before;
// end waits for the goroutine. Nobody may read from the connection meanwhile. Of what is no system socket f isn't told.
func (c *Conn) WhenReadable(f func()) (end func()) {
	if c.sock == nil {
		return func() {}
	}
	timeout := c.in.side.timeout
	c.in.side.timeout = 0
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		c.in.op, c.in.buf = opPeek, c.one[:]
		if _, err := c.waitRead(); err != ErrWouldBlock {
			f()
		}
	}()
	return func() {
		c.stop(&c.in.side, ErrWouldBlock)
		<-ended
		c.in.side.timeout = timeout
		c.unstop(&c.in.side)
	}
}

// unstop lets a side's waits be begun again.
func (c *Conn) unstop(s *side) {
	c.mu.Lock()
	s.stopped = nil
	c.mu.Unlock()
}

// stop ends the wait under way on a side with a cause, and every one begun before stopped is cleared.
func (c *Conn) stop(s *side, cause error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	s.stopped = cause
	s.setDeadline(longAgo)
}

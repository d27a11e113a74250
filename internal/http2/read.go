package http2

import (
	"errors"

	"golang.org/x/net/http2"

	"limpet/internal/tcp"
)

// read reads frames until the connection ends.
func (c *Conn) read() {
	c.tc.SetReadTimeout(0) // timers bound the time without streams, and that of a header
	for {
		if c.in.Buffered() == 0 {
			c.mu.Lock()
			c.kick()
			c.backOff()
			c.mu.Unlock()
			if _, err := c.in.Peek(1); err != nil {
				c.log(closedWords(err))
				return
			}
		}
		if err := c.next(); err != nil && !c.readError(err) {
			return
		}
	}
}

// next reads a frame and takes it. What needn't be read to be refused is refused by its header.
func (c *Conn) next() error {
	fh, err := c.fr.ReadFrameHeader()
	if err != nil {
		return err
	}
	if c.frames.Add(int64(fh.Length)+9)/8 > c.payload.Load()+1<<20 {
		c.log("http2 flood detected")
		return http2.ConnectionError(http2.ErrCodeNo)
	}
	switch fh.Type {
	case http2.FrameHeaders, http2.FrameContinuation:
		return c.readHeaders(fh)
	case http2.FramePushPromise:
		c.log("client sent PUSH_PROMISE frame")
		return http2.ConnectionError(http2.ErrCodeProtocol)
	}
	f, err := c.fr.ReadFrameForHeader(fh)
	if err != nil {
		return err
	}
	return c.frame(f)
}

// maxPadding is what a HEADERS frame may hold besides its fields: padding and priority.
const maxPadding = 256 + 5

func closedWords(err error) string {
	if errors.Is(err, tcp.ErrAborted) {
		return "connection closed"
	}
	return "client closed connection"
}

// readError answers a frame that couldn't be taken; false ends the reading.
func (c *Conn) readError(err error) bool {
	var se http2.StreamError
	var ce http2.ConnectionError
	switch {
	case errors.As(err, &se):
		c.resetStream(se.StreamID, se.Code)
		return true
	case errors.As(err, &ce):
		why := c.fr.ErrorDetail()
		if why == nil {
			why = err
		}
		c.log("client sent invalid frame (%s)", why)
		c.fail(http2.ErrCode(ce))
	case errors.Is(err, http2.ErrFrameTooLarge):
		c.log("client sent a too large frame")
		c.fail(http2.ErrCodeFrameSize)
	default:
		c.mu.Lock()
		incomplete := len(c.streams) > 0 || c.block.open
		c.mu.Unlock()
		if incomplete {
			c.log("client prematurely closed connection")
		}
		return false
	}
	c.drain()
	return false
}

// drain drops what the client still sends, until it closes or the time for that is over.
func (c *Conn) drain() {
	for {
		if _, err := c.in.Discard(c.in.Size()); err != nil {
			return
		}
	}
}

// frame takes a frame.
func (c *Conn) frame(f http2.Frame) error {
	switch f := f.(type) {
	case *http2.DataFrame:
		return c.data(f)
	case *http2.SettingsFrame:
		return c.clientSettings(f)
	case *http2.WindowUpdateFrame:
		return c.windowUpdate(f)
	case *http2.PingFrame:
		if !f.IsAck() {
			c.mu.Lock()
			c.out = appendFrame(c.out, 8, http2.FramePing, http2.FlagPingAck, 0)
			c.out = append(c.out, f.Data[:]...)
			c.mu.Unlock()
		}
	case *http2.RSTStreamFrame:
		return c.clientReset(f)
	case *http2.PriorityFrame:
		return c.priority(f)
	case *http2.GoAwayFrame:
		c.mu.Lock()
		c.goaway = true
		if c.running == 0 {
			c.close()
		}
		c.mu.Unlock()
	}
	return nil
}

// priority takes PRIORITY, RFC 7540 section 6.3.
func (c *Conn) priority(f *http2.PriorityFrame) error {
	if f.StreamDep == f.StreamID {
		c.log("client sent PRIORITY frame for stream %d with incorrect dependency", f.StreamID)
		return http2.ConnectionError(http2.ErrCodeProtocol)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	n := c.place(f.StreamID)
	if n == nil {
		if f.StreamID%2 == 1 && f.StreamID <= c.seenID {
			return nil // closed long ago
		}
		n = c.tree.idle(f.StreamID)
	}
	c.depend(n, f.PriorityParam)
	return nil
}

// place returns a stream's place in the tree; nil for none. mu is held.
func (c *Conn) place(id uint32) *node {
	if s := c.streams[id]; s != nil {
		return &s.node
	}
	return c.tree.find(id)
}

// depend moves a stream in the tree. mu is held.
func (c *Conn) depend(n *node, p http2.PriorityParam) {
	parent := &c.tree.root
	if p.StreamDep != 0 {
		parent = c.place(p.StreamDep)
	}
	c.tree.depend(n, parent, p)
}

// resetStream ends a stream for a fault of the client.
func (c *Conn) resetStream(id uint32, code http2.ErrCode) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closing {
		return
	}
	c.appendReset(id, code)
	if s := c.streams[id]; s != nil {
		s.reset = true
		s.hangup(tcp.ErrHangup)
	}
}

// clientReset takes RST_STREAM.
func (c *Conn) clientReset(f *http2.RSTStreamFrame) error {
	if f.StreamID > c.seenID || f.StreamID%2 == 0 {
		c.log("client sent RST_STREAM frame with incorrect identifier")
		return http2.ConnectionError(http2.ErrCodeProtocol)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.streams[f.StreamID]
	if s == nil {
		return nil
	}
	s.reset = true
	s.hangup(tcp.ErrHangup)
	return nil
}

// clientSettings takes the client's settings over.
func (c *Conn) clientSettings(f *http2.SettingsFrame) error {
	if f.IsAck() {
		c.mu.Lock()
		c.settled = true
		c.mu.Unlock()
		return nil
	}
	err := f.ForeachSetting(func(s http2.Setting) error {
		if s.ID == http2.SettingEnablePush || s.ID == http2.SettingInitialWindowSize || s.ID == http2.SettingMaxFrameSize {
			return s.Valid()
		}
		return nil
	})
	if err != nil {
		c.log("client sent SETTINGS frame with incorrect value")
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	delta, err := int64(0), error(nil)
	f.ForeachSetting(func(s http2.Setting) error {
		switch s.ID {
		case http2.SettingInitialWindowSize:
			delta += int64(s.Val) - c.initWindow
			c.initWindow = int64(s.Val)
		case http2.SettingMaxFrameSize:
			c.maxFrame = int(s.Val)
		case http2.SettingHeaderTableSize:
			c.tableSize = true
		}
		return nil
	})
	for _, s := range c.streams {
		if s.sendWindow += delta; s.sendWindow > maxWindow {
			err = http2.ConnectionError(http2.ErrCodeFlowControl)
		}
		c.reconsider(s)
	}
	c.out = appendFrame(c.out, 0, http2.FrameSettings, http2.FlagSettingsAck, 0)
	return err
}

// windowUpdate takes WINDOW_UPDATE.
func (c *Conn) windowUpdate(f *http2.WindowUpdateFrame) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := int64(f.Increment)
	if f.StreamID == 0 {
		if c.sendWindow+n > maxWindow {
			return http2.ConnectionError(http2.ErrCodeFlowControl)
		}
		c.sendWindow += n
		return nil
	}
	s := c.streams[f.StreamID]
	switch {
	case s == nil:
		if f.StreamID > c.seenID {
			return http2.ConnectionError(http2.ErrCodeProtocol)
		}
		return nil
	case s.sendWindow+n > maxWindow:
		return http2.StreamError{StreamID: s.id, Code: http2.ErrCodeFlowControl}
	}
	s.sendWindow += n
	c.reconsider(s)
	return nil
}

// data takes a part of a request's body.
func (c *Conn) data(f *http2.DataFrame) error {
	size := int64(f.Length)
	c.payload.Add(size)
	c.mu.Lock()
	defer c.mu.Unlock()
	if size > c.recvWindow {
		return http2.ConnectionError(http2.ErrCodeFlowControl)
	}
	c.recvWindow -= size
	s := c.streams[f.StreamID]
	if s == nil || s.reset {
		if f.StreamID > c.seenID || f.StreamID%2 == 0 {
			return http2.ConnectionError(http2.ErrCodeProtocol)
		}
		c.credit(int(size))
		return nil
	}
	s.received += size
	switch {
	case s.inClosed:
		c.credit(int(size))
		return http2.StreamError{StreamID: s.id, Code: http2.ErrCodeStreamClosed}
	case size > s.recvWindow:
		c.credit(int(size))
		return http2.StreamError{StreamID: s.id, Code: http2.ErrCodeFlowControl}
	}
	s.recvWindow -= size
	s.inClosed = f.StreamEnded()
	s.take(f.Data(), size)
	s.changed.Signal()
	return nil
}

// credit gives n bytes of the connection's window back that were read or dropped. mu is held.
func (c *Conn) credit(n int) {
	c.recvWindow += int64(n)
	c.returned += int64(n)
	if c.returned >= connWindow/4 {
		if !c.closing {
			c.appendWindow(0, c.returned)
		}
		c.returned = 0
	}
}

package http2

import (
	"encoding/binary"
	"time"

	"golang.org/x/net/http2"
)

// headerBlock is a header block being read: HEADERS and the CONTINUATIONs behind it.
type headerBlock struct {
	open bool
	id   uint32
	end  bool    // no body follows
	s    *stream // nil: dropped, or trailers
	prio http2.PriorityParam
	// ranked says that prio was sent.
	ranked bool
	size   int // of names and values
	refuse http2.ErrCode
	err    error // why the request is refused
	frames int   // CONTINUATION
	// trailer says that they are the trailers of a stream.
	trailer bool
	// tooLarge says that the fields are more than large_client_header_buffers hold.
	tooLarge bool
}

// maxContinuations bounds the frames of a header block: what nginx's own bounds of sizes leave open.
const maxContinuations = 128

// readHeaders reads a HEADERS or a CONTINUATION frame. Its block is taken as it comes, so that what is wrong with it is
// known as soon as with nginx.
func (c *Conn) readHeaders(fh http2.FrameHeader) error {
	limit := c.core.LargeClientHeaderBuffers.V
	if int64(fh.Length) > limit.Size*int64(limit.Num)+maxPadding {
		c.log("client sent too large header")
		return http2.ConnectionError(http2.ErrCodeEnhanceYourCalm)
	}
	c.payload.Add(int64(fh.Length))
	if fh.Type == http2.FrameHeaders && !(fh.Flags.Has(http2.FlagHeadersEndHeaders) && c.in.Buffered() >= int(fh.Length)) {
		c.startHeader(fh.StreamID)
	}
	b, padding, size := &c.block, 0, int(fh.Length)
	if fh.Type == http2.FrameHeaders {
		*b = headerBlock{open: true, id: fh.StreamID, end: fh.Flags.Has(http2.FlagHeadersEndStream)}
		var err error
		if padding, size, err = c.readHeadersPrefix(fh); err != nil {
			return err
		}
		if err := c.openStream(); err != nil {
			return err
		}
	} else if b.frames++; b.frames > maxContinuations {
		return http2.ConnectionError(http2.ErrCodeEnhanceYourCalm)
	}
	if b.s != nil {
		b.s.received += int64(fh.Length)
	}
	for size > 0 {
		p, err := c.in.Peek(min(size, max(c.in.Buffered(), 1)))
		if err != nil {
			return err
		}
		if err := b.more(c, p); err != nil {
			return err
		}
		size -= len(p)
		c.in.Discard(len(p))
	}
	if _, err := c.in.Discard(padding); err != nil {
		return err
	}
	if !fh.Flags.Has(http2.FlagHeadersEndHeaders) {
		return nil
	}
	return b.complete(c)
}

// readHeadersPrefix reads what may stand in a HEADERS frame in front of the block: the length of the padding behind it, and
// the stream's priority. size is the block's part of the frame. RFC 9113 section 6.2.
func (c *Conn) readHeadersPrefix(fh http2.FrameHeader) (padding, size int, err error) {
	if fh.StreamID == 0 {
		c.log("client sent HEADERS frame with incorrect identifier")
		return 0, 0, http2.ConnectionError(http2.ErrCodeProtocol)
	}
	size = int(fh.Length)
	if fh.Flags.Has(http2.FlagHeadersPadded) {
		size--
	}
	if fh.Flags.Has(http2.FlagHeadersPriority) {
		size -= 5
	}
	if size < 0 {
		c.log("client sent HEADERS frame with incorrect length")
		return 0, 0, http2.ConnectionError(http2.ErrCodeFrameSize)
	}
	prefix, err := c.in.Peek(int(fh.Length) - size)
	if err != nil {
		return 0, 0, err
	}
	defer c.in.Discard(len(prefix))
	if fh.Flags.Has(http2.FlagHeadersPadded) {
		padding, prefix = int(prefix[0]), prefix[1:]
		if size -= padding; size < 0 {
			c.log("client sent padded HEADERS frame with incorrect length")
			return 0, 0, http2.ConnectionError(http2.ErrCodeFrameSize)
		}
	}
	if len(prefix) > 0 {
		dep := binary.BigEndian.Uint32(prefix)
		c.block.ranked = true
		c.block.prio = http2.PriorityParam{StreamDep: dep &^ (1 << 31), Exclusive: dep>>31 != 0, Weight: prefix[4]}
	}
	return padding, size, nil
}

// startHeader starts the time that a header may take, client_header_timeout. It isn't called for one that came whole.
func (c *Conn) startHeader(id uint32) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closing {
		return
	}
	c.idleAt, c.headerID = time.Time{}, id
	c.headerAt = time.Now().Add(c.core.ClientHeaderTimeout.V)
	c.alarm(c.headerAt)
}

// endHeader ends that time and reports whether it was over.
func (c *Conn) endHeader() (late bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	late = c.headerLate
	if !c.headerAt.IsZero() || late {
		c.headerAt, c.headerLate = time.Time{}, false
		if c.running == 0 && !c.closing {
			c.rest(c.core.KeepAliveTimeout.V.Timeout)
		}
	}
	return late
}

// openStream makes the stream of a header block, or says in the block why there is none.
func (c *Conn) openStream() error {
	b := &c.block
	id := b.id
	c.mu.Lock()
	defer c.mu.Unlock()
	if s := c.streams[id]; s != nil && !s.inClosed && b.end {
		b.trailer = true
		return nil
	}
	if id%2 == 0 || id <= c.seenID {
		c.log("client sent HEADERS frame with incorrect identifier %d, the last was %d", id, c.seenID)
		return http2.ConnectionError(http2.ErrCodeProtocol)
	}
	c.seenID = id
	if c.goaway {
		return nil // its fields are decoded for the table, and dropped
	}
	if b.ranked && b.prio.StreamDep == id {
		c.log("client sent HEADERS frame for stream %d with incorrect dependency", id)
		return http2.ConnectionError(http2.ErrCodeProtocol)
	}
	if c.headerLate {
		c.lastID = id
		return nil
	}
	switch {
	case c.running >= c.conf.MaxStreams.V:
		c.log("concurrent streams exceeded %d", c.running)
		b.refuse = http2.ErrCodeRefusedStream
	case !c.settled && !b.end && c.conf.PrereadSize.V < defaultWindow:
		c.log("client sent stream with data before settings were acknowledged")
		b.refuse = http2.ErrCodeRefusedStream
	}
	if b.refuse != 0 {
		c.lastID = id
		if c.refused++; c.refused > max(c.conf.MaxStreams.V, 100) {
			c.log("client sent too many refused streams")
			return http2.ConnectionError(http2.ErrCodeNo)
		}
		return nil
	}
	b.s = c.newStream(id)
	b.s.inClosed = b.end
	return nil
}

// more takes a fragment of the block.
func (b *headerBlock) more(c *Conn, fragment []byte) error {
	// A field that isn't complete waits in the decoder, whose bound is that of a field.
	c.hpack.limit = int(c.core.LargeClientHeaderBuffers.V.Size)
	if err := c.hpack.write(fragment); err != nil {
		return c.hpackError(err)
	}
	if b.tooLarge {
		c.log("client sent too large header")
		return http2.ConnectionError(http2.ErrCodeEnhanceYourCalm)
	}
	return nil
}

// complete ends the block: its request begins, or is refused.
func (b *headerBlock) complete(c *Conn) error {
	if err := c.hpack.end(); err != nil {
		c.log("client sent header block with incorrect length")
		return http2.ConnectionError(http2.ErrCodeFrameSize)
	}
	b.open = false
	late := c.endHeader()
	switch {
	case late:
	case b.refuse != 0:
		return http2.StreamError{StreamID: b.id, Code: b.refuse}
	case b.trailer:
		c.mu.Lock()
		if s := c.streams[b.id]; s != nil { // it may have ended meanwhile
			s.inClosed = true
			s.changed.Signal()
		}
		c.mu.Unlock()
	case b.s != nil:
		c.begin(b.s, b)
		b.s = nil // its goroutine's from now on
	}
	return nil
}

// hpackError ends the connection for a block that can't be decoded; its stream is the last one of which GOAWAY tells.
func (c *Conn) hpackError(err error) error {
	if c.block.s != nil {
		c.mu.Lock()
		c.lastID = c.block.id
		c.mu.Unlock()
	}
	if err == errString {
		c.log("client sent too large header field")
		return http2.ConnectionError(http2.ErrCodeEnhanceYourCalm)
	}
	c.log("client sent header block that can't be decoded (%s)", err)
	return http2.ConnectionError(http2.ErrCodeCompression)
}

// begin runs the request of a stream whose header is complete.
func (c *Conn) begin(s *stream, b *headerBlock) {
	s.refused = b.err
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closing || c.goaway {
		return // GOAWAY was sent while the block was read, without this stream: it is the client's to repeat
	}
	c.lastID = s.id
	c.requests++
	c.client.Requests = c.requests
	s.r.Client.Requests = c.requests
	c.streams[s.id] = s
	c.tree.open(s)
	if b.ranked {
		c.depend(&s.node, b.prio)
	}
	if c.requests >= c.core.KeepAliveRequests.V || time.Since(c.client.Start) > c.core.KeepAliveTime.V {
		c.sendGoAway(http2.ErrCodeNo)
	}
	c.start(s)
}

package http2

import (
	"bytes"
	"fmt"
	"time"

	"golang.org/x/net/http2"

	"limpet/internal/http1"
	"limpet/internal/ngx"
)

// headerBlock is a header block being read: HEADERS and the CONTINUATIONs behind it.
type headerBlock struct {
	open   bool
	id     uint32
	end    bool    // no body follows
	s      *stream // nil: dropped, or trailers
	size   int     // of names and values
	refuse http2.ErrCode
	err    error // why the request is refused
	frames int
	// trailer says that they are the trailers of a stream.
	trailer bool
	// tooLarge says that the fields are more than large_client_header_buffers hold.
	tooLarge bool
}

// refusal is why a request is refused: the status and the words for the log.
type refusal struct {
	status int
	msg    string
}

func (e *refusal) Error() string { return e.msg }

func bad(format string, args ...any) error { return &refusal{400, fmt.Sprintf(format, args...)} }

// maxContinuations bounds the frames of a header block: what nginx's own bounds of sizes leave open.
const maxContinuations = 128

// headers begins a header block.
func (c *Conn) headers(f *http2.HeadersFrame) error {
	c.payload.Add(int64(f.Length))
	b := &c.block
	*b = headerBlock{open: true, id: f.StreamID, end: f.StreamEnded()}
	if err := c.openStream(f); err != nil {
		return err
	}
	return b.more(c, f.HeaderBlockFragment(), f.HeadersEnded())
}

// armHeader starts the time that a header may take, client_header_timeout. When it is over the stream is reset; the
// rest of the block is read and dropped.
func (c *Conn) armHeader(id uint32) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.headerLate = false
	c.idle.Stop()
	c.headerTimer = time.AfterFunc(c.core.ClientHeaderTimeout.V, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.headerTimer == nil || c.closing || c.goaway {
			return
		}
		c.headerLate = true
		c.log("client timed out (110: Connection timed out) while reading client request headers")
		c.appendReset(id, http2.ErrCodeProtocol)
		c.rest()
		c.flushLocked()
	})
}

// disarmHeader ends that time and reports whether it was over.
func (c *Conn) disarmHeader() (late bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.headerTimer.Stop()
	c.headerTimer = nil
	late, c.headerLate = c.headerLate, false
	c.rest()
	return late
}

// openStream makes the stream of a header block, or says in the block why there is none.
func (c *Conn) openStream(f *http2.HeadersFrame) error {
	b := &c.block
	id := f.StreamID
	c.mu.Lock()
	defer c.mu.Unlock()
	if s := c.streams[id]; s != nil && !s.inClosed && f.StreamEnded() {
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
	if f.HasPriority() && f.Priority.StreamDep == id {
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
	case !c.settled && !f.StreamEnded() && c.conf.PrereadSize.V < defaultWindow:
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
	b.s.received = int64(f.Length)
	b.s.inClosed = b.end
	return nil
}

// more takes a fragment of the block.
func (b *headerBlock) more(c *Conn, fragment []byte, ended bool) error {
	if b.frames++; b.frames > maxContinuations {
		return http2.ConnectionError(http2.ErrCodeEnhanceYourCalm)
	}
	if b.frames > 1 {
		c.payload.Add(int64(len(fragment)))
		if b.s != nil {
			b.s.received += int64(len(fragment))
		}
	}
	// A field that isn't complete waits in the decoder, whose bound is that of a field.
	c.hpack.limit = int(c.core.LargeClientHeaderBuffers.V.Size)
	if err := c.hpack.write(fragment); err != nil {
		return c.hpackError(err)
	}
	if b.tooLarge {
		c.log("client sent too large header")
		return http2.ConnectionError(http2.ErrCodeEnhanceYourCalm)
	}
	if !ended {
		return nil
	}
	if err := c.hpack.end(); err != nil {
		c.log("client sent header block with incorrect length")
		return http2.ConnectionError(http2.ErrCodeFrameSize)
	}
	b.open = false
	late := c.disarmHeader()
	switch {
	case late:
	case b.refuse != 0:
		return http2.StreamError{StreamID: b.id, Code: b.refuse}
	case b.trailer:
		c.mu.Lock()
		if s := c.streams[b.id]; s != nil { // it may have ended meanwhile
			s.inClosed = true
			c.changed.Broadcast()
		}
		c.mu.Unlock()
	case b.s != nil:
		c.begin(b.s, b.err)
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

// field takes a decoded field of the block at hand. The strings are valid during the call alone.
func (c *Conn) field(name, value string) {
	b := &c.block
	core := c.core
	b.size += len(name) + len(value)
	limit := core.LargeClientHeaderBuffers.V
	if b.tooLarge = b.tooLarge || int64(b.size) > limit.Size*int64(limit.Num); b.tooLarge || b.s == nil || b.err != nil {
		return
	}
	b.err = b.s.field(name, value, core)
}

// field takes a field of the request's header.
func (s *stream) field(text, content string, core *ngx.Core) error {
	r := &s.r
	valid, err := validField(text, content, core.UnderscoresInHeaders.V)
	if err != nil {
		return err
	}
	if text[0] == ':' {
		return s.pseudo(text, content)
	}
	if !valid && core.IgnoreInvalidHeaders.V {
		r.Infof(`client sent invalid header: "%s"`, text)
		return nil
	}
	if s.fields++; s.fields > core.MaxHeaders.V {
		return bad("client sent too many header lines")
	}
	name, value := r.CopyString(text), r.CopyString(content)
	field := ngx.Field{Name: name, Value: value, ID: ngx.HeaderIDOf(name)}
	switch field.ID {
	case ngx.HeaderCookie: // they become one, RFC 9113 section 8.2.3
		if have := r.In.Find(ngx.HeaderCookie); have != nil {
			both := r.Alloc(len(have.Value) + 2 + len(value))
			copy(both[copy(both[copy(both, have.Value):], "; ")+len(have.Value):], value)
			have.Value = both
			return nil
		}
	case ngx.HeaderHost:
		return s.host(field)
	case ngx.HeaderContentLength:
		if s.declared, _ = http1.ParseLength(value); s.declared < 0 {
			s.declared = -1
		}
	}
	if err := http1.AddField(r, field); err != nil {
		return bad("%s", err)
	}
	return nil
}

// host takes Host or :authority.
func (s *stream) host(f ngx.Field) error {
	r := &s.r
	if have := r.In.Find(ngx.HeaderHost); have != nil {
		if s.authority && bytes.EqualFold(have.Value, f.Value) {
			return nil // both were sent and agree
		}
		return bad(`client sent duplicate host header: "%s: %s", previous value: "%s: %s"`, f.Name, f.Value, have.Name, have.Value)
	}
	host, ok := ngx.ValidHost(r.Alloc(len(f.Value))[:0], f.Value)
	if !ok {
		return bad("client sent invalid host header")
	}
	r.In.Fields = append(r.In.Fields, f)
	r.Host = host
	return nil
}

// pseudo takes a pseudo-header field, RFC 9113 section 8.3.1.
func (s *stream) pseudo(name, value string) error {
	r := &s.r
	var to *[]byte
	switch name {
	case ":method":
		to = &r.Method
	case ":path":
		to = &r.URI
	case ":scheme":
		to = &s.scheme
	case ":authority":
		s.authority = true
		return s.host(ngx.Field{Name: []byte("host"), Value: r.CopyString(value), ID: ngx.HeaderHost})
	default:
		return bad(`client sent unknown pseudo-header "%s"`, name)
	}
	if *to != nil {
		return bad("client sent duplicate %s header", name)
	}
	if value == "" {
		return bad("client sent empty %s header", name)
	}
	*to = r.CopyString(value)
	switch name {
	case ":method":
		for _, c := range r.Method {
			if (c < 'A' || c > 'Z') && c != '_' && c != '-' {
				return bad(`client sent invalid method: "%s"`, r.Method)
			}
		}
	case ":path":
		if !http1.Target(r, s.r.Scope.Core.MergeSlashes.V) {
			return bad(`client sent invalid :path header: "%s"`, r.URI)
		}
	case ":scheme":
		for i, c := range s.scheme {
			letter := 'a' <= c|0x20 && c|0x20 <= 'z'
			if !letter && (i == 0 || (c < '0' || c > '9') && c != '+' && c != '-' && c != '.') {
				return bad(`client sent invalid :scheme header: "%s"`, s.scheme)
			}
		}
	}
	return nil
}

// validField checks the bytes of a field as nginx does; valid is false for a name that may be ignored.
func validField(name, value string, underscores bool) (valid bool, err error) {
	if name == "" {
		return false, bad("client sent zero header name length")
	}
	valid = true
	for i := range len(name) {
		switch c := name[i]; {
		case 'a' <= c && c <= 'z', '0' <= c && c <= '9', c == '-', c == '_' && underscores, c == ':' && i == 0:
		case c <= ' ', c == 0x7f, c == ':', 'A' <= c && c <= 'Z':
			return false, bad(`client sent invalid header name: "%s"`, name)
		default:
			valid = false
		}
	}
	for i := range len(value) {
		switch value[i] {
		case 0, '\n', '\r':
			return false, bad(`client sent header "%s" with invalid value: "%s"`, name, value)
		}
	}
	return valid, nil
}

// begin runs the request of a stream whose header is complete.
func (c *Conn) begin(s *stream, err error) {
	s.refused = err
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
	if c.requests >= c.core.KeepAliveRequests.V || time.Since(c.client.Start) > c.core.KeepAliveTime.V {
		c.sendGoAway(http2.ErrCodeNo)
	}
	c.start(s)
}

// head completes the request by its header; the error is a *refusal.
func (s *stream) head() error {
	r := &s.r
	if s.refused != nil {
		return s.refused
	}
	for _, p := range [...]struct {
		name  string
		value []byte
	}{{":method", r.Method}, {":scheme", s.scheme}, {":path", r.URI}} {
		if p.value == nil {
			return bad("client sent no %s header", p.name)
		}
	}
	r.Line = r.Alloc(len(r.Method) + 1 + len(r.URI) + len(" HTTP/2.0"))
	n := copy(r.Line, r.Method)
	r.Line[n] = ' '
	n++
	n += copy(r.Line[n:], r.URI)
	copy(r.Line[n:], " HTTP/2.0")
	if r.Debugging() {
		debugHeader(r)
	}
	if !s.c.ep.Serve(r, r.Host) {
		return &refusal{421, ""}
	}
	if !s.c.ep.HTTP2 && !r.Scope.HTTP2 {
		return &refusal{421, "client attempted to request the server name for which the negotiated protocol is disabled"}
	}
	return s.checkHead()
}

// checkHead makes the checks that need the whole header.
func (s *stream) checkHead() error {
	r := &s.r
	if r.Host == nil {
		return bad("client sent neither \":authority\" nor \"Host\" header")
	}
	for i := range r.In.Fields {
		switch f := &r.In.Fields[i]; f.ID {
		case ngx.HeaderConnection, ngx.HeaderKeepAlive, ngx.HeaderProxyConnection, ngx.HeaderTransferEncoding, ngx.HeaderUpgrade:
			return bad(`client sent "%s" header`, f.Name)
		case ngx.HeaderTE:
			if !ngx.EqualFold(f.Value, "trailers") {
				return bad(`client sent invalid "%s" header`, f.Name)
			}
		}
	}
	s.c.mu.Lock()
	ended := s.inClosed && s.at == len(s.in) && !s.hadBody
	s.c.mu.Unlock()
	if v := r.In.Find(ngx.HeaderContentLength); v != nil {
		n, ok := http1.ParseLength(v.Value)
		if !ok {
			return bad(`client sent invalid "Content-Length" header`)
		}
		if n > 0 && ended {
			return bad("client prematurely closed stream")
		}
		r.Length = n
	} else if !ended {
		r.Chunked = true
	}
	switch string(r.Method) {
	case "TRACE":
		return &refusal{405, "client sent TRACE method"}
	case "CONNECT":
		return &refusal{405, "client sent CONNECT method"}
	}
	return nil
}

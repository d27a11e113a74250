package http1

import (
	"errors"
	"fmt"
	"time"

	"limpet/internal/ngx"
	"limpet/internal/tcp"
)

// errGone ends a connection without an answer; its reason was logged.
var errGone = errors.New("client gone")

// headReader reads a request's head within the bounds of
// client_header_buffer_size and large_client_header_buffers. nginx copies a line
// that doesn't fit into the next buffer; here the bytes stay where they are, and
// limit says where nginx's buffer at hand would end.
type headReader struct {
	c        *conn
	r        *ngx.Request
	core     *ngx.Core
	limit    int // in x.in
	large    int // large buffers in use
	deadline time.Time
	action   string
	start    int // of the request line, in x.in
}

// readHead reads and parses a request's head into r. The error is a *parseError
// to answer, or errGone.
func (c *conn) readHead(ep *ngx.Endpoint, r *ngx.Request) error {
	x := c.x
	core := r.Scope.Core
	h := headReader{c: c, r: r, core: core, limit: x.r + int(core.ClientHeaderBufferSize.V), action: "request line"}
	if !x.woken {
		h.action = "pipelined request line"
		r.Pipelined = true
	}
	h.start = x.r
	defer func() { r.Received = int64(x.r - h.start) }()
	h.deadline = r.Start.Add(core.ClientHeaderTimeout.V)
	c.client.Requests++
	x.body = bodyReader{done: true, trailer: x.body.trailer}
	r.KeepAlive = false
	if r.Debugging() {
		h.began()
	}
	var line requestLine
	if err := h.line(&line); err != nil {
		return h.failed(err)
	}
	if line.proto == ngx.HTTP09 {
		r.Proto = ngx.HTTP09
		if err := h.target(ep, &line); err != nil {
			return h.failed(err)
		}
		c.startBody(r)
		return nil
	}
	if err := h.target(ep, &line); err != nil {
		return h.failed(err)
	}
	h.action = "request headers"
	if r.Debugging() {
		r.Debugf("http process request header line")
	}
	if err := h.fields(ep); err != nil {
		return h.failed(err)
	}
	if err := h.check(ep); err != nil {
		return h.failed(err)
	}
	c.startBody(r)
	return nil
}

// began tells of the request's beginning.
func (h *headReader) began() {
	if h.r.Pipelined {
		h.r.Debugf("pipelined request")
	}
	h.r.Debugf("http process request line")
}

// failed logs why the head is refused.
func (h *headReader) failed(err error) error {
	pe, ok := err.(*parseError)
	if !ok {
		return err
	}
	if pe.msg != "" {
		h.r.Infof("%s while reading client %s", pe.msg, h.action)
	}
	return pe
}

// line reads the request line, skipping empty lines before it.
func (h *headReader) line(l *requestLine) error {
	x := h.c.x
	for {
		for x.r < x.w && (x.in[x.r] == '\r' || x.in[x.r] == '\n') {
			x.r++
		}
		if x.r == x.w { // a client that sends nothing but line ends doesn't fill the memory
			x.r, x.w, h.start = 0, 0, 0
			h.limit = int(h.core.ClientHeaderBufferSize.V)
		} else {
			n, err := l.parseLine(x.in[x.r:x.w])
			if err == nil && n > 0 && !h.fits(x.r, x.r+n) {
				err = &parseError{414, "client sent too long URI"}
			}
			if err != nil {
				h.r.Line = firstLine(x.in[x.r:x.w])
				h.r.Proto = l.proto
				return err
			}
			if n > 0 {
				h.start = x.r
				x.r += n
				return nil
			}
			if !h.fits(x.r, x.w+1) {
				h.r.Line = firstLine(x.in[x.r:x.w])
				return &parseError{414, "client sent too long URI"}
			}
			h.r.Line = firstLine(x.in[x.r:x.w]) // for a line about its end not coming
		}
		if err := h.fill(x.r); err != nil {
			if err == errGone {
				return h.gone()
			}
			return err
		}
	}
}

// firstLine returns the bytes up to the first line end, for the log.
func firstLine(b []byte) []byte {
	for i, c := range b {
		if c == '\r' || c == '\n' {
			return b[:i]
		}
	}
	return b
}

// fits reports whether the line in[start:end] fits into nginx's buffers, taking the next one where it must.
func (h *headReader) fits(start, end int) bool {
	if end <= h.limit {
		return true
	}
	size := int(h.core.LargeClientHeaderBuffers.V.Size)
	if end-start > size || h.large >= h.core.LargeClientHeaderBuffers.V.Num {
		return false
	}
	h.large++
	h.limit = start + size
	return true
}

// fill reads more bytes of the head; keep is where the bytes still needed begin.
func (h *headReader) fill(keep int) error {
	x := h.c.x
	if x.w == len(x.in) {
		grown := make([]byte, 2*len(x.in))
		copy(grown, x.in[:x.w])
		x.in = grown
	}
	left := time.Until(h.deadline)
	if left <= 0 {
		return h.timeout()
	}
	h.c.tc.SetReadTimeout(left)
	n, err := h.c.tc.Read(x.in[x.w:])
	x.w += n
	if h.r.Debugging() {
		h.c.received(n, len(x.in)-x.w+n)
	}
	switch {
	case n > 0:
		return nil
	case errors.Is(err, tcp.ErrTimeout):
		return h.timeout()
	}
	h.c.eof = true
	return errGone
}

func (h *headReader) timeout() error {
	h.r.Infof("client timed out (110: Connection timed out) while reading client %s", h.action)
	h.c.broken = true
	h.r.Status = 408
	if h.core.ResetTimedout.V {
		h.c.reset = true
	}
	return errTimeout
}

// errTimeout ends a connection whose head didn't come in time: logged with status 408, without an answer.
var errTimeout = errors.New("client timed out")

// gone logs a client that went in the middle of a head.
func (h *headReader) gone() error {
	if h.c.x.w > h.c.x.r || h.action == "request headers" {
		h.r.Infof("client prematurely closed connection while reading client %s", h.action)
		h.c.broken = true
		h.r.Status = 400
		return errTimeout
	}
	h.c.leftIdle(h.c.client.Requests - 1)
	return errGone
}

// target takes over the parsed request line.
func (h *headReader) target(ep *ngx.Endpoint, l *requestLine) error {
	r := h.r
	r.Line, r.Method, r.Proto = l.line, l.method, l.proto
	r.URI = l.uri
	r.KeepAlive = r.Proto >= ngx.HTTP11
	uri := l.uri
	if l.noPath {
		// http://host?args: nginx takes the path for /
		full := r.Alloc(len(uri) + 1)
		full[0] = '/'
		copy(full[1:], uri)
		uri = full
		r.URI = full
	}
	if !setTarget(r, l, uri, r.Scope.Core.MergeSlashes.V) {
		return badRequest()
	}
	if r.Debugging() {
		r.DebugTarget()
	}
	if l.host != nil {
		host, ok := ngx.ValidHost(r.Alloc(len(l.host))[:0], l.host)
		if !ok {
			return badRequest()
		}
		r.Host = host
		if !ep.Serve(r, host) {
			return &parseError{421, ""}
		}
	}
	return nil
}

// fields reads the header fields.
func (h *headReader) fields(ep *ngx.Endpoint) error {
	x, r := h.c.x, h.r
	maxFields := h.core.MaxHeaders.V
	for count := 0; ; {
		core := r.Scope.Core
		f, n, res := parseField(x.in[x.r:x.w], core.UnderscoresInHeaders.V)
		if res != fieldMore && res != fieldBad && !h.fits(x.r, x.r+n) || res == fieldMore && !h.fits(x.r, x.w+1) {
			return h.tooLong(x.in[x.r:x.w])
		}
		switch res {
		case fieldMore:
			if err := h.fill(x.r); err != nil {
				if err == errGone {
					return h.gone()
				}
				return err
			}
			continue
		case fieldBad:
			return &parseError{400, fmt.Sprintf(`client sent invalid header line: "%s\x%02x..."`, x.in[x.r:x.r+n], x.in[x.r+n])}
		case fieldEnd:
			x.r += n
			if r.Debugging() {
				r.Debugf("http header done")
			}
			return nil
		}
		x.r += n
		if count++; count > maxFields {
			return &parseError{400, "client sent too many header lines"}
		}
		if res == fieldIgnored {
			if core.IgnoreInvalidHeaders.V {
				r.Infof(`client sent invalid header line: "%s: %s"%s`, f.Name, f.Value, " while reading client request headers")
				continue
			}
			f.ID = ngx.HeaderIDOf(f.Name)
		}
		if r.Debugging() {
			r.Debugf(`http header: "%s: %s"`, f.Name, f.Value)
		}
		if err := h.field(ep, f); err != nil {
			return err
		}
	}
}

func (h *headReader) tooLong(b []byte) error {
	h.c.linger = true
	if len(b) == 0 {
		return &parseError{494, "client sent too large request"}
	}
	return &parseError{494, fmt.Sprintf(`client sent too long header line: "%s..."`, b[:min(len(b), 1748)])}
}

// field takes one field, refusing a second one of those that may come once.
func (h *headReader) field(ep *ngx.Endpoint, f ngx.Field) error {
	r := h.r
	switch f.ID {
	case ngx.HeaderHost:
		if prev := r.In.Find(f.ID); prev != nil {
			return &parseError{400, fmt.Sprintf(`client sent duplicate host header: "%s: %s", previous value: "%s: %s"`, f.Name, f.Value, prev.Name, prev.Value)}
		}
		r.In.Fields = append(r.In.Fields, f)
		return h.host(ep, f.Value)
	case ngx.HeaderConnection:
		h.connection(f.Value)
	}
	if err := AddField(r, f); err != nil {
		return &parseError{400, err.Error()}
	}
	return nil
}

// connection takes close and keep-alive of a Connection field; the last one holds.
func (h *headReader) connection(v []byte) {
	switch {
	case containsFold(v, "close"):
		h.r.KeepAlive = false
	case containsFold(v, "keep-alive"):
		h.r.KeepAlive = true
	}
}

// containsFold looks for a word anywhere in a value, as nginx does.
func containsFold(b []byte, word string) bool {
	for i := 0; i+len(word) <= len(b); i++ {
		if ngx.EqualFold(b[i:i+len(word)], word) {
			return true
		}
	}
	return false
}

// host takes the Host field and finds the virtual server, unless the target named one.
func (h *headReader) host(ep *ngx.Endpoint, v []byte) error {
	r := h.r
	host, ok := ngx.ValidHost(r.Alloc(len(v))[:0], v)
	if !ok {
		return &parseError{400, "client sent invalid host header"}
	}
	if r.Host != nil {
		return nil
	}
	if len(host) > 0 {
		r.Host = host
		if !ep.Serve(r, host) {
			return &parseError{421, ""}
		}
	}
	return nil
}

// check makes the checks that need the whole head.
func (h *headReader) check(ep *ngx.Endpoint) error {
	r := h.r
	if r.Host == nil {
		if r.Proto >= ngx.HTTP11 && !r.In.Has(ngx.HeaderHost) {
			return &parseError{400, `client sent HTTP/1.1 request without "Host" header`}
		}
		if !ep.Serve(r, nil) {
			return &parseError{421, ""}
		}
	}
	cl, te := r.In.Find(ngx.HeaderContentLength), r.In.Find(ngx.HeaderTransferEncoding)
	if cl != nil {
		n, ok := parseLength(cl.Value)
		if !ok {
			return &parseError{400, `client sent invalid "Content-Length" header`}
		}
		r.Length = n
	}
	if te != nil {
		if err := h.transferEncoding(te, cl != nil); err != nil {
			return err
		}
	}
	switch string(r.Method) {
	case "TRACE":
		return &parseError{405, "client sent TRACE method"}
	case "CONNECT":
		return &parseError{405, "client sent CONNECT method"}
	}
	return nil
}

func (h *headReader) transferEncoding(te *ngx.Field, withLength bool) error {
	r := h.r
	if r.Proto < ngx.HTTP11 {
		return &parseError{400, `client sent HTTP/1.0 request with "Transfer-Encoding" header`}
	}
	if !ngx.EqualFold(te.Value, "chunked") {
		return &parseError{501, fmt.Sprintf(`client sent unknown "Transfer-Encoding": "%s"`, te.Value)}
	}
	if withLength {
		return &parseError{400, `client sent "Content-Length" and "Transfer-Encoding" headers at the same time`}
	}
	r.Length, r.Chunked = -1, true
	return nil
}

// parseLength reads a Content-Length: digits only, below 2^63.
func parseLength(b []byte) (int64, bool) {
	if len(b) == 0 {
		return 0, false
	}
	var n int64
	for _, c := range b {
		if !isDigit(c) || n > (1<<63-1-int64(c-'0'))/10 {
			return 0, false
		}
		n = n*10 + int64(c-'0')
	}
	return n, true
}

// refuse answers a head that can't be served; false where there is no one to answer.
func (c *conn) refuse(r *ngx.Request, err error) bool {
	switch err {
	case errGone:
		return false
	case errTimeout:
		c.broken = true
		r.Refused = r.Status
		r.Engine.Run(r)
		return false
	}
	pe := err.(*parseError)
	r.KeepAlive = false
	c.x.body.done = true
	if r.Proto == 0 {
		r.Proto = ngx.HTTP10
	}
	if pe.status != 494 {
		c.linger = false
	}
	r.Refused = pe.status
	return true
}

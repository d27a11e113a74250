package http1

import (
	"bytes"
	"errors"
	"io"
	"os"
	"strconv"
	"time"

	"limpet/internal/errlog"
	"limpet/internal/ngx"
	"limpet/internal/tcp"
)

func (x *exchange) startAnswer() {
	x.out = x.out[:0]
	x.chunked, x.inChunk, x.hijacked, x.held = false, false, false, false
	x.headLen, x.sent = 0, 0
}

// SendHead implements ngx.Wire: the head goes into the output buffer and out with the body's first bytes.
func (c *conn) SendHead(r *ngx.Request) error {
	if c.broken {
		return tcp.ErrHangup
	}
	x := c.x
	c.tc.SetWriteTimeout(r.Scope.Core.SendTimeout.V)
	c.framing(r)
	if r.Proto == ngx.HTTP09 {
		return nil
	}
	mark := len(x.out)
	x.out = c.appendHead(x.out, r)
	if r.Debugging() {
		r.Debugf("%s", x.out[mark:])
	}
	x.headLen += len(x.out) - mark
	return c.limitHead(r)
}

// limitHead sends a head that is longer than limit_rate lets go at once, as far as
// it has to wait; the rest goes with the body.
func (c *conn) limitHead(r *ngx.Request) error {
	for {
		rate, after := r.Rate()
		if rate <= 0 {
			return nil
		}
		out := c.x.out
		allowed := rate*(int64(time.Since(r.Start)/time.Second)+1) - (c.x.sent - after)
		if allowed >= int64(len(out)) {
			return nil
		}
		if allowed > 0 {
			c.x.out = out[:allowed]
			if err := c.flush(); err != nil {
				return err
			}
			c.x.out = append(c.x.out, out[allowed:]...)
		}
		if err := c.tc.Sleep(time.Second); err != nil {
			return c.writeError(err)
		}
	}
}

// framing decides how the client finds the body's end: its length, chunks, or the connection's end.
func (c *conn) framing(r *ngx.Request) {
	x := c.x
	core := r.Scope.Core
	if r.Out.Status == 204 && r.Out.Reason == nil {
		r.Out.Length, r.Out.ContentType = -1, nil
	}
	switch {
	case r.Out.Status == 101, r.HeaderOnly, r.Out.Length >= 0:
	case r.Proto >= ngx.HTTP11 && core.ChunkedEncoding.V:
		x.chunked, r.Out.Chunked = true, true
	default:
		r.KeepAlive = false
	}
	if r.Out.Close || c.srv.closing.Load() || c.client.Requests >= core.KeepAliveRequests.V ||
		core.KeepAliveTimeout.V.Timeout == 0 || r.Start.Sub(c.client.Start) > core.KeepAliveTime.V ||
		core.KeepAliveDisable.V != 1 && oldBrowser(r, core.KeepAliveDisable.V) {
		r.KeepAlive = false
	}
}

// oldBrowser reports the browsers of keepalive_disable.
func oldBrowser(r *ngx.Request, mask uint32) bool {
	if mask&(2|4) == 0 {
		return false
	}
	ua := r.In.Get(ngx.HeaderUserAgent)
	if ua == nil {
		return false
	}
	if mask&2 != 0 && string(r.Method) == "POST" && ngx.OldMSIE(ua) {
		return true
	}
	return mask&4 != 0 && bytes.Contains(ua, []byte("Safari/")) && bytes.Contains(ua, []byte("Mac OS X")) && !bytes.Contains(ua, []byte("Chrome/"))
}

// appendHead appends the head in nginx's order: status, Server, Date, the fields
// about the body, Connection, then all others.
func (c *conn) appendHead(b []byte, r *ngx.Request) []byte {
	o := &r.Out
	b = append(b, "HTTP/1.1 "...)
	if o.Reason != nil {
		b = append(b, o.Reason...)
	} else {
		b = append(b, ngx.StatusLine(o.Status)...)
	}
	switch {
	case o.Server == nil:
		b = append(append(b, "\r\nServer: "...), ngx.ServerField(r.Scope.Core.ServerTokens.V)...)
	case len(o.Server) > 0:
		b = append(append(b, "\r\nServer: "...), o.Server...)
	}
	switch {
	case o.Date == nil:
		b = append(append(b, "\r\nDate: "...), ngx.DateField()...)
	case len(o.Date) > 0:
		b = append(append(b, "\r\nDate: "...), o.Date...)
	}
	if o.ContentType != nil {
		b = append(append(b, "\r\nContent-Type: "...), o.ContentType...)
		if len(o.Charset) > 0 {
			b = append(append(b, "; charset="...), o.Charset...)
		}
	}
	if o.Length >= 0 {
		b = append(b, "\r\nContent-Length: "...)
		b = strconv.AppendInt(b, o.Length, 10)
	}
	if !o.LastModified.IsZero() && !o.Header.Has(ngx.HeaderLastModified) { // else it is among the others, as the peer wrote it
		b = append(b, "\r\nLast-Modified: "...)
		b = o.LastModified.UTC().AppendFormat(b, ngx.TimeFormat)
	}
	absolute := o.Location != nil && ngx.MakesLocationAbsolute(r)
	if absolute {
		b = append(b, "\r\nLocation: "...)
		b = ngx.AppendLocation(b, r)
	}
	if c.x.chunked {
		b = append(b, "\r\nTransfer-Encoding: chunked"...)
	}
	b = appendConnection(b, r)
	if o.Location != nil && !absolute {
		b = append(append(b, "\r\nLocation: "...), o.Location...)
	}
	b = append(b, "\r\n"...)
	return append(appendFields(b, &o.Header), "\r\n"...)
}

func appendConnection(b []byte, r *ngx.Request) []byte {
	switch {
	case r.Out.Status == 101:
		return append(b, "\r\nConnection: upgrade"...)
	case !r.KeepAlive:
		return append(b, "\r\nConnection: close"...)
	}
	b = append(b, "\r\nConnection: keep-alive"...)
	if t := r.Scope.Core.KeepAliveTimeout.V.Header; t > 0 {
		b = append(b, "\r\nKeep-Alive: timeout="...)
		b = strconv.AppendInt(b, int64(t/time.Second), 10)
	}
	return b
}

func appendFields(b []byte, h *ngx.Header) []byte {
	for i := range h.Fields {
		f := &h.Fields[i]
		if f.Hidden {
			continue
		}
		b = append(b, f.Name...)
		b = append(b, ": "...)
		b = append(b, f.Value...)
		b = append(b, "\r\n"...)
	}
	return b
}

// SendInterim implements ngx.Wire.
func (c *conn) SendInterim(r *ngx.Request, status int, h *ngx.Header) error {
	if r.Proto < ngx.HTTP11 {
		return nil
	}
	x := c.x
	if r.Debugging() && status == 100 {
		r.Debugf("send 100 Continue")
	}
	x.out = append(append(append(x.out, "HTTP/1.1 "...), ngx.StatusLine(status)...), "\r\n"...)
	if h != nil {
		x.out = appendFields(x.out, h)
	}
	x.out = append(x.out, "\r\n"...)
	return c.flush()
}

// Write implements ngx.Sink.
func (c *conn) Write(r *ngx.Request, p []byte) error {
	if r.HeaderOnly || len(p) == 0 {
		return nil
	}
	if c.broken {
		return tcp.ErrHangup
	}
	if rate, _ := r.Rate(); rate > 0 {
		return c.writeLimited(r, p)
	}
	return c.write(p)
}

func (c *conn) write(p []byte) error {
	x := c.x
	if x.chunked {
		if x.inChunk {
			x.out = append(x.out, "\r\n"...)
		}
		x.out = strconv.AppendInt(x.out, int64(len(p)), 16)
		x.out = append(x.out, "\r\n"...)
		x.inChunk = true
	}
	if len(x.out)+len(p)+2 <= cap(x.out) {
		x.out = append(x.out, p...)
	} else {
		n, err := c.tc.Writev(x.out, p)
		if x.sent += int64(n); x.req.Debugging() {
			c.wrote(n, len(x.out)+len(p))
		}
		x.out = x.out[:0]
		if err != nil {
			return c.writeError(err)
		}
	}
	return nil
}

// writeLimited writes at limit_rate: as much as is due, then it sleeps.
func (c *conn) writeLimited(r *ngx.Request, p []byte) error {
	for len(p) > 0 {
		rate, after := r.Rate()
		allowed := rate*(int64(time.Since(r.Start)/time.Second)+1) - (c.x.sent - after) - int64(len(c.x.out))
		if allowed <= 0 {
			if err := c.flush(); err != nil {
				return err
			}
			if err := c.tc.Sleep(time.Duration(-allowed)*time.Second/time.Duration(rate) + time.Millisecond); err != nil {
				return c.writeError(err)
			}
			continue
		}
		n := min(int64(len(p)), allowed)
		if err := c.write(p[:n]); err != nil {
			return err
		}
		p = p[n:]
	}
	return nil
}

// Flush implements ngx.Sink.
func (c *conn) Flush(r *ngx.Request) error { return c.flush() }

func (c *conn) flush() error {
	x := c.x
	if len(x.out) == 0 {
		return nil
	}
	if c.broken {
		return tcp.ErrHangup
	}
	n, err := c.tc.Write(x.out)
	if x.sent += int64(n); x.req.Debugging() {
		c.wrote(n, len(x.out))
	}
	x.out = x.out[:0]
	if err != nil {
		return c.writeError(err)
	}
	return nil
}

// writeError marks the connection as gone and logs why, as nginx does.
func (c *conn) writeError(err error) error {
	c.broken = true
	if c.x != nil {
		r := &c.x.req
		if r.Debugging() {
			r.DebugfOf(errlog.DebugEvent, "send() failed %s", errlog.Errno(err))
		}
		if errors.Is(err, tcp.ErrTimeout) {
			r.Infof("client timed out (110: Connection timed out) while sending response to client")
			c.reset = r.Scope.Core.ResetTimedout.V
		}
	}
	return tcp.ErrHangup
}

// Finish implements ngx.Sink: the end of the body.
func (c *conn) Finish(r *ngx.Request) error {
	x := c.x
	if x.chunked && !r.HeaderOnly {
		if x.inChunk {
			x.out = append(x.out, "\r\n"...)
		}
		x.out = append(x.out, "0\r\n"...)
		x.out = append(appendFields(x.out, &r.Out.Trailer), "\r\n"...)
	}
	if r.Debugging() {
		r.Debugf("http write filter: l:1 f:1 s:%d", len(x.out))
	}
	if x.sent == 0 && c.mayHold(r) {
		x.held = true
		r.BytesSent = int64(len(x.out))
		r.BodySent = max(r.BytesSent-int64(x.headLen), 0)
		return nil
	}
	err := c.flush()
	r.BytesSent = x.sent
	r.BodySent = max(x.sent-int64(x.headLen), 0)
	return err
}

// mayHold reports whether an answer that is whole in the buffer is sent together
// with the wait for the next request: the connection lives on, there is none yet, and
// no background subrequest comes before the wait.
func (c *conn) mayHold(r *ngx.Request) bool {
	x := c.x
	return r.KeepAlive && !c.broken && !c.eof && !x.hijacked && x.r == x.w && x.body.done && len(x.out) > 0 && !c.tc.Secure() && len(r.Later) == 0
}

// unhold sends what was held.
func (c *conn) unhold() error {
	if c.x == nil || !c.x.held {
		return nil
	}
	c.x.held = false
	return c.flush()
}

// SendFile implements ngx.Wire.
func (c *conn) SendFile(r *ngx.Request, f *os.File, off, n int64) error {
	rate, _ := r.Rate()
	if r.HeaderOnly || n == 0 {
		return nil
	}
	if c.x.chunked || rate > 0 {
		return ngx.CopyFile(c, r, f, off, n)
	}
	// The file's beginning goes out together with the head, a small file whole.
	x := c.x
	if room := int64(cap(x.out) - len(x.out)); room > 0 {
		m, err := f.ReadAt(x.out[len(x.out):len(x.out)+int(min(room, n))], off)
		x.out = x.out[:len(x.out)+m]
		if off, n = off+int64(m), n-int64(m); n == 0 {
			return nil
		}
		if err != nil && err != io.EOF {
			return err
		}
	}
	if err := c.flush(); err != nil {
		return err
	}
	sent, err := c.tc.SendFile(f, off, n)
	if x.sent += sent; r.Debugging() {
		r.DebugfOf(errlog.DebugEvent, "sendfile: %d of %d @%d", sent, n, off)
	}
	if err == io.ErrUnexpectedEOF {
		r.Critf(`file "%s" was truncated while it was sent`, f.Name())
	}
	if err != nil {
		return c.writeError(err)
	}
	return nil
}

// Splice implements ngx.Splicer.
func (c *conn) Splice(r *ngx.Request, src *tcp.Conn, n int64, stop func() bool) (moved int64, srcErr, clientErr error) {
	if rate, _ := r.Rate(); rate > 0 || c.x.chunked || r.HeaderOnly || c.tc.Secure() {
		return 0, tcp.ErrUnsupported, nil
	}
	if err := c.flush(); err != nil {
		return 0, nil, err
	}
	pipe, err := tcp.NewPipe()
	if err != nil {
		return 0, tcp.ErrUnsupported, nil
	}
	defer pipe.Close()
	for moved < n && !stop() {
		m, srcErr, dstErr := pipe.Move(c.tc, src, n-moved)
		moved += int64(m)
		c.x.sent += int64(m)
		switch {
		case dstErr != nil:
			return moved, nil, c.writeError(dstErr)
		case srcErr != nil:
			return moved, srcErr, nil
		}
	}
	return moved, nil, nil
}

// Hijack implements ngx.Wire.
func (c *conn) Hijack(r *ngx.Request) (*tcp.Conn, bool) {
	x := c.x
	if c.flush() != nil {
		return nil, false
	}
	if x.r < x.w {
		c.tc.Unread(x.in[x.r:x.w])
		x.r = x.w
	}
	x.body.done = true
	r.KeepAlive = false
	r.BytesSent, r.BodySent = x.sent, max(x.sent-int64(x.headLen), 0)
	return c.tc, true
}

// Abandon implements ngx.Wire.
func (c *conn) Abandon(r *ngx.Request) {
	x := c.x
	if len(x.out) > 0 && !c.broken && r.HeadSent {
		c.flush() // what was promised goes out as far as it came
	}
	c.broken = true
	r.BytesSent = x.sent
	r.BodySent = max(x.sent-int64(x.headLen), 0)
	c.reset = c.reset || r.Status == 444 && r.Scope.Core.ResetTimedout.V
}

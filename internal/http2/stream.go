package http2

import (
	"io"
	"os"
	"sync"
	"time"

	"golang.org/x/net/http2"

	"limpet/internal/ngx"
	"limpet/internal/tcp"
)

// stream is a request and its answer, with memory from a pool. It implements ngx.Wire.
type stream struct {
	r     ngx.Request
	block []byte // header block to be sent
	pend  []byte // of the body; the last piece waits for the end
	in    []byte // of the request's body; in[at:] is unread; guarded by c.mu
	streamState
}

// streamState is what begins anew with each stream.
type streamState struct {
	c         *Conn
	id        uint32
	refused   error
	scheme    []byte
	authority bool // :authority was sent
	fields    int

	// the writer's, no lock
	headLen int64
	sent    int64 // head and body
	hasHead bool

	// guarded by c.mu
	sendWindow int64
	recvWindow int64
	at         int
	received   int64
	hadBody    bool // a DATA frame came
	inClosed   bool
	outClosed  bool
	reset      bool  // either side reset it
	canceled   bool  // the client did
	gone       error // nobody reads the answer
	wanted     bool  // the body is being read
	answered   bool  // by the peer that WaitBody looks at
	dropped    bool  // the body is not
	guarded    *tcp.Conn
	expect     bool
	got        int64
	late       bool  // a wait took too long
	total      int64 // of the body that came
	declared   int64 // by Content-Length; -1: not
	misfit     bool  // it isn't as long as declared
	timed      bool  // a timer was started, which may still be about to look at the stream
}

func newStreamMemory() any { return new(stream) }

var streams = sync.Pool{New: newStreamMemory}

func (c *Conn) newStream(id uint32) *stream {
	s := streams.Get().(*stream)
	s.streamState = streamState{c: c, id: id, sendWindow: c.initWindow, recvWindow: min(c.conf.PrereadSize.V, maxWindow), declared: -1}
	client := new(ngx.Client) // the connection's, for modules to change
	*client = *c.client
	client.Stream = s
	r := &s.r
	r.Client, r.Wire, r.Engine = client, s, c.ep.Engine
	r.Reset()
	r.Main = r
	r.Start = time.Now()
	r.Proto = ngx.HTTP20
	r.Scheme = "http"
	if c.client.TLS != nil {
		r.Scheme = "https"
	}
	c.ep.Begin(r)
	return s
}

// release gives the memory of a stream back that has ended.
func (s *stream) release() {
	if s.timed {
		return
	}
	s.r.Reset()
	s.r.Client, s.r.Wire, s.r.Engine, s.r.Main = nil, nil, nil, nil
	s.streamState = streamState{}
	s.block, s.pend, s.in = s.block[:0], s.pend[:0], s.in[:0]
	if cap(s.in) > pendSize {
		s.in = nil
	}
	streams.Put(s)
}

// run serves the request.
func (s *stream) run() {
	c, r := s.c, &s.r
	c.stats.Requests.Add(1)
	c.stats.Writing.Add(1)
	defer c.stats.Writing.Add(-1)
	err := s.head()
	r.Received = s.received
	if err == nil && c.ep.TLS != nil {
		if status := c.ep.TLS.Refuse(r); status != 0 {
			err = &refusal{status, ""}
		}
	}
	if err != nil {
		e := err.(*refusal)
		if e.msg != "" {
			r.Infof("%s while reading client request headers", e.msg)
		}
		r.Refused = e.status
		r.Length, r.Chunked = -1, false
	}
	if h := r.In.Get(ngx.HeaderExpect); h != nil && ngx.EqualFold(h, "100-continue") {
		s.expect = true
	}
	r.Engine.Run(r)
	r.End()
	r.Body.Close()
}

// hangup has the stream's waits end: nobody reads its answer any more. c.mu is held.
func (s *stream) hangup(why error) {
	if s.gone == nil {
		s.gone = why
	}
	if s.guarded != nil {
		s.guarded.Hangup()
	}
}

// Guard implements tcp.Guard.
func (s *stream) Guard(conn *tcp.Conn) {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	s.guarded = conn
	if conn != nil && s.gone != nil {
		conn.Hangup()
	}
}

// take takes a part of the body; size is that of the frame, padding included. c.mu is held.
func (s *stream) take(p []byte, size int64) {
	s.hadBody = true
	s.total += int64(len(p))
	n := s.declared
	s.misfit = s.misfit || n >= 0 && (s.total > n || s.inClosed && s.total < n)
	if s.dropped {
		s.c.credit(int(size))
		return
	}
	if s.at == len(s.in) {
		s.in, s.at = s.in[:0], 0
	}
	s.in = append(s.in, p...)
	pad := size - int64(len(p))
	s.recvWindow += pad
	s.c.credit(int(pad))
}

// bodyWindow is what a stream may send ahead once its body is being read.
const bodyWindow = 1 << 20

// ReadBody implements ngx.Wire.
func (s *stream) ReadBody(r *ngx.Request, p []byte) (int, error) {
	return s.readBody(r, p, false)
}

// TryReadBody implements ngx.BodyWaiter.
func (s *stream) TryReadBody(r *ngx.Request, p []byte) (int, error) { return s.readBody(r, p, true) }

// WaitBody implements ngx.BodyWaiter.
func (s *stream) WaitBody(r *ngx.Request, peer *tcp.Conn) error {
	c := s.c
	end := peer.WhenReadable(func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		s.answered = true
		c.changed.Broadcast()
	})
	c.mu.Lock()
	err := s.awaitBody(r)
	c.mu.Unlock()
	end()
	if answered := s.answered; answered {
		s.answered = false
		if err == nil {
			err = tcp.ErrAnswered
		}
	}
	return err
}

// readBody is ReadBody, or with try TryReadBody.
func (s *stream) readBody(r *ngx.Request, p []byte, try bool) (int, error) {
	if s.expect {
		s.expect = false
		s.c.mu.Lock()
		nothing := !s.hadBody && !s.inClosed
		s.c.mu.Unlock()
		if nothing {
			if err := s.SendInterim(r, 100, nil); err != nil {
				return 0, err
			}
		}
	}
	if !r.HasBody() {
		return 0, io.EOF
	}
	c := s.c
	c.mu.Lock()
	defer c.mu.Unlock()
	wait := s.awaitBody
	if try {
		wait = s.askForBody
	}
	if err := wait(r); err != nil {
		return 0, err
	}
	if s.misfit {
		return 0, s.misfitError(r)
	}
	n := copy(p, s.in[s.at:])
	s.at += n
	s.got += int64(n)
	r.Received = s.received
	c.credit(n)
	s.open(r)
	c.flushLocked()
	switch limit := r.Scope.Core.ClientMaxBodySize.V; {
	case r.Chunked && limit > 0 && s.got > limit:
		return 0, &ngx.StatusError{Status: 413, Msg: "client intended to send too large body"}
	case n == 0:
		return 0, io.EOF
	}
	return n, nil
}

// misfitError refuses a body that isn't as long as it was declared.
func (s *stream) misfitError(r *ngx.Request) error {
	if s.total > s.declared {
		return &ngx.StatusError{Status: 400, Msg: "client intended to send body data larger than declared"}
	}
	r.Infof("client prematurely closed stream: only %d out of %d bytes of request body received", s.total, s.declared)
	return &ngx.StatusError{Status: 400}
}

// hasBody says whether there is something of the body to read, its end or a fault. c.mu is held.
func (s *stream) hasBody() bool { return s.at < len(s.in) || s.inClosed || s.misfit }

// askForBody is awaitBody that doesn't wait: tcp.ErrWouldBlock when nothing has come. c.mu is held.
func (s *stream) askForBody(r *ngx.Request) error {
	if s.hasBody() {
		return nil
	}
	s.wanted = true
	s.open(r)
	s.c.flushLocked()
	if s.gone != nil {
		return tcp.ErrHangup
	}
	return tcp.ErrWouldBlock
}

// awaitBody waits for bytes of the body or its end, or for the answer that WaitBody looks for. c.mu is held.
func (s *stream) awaitBody(r *ngx.Request) error {
	s.wanted = true
	s.open(r)
	s.c.flushLocked()
	late := s.timer(r.Scope.Core.ClientBodyTimeout.V)
	defer late.Stop()
	for !s.hasBody() && !s.answered {
		switch {
		case s.gone != nil:
			return tcp.ErrHangup
		case s.late:
			return &ngx.StatusError{Status: 408}
		}
		s.c.changed.Wait()
	}
	return nil
}

// open opens the stream's window for a body that is being read. c.mu is held.
func (s *stream) open(r *ngx.Request) {
	target := int64(bodyWindow)
	if !s.wanted || s.inClosed || s.gone != nil {
		return
	}
	if n := target - s.recvWindow - int64(len(s.in)-s.at); n >= target/4 {
		s.recvWindow += n
		s.c.appendWindow(s.id, n)
	}
}

// timer sets late after d and wakes the waits. c.mu is held.
func (s *stream) timer(d time.Duration) *time.Timer {
	s.late, s.timed = false, true
	return time.AfterFunc(d, func() {
		s.c.mu.Lock()
		s.late = true
		s.c.changed.Broadcast()
		s.c.mu.Unlock()
	})
}

// Discard implements ngx.Wire: what comes of the body is dropped.
func (s *stream) Discard(*ngx.Request) error {
	c := s.c
	c.mu.Lock()
	defer c.mu.Unlock()
	s.dropped = true
	c.credit(len(s.in) - s.at)
	s.in, s.at = s.in[:0], 0
	return c.flushLocked()
}

// BodyTrailer implements ngx.Wire; trailers of requests are dropped, as in nginx.
func (s *stream) BodyTrailer() *ngx.Header { return &ngx.Header{} }

// SendHead implements ngx.Wire: the head waits for the body's first bytes, or its end.
func (s *stream) SendHead(r *ngx.Request) error {
	if s.broken() {
		return tcp.ErrHangup
	}
	if r.Out.Status == 204 && r.Out.Reason == nil {
		r.Out.Length, r.Out.ContentType = -1, nil
	}
	s.block = appendHead(s.block[:0], r)
	if r.Debugging() {
		debugAnswer(r, s.id)
	}
	s.hasHead = true
	return nil
}

func (s *stream) broken() bool {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	return s.gone != nil
}

// SendInterim implements ngx.Wire.
func (s *stream) SendInterim(r *ngx.Request, status int, h *ngx.Header) error {
	b := appendStatus(nil, status)
	if h != nil {
		b = appendFields(b, h)
	}
	c := s.c
	c.mu.Lock()
	defer c.mu.Unlock()
	if s.gone != nil {
		return tcp.ErrHangup
	}
	c.appendBlock(s.id, b, false)
	s.sent += int64(len(b)) + 9
	s.headLen += int64(len(b)) + 9
	return c.flushLocked()
}

// pendSize is how much of a body is gathered before it is sent: at least two frames of usual size.
const pendSize = 16 << 10

// Write implements ngx.Sink.
func (s *stream) Write(r *ngx.Request, p []byte) error {
	if r.HeaderOnly || len(p) == 0 {
		return nil
	}
	if cap(s.pend) == 0 {
		s.pend = make([]byte, 0, max(pendSize, min(s.chunk(), 64<<10)))
	}
	for len(p) > 0 {
		if len(s.pend) == cap(s.pend) {
			if err := s.push(r, false, false); err != nil {
				return err
			}
		}
		n := min(len(p), cap(s.pend)-len(s.pend))
		s.pend = append(s.pend, p[:n]...)
		p = p[n:]
	}
	return nil
}

func (s *stream) chunk() int { return max(s.r.Scope.HTTP2Chunk, 1) }

// push sends the head and what is gathered of the body: whole frames, all of it under flush. end closes the stream's
// sending side, which trailers do in place of the body when there are some.
func (s *stream) push(r *ngx.Request, flush, end bool) error {
	c := s.c
	trailers := end && len(r.Out.Trailer.Fields) > 0 && !r.HeaderOnly
	c.mu.Lock()
	defer c.mu.Unlock()
	if s.gone != nil {
		return s.failed(r)
	}
	last := end && !trailers
	if s.hasHead {
		s.hasHead = false
		s.sent += int64(len(s.block)) + 9
		s.headLen += int64(len(s.block)) + 9
		c.appendBlock(s.id, s.block, last && len(s.pend) == 0)
		s.outClosed = last && len(s.pend) == 0
	}
	b := s.pend
	for len(b) > 0 || last && !s.outClosed {
		if !flush && !end && len(b) < min(s.chunk(), c.maxFrame, cap(s.pend)) {
			break
		}
		n, err := s.room(r, len(b))
		if err != nil {
			return err
		}
		flags := http2.Flags(0)
		if last && n == len(b) {
			flags, s.outClosed = http2.FlagDataEndStream, true
		}
		c.out = appendFrame(c.out, n, http2.FrameData, flags, s.id)
		c.out = append(c.out, b[:n]...)
		b = b[n:]
		s.sent += int64(n) + 9
		s.headLen += 9
		c.frames.Add(int64(n) + 9)
		c.payload.Add(int64(n))
		if len(c.out) > 64<<10 && len(b) > 0 {
			if c.flushLocked() != nil || s.gone != nil {
				return s.failed(r)
			}
		}
	}
	s.pend = s.pend[:copy(s.pend[:cap(s.pend)], b)]
	if trailers {
		t := appendFields(nil, &r.Out.Trailer)
		c.appendBlock(s.id, t, true)
		s.sent += int64(len(t)) + 9
		s.headLen += int64(len(t)) + 9
		s.outClosed = true
	}
	if c.flushTogether() != nil && !s.outClosed {
		return s.failed(r)
	}
	return nil
}

// room waits until some of n bytes may be sent by both windows, and limit_rate, and takes them. c.mu is held.
func (s *stream) room(r *ngx.Request, n int) (int, error) {
	if n == 0 {
		return 0, nil
	}
	c := s.c
	if err := s.wait(r); err != nil {
		return 0, err
	}
	k := min(int64(n), s.sendWindow, c.sendWindow, int64(s.chunk()), int64(c.maxFrame))
	if rate, after := r.Rate(); rate > 0 {
		var err error
		if k, err = s.paced(r, k, rate, after); err != nil {
			return 0, err
		}
	}
	s.sendWindow -= k
	c.sendWindow -= k
	return int(k), nil
}

// wait waits for room in both windows, at most for send_timeout. c.mu is held.
func (s *stream) wait(r *ngx.Request) error {
	c := s.c
	if s.gone == nil && s.sendWindow > 0 && c.sendWindow > 0 {
		return nil
	}
	if c.flushLocked() != nil {
		return s.failed(r)
	}
	late := s.timer(r.Scope.Core.SendTimeout.V)
	defer late.Stop()
	for s.gone == nil && (s.sendWindow <= 0 || c.sendWindow <= 0) {
		if s.late {
			r.Infof("client timed out (110: Connection timed out) while sending response to client")
			s.hangup(tcp.ErrTimeout)
			break
		}
		c.changed.Wait()
	}
	if s.gone != nil {
		return s.failed(r)
	}
	return nil
}

// paced returns how much of k bytes limit_rate lets go, having slept where it is none. c.mu is held.
func (s *stream) paced(r *ngx.Request, k, rate, after int64) (int64, error) {
	c := s.c
	for {
		allowed := rate*(int64(time.Since(r.Start)/time.Second)+1) - (s.sent - after)
		if allowed > 0 {
			return min(k, allowed), nil
		}
		if c.flushLocked() != nil {
			return 0, s.failed(r)
		}
		late := s.timer(time.Duration(-allowed)*time.Second/time.Duration(rate) + time.Millisecond)
		for !s.late && s.gone == nil {
			c.changed.Wait()
		}
		late.Stop()
		if s.gone != nil {
			return 0, s.failed(r)
		}
	}
}

// failed notes what was sent of an answer that nobody reads any more. c.mu is held.
func (s *stream) failed(r *ngx.Request) error {
	s.account(r)
	return tcp.ErrHangup
}

func (s *stream) account(r *ngx.Request) {
	r.BytesSent = s.sent
	r.BodySent = max(s.sent-s.headLen, 0)
}

// Flush implements ngx.Sink.
func (s *stream) Flush(r *ngx.Request) error { return s.push(r, true, false) }

// Finish implements ngx.Sink.
func (s *stream) Finish(r *ngx.Request) error {
	err := s.push(r, true, true)
	s.account(r)
	return err
}

// SendFile implements ngx.Wire.
func (s *stream) SendFile(r *ngx.Request, f *os.File, off, n int64) error {
	if r.HeaderOnly {
		return nil
	}
	if cap(s.pend) == 0 {
		s.pend = make([]byte, 0, max(pendSize, min(s.chunk(), 64<<10)))
	}
	for n > 0 {
		if len(s.pend) == cap(s.pend) {
			if err := s.push(r, false, false); err != nil {
				return err
			}
		}
		room := s.pend[len(s.pend):cap(s.pend)]
		m, err := f.ReadAt(room[:min(int64(len(room)), n)], off)
		s.pend = s.pend[:len(s.pend)+m]
		off, n = off+int64(m), n-int64(m)
		if m == 0 {
			if err == io.EOF {
				r.Critf(`file "%s" was truncated while it was sent`, f.Name())
				err = io.ErrUnexpectedEOF
			}
			return err
		}
	}
	return nil
}

// Hijack implements ngx.Wire: a stream can't be given away.
func (s *stream) Hijack(*ngx.Request) (*tcp.Conn, bool) { return nil, false }

// Abandon implements ngx.Wire: the stream is reset when its goroutine ends.
func (s *stream) Abandon(r *ngx.Request) {
	if r.HeadSent && !s.broken() {
		s.push(r, true, false) // what was promised goes out as far as it came
	}
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	s.account(r)
	s.hangup(tcp.ErrHangup)
}

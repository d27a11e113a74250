package http2

import (
	"io"

	"limpet/internal/ngx"
	"limpet/internal/tcp"
)

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
		s.changed.Signal()
	})
	c.mu.Lock()
	err := s.awaitBody(r)
	c.mu.Unlock()
	end()
	if s.answered { // nobody sets it any more
		s.answered = false
		if err == nil {
			err = tcp.ErrAnswered
		}
	}
	return err
}

// readBody is ReadBody, or with try TryReadBody.
func (s *stream) readBody(r *ngx.Request, p []byte, try bool) (int, error) {
	if s.expects100 {
		s.expects100 = false
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
	c.flush(s)
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
	s.c.flush(s)
	if s.gone != nil {
		return tcp.ErrHangup
	}
	return tcp.ErrWouldBlock
}

// awaitBody waits for bytes of the body or its end, or for the answer that WaitBody looks for. c.mu is held.
func (s *stream) awaitBody(r *ngx.Request) error {
	if s.hasBody() || s.answered {
		return nil
	}
	s.wanted = true
	s.open(r)
	s.c.flush(s)
	s.expect(r.Scope.Core.ClientBodyTimeout.V)
	defer s.unexpect()
	for !s.hasBody() && !s.answered {
		switch {
		case s.gone != nil:
			return tcp.ErrHangup
		case s.late:
			return &ngx.StatusError{Status: 408}
		}
		s.changed.Wait()
	}
	return nil
}

// open opens the stream's window for a body that is being read. c.mu is held.
func (s *stream) open(r *ngx.Request) {
	if !s.wanted || s.inClosed || s.gone != nil {
		return
	}
	if n := bodyWindow - s.recvWindow - int64(len(s.in)-s.at); n >= bodyWindow/4 {
		s.recvWindow += n
		s.c.appendWindow(s.id, n)
	}
}

// Discard implements ngx.Wire: what comes of the body is dropped.
func (s *stream) Discard(*ngx.Request) error {
	c := s.c
	c.mu.Lock()
	defer c.mu.Unlock()
	s.dropped = true
	c.credit(len(s.in) - s.at)
	s.in, s.at = s.in[:0], 0
	return c.flush(s)
}

// BodyTrailer implements ngx.Wire; trailers of requests are dropped, as in nginx.
func (s *stream) BodyTrailer() *ngx.Header { return &ngx.Header{} }

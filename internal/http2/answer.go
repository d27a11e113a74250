package http2

import (
	"io"
	"os"
	"time"

	"limpet/internal/ngx"
	"limpet/internal/tcp"
)

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
	s.sendBlock(b, false)
	return c.flush(s)
}

const (
	// pendSize is how much of a body is gathered before it is offered: at least two frames of usual size.
	pendSize = 16 << 10
	// pendChunk is up to what size of them a whole frame is gathered.
	pendChunk = 64 << 10
	// pendMost is how much is gathered where streams wait for their turn, so that a heavy one has enough to send at each.
	pendMost = 32 << 10
)

// Write implements ngx.Sink.
func (s *stream) Write(r *ngx.Request, p []byte) error {
	if r.HeaderOnly {
		return nil
	}
	for len(p) > 0 {
		room, err := s.room(r)
		if err != nil {
			return err
		}
		n := copy(room, p)
		s.pend = s.pend[:len(s.pend)+n]
		p = p[n:]
	}
	return nil
}

// room returns where the body goes on in pend, having offered what is there where it is full.
func (s *stream) room(r *ngx.Request) ([]byte, error) {
	if len(s.pend) == 0 && cap(s.pend) < max(pendSize, min(r.Scope.HTTP2Chunk, pendChunk)) {
		s.pend = make([]byte, 0, max(pendSize, min(r.Scope.HTTP2Chunk, pendChunk)))
	}
	if len(s.pend) == cap(s.pend) {
		if err := s.makeRoom(r); err != nil {
			return nil, err
		}
	}
	return s.pend[len(s.pend):cap(s.pend)], nil
}

// makeRoom offers what is in pend, and waits until there is room.
func (s *stream) makeRoom(r *ngx.Request) error {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	if err := s.pushLocked(r, false, false); err != nil {
		return err
	}
	defer s.fill()
	if len(s.pend) < cap(s.pend) {
		return nil
	}
	if s.c.tree.root.turns > 1 && cap(s.pend) < pendMost {
		s.compact(make([]byte, pendMost))
		return nil
	}
	if err := s.drain(max(cap(s.pend)/2, int(s.whole())-1)); err != nil {
		return err
	}
	s.compact(s.pend[:cap(s.pend)])
	return nil
}

// compact moves what is left in pend to the beginning of a buffer, pend's own or another. c.mu is held.
func (s *stream) compact(to []byte) {
	left := s.pend[s.offered-len(s.queue):]
	s.offered = len(s.queue)
	s.pend = to[:copy(to, left)]
	s.queue = s.pend[:s.offered]
}

// push sends the head and what is gathered of the body: whole frames, all of it under flush. end closes the stream's
// sending side, which trailers do in place of the body when there are some.
func (s *stream) push(r *ngx.Request, flush, end bool) error {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	return s.pushLocked(r, flush, end)
}

// pushLocked is push with c.mu held.
func (s *stream) pushLocked(r *ngx.Request, flush, end bool) error {
	c := s.c
	trailers := end && len(r.Out.Trailer.Fields) > 0 && !r.HeaderOnly
	s.filled()
	if s.gone != nil {
		return s.failed(r)
	}
	if s.hasHead {
		s.hasHead = false
		s.last = end && !trailers && len(s.pend) == 0
		s.sendBlock(s.block, s.last)
	}
	if err := s.offerBody(r, flush || end, end && !trailers); err != nil {
		return err
	}
	if end {
		if err := s.drain(0); err != nil {
			return err
		}
	}
	if trailers {
		s.sendBlock(appendFields(nil, &r.Out.Trailer), true)
	}
	if c.flushTogether(s) != nil && !s.outClosed {
		return s.failed(r)
	}
	return nil
}

// offerBody offers what is gathered of the body, no more at a time than limit_rate lets go. Of it whole frames are sent, or
// all; last ends the stream behind it. c.mu is held, and released meanwhile.
func (s *stream) offerBody(r *ngx.Request, all, last bool) error {
	rate, after := r.Rate()
	s.chunk = int64(max(min(r.Scope.HTTP2Chunk, cap(s.pend)), 1))
	for n := len(s.pend) - s.offered; n > 0 || last && !s.last; n = len(s.pend) - s.offered {
		if rate > 0 && n > 0 {
			var err error
			if n, err = s.paced(r, n, rate, after); err != nil {
				return err
			}
		}
		s.all = all || rate > 0 || s.all && len(s.queue) > 0 // what was flushed before stays so
		s.queue = s.pend[s.offered-len(s.queue) : s.offered+n]
		s.offered += n
		s.last = last && s.offered == len(s.pend)
		s.offer()
		if s.gone != nil {
			return s.failed(r)
		}
	}
	if len(s.queue) == 0 && s.offered > 0 {
		s.compact(s.pend[:cap(s.pend)])
	}
	return nil
}

// sendBlock sends a header block. c.mu is held.
func (s *stream) sendBlock(block []byte, end bool) {
	s.c.appendBlock(s.id, block, end)
	s.sent += int64(len(block)) + 9
	s.headLen += int64(len(block)) + 9
	s.outClosed = s.outClosed || end
}

// paced returns how much of n bytes limit_rate lets go, having slept where it is none. c.mu is held, and released
// meanwhile.
func (s *stream) paced(r *ngx.Request, n int, rate, after int64) (int, error) {
	for {
		sent := s.sent + int64(len(s.queue))
		allowed := rate*(int64(time.Since(r.Start)/time.Second)+1) - (sent - after)
		if allowed > 0 {
			return int(min(int64(n), allowed)), nil
		}
		if s.c.flush(s) != nil {
			return 0, s.failed(r)
		}
		s.expect(time.Duration(-allowed)*time.Second/time.Duration(rate) + time.Millisecond)
		for !s.late && s.gone == nil {
			s.changed.Wait()
		}
		s.unexpect()
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

// OnWriteBlocked implements ngx.Blocker.
func (s *stream) OnWriteBlocked(f func()) { s.blocked = f }

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
	for n > 0 {
		room, err := s.room(r)
		if err != nil {
			return err
		}
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

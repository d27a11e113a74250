package http2

import (
	"time"

	"golang.org/x/net/http2"

	"limpet/internal/tcp"
)

const (
	// outSize is how much may wait to be written before streams with more wait for their turn.
	outSize = 64 << 10
	// turnSize is what is written at once of the streams that wait for their turn: less than one of them has at hand, so
	// that their shares are those of the tree.
	turnSize = 16 << 10
	// queueLimit bounds what waits to be written besides: whoever would add to more waits.
	queueLimit = 256 << 10
	// maxRounds is how often a stream writes what came meanwhile before it leaves that to a goroutine of the connection's.
	maxRounds = 8
)

// canSend reports whether streams wait for a turn that the connection's window lets them have. mu is held.
func (c *Conn) canSend() bool { return c.sendWindow > 0 && c.tree.waiting() }

// contended reports whether streams wait for their turn, or are about to again. mu is held.
func (c *Conn) contended() bool { return c.tree.waiting() || c.filling > 0 }

// flush sends what was queued, unless another goroutine is at it: that one sends it, too, and only much more than it
// takes is waited for. s is the stream whose goroutine calls, or nil; a stream that others are waiting besides doesn't
// write itself. mu is held, and released while the socket is written to.
func (c *Conn) flush(s *stream) error {
	if s != nil && c.contended() {
		c.kick()
	}
	if !c.writing && c.gone == nil {
		c.writing = true
		c.write(s)
		return c.gone
	}
	c.backOff()
	return c.gone
}

// backOff waits while there is too much to be written. mu is held, and released meanwhile.
func (c *Conn) backOff() {
	for c.writing && len(c.out) > queueLimit && c.gone == nil {
		c.written.Wait()
	}
}

// kick has what was queued sent by a goroutine of its own, unless another one is at it. mu is held.
func (c *Conn) kick() {
	if c.writing || c.gone != nil || len(c.out) == 0 && !c.canSend() && !c.closing {
		return
	}
	c.writing = true
	c.goroutines.Add(1)
	go func() {
		defer c.goroutines.Done()
		c.mu.Lock()
		defer c.mu.Unlock()
		c.write(nil)
	}()
}

// write writes until nothing is left that may be sent. A stream's goroutine, that of s, hands over when others wait for
// their turn, or go on adding to what there is. mu is held, and released meanwhile; writing is set, and taken back.
func (c *Conn) write(s *stream) {
	for round := 0; c.gone == nil; round++ {
		if s == nil {
			c.letFill()
		}
		c.gather()
		if len(c.out) == 0 {
			break
		}
		if s != nil && (round == maxRounds || round > 0 && c.tree.waiting()) {
			c.writing = false
			c.kick()
			return
		}
		b := c.out
		c.out = c.spare[:0]
		c.mu.Unlock()
		if s != nil && s.blocked != nil {
			c.tc.OnWriteBlocked(s.blocked)
		}
		_, err := c.tc.Write(b)
		if s != nil && s.blocked != nil {
			c.tc.OnWriteBlocked(nil)
		}
		c.mu.Lock()
		if c.spare = b[:0]; cap(b) > outSize {
			c.spare = nil
		}
		if err != nil {
			c.end(err)
			c.tc.Abort() // the reader would wait on, for a client that takes nothing
		}
		c.written.Broadcast()
	}
	if c.closing && c.gone == nil {
		c.finish()
		c.end(tcp.ErrHangup)
	}
	c.writing = false
	c.written.Broadcast()
}

// gather takes frames of the streams that wait for their turn, in the tree's order. mu is held.
func (c *Conn) gather() {
	if !c.canSend() {
		return
	}
	now := time.Now()
	for c.canSend() && len(c.out) < turnSize {
		s := c.tree.turn()
		c.tree.charge(&s.node, s.frame())
		if s.patience > 0 {
			s.deadline = now.Add(s.patience)
		}
		if !s.canSend() {
			c.tree.leave(&s.node)
		}
		if len(s.queue) <= s.enough {
			s.changed.Signal()
			if s.enough > 0 {
				s.fill()
			}
		}
	}
	c.progress = now
}

// fillTime is how long streams whose turn it was may take to get more to send, before the others go on without them.
const fillTime = time.Millisecond

// letFill waits for the streams that are getting more to send: their next turns may come before those of others. One
// that waits for something else, its peer say, has sent all that it had before. mu is held, and released meanwhile.
func (c *Conn) letFill() {
	if c.filling == 0 || !c.canSend() || c.filling == 1 && c.tree.root.turns == 1 && c.tree.turn().filling {
		return // nobody is, or there is nobody else
	}
	c.fillBy = time.Now().Add(fillTime)
	c.alarm(c.fillBy)
	for c.filling > 0 && c.gone == nil {
		c.refilled.Wait()
	}
	c.fillBy = time.Time{}
}

// fillExpired ends the wait. mu is held.
func (c *Conn) fillExpired() {
	for _, s := range c.streams {
		s.filled()
	}
}

// fill notes that a stream is getting more to send, where streams wait for their turn. c.mu is held.
func (s *stream) fill() {
	if !s.filling && s.c.contended() {
		s.filling = true
		s.c.filling++
	}
}

// filled ends a stream's claim to be waited for. c.mu is held.
func (s *stream) filled() {
	if s.filling {
		s.filling = false
		if s.c.filling--; s.c.filling == 0 {
			s.c.refilled.Signal()
		}
	}
}

// canSend reports whether the stream has a frame of its body to send and its window lets it. c.mu is held.
func (s *stream) canSend() bool {
	return s.sendWindow > 0 && len(s.queue) > 0 && (s.all || int64(len(s.queue)) >= s.whole())
}

// whole is the size of a whole frame. c.mu is held.
func (s *stream) whole() int64 { return min(s.chunk, int64(s.c.maxFrame)) }

// frame appends a DATA frame of what the windows let go, and returns how much it was. c.mu is held.
func (s *stream) frame() int {
	c := s.c
	n := min(int64(len(s.queue)), s.whole())
	if n > 0 {
		n = min(n, s.sendWindow, c.sendWindow)
	}
	flags := http2.Flags(0)
	if s.last && int(n) == len(s.queue) {
		flags, s.outClosed = http2.FlagDataEndStream, true
	}
	c.out = appendFrame(c.out, int(n), http2.FrameData, flags, s.id)
	c.out = append(c.out, s.queue[:n]...)
	s.queue = s.queue[n:]
	s.sendWindow -= n
	c.sendWindow -= n
	s.sent += n + 9
	s.headLen += 9
	c.frames.Add(n + 9)
	c.payload.Add(n)
	return int(n)
}

// offer sends the queue where nobody else waits for a turn and the windows let it. Else the stream waits for its turn.
// c.mu is held, and released while the socket is written to.
func (s *stream) offer() {
	c := s.c
	for s.canSend() && c.sendWindow > 0 && !c.contended() {
		if len(c.out) >= outSize {
			if c.writing {
				break
			}
			if c.flush(s) != nil || s.gone != nil {
				return
			}
			continue
		}
		s.frame()
	}
	if s.last && len(s.queue) == 0 && !s.outClosed {
		s.frame()
	}
	c.reconsider(s)
	c.kickTurns()
}

// reconsider has a stream wait for its turn, or not any more, when its queue or its window has changed. mu is held.
func (c *Conn) reconsider(s *stream) {
	if s.canSend() {
		c.tree.enter(&s.node)
	} else {
		c.tree.leave(&s.node)
	}
}

// kickTurns sees to it that somebody writes for those who wait for their turn. mu is held.
func (c *Conn) kickTurns() {
	if c.canSend() {
		c.kick()
	}
}

// drain waits until at most n bytes of the queue are left: as long as it goes on, each step within send_timeout. c.mu is
// held, and released meanwhile.
func (s *stream) drain(n int) error {
	c, r := s.c, &s.r
	if len(s.queue) <= n {
		return nil
	}
	if c.flush(s) != nil {
		return s.failed(r)
	}
	if s.blocked != nil && len(s.queue) > n {
		c.mu.Unlock()
		s.blocked()
		c.mu.Lock()
	}
	s.enough = n
	s.expect(r.Scope.Core.SendTimeout.V)
	s.patience = r.Scope.Core.SendTimeout.V
	for s.gone == nil && len(s.queue) > n {
		if s.late {
			r.Infof("client timed out (110: Connection timed out) while sending response to client")
			s.hangup(tcp.ErrTimeout)
			break
		}
		s.changed.Wait()
	}
	s.unexpect()
	s.enough = 0
	if s.gone != nil {
		return s.failed(r)
	}
	return nil
}

package http2

import (
	"time"

	"golang.org/x/net/http2"
)

// A connection has one timer for all that it waits for. It is moved only to an earlier time: when it fires too early, as
// it does for what was waited for in vain, it looks for what comes next.

// alarm has tick called at a time, or before. mu is held.
func (c *Conn) alarm(at time.Time) {
	if !c.alarmAt.IsZero() && !at.Before(c.alarmAt) {
		return
	}
	c.alarmAt = at
	if d := time.Until(at); c.timer == nil {
		c.timer = time.AfterFunc(d, c.tick)
	} else {
		c.timer.Reset(d)
	}
}

// tick does what is due.
func (c *Conn) tick() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.gone != nil || c.closing {
		return
	}
	now := time.Now()
	c.alarmAt = time.Time{}
	for _, due := range [...]struct {
		at *time.Time
		do func()
	}{{&c.idleAt, c.idleExpired}, {&c.headerAt, c.headerExpired}, {&c.fillBy, c.fillExpired}} {
		switch {
		case due.at.IsZero():
		case now.Before(*due.at):
			c.alarm(*due.at)
		default:
			*due.at = time.Time{}
			due.do()
		}
	}
	for _, s := range c.streams {
		s.tick(now)
	}
	c.kick()
}

// rest starts the time that the connection may be without streams. mu is held.
func (c *Conn) rest(d time.Duration) {
	c.idleAt = time.Now().Add(d)
	c.alarm(c.idleAt)
}

// idleExpired ends a connection without streams. mu is held.
func (c *Conn) idleExpired() {
	c.sendGoAway(http2.ErrCodeNo)
	c.close()
}

// headerExpired resets the stream whose header took too long; the rest of its block is read and dropped. mu is held.
func (c *Conn) headerExpired() {
	if c.goaway {
		return
	}
	c.headerLate = true
	c.log("client timed out (110: Connection timed out) while reading client request headers")
	c.appendReset(c.headerID, http2.ErrCodeProtocol)
	if c.running == 0 {
		c.rest(c.core.KeepAliveTimeout.V.Timeout)
	}
}

// expect starts a time that the stream waits for something: when it is over the stream is woken, and late. c.mu is held.
func (s *stream) expect(d time.Duration) {
	s.late, s.deadline = false, time.Now().Add(d)
	s.c.alarm(s.deadline)
}

// unexpect ends it. c.mu is held.
func (s *stream) unexpect() { s.deadline, s.patience = time.Time{}, 0 }

// tick wakes the stream when its time is over. One that waits for its turn has as much time as all who do. c.mu is held.
func (s *stream) tick(now time.Time) {
	if s.deadline.IsZero() {
		return
	}
	if s.patience > 0 && s.node.turn {
		if at := s.c.progress.Add(s.patience); s.deadline.Before(at) {
			s.deadline = at
		}
	}
	if now.Before(s.deadline) {
		s.c.alarm(s.deadline)
		return
	}
	s.unexpect()
	s.late = true
	s.changed.Signal()
}

package tcp

import "time"

// side is the deadline of one direction.
//
// The deadline of the gate, or of the net.Conn, is moved rarely, since each move of a timer costs more than a read. The
// invariant: while the goroutine waits, that deadline (at) is never later than the moment the wait is due to end (due); it may be earlier.
// A wait that it ends too early finds due in the future, sets it as the deadline, and waits again. So a connection
// that is read a thousand times a second with a timeout of a minute moves the deadline once a minute, and no wait
// outlasts its timeout.
type side struct {
	timeout time.Duration
	due     moment // when this wait ends; zero: not known yet, or never
	known   bool   // due is that of this operation
	at      moment // the deadline that was set; zero: none
	gate    *gate  // nil: set does
	set     func(time.Time) error
	stopped error // why the wait under way is to end; guarded by Conn.mu
}

// moment is a time on the monotonic clock, behind epoch: time.Now looks at two clocks.
type moment = time.Duration

// epoch is when moments begin.
var epoch = time.Now()

func now() moment { return time.Since(epoch) }

// longAgo is a deadline that ends every wait at once.
const longAgo moment = 1

// setDeadline sets the deadline of what is waited at; zero: never.
func (s *side) setDeadline(at moment) error {
	switch {
	case s.gate != nil:
		return s.gate.setDeadline(at)
	case at == 0:
		return s.set(time.Time{})
	case at == longAgo:
		return s.set(time.Unix(1, 0)) // in any clock, also one that a test bends
	}
	return s.set(epoch.Add(at))
}

// begin starts an operation. The clock is looked at only once it has to wait.
func (s *side) begin() { s.known = false }

// expect begins the time of a wait.
func (s *side) expect() {
	s.known, s.due = true, 0
	if s.timeout > 0 {
		s.due = now() + s.timeout
	}
}

// arm prepares for a wait: it keeps the invariant. Its error is why no wait is possible any more.
func (c *Conn) arm(s *side) error {
	if !s.known {
		s.expect()
	}
	if s.due == 0 || s.at != 0 && s.at <= s.due {
		return nil
	}
	return c.rearm(s)
}

// rearm sets the deadline to due, unless the connection has been interrupted.
func (c *Conn) rearm(s *side) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.interrupted != nil {
		return c.interrupted
	}
	if s.stopped != nil {
		return s.stopped
	}
	s.at = s.due
	return s.setDeadline(s.due)
}

// late judges the error of a wait: nil to go on, when the deadline was earlier than due.
func (c *Conn) late(s *side, err error) error {
	if !isDeadline(err) {
		return err
	}
	if !s.known { // the deadline passed before the operation: none of its time is used
		s.expect()
	} else if s.due != 0 && now() >= s.due {
		if s == &c.in.side && c.postponed() {
			return c.rearm(s)
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.interrupted != nil {
			return c.interrupted
		}
		return ErrTimeout
	}
	return c.rearm(s)
}

// touch has the read timeout of a wait under way count from now.
func (c *Conn) touch() { c.touched.Store(int64(now())) }

// postponed moves the end of the wait to where touch has put it; false when that has passed, too.
func (c *Conn) postponed() bool {
	touched := c.touched.Load()
	due := moment(touched) + c.in.side.timeout
	if touched == 0 || due <= now() {
		return false
	}
	c.in.side.due = due
	return true
}

// Abort makes every wait on the connection, under way or to come, fail with ErrAborted, and those on what it guards.
func (c *Conn) Abort() { c.interrupt(ErrAborted) }

// interrupt ends the waits on the connection with a cause; the first cause stays.
func (c *Conn) interrupt(cause error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.interrupted != nil {
		return
	}
	c.interrupted = cause
	c.in.side.setDeadline(longAgo)
	c.out.side.setDeadline(longAgo)
	if c.guarded != nil {
		c.guarded.interrupt(cause)
	}
	c.wakeSleeper()
}

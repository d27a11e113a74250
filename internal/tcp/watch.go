package tcp

import "time"

// Watch has the connection notice, from now on, that its peer has closed its side (FIN or RST) while nobody reads from
// it: Guard, HungUp and Sleep tell.
func (c *Conn) Watch() {
	if c.sock != nil {
		c.sock.watch(c.hangup)
	}
}

// hangup notes that the peer has gone and interrupts what waits on its behalf.
func (c *Conn) hangup() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.hungup = true
	if c.guarded != nil && !c.bound {
		c.guarded.interrupt(ErrHangup)
	}
	c.wakeSleeper()
}

// Guard ends what waits on behalf of a client that goes. A Conn is one.
type Guard interface {
	// Guard makes other's waits fail with ErrHangup once the client has gone, which it may have already. Guard(nil)
	// ends that: when it returns, other isn't interrupted any more.
	Guard(other *Conn)
}

// Hangup makes the connection's waits fail with ErrHangup: the client on whose behalf they are has gone.
func (c *Conn) Hangup() { c.interrupt(ErrHangup) }

// HungUp says whether the watched peer has closed its side.
func (c *Conn) HungUp() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.hungup
}

// Guard makes other's waits fail with ErrHangup once c's peer has gone, which it may have already, and with ErrAborted
// once c was aborted. Guard(nil) ends that: when it returns, other isn't interrupted any more (it may have been before,
// and then isn't Fresh).
func (c *Conn) Guard(other *Conn) { c.guard(other, false) }

// Bind is Guard for Abort alone: a hangup of c's peer doesn't matter.
func (c *Conn) Bind(other *Conn) { c.guard(other, true) }

func (c *Conn) guard(other *Conn, bound bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.guarded, c.bound = other, bound
	switch {
	case other == nil:
	case c.interrupted != nil:
		other.interrupt(c.interrupted)
	case c.hungup && !bound:
		other.interrupt(ErrHangup)
	}
}

// Sleep waits for d. It returns early with ErrHangup when the watched peer goes and with ErrAborted after Abort.
func (c *Conn) Sleep(d time.Duration) error { return c.Await(nil, d) }

// Await is Sleep that also returns, without an error, when done is closed: for what somebody else does meanwhile.
func (c *Conn) Await(done <-chan struct{}, d time.Duration) error {
	c.mu.Lock()
	if c.wake == nil {
		c.wake = make(chan struct{}, 1)
	}
	err, wake := c.gone(), c.wake
	c.mu.Unlock()
	if err != nil {
		return err
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-done:
	case <-wake:
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.gone()
}

// Waiter returns a Conn without a stream, for Await, Sleep and Close alone: what waits on a client's behalf while there
// is no connection to guard is ended by Guard, Hangup and Abort through it.
func Waiter() *Conn {
	c := new(Conn)
	never := func(time.Time) error { return nil }
	c.in.side.set, c.out.side.set = never, never
	return c
}

// gone returns why nobody should wait for the peer. c.mu is held.
func (c *Conn) gone() error {
	if c.interrupted == nil && c.hungup {
		return ErrHangup
	}
	return c.interrupted
}

// wakeSleeper ends a Sleep. c.mu is held.
func (c *Conn) wakeSleeper() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

package admin

import (
	"errors"
	"fmt"
	"io"
	"time"
)

// Drain keeps new clients away from a peer and may wait until the peer's own
// clients are gone: `limpet drain`.
type Drain struct {
	Client         *Client
	Upstream, Peer string        // Peer is an address, or the text of a server line
	Undo           bool          // undrain
	Wait           bool          // until nobody is left
	Window         time.Duration // in which no client may have come; 0: open connections alone count
	Timeout        time.Duration // for waiting; 0: none
}

const (
	// lookEvery is the time between two looks at who is left.
	lookEvery = time.Second
	// patience is how long an endpoint may be away, as in a restart.
	patience = 30 * time.Second
)

// Run does it and tells on out how it goes. An error says why the peer isn't known to be empty.
func (d *Drain) Run(out io.Writer) error {
	defer d.Client.http.CloseIdleConnections()
	u, err := d.Client.SetDrain(!d.Undo, d.Upstream, d.Peer, d.Window)
	if err != nil {
		return err
	}
	for _, p := range u.Peers {
		what := "is draining: its own clients stay, new ones go elsewhere"
		if !p.Draining {
			what = "takes new clients again"
		}
		fmt.Fprintf(out, "%s of %s %s\n", p.Addr, u.Name, what)
	}
	for _, n := range u.Notes {
		fmt.Fprintf(out, "note: %s\n", n)
	}
	switch {
	case d.Undo:
		return nil
	case d.Wait:
		return d.wait(out, u)
	}
	fmt.Fprintln(out, d.countOf(u))
	return nil
}

// wait looks at who is left until nobody is.
func (d *Drain) wait(out io.Writer, u *Upstream) error {
	fmt.Fprintln(out, d.aim(u))
	w := &watcher{Drain: d, out: out, begun: time.Now()}
	for {
		c := d.countOf(u)
		w.tell(c.String())
		switch {
		case c.nobody():
			w.tell("nobody is left")
			return nil
		case !c.draining:
			return errors.New("it was undrained meanwhile")
		case w.late():
			return fmt.Errorf("not empty after %s; it goes on draining", brief(d.Timeout))
		}
		next, err := w.look(u.Name)
		if err != nil {
			return err
		}
		u = next
	}
}

// watcher is a Drain that waits.
type watcher struct {
	*Drain
	out   io.Writer
	begun time.Time
	told  string // last
}

// tell prints a line with the time that has passed, unless it is the last one again.
func (w *watcher) tell(line string) {
	if line != w.told {
		w.told = line
		fmt.Fprintf(w.out, "%8s  %s\n", elapsed(time.Since(w.begun)), line)
	}
}

func (w *watcher) late() bool { return w.Timeout > 0 && time.Since(w.begun) >= w.Timeout }

// look waits for the time of the next look and takes it, over and over while the
// endpoint is away, as it is in a restart.
func (w *watcher) look(name string) (*Upstream, error) {
	away := time.Now()
	for {
		pause := lookEvery
		if w.Timeout > 0 {
			pause = max(min(pause, w.Timeout-time.Since(w.begun)), 0)
		}
		time.Sleep(pause)
		u, err := w.Client.Upstream(name, w.Peer, w.Window)
		var no refused
		if err == nil || errors.As(err, &no) || w.late() || time.Since(away) >= patience {
			return u, err
		}
		w.tell(err.Error() + "; trying again")
	}
}

// aim says what is waited for.
func (d *Drain) aim(u *Upstream) string {
	s := "waiting until it has no open connection"
	if u.Sticky != "" && d.Window > 0 {
		s += " and no client has come for " + brief(d.Window)
	}
	if d.Timeout > 0 {
		s += ", at most " + brief(d.Timeout)
	}
	return s
}

// count is who is left at the peers.
type count struct {
	conns    int64
	clients  int  // within the window
	sticky   bool // clients are counted
	window   time.Duration
	counted  time.Duration // of the window
	draining bool
}

func (d *Drain) countOf(u *Upstream) count {
	c := count{window: d.Window, counted: time.Duration(u.Counted * float64(time.Second)), draining: true}
	counted := make(map[string]bool) // servers of one address have their clients together
	for _, p := range u.Peers {
		c.conns += p.Active
		c.draining = c.draining && p.Draining
		if p.Clients != nil && d.Window > 0 && !counted[p.Addr] {
			counted[p.Addr] = true
			c.sticky = true
			c.clients += *p.Clients
		}
	}
	return c
}

// nobody reports whether nobody is left, as far as is known: a limpet that was
// started within the window doesn't know who came before.
func (c count) nobody() bool {
	return c.conns == 0 && (!c.sticky || c.clients == 0 && c.counted >= c.window)
}

// String says who is left.
func (c count) String() string {
	s := plural(c.conns, "open connection")
	if !c.sticky {
		return s
	}
	s = plural(int64(c.clients), "client") + " in the last " + brief(c.window) + ", " + s
	if c.counted < c.window {
		ago := "less than 1m"
		if c.counted >= time.Minute {
			ago = brief(c.counted.Truncate(time.Minute))
		}
		s += " (counted since limpet was started " + ago + " ago)"
	}
	return s
}

func plural(n int64, word string) string {
	if n == 1 {
		return "1 " + word
	}
	return fmt.Sprintf("%d %ss", n, word)
}

// elapsed writes a duration in whole seconds.
func elapsed(d time.Duration) string { return brief(d.Round(time.Second)) }

// brief writes a duration without zeros at its end: 10m, 2h, 1m30s.
func brief(d time.Duration) string {
	for _, u := range []struct {
		unit time.Duration
		word string
	}{{time.Hour, "h"}, {time.Minute, "m"}} {
		if d > 0 && d%u.unit == 0 {
			return fmt.Sprintf("%d%s", d/u.unit, u.word)
		}
	}
	return d.String()
}

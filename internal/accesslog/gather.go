package accesslog

import (
	"runtime"
	"sync"
	"time"
)

const (
	// crowd is how many lines in one turn of the scheduler have lines be gathered.
	crowd = 4
	// crowded is for how long.
	crowded = 2 * time.Millisecond
	// gatherLimit is how many bytes wait for the write at most: a request that finds more writes them itself, so that a
	// slow disk holds requests up as it does without gathering.
	gatherLimit = 64 << 10
)

// gather writes the lines of the requests that end in one turn of the scheduler with one system call while there are
// many: under load that saves a system call a request. No line waits for a time or for another line, only for the
// goroutines that can run. Where few requests end at once each line is written before its answer is complete, so that who
// has the answer finds the line.
type gather struct {
	out  func([]byte)
	wake chan struct{} // has room for one
	done chan struct{}

	writing sync.Mutex // held around out, so that lines stay in order; mu may be taken under it
	spare   []byte     // guarded by writing

	mu     sync.Mutex // guards what follows
	lines  []byte
	turn   int       // lines in this turn
	many   bool      // the lines of this turn are gathered
	last   time.Time // when a turn with a crowd ended
	closed bool
}

// newGather starts a gather, which ends at close.
func newGather(out func([]byte)) *gather {
	g := &gather{out: out, wake: make(chan struct{}, 1), done: make(chan struct{})}
	go g.run()
	return g
}

func (g *gather) run() {
	defer close(g.done)
	for range g.wake {
		runtime.Gosched() // behind all that can run: their lines go along
		g.flush()
	}
}

// add takes a line; it is copied.
func (g *gather) add(line []byte) {
	switch g.take(line) {
	case alone:
		g.writing.Lock()
		defer g.writing.Unlock()
		g.out(line)
	case full:
		g.flush()
	}
}

// fate is what becomes of a line.
type fate int

const (
	gathered fate = iota
	full          // gathered, and to be written at once
	alone         // not gathered
)

// take decides on a line, and keeps one that is gathered.
func (g *gather) take(line []byte) fate {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return alone
	}
	if g.turn++; g.turn == 1 {
		g.many = time.Since(g.last) < crowded
		select {
		case g.wake <- struct{}{}:
		default:
		}
	}
	if !g.many {
		return alone
	}
	if g.lines = append(g.lines, line...); len(g.lines) > gatherLimit {
		return full
	}
	return gathered
}

// flush ends a turn and writes what was gathered.
func (g *gather) flush() {
	g.writing.Lock()
	defer g.writing.Unlock()
	g.mu.Lock()
	lines := g.lines
	g.lines = g.spare[:0]
	if g.turn >= crowd {
		g.last = time.Now()
	}
	g.turn = 0
	g.mu.Unlock()
	if len(lines) > 0 {
		g.out(lines)
	}
	g.spare = lines
	if cap(lines) > 2*gatherLimit {
		g.spare = nil
	}
}

// close writes what was gathered; later lines go out at once.
func (g *gather) close() {
	g.mu.Lock()
	g.closed = true
	close(g.wake)
	g.mu.Unlock()
	<-g.done
	g.flush()
}

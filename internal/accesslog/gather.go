package accesslog

import (
	"runtime"
	"sync"
)

// gatherLimit is how many bytes wait for the write at most: a request that finds more writes them itself, so that a slow
// disk holds requests up as it does without gathering.
const gatherLimit = 64 << 10

// gather writes the lines of the requests that end in one turn of the scheduler with one system call: no line waits for
// a time or for another line, only for the goroutines that can run. A lone request's line is written as soon as its
// goroutine waits. Under load this saves a system call a request.
type gather struct {
	out  func([]byte)
	wake chan struct{} // has room for one
	done chan struct{}

	writing sync.Mutex // held around out, so that lines stay in order
	mu      sync.Mutex // guards what follows; may be taken under writing
	lines   []byte
	closed  bool
	spare   []byte // guarded by writing
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
	if g.take(line) {
		g.flush()
	}
}

// take keeps a line and says whether it is to be written by the caller.
func (g *gather) take(line []byte) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.lines = append(g.lines, line...)
	if g.closed || len(g.lines) > gatherLimit {
		return true
	}
	if len(g.lines) == len(line) {
		select {
		case g.wake <- struct{}{}:
		default:
		}
	}
	return false
}

// flush writes what was gathered.
func (g *gather) flush() {
	g.writing.Lock()
	defer g.writing.Unlock()
	g.mu.Lock()
	lines := g.lines
	g.lines = g.spare[:0]
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

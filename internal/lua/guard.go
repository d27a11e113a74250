package lua

import (
	"errors"
	"runtime/metrics"
	"time"
)

// guard bounds a run. The interpreter asks for Done before each instruction; a
// context of our own counts them without a timer or a channel.
type guard struct {
	n       uint32
	left    int64
	d       time.Duration
	until   time.Time // zero until the first look: short scripts ask no clock
	heap    uint64    // bytes that the process's live memory may grow by
	most    uint64    // live memory at which the script is stopped; 0 until the first look at it
	sample  [1]metrics.Sample
	stopped error // why, nil while it may run
	closed  chan struct{}
}

// How often the bounds are looked at, in instructions less one.
const (
	stepMask   = 1<<12 - 1
	memoryMask = 1<<16 - 1
	timeMask   = 1<<18 - 1
)

var (
	errRunaway = errors.New("the script was stopped, it ran too long")
	errMemory  = errors.New("not enough memory")
)

func (g *guard) begin(budget int64, d time.Duration, heap uint64) {
	g.n, g.left, g.stopped = 0, budget, nil
	g.d, g.until = d, time.Time{}
	g.heap, g.most = heap, 0
}

// Done implements context.Context.
func (g *guard) Done() <-chan struct{} {
	g.n++
	if g.n&stepMask == 0 || g.stopped != nil {
		return g.look()
	}
	return nil
}

// slept gives back time that the script spent waiting, and forgets what others took of the memory meanwhile.
func (g *guard) slept(d time.Duration) {
	if !g.until.IsZero() {
		g.until = g.until.Add(d)
	}
	g.most = 0
}

func (g *guard) look() <-chan struct{} {
	g.left -= stepMask + 1
	if g.until.IsZero() {
		g.until = time.Now().Add(g.d)
	}
	switch {
	case g.stopped != nil:
	case g.left <= 0, g.n&timeMask == 0 && !time.Now().Before(g.until):
		g.stopped = errRunaway
	case g.n&memoryMask == 0 && g.swollen():
		g.stopped = errMemory
	default:
		return nil
	}
	if g.closed == nil {
		g.closed = make(chan struct{})
		close(g.closed)
	}
	return g.closed
}

// swollen reports whether the live memory has grown too much since the script's first
// look at it. The interpreter counts nobody's bytes, so that the whole process's count; and
// the collector tells what lives only at its cycles, so that a script may have several
// times as much for a moment.
func (g *guard) swollen() bool {
	g.sample[0].Name = "/gc/heap/live:bytes"
	metrics.Read(g.sample[:])
	live := g.sample[0].Value.Uint64()
	if g.most == 0 {
		g.most = live + g.heap
	}
	return live > g.most
}

// took looks at the memory behind a long string, of which few instructions make many bytes.
func (g *guard) took(n int) {
	if n >= longString && g.stopped == nil && g.swollen() {
		g.stopped = errMemory
	}
}

// Err, Deadline and Value implement context.Context.
func (g *guard) Err() error                  { return g.stopped }
func (g *guard) Deadline() (time.Time, bool) { return time.Time{}, false }
func (g *guard) Value(any) any               { return nil }

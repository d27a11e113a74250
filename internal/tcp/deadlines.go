package tcp

import (
	"math"
	"sync/atomic"
	"time"
)

// grain is how much later than its deadline a wait may end, and how often at most deadlines are looked at. With very many
// sockets it is a hundred times the time that a look takes, up to maxGrain, so that looking takes no more of a processor
// than a hundredth.
const (
	grain    = 10 * time.Millisecond
	maxGrain = 100 * time.Millisecond
)

// deadlines are those of all sockets of a poller, side by side, so that setting one is a store, without a timer of the
// runtime for each, and looking at those of 100,000 sockets takes a tenth of a millisecond. They are looked at when the
// first one is due.
type deadlines struct {
	chunks  atomic.Pointer[[]*chunkOfDeadlines]
	next    atomic.Int64  // the moment of the next look, so far
	sooner  chan struct{} // tells that it is to come sooner
	stop    chan struct{} // closed
	stopped chan struct{}
}

// chunkOfDeadlines are the deadlines, 0 for none, of reading and writing of descriptors that follow each other.
type chunkOfDeadlines [1024]atomic.Int64

const never = math.MaxInt64

func (d *deadlines) init() {
	d.next.Store(never)
	d.sooner, d.stop, d.stopped = make(chan struct{}, 1), make(chan struct{}), make(chan struct{})
	d.chunks.Store(new([]*chunkOfDeadlines))
}

// place returns where the deadlines of a descriptor are. The poller's mu is held.
func (d *deadlines) place(fd int) (in, out *atomic.Int64) {
	const each = len(chunkOfDeadlines{}) / 2
	have := *d.chunks.Load()
	if fd/each >= len(have) {
		more := append([]*chunkOfDeadlines(nil), have...)
		for fd/each >= len(more) {
			more = append(more, new(chunkOfDeadlines))
		}
		d.chunks.Store(&more)
		have = more
	}
	c, at := have[fd/each], fd%each*2
	return &c[at], &c[at+1]
}

// expect has a deadline that was set looked at in time.
func (d *deadlines) expect(at moment) {
	if int64(at) >= d.next.Load() {
		return
	}
	select {
	case d.sooner <- struct{}{}:
	default:
	}
}

// expire ends the waits whose deadlines have come, until the poller is closed.
func (p *Poller) expire() {
	d := &p.due
	defer close(d.stopped)
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		begun := now()
		d.next.Store(never) // what is set from here on, and may be missed below, tells of itself
		next := p.expireDue(begun)
		d.next.Store(next)
		pause := min(max(grain, 100*(now()-begun)), maxGrain)
		if next != never {
			timer.Reset(max(moment(next)-begun, pause))
		} else {
			timer.Stop()
		}
		select {
		case <-timer.C:
			continue
		case <-d.sooner:
		case <-d.stop:
			return
		}
		timer.Reset(begun + pause - now())
		select {
		case <-timer.C:
		case <-d.stop:
			return
		}
	}
}

// expireDue ends the waits whose deadlines have come, and returns the first of the others.
func (p *Poller) expireDue(at moment) (next int64) {
	next = never
	for i, c := range *p.due.chunks.Load() {
		for j := range c {
			switch due := c[j].Load(); {
			case due == 0:
			case due <= int64(at):
				p.expireAt(i*len(c)/2+j/2, j%2 == 0, due)
			default:
				next = min(next, due)
			}
		}
	}
	return next
}

// expireAt ends the wait of a descriptor for reading or for writing.
func (p *Poller) expireAt(fd int, reading bool, due int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.table[fd]
	switch {
	case s == nil:
	case reading:
		s.in.expire(due)
	default:
		s.out.expire(due)
	}
}

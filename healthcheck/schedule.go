package healthcheck

import (
	"math/rand/v2"
	"sync/atomic"
	"time"
)

// task is what the heap holds: one cycle over lanes of targets. The lanes of a
// stage run at once, a lane's targets one after the other, stages one after the other.
type task struct {
	check  *Check
	period time.Duration
	// pause says that period is from the end of a cycle to the start of the next, not from start to start.
	pause  bool
	stages [][]lane
	gone   atomic.Bool // another configuration is in force; set under prober.mu

	// guarded by prober.mu
	started time.Duration // behind epoch
	stage   int
	left    int // lanes of the stage that still run
	serial  uint64
}

// lane is targets that are probed one after the other.
type lane struct {
	task    *task
	targets []*target
	sick    bool
}

// own tells lanes and targets whose they are.
func (t *task) own() {
	for _, st := range t.stages {
		for i := range st {
			st[i].task = t
			for _, target := range st[i].targets {
				target.task = t
			}
		}
	}
}

// first returns when a task is due for the first time under a configuration:
// what was asked under the one before goes on in its rhythm.
func (t *task) first(now time.Duration) time.Duration {
	due := now
	if t.check.spread > 0 {
		due += rand.N(t.check.spread)
	}
	for i, target := range t.targets() {
		last := target.mark.last.Load()
		if last == 0 {
			return due
		}
		if next := t.period - time.Since(time.Unix(0, last)); i == 0 && next > 0 {
			due = now + next
		}
	}
	return due
}

func (t *task) targets() []*target {
	var all []*target
	for _, st := range t.stages {
		for _, l := range st {
			all = append(all, l.targets...)
		}
	}
	return all
}

// taskHeap is the tasks by the time when they are due, the first one in front. The
// times stand beside the tasks, so that looking for a place touches no task. A task
// has up to four below it, which halves the heap's height against two.
type taskHeap []entry

type entry struct {
	due  time.Duration // behind epoch
	task *task
}

// push adds a task.
func (h *taskHeap) push(t *task, due time.Duration) {
	*h = append(*h, entry{})
	at, es := len(*h)-1, *h
	for at > 0 {
		up := (at - 1) / 4
		if es[up].due <= due {
			break
		}
		es[at] = es[up]
		at = up
	}
	es[at] = entry{due, t}
}

// pop takes the first task out.
func (h *taskHeap) pop() *task {
	es := *h
	first, last := es[0].task, es[len(es)-1]
	es[len(es)-1] = entry{}
	es = es[:len(es)-1]
	*h = es
	if len(es) == 0 {
		return first
	}
	at := 0
	for {
		least := at
		due := last.due
		for down := at*4 + 1; down <= at*4+4 && down < len(es); down++ {
			if es[down].due < due {
				least, due = down, es[down].due
			}
		}
		if least == at {
			break
		}
		es[at] = es[least]
		at = least
	}
	es[at] = last
	return first
}

// queue is lanes, first in, first out.
type queue struct {
	lanes []*lane
	head  int
}

func (q *queue) push(l *lane) {
	if q.head > 0 && len(q.lanes) == cap(q.lanes) {
		n := copy(q.lanes, q.lanes[q.head:])
		clear(q.lanes[n:])
		q.lanes, q.head = q.lanes[:n], 0
	}
	q.lanes = append(q.lanes, l)
}

func (q *queue) pop() *lane {
	if q.head == len(q.lanes) {
		return nil
	}
	l := q.lanes[q.head]
	q.lanes[q.head] = nil
	if q.head++; q.head == len(q.lanes) {
		q.lanes, q.head = q.lanes[:0], 0
	}
	return l
}

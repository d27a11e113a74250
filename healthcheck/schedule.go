package healthcheck

import (
	"math/rand/v2"
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

	// guarded by prober.mu
	gone    bool // another configuration is in force
	due     time.Time
	started time.Time
	at      int // index in the heap
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
func (t *task) first(now time.Time) time.Time {
	due := now
	if t.check.spread > 0 {
		due = now.Add(rand.N(t.check.spread))
	}
	for i, target := range t.targets() {
		last := target.mark.last.Load()
		if last == 0 {
			return due
		}
		if next := time.Unix(0, last).Add(t.period); i == 0 && next.After(now) {
			due = next
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

// taskHeap is the tasks by the time when they are due.
type taskHeap []*task

func (h taskHeap) Len() int           { return len(h) }
func (h taskHeap) Less(i, j int) bool { return h[i].due.Before(h[j].due) }
func (h taskHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].at, h[j].at = i, j
}

// Push implements heap.Interface.
func (h *taskHeap) Push(x any) {
	t := x.(*task)
	t.at = len(*h)
	*h = append(*h, t)
}

// Pop implements heap.Interface.
func (h *taskHeap) Pop() any {
	old := *h
	t := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	return t
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

package healthcheck

import (
	"container/heap"
	"fmt"
	"math/rand/v2"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"limpet/internal/errlog"
	"limpet/internal/tcp"
	"limpet/upstream"
)

const (
	// maxProbes bounds the probes that run at once, over all groups.
	maxProbes = 1024
	// tick is the least time that the clock sleeps, so that many probes due at almost the same time cost one wake-up.
	tick = 2 * time.Millisecond
	// maxSpare bounds the memory kept for workers to come.
	maxSpare = 64
)

// prober runs the checks of the configuration in force. It lives as long as the
// process: a reload exchanges its checks, and results of the old ones that come
// in later are dropped.
//
// A heap holds the tasks by the time when they are due. One goroutine, the
// clock, moves what is due into queues; workers, at most limit of them, are
// started as long as there is work and end when there is none, so that nothing
// is held for a peer while it waits.
type prober struct {
	generation atomic.Int64
	dial       func(network, addr string, opt tcp.DialOptions) (*tcp.Conn, error)
	limit      int

	mu      sync.Mutex // guards what follows, and the writing of marks
	checks  *Checks    // in force; nil: stopped
	heap    taskHeap
	ready   queue // lanes of peers that are up, or of several peers
	sick    queue // lanes of a peer that is down; they leave a quarter of the workers to the others
	running int
	ailing  int // workers with a lane of sick
	serial  uint64
	active  map[*exchange]struct{} // of the workers
	spare   []*exchange            // of workers that ended
	wake    chan struct{}
	done    chan struct{} // closed to end the clock; nil: it isn't running
	wait    sync.WaitGroup
}

// newProber returns a prober that does nothing yet; its connections are the poller's.
func newProber(poller *tcp.Poller) *prober {
	return &prober{dial: poller.Dial, limit: probeLimit(), wake: make(chan struct{}, 1), active: make(map[*exchange]struct{})}
}

// probeLimit leaves most of the descriptors to clients.
func probeLimit() int {
	var r syscall.Rlimit
	if syscall.Getrlimit(syscall.RLIMIT_NOFILE, &r) != nil {
		return maxProbes
	}
	return int(max(1, min(maxProbes, r.Cur/4)))
}

// install puts the checks of a configuration in force in place of those before.
func (p *prober) install(s *Checks) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.drop()
	p.checks = s
	p.generation.Add(1)
	for _, g := range s.groups.List {
		for _, peer := range g.Peers().All {
			for _, m := range s.marks[peer.State] {
				// A check that is new to a peer which was down lets it come up by passing.
				if m.last.Load() == 0 && peer.DownBy(bit) {
					m.down.Store(true)
				}
			}
			peer.SetDown(bit, s.down(peer))
		}
	}
	p.begin(s.tasks)
}

// follow gives a check targets for the peers that its group is about to have.
// What goes on keeps its rhythm; the probes of what is gone count no more.
func (p *prober) follow(s *Checks, c *Check, ps *upstream.Peers) {
	p.mu.Lock()
	defer p.mu.Unlock()
	before := c.at()
	s.aim(c, ps, nil)
	names := make(map[string]bool)
	for _, t := range c.at() {
		names[string(t.name())] = true
	}
	c.tables.Retain(func(name string) bool { return names[name] })
	for _, t := range before {
		elsewhere := func(m member) bool { return m.group != c.Group }
		if slices.Contains(c.at(), t) || slices.ContainsFunc(t.members, elsewhere) {
			continue
		}
		t.task.gone = true
		if !slices.ContainsFunc(c.at(), func(other *target) bool { return other.mark == t.mark }) {
			s.forget(t)
		}
	}
	tasks := c.arrange(c)
	s.tasks = append(slices.DeleteFunc(s.tasks, func(t *task) bool { return t.gone }), tasks...)
	if p.checks != s {
		return // they come into force later
	}
	for _, peer := range ps.All {
		peer.SetDown(bit, s.down(peer))
	}
	p.begin(tasks)
}

// begin makes tasks wait for their first turn. p.mu is held.
func (p *prober) begin(tasks []*task) {
	now := time.Now()
	for _, t := range tasks {
		t.due = t.first(now)
		heap.Push(&p.heap, t)
	}
	if p.done == nil && len(tasks) > 0 {
		p.done = make(chan struct{})
		p.wait.Add(1)
		go p.clock(p.done)
	}
	p.alarm()
}

// drop forgets the checks in force. What runs ends by itself.
func (p *prober) drop() {
	if p.checks == nil {
		return
	}
	for _, t := range p.checks.tasks {
		t.gone = true
	}
	for _, t := range p.heap { // what waits keeps no connection open
		for _, target := range t.targets() {
			target.close()
		}
	}
	p.heap, p.ready, p.sick = nil, queue{}, queue{}
	p.checks = nil
}

// retire stops a configuration's checks, unless another one's are in force, and waits for them.
func (p *prober) retire(s *Checks) {
	p.mu.Lock()
	if p.checks != s {
		p.mu.Unlock()
		return
	}
	p.drop()
	if p.done != nil {
		close(p.done)
		p.done = nil
	}
	for x := range p.active {
		x.abort()
	}
	p.mu.Unlock()
	p.wait.Wait()
}

// alarm wakes the clock.
func (p *prober) alarm() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// clock hands out what is due until done is closed.
func (p *prober) clock(done chan struct{}) {
	defer p.wait.Done()
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		p.mu.Lock()
		sleep := p.dispatch(time.Now())
		p.mu.Unlock()
		timer.Reset(max(sleep, tick))
		select {
		case <-timer.C:
		case <-p.wake:
		case <-done:
			return
		}
	}
}

// dispatch starts the tasks that are due and returns the time to the next one. p.mu is held.
func (p *prober) dispatch(now time.Time) time.Duration {
	for len(p.heap) > 0 {
		t := p.heap[0]
		if wait := t.due.Sub(now); wait > 0 {
			return wait
		}
		heap.Pop(&p.heap)
		if t.gone {
			for _, target := range t.targets() {
				target.close()
			}
			continue
		}
		t.started, t.stage = now, 0
		p.serial++
		t.serial = p.serial
		p.startStage(t)
	}
	return time.Hour
}

// startStage puts the lanes of a task's stage into the queues; past the last one the task ends. p.mu is held.
func (p *prober) startStage(t *task) {
	for ; t.stage < len(t.stages); t.stage++ {
		st := t.stages[t.stage]
		if len(st) == 0 {
			continue
		}
		t.left = len(st)
		for i := range st {
			l := &st[i]
			l.sick = len(l.targets) == 1 && l.targets[0].mark.down.Load()
			if l.sick {
				p.sick.push(l)
			} else {
				p.ready.push(l)
			}
			p.hire()
		}
		return
	}
	p.again(t)
}

// again makes a task wait for its next turn. p.mu is held.
func (p *prober) again(t *task) {
	now := time.Now()
	from := t.started
	if t.pause {
		from = now
	}
	t.due = from.Add(t.period)
	if j := t.check.Jitter; j > 0 {
		t.due = t.due.Add(rand.N(j))
	}
	if t.due.Before(now) { // it took longer than its period
		t.due = now
	}
	heap.Push(&p.heap, t)
	if t.at == 0 {
		p.alarm()
	}
}

// hire starts a worker if one may run. p.mu is held.
func (p *prober) hire() {
	if p.running < p.limit {
		p.running++
		p.wait.Add(1)
		go p.work()
	}
}

// next takes a lane from the queues, nil when there is none for this worker. p.mu is held.
func (p *prober) next() *lane {
	if l := p.ready.pop(); l != nil {
		return l
	}
	if p.ailing < max(1, p.limit*3/4) {
		if l := p.sick.pop(); l != nil {
			p.ailing++
			return l
		}
	}
	return nil
}

// work probes lanes until there is none left.
func (p *prober) work() {
	defer p.wait.Done()
	p.mu.Lock()
	x := p.exchange()
	p.active[x] = struct{}{}
	for {
		l := p.next()
		if l == nil {
			break
		}
		p.mu.Unlock()
		for _, t := range l.targets {
			if !p.probe(x, t) {
				break
			}
		}
		p.mu.Lock()
		p.finish(l)
	}
	p.running--
	delete(p.active, x)
	if len(p.spare) < maxSpare && cap(x.in) <= maxKeep && !x.aborted {
		p.spare = append(p.spare, x)
	}
	p.mu.Unlock()
}

// exchange returns a worker's memory. p.mu is held.
func (p *prober) exchange() *exchange {
	if n := len(p.spare); n > 0 {
		x := p.spare[n-1]
		p.spare = p.spare[:n-1]
		return x
	}
	return newExchange()
}

// finish ends a lane, and with the last one the stage. p.mu is held.
func (p *prober) finish(l *lane) {
	if l.sick {
		p.ailing--
	}
	t := l.task
	if t.gone {
		return
	}
	if t.left--; t.left == 0 {
		t.stage++
		p.startStage(t)
	}
}

// probe asks one target and draws the consequences. It returns false when another configuration is in force.
func (p *prober) probe(x *exchange, t *target) bool {
	c, m := t.check, t.mark
	p.mu.Lock()
	gone := t.task.gone
	p.mu.Unlock()
	if gone {
		t.close()
		return false
	}
	if !t.wanted() {
		if c.log.Debugging(errlog.DebugHTTP) {
			t.debugf("not asked: its requests tell enough")
		}
		return true
	}
	start := time.Now()
	m.last.Store(start.UnixNano())
	ok := p.ask(x, t)
	took := time.Since(start)

	p.mu.Lock()
	if t.task.gone {
		p.mu.Unlock()
		t.close()
		return false
	}
	if x.lacking {
		p.mu.Unlock()
		c.words.failed(c, t, x, true)
		return true
	}
	was := m.down.Load()
	m.count(ok, x.result, took)
	n, flipped := m.judge(ok, c.Rise, c.Fall)
	if flipped {
		p.apply(t)
	}
	p.mu.Unlock()
	if c.log.Debugging(errlog.DebugHTTP) {
		t.debugf("passed: %t, result: %s, error: %v, %d in a row, rise: %d, fall: %d, down: %t, took %s",
			ok, x.result, x.err, n, c.Rise, c.Fall, m.down.Load(), took)
	}
	if !ok {
		c.words.failed(c, t, x, was)
	}
	if flipped {
		c.words.flipped(c, t, x, !ok, n)
	}
	return true
}

// debugf writes a debug line about the target; whoever calls it has asked the check's log.
func (t *target) debugf(format string, args ...any) {
	t.check.log.Debugf(errlog.DebugHTTP, 0, "health check of %s: "+format, append([]any{t.name()}, args...)...)
}

// wanted reports whether the check asks the target at all this time.
func (t *target) wanted() bool {
	if t.check.when == always || t.mark.down.Load() {
		return true
	}
	if t.check.when == onFail {
		return t.members[0].peer.IsDown()
	}
	var n int64
	for _, m := range t.members {
		n += m.peer.Stats.Requests.Load()
	}
	quiet := n == t.mark.traffic
	t.mark.traffic = n
	return quiet
}

// ask makes one probe; a panic in it is told and counts as a failure.
func (p *prober) ask(x *exchange, t *target) (ok bool) {
	defer func() {
		if err := recover(); err != nil {
			t.check.log.Printf(errlog.Alert, 0, "panic in a check of %s: %v\n%s", t.name(), err, debug.Stack())
			x.fail(Malformed, fmt.Errorf("panic"))
			t.close()
			ok = false
		}
	}()
	return x.probe(p, t)
}

// apply lets a mark's new state take effect on the peers. p.mu is held.
func (p *prober) apply(t *target) {
	for _, m := range t.members {
		down := p.checks.down(m.peer)
		m.peer.SetDown(bit, down)
		if !down {
			m.group.ClearFails(m.peer)
		}
	}
}

// count counts a result for metrics.
func (m *Mark) count(ok bool, r Result, took time.Duration) {
	if ok {
		r = Passed
	}
	m.checks.Add(1)
	m.results[r].Add(1)
	m.duration.Store(int64(took))
	m.lastPassed.Store(ok)
}

// judge takes a result into the streaks. It returns how long the streak is and whether it turned the mark.
func (m *Mark) judge(ok bool, rise, fall int) (n int64, flipped bool) {
	if ok {
		m.failed.Store(0)
		n = m.passed.Add(1)
		if flipped = m.down.Load() && n >= int64(rise); flipped {
			m.down.Store(false)
			m.wentUp.Add(1)
		}
		return n, flipped
	}
	m.passed.Store(0)
	n = m.failed.Add(1)
	if flipped = !m.down.Load() && n >= int64(fall); flipped {
		m.down.Store(true)
		m.wentDown.Add(1)
	}
	return n, flipped
}

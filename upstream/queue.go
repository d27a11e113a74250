package upstream

import (
	"math"
	"sync"
	"sync/atomic"
	"time"

	"limpet/internal/tcp"
)

// Waiting is what queue says.
type Waiting struct {
	Max     int           // requests that wait at once
	Timeout time.Duration // after which one gets 502
}

// Queue is the requests of a group that wait for a peer, first come, first served.
// It outlives configurations, as the peers' States do, and each request in it goes
// by the configuration that it began with.
// https://nginx.org/en/docs/http/ngx_http_upstream_module.html#queue
//
// A client that sticks to a peer waits when none can be asked, and takes its own
// one before others: where its own is full and another isn't, it goes there at
// once, as without a queue. A client that its dialect never sends elsewhere
// (sticky_strict, fallback=off) waits for its own. A request that failed at some
// peers waits for those that it hasn't tried.
//
// One of those who wait has the turn: its goroutine looks for a peer, and hands
// the turn on. A round begins with the first one when peers are offered, goes on
// as long as there are more of them, and passes over those that can't fare
// better than one who found none.
type Queue struct {
	Stats   QueueStats
	waiting atomic.Int64 // requests, looked at without the lock

	mu          sync.Mutex // guards what follows; the group's isn't taken while it is held
	first, last *waiter
	turn        *waiter     // nil: no round is under way
	left        int         // requests that peers may still be there for in this round
	offered     int         // since it began
	alarm       *time.Timer // offers peers whose fail_timeout is over
	alarmAt     int64       // Unix seconds; 0: it isn't set
}

// QueueStats count what became of requests that found no peer at once.
type QueueStats struct {
	Served   atomic.Int64 // found one after a while
	Dropped  atomic.Int64 // their clients went away
	TimedOut atomic.Int64 // got 502 after the timeout
	Overflow atomic.Int64 // got 502 at once, as the queue was full
}

// Len returns how many requests wait.
func (q *Queue) Len() int { return int(q.waiting.Load()) }

// waiter is a request in a queue. Its links and peers are guarded by the queue's mu.
type waiter struct {
	session    *Session
	peers      *Peers // the session's
	only       *Peer  // that it waits for; nil: any will do
	particular bool   // it may take peers that others can't, or not those that they can
	wake       chan struct{}
	conn       *tcp.Conn // tells of the client's going
	prev, next *waiter
}

// anyNumber is an offer of peers whose room isn't known.
const anyNumber = math.MaxInt

// offer tells the queue of the peer that it has room for one more request.
func (s *State) offer() { s.queue.Load().offer(1) }

// offerAll tells it that the peer may be asked by more.
func (s *State) offerAll() { s.queue.Load().offer(anyNumber) }

// offer begins a round for n requests, or lets the one under way be followed by another. A nil Queue has none.
func (q *Queue) offer(n int) {
	if q == nil || q.waiting.Load() == 0 {
		return
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	q.add(n)
}

// add is offer with q.mu held.
func (q *Queue) add(n int) {
	q.offered += min(n, anyNumber-q.offered)
	if q.turn == nil {
		q.give(nil)
	}
}

// give gives the turn to w, or where that is nil to the first one, if peers were
// offered since the round began. q.mu is held.
func (q *Queue) give(w *waiter) {
	if w == nil && q.offered > 0 {
		q.left, q.offered = q.offered, 0
		w = q.first.able()
	}
	if q.turn = w; w != nil {
		w.wake <- struct{}{}
	}
}

// able returns w, or the first behind it, without those whose one peer has no room.
func (w *waiter) able() *waiter {
	for w != nil && w.only != nil && w.only.full() {
		w = w.next
	}
	return w
}

// after returns who is to try when w found no peer. q.mu is held.
func (w *waiter) after() *waiter {
	n := w.next
	for n != nil && !w.particular && !n.particular && n.peers == w.peers {
		n = n.next
	}
	return n.able()
}

// Wait waits in the group's queue, where it has one, for a peer after Next found
// none, and returns it as Next does; nil when there is none in time. guard is
// mayWait reports whether waiting can lead to a peer: not where a script refused
// join puts a session at the queue's end; nil when it is full.
func (q *Queue) join(s *Session) *waiter {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.waiting.Load() >= int64(s.Group.Conf.Queue.V.Max) {
		q.Stats.Overflow.Add(1)
		return nil
	}
	w := &waiter{session: s, wake: make(chan struct{}, 1), conn: tcp.Waiter(), prev: q.last}
	w.look()
	if q.last == nil {
		q.first = w
	} else {
		q.last.next = w
	}
	q.last = w
	q.waiting.Add(1)
	q.add(1) // a peer of which nobody in the queue was told may have come since it looked
	return w
}

// look notes what the session may take. q.mu is held.
func (w *waiter) look() {
	s := w.session
	w.peers, w.only = s.Peers, s.bound()
	w.particular = w.only != nil || s.want != nil || s.Number > 1
}

// await waits for the turn, or turns, until one leads to a peer.
func (q *Queue) await(w *waiter, deadline time.Time) (*Peer, error) {
	for {
		err := w.conn.Await(w.wake, time.Until(deadline))
		over := err != nil || !time.Now().Before(deadline)
		if q.isTurn(w) && err == nil {
			p, again := w.session.retry()
			if p != nil {
				q.leave(w, true)
				return p, nil
			}
			if !over {
				q.pass(w, again)
			}
		}
		if over {
			q.leave(w, false)
			return nil, err
		}
	}
}

func (q *Queue) isTurn(w *waiter) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.turn == w
}

// pass hands the turn on when it led to no peer; at again, Unix seconds, there may be one; 0: nobody knows.
func (q *Queue) pass(w *waiter, again int64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	w.look()
	w.taken()
	if again != 0 && (q.alarmAt == 0 || again < q.alarmAt) {
		q.setAlarm(again)
	}
	q.give(w.after())
}

// taken empties wake, which a timeout may have come before.
func (w *waiter) taken() {
	select {
	case <-w.wake:
	default:
	}
}

// leave takes a request out of the queue, with a peer or without one.
func (q *Queue) leave(w *waiter, served bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.unlink(w)
	if q.turn != w {
		return
	}
	if served && q.left != anyNumber {
		q.left--
	}
	if served && q.left == 0 {
		q.give(nil)
		return
	}
	q.give(w.next.able())
}

// unlink takes w out of the list. q.mu is held.
func (q *Queue) unlink(w *waiter) {
	if w.prev == nil {
		q.first = w.next
	} else {
		w.prev.next = w.next
	}
	if w.next == nil {
		q.last = w.prev
	} else {
		w.next.prev = w.prev
	}
	if q.waiting.Add(-1) == 0 {
		q.offered = 0
		q.stopAlarm()
	}
}

// setAlarm has peers offered at a time in Unix seconds. q.mu is held.
func (q *Queue) setAlarm(at int64) {
	q.stopAlarm()
	q.alarmAt = at
	q.alarm = time.AfterFunc(time.Until(time.Unix(at, 0)), func() { q.ring(at) })
}

// stopAlarm ends what setAlarm began. q.mu is held.
func (q *Queue) stopAlarm() {
	if q.alarm != nil {
		q.alarm.Stop()
		q.alarm, q.alarmAt = nil, 0
	}
}

// ring is the alarm's call.
func (q *Queue) ring(at int64) {
	q.mu.Lock()
	if q.alarmAt == at {
		q.alarm, q.alarmAt = nil, 0
	}
	q.mu.Unlock()
	q.offer(anyNumber)
}

// retry chooses as Next does, for a request whose turn it is, among the peers of

package limit

import (
	"container/list"
	"sync"
	"time"

	"limpet/internal/errlog"
	"limpet/internal/ngx"
)

// reqNodeSize is the size of nginx's node of a limit_req zone, without its key.
const reqNodeSize = 80

// idleTime is how long a key without excess is kept, in milliseconds.
const idleTime = 60000

// reqZone knows how far each key is beyond its rate. It is safe for concurrent use.
type reqZone struct {
	start time.Time // time counts in milliseconds from here

	mu    sync.Mutex // guards what follows
	nodes map[string]*list.Element
	order list.List // of *reqNode, last used first
	free  int64     // bytes
}

// reqNode is the state of one key.
type reqNode struct {
	key    string
	last   int64 // milliseconds since the zone's start
	excess int64 // thousandths of requests beyond the rate
	users  int   // requests that are between two limits: not to be evicted
}

func newReqZone(size int64) *reqZone {
	return &reqZone{start: time.Now(), nodes: make(map[string]*list.Element), free: budget(size)}
}

// verdict is what a zone says of a request.
type verdict int

const (
	verdictOK   verdict = iota // counted
	verdictHeld                // to be counted by account, when the other limits agree
	verdictBusy
	verdictFull // no room for the key
)

// code returns nginx's number for a verdict, for debug lines: NGX_OK, NGX_AGAIN, NGX_BUSY, NGX_ERROR.
func (v verdict) code() int {
	switch v {
	case verdictHeld:
		return -2
	case verdictBusy:
		return -3
	case verdictFull:
		return -1
	}
	return 0
}

func (z *reqZone) now() int64 { return int64(time.Since(z.start) / time.Millisecond) }

// excessAt returns what a node's excess will be with another request at a time.
func (n *reqNode) excessAt(now, rate int64) (excess, passed int64) {
	passed = max(0, now-n.last)
	return max(0, n.excess-rate*passed/1000+1000), passed
}

// check asks the zone about a request; account counts it at once when it is within
// the burst, else the node is held for account.
func (z *reqZone) check(key []byte, l *reqLimit, account bool) (v verdict, excess int64, node *reqNode) {
	z.mu.Lock()
	defer z.mu.Unlock()
	now := z.now()
	if el := z.nodes[string(key)]; el != nil {
		z.order.MoveToFront(el)
		node = el.Value.(*reqNode)
		excess, passed := node.excessAt(now, l.zone.rate)
		if excess > l.burst {
			return verdictBusy, excess, nil
		}
		if account {
			node.excess = excess
			if passed > 0 {
				node.last = now
			}
			return verdictOK, excess, nil
		}
		node.users++
		return verdictHeld, excess, node
	}
	if node = z.add(key, now, l.zone.rate); node == nil {
		return verdictFull, 0, nil
	}
	if account {
		node.last = now
		return verdictOK, 0, nil
	}
	node.users = 1
	// The first request is counted by account as one whose time has long come.
	node.last = now - 10*idleTime
	return verdictHeld, 0, node
}

// add makes the node of a new key, evicting old ones. It returns nil where the zone is full of keys in use.
func (z *reqZone) add(key []byte, now, rate int64) *reqNode {
	z.expire(now, rate, false)
	c := cost(reqNodeSize, len(key))
	if z.free < c {
		z.expire(now, rate, true)
		if z.free < c {
			return nil
		}
	}
	z.free -= c
	n := &reqNode{key: string(key)}
	z.nodes[n.key] = z.order.PushFront(n)
	return n
}

// expire drops up to two of the keys that were used longest ago and have no
// excess; by force, the oldest one whatever it has.
func (z *reqZone) expire(now, rate int64, force bool) {
	drop := 2
	if force {
		drop = 3
	}
	for ; drop > 0; drop-- {
		el := z.order.Back()
		if el == nil {
			return
		}
		n := el.Value.(*reqNode)
		if n.users > 0 {
			return
		}
		passed := now - n.last
		if !force && (passed < idleTime || n.excess-rate*passed/1000 > 0) {
			return
		}
		force = false
		z.order.Remove(el)
		delete(z.nodes, n.key)
		z.free += cost(reqNodeSize, len(n.key))
	}
}

// account counts a request in a node that check held, and returns its excess.
func (z *reqZone) account(n *reqNode, rate int64) int64 {
	z.mu.Lock()
	defer z.mu.Unlock()
	now := z.now()
	excess, passed := n.excessAt(now, rate)
	if passed > 0 {
		n.last = now
	}
	n.excess = excess
	n.users--
	return excess
}

// release lets go of a node that check held.
func (z *reqZone) release(n *reqNode) {
	z.mu.Lock()
	defer z.mu.Unlock()
	n.users--
}

// reqStep bounds rates by limit_req; nil without one.
func reqStep(c *Conf) ngx.Step {
	limits := c.Reqs.V
	if len(limits) == 0 {
		return nil
	}
	return func(r *ngx.Request) ngx.Outcome {
		if r.Main.LimitReq != ngx.LimitNone {
			return ngx.Next
		}
		return c.limitReq(r, limits)
	}
}

// limitReq asks the limits in order; the last one counts the request at once,
// those before it when all agree.
func (c *Conf) limitReq(r *ngx.Request, limits []reqLimit) ngx.Outcome {
	var few [4]*reqNode
	held := append(few[:0], make([]*reqNode, len(limits))...)
	asked, excess, last := false, int64(0), (*reqLimit)(nil)
	v := verdictHeld
	for i := range limits {
		l := &limits[i]
		key := l.zone.value(r, 65535)
		if len(key) == 0 {
			continue
		}
		asked, last = true, l
		v, excess, held[i] = l.zone.req.check(key, l, i == len(limits)-1)
		if r.Debugging() {
			r.Debugf(`limit_req[%d]: %d %d.%03d, zone "%s", key "%s"`, i, v.code(), excess/1000, excess%1000, l.zone.name, key)
		}
		if v != verdictHeld {
			break
		}
	}
	switch {
	case !asked:
		return ngx.Next
	case v == verdictBusy || v == verdictFull:
		return c.refuseReq(r, limits, held, last, v, excess)
	case v == verdictHeld:
		excess = 0
	}
	return c.delayReq(r, limits, held, last, excess)
}

// refuseReq answers a request beyond a burst.
func (c *Conf) refuseReq(r *ngx.Request, limits []reqLimit, held []*reqNode, l *reqLimit, v verdict, excess int64) ngx.Outcome {
	dry := c.ReqDryRun.V
	if v == verdictBusy {
		r.Logf(c.ReqLevel.V, `limiting requests%s, excess: %d.%03d by zone "%s"`, dryRun(dry), excess/1000, excess%1000, l.zone.name)
	} else {
		r.Logf(errlog.Alert, `could not allocate node in limit_req zone "%s"`, l.zone.name)
	}
	for i, n := range held {
		if n != nil {
			limits[i].zone.req.release(n)
		}
	}
	if dry {
		r.Main.LimitReq = ngx.LimitRejectedDryRun
		return ngx.Next
	}
	r.Main.LimitReq = ngx.LimitRejected
	return ngx.Status(c.ReqStatus.V)
}

// delayReq counts the request in the held nodes and waits as long as the slowest limit says.
func (c *Conf) delayReq(r *ngx.Request, limits []reqLimit, held []*reqNode, by *reqLimit, excess int64) ngx.Outcome {
	longest := by.wait(excess)
	for i := len(held) - 1; i >= 0; i-- {
		n, l := held[i], &limits[i]
		if n == nil {
			continue
		}
		e := l.zone.req.account(n, l.zone.rate)
		if d := l.wait(e); d > longest {
			longest, excess, by = d, e, l
		}
	}
	m := r.Main
	if longest == 0 {
		m.LimitReq = ngx.LimitPassed
		return ngx.Next
	}
	dry := c.ReqDryRun.V
	r.Logf(c.delayLevel(), `delaying request%s, excess: %d.%03d, by zone "%s"`, dryRun(dry), excess/1000, excess%1000, by.zone.name)
	if dry {
		m.LimitReq = ngx.LimitDelayedDryRun
		return ngx.Next
	}
	m.LimitReq = ngx.LimitDelayed
	if r.Client.Conn.Sleep(longest) != nil {
		r.Infof("client prematurely closed connection")
		return ngx.Status(499)
	}
	if r.Debugging() {
		r.Debugf("limit_req delay")
	}
	return ngx.Next
}

// wait returns how long a request with an excess is held back.
func (l *reqLimit) wait(excess int64) time.Duration {
	if excess <= l.delay {
		return 0
	}
	return time.Duration((excess-l.delay)*1000/l.zone.rate) * time.Millisecond
}

// delayLevel is one level below that of refused requests.
func (c *Conf) delayLevel() errlog.Level {
	if c.ReqLevel.V == errlog.Info {
		return errlog.Info
	}
	return c.ReqLevel.V + 1
}

package tlsconf

import (
	"container/list"
	"sync"
	"time"
)

// zone keeps sessions by their numbers, the least recently made go first. Its ring
// is that of the tickets of all who share the zone.
type zone struct {
	ring ring
	max  int // sessions

	mu    sync.Mutex
	by    map[string]*list.Element // guarded by mu
	order list.List                // guarded by mu; of *kept, latest first
}

type kept struct {
	id    string
	state []byte
	until time.Time
}

func newZone(max int) *zone { return &zone{max: max, by: make(map[string]*list.Element)} }

func (z *zone) put(id string, state []byte, until time.Time) {
	z.mu.Lock()
	defer z.mu.Unlock()
	z.remove(id)
	for len(z.by) >= z.max {
		z.remove(z.order.Back().Value.(*kept).id)
	}
	z.by[id] = z.order.PushFront(&kept{id, state, until})
}

// get returns a session's state, nil when it isn't there or too old.
func (z *zone) get(id string, now time.Time) []byte {
	z.mu.Lock()
	defer z.mu.Unlock()
	e := z.by[id]
	if e == nil {
		return nil
	}
	k := e.Value.(*kept)
	if now.After(k.until) {
		z.remove(id)
		return nil
	}
	return k.state
}

func (z *zone) drop(id string) {
	z.mu.Lock()
	defer z.mu.Unlock()
	z.remove(id)
}

// remove takes a session out; mu is held.
func (z *zone) remove(id string) {
	if e := z.by[id]; e != nil {
		z.order.Remove(e)
		delete(z.by, id)
	}
}

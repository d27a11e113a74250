package sticky

import (
	"hash/maphash"
	"math/bits"
	"sync"
	"time"
	"unsafe"
)

// sessionTable remembers the peers of sessions in a bounded number of bytes. The
// session that was used longest ago makes room for a new one. It holds no
// pointers, so that a million sessions cost the garbage collector nothing.
type sessionTable struct {
	seeds [2]maphash.Seed

	mu     sync.Mutex
	warned int64 // second in which a live session had to go, last

	buckets  []uint32 // heads of chains, positions in sessions
	sessions []session
	free     uint32 // head of a chain by next
	used     uint32 // how many of sessions were ever taken
	count    int
	// The ends of the list by use: sessions[0] stands for none.
	newest, oldest uint32

	names []string // of peers, by number
	ids   map[string]uint32
}

// session is a place in the table.
type session struct {
	key          [2]uint64
	last         uint32 // tick of the last use, or of the first where life is fixed
	name         uint32 // the peer's number in names
	next         uint32 // in the bucket's chain, or in the free one
	newer, older uint32 // in the list by use
	_            uint32
}

// newSessionTable returns a table that takes at most size bytes.
func newSessionTable(size int64) *sessionTable {
	// a bucket for each session on average, rounded down to a power of two
	n := size / int64(unsafe.Sizeof(session{})+4)
	buckets := int64(1) << (bits.Len64(uint64(n)) - 1)
	n = (size - buckets*4) / int64(unsafe.Sizeof(session{}))
	return &sessionTable{
		seeds:   [2]maphash.Seed{maphash.MakeSeed(), maphash.MakeSeed()},
		buckets: make([]uint32, buckets), sessions: make([]session, n), ids: make(map[string]uint32),
	}
}

// life says how long sessions live.
type life struct {
	timeout int64 // ticks
	fixed   bool  // from their beginning, else from their last use
}

// ticksPerSecond is how finely sessions' times are known. Times are Unix times in ticks.
const ticksPerSecond = 10

func tick() int64 { return time.Now().UnixMilli() * ticksPerSecond / 1000 }

// key makes a session's ID short. Two seeded hashes of 64 bits can't be made to
// agree by somebody who doesn't know the seeds.
func (t *sessionTable) key(id []byte) [2]uint64 {
	return [2]uint64{maphash.Bytes(t.seeds[0], id), maphash.Bytes(t.seeds[1], id)}
}

// find returns the name of the session's peer.
func (t *sessionTable) find(id []byte, now int64, l life) (string, bool) {
	k := t.key(id)
	t.mu.Lock()
	defer t.mu.Unlock()
	if i := t.at(k); i != 0 && t.live(i, now, l) {
		return t.names[t.sessions[i].name], true
	}
	return "", false
}

// put notes a session's peer. A session that isn't known is begun, if create
// says so. crowded says that a live session had to make room, once a second.
func (t *sessionTable) put(id []byte, name string, now int64, l life, create bool) (crowded bool) {
	k := t.key(id)
	t.mu.Lock()
	defer t.mu.Unlock()
	i := t.at(k)
	if i != 0 && !t.live(i, now, l) {
		t.remove(i)
		i = 0
	}
	switch {
	case i != 0 && !l.fixed:
		t.unlist(i)
		t.list(i)
		t.sessions[i].last = uint32(now)
	case i == 0 && create:
		i, crowded = t.take(now, l)
		b := &t.buckets[t.bucket(k)]
		t.sessions[i] = session{key: k, last: uint32(now), next: *b}
		*b = i
		t.list(i)
		t.count++
	case i == 0:
		return false
	}
	t.sessions[i].name = t.number(name)
	return crowded
}

// len returns how many sessions are held, expired ones that nobody asked for included.
func (t *sessionTable) len() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.count
}

func (t *sessionTable) bucket(k [2]uint64) uint64 { return k[0] & uint64(len(t.buckets)-1) }

func (t *sessionTable) at(k [2]uint64) uint32 {
	i := t.buckets[t.bucket(k)]
	for i != 0 && t.sessions[i].key != k {
		i = t.sessions[i].next
	}
	return i
}

func (t *sessionTable) live(i uint32, now int64, l life) bool {
	return int64(uint32(now)-t.sessions[i].last) < l.timeout
}

// take returns a free place: the oldest session's when there is none, or when it
// has expired, so that a table grows no further than it must.
func (t *sessionTable) take(now int64, l life) (i uint32, crowded bool) {
	if old := t.oldest; old != 0 {
		expired := !t.live(old, now, l)
		if expired || t.free == 0 && int(t.used)+1 >= len(t.sessions) {
			second := now / ticksPerSecond
			if crowded = !expired && t.warned != second; crowded {
				t.warned = second
			}
			t.remove(old)
		}
	}
	if i = t.free; i != 0 {
		t.free = t.sessions[i].next
		return i, crowded
	}
	t.used++
	return t.used, crowded
}

// remove takes a session out and frees its place.
func (t *sessionTable) remove(i uint32) {
	t.unlist(i)
	at := &t.buckets[t.bucket(t.sessions[i].key)]
	for *at != i {
		at = &t.sessions[*at].next
	}
	*at = t.sessions[i].next
	t.sessions[i].next, t.free = t.free, i
	t.count--
}

func (t *sessionTable) list(i uint32) {
	s := &t.sessions[i]
	s.newer, s.older = 0, t.newest
	if t.newest != 0 {
		t.sessions[t.newest].newer = i
	} else {
		t.oldest = i
	}
	t.newest = i
}

func (t *sessionTable) unlist(i uint32) {
	s := &t.sessions[i]
	if s.newer != 0 {
		t.sessions[s.newer].older = s.older
	} else {
		t.newest = s.older
	}
	if s.older != 0 {
		t.sessions[s.older].newer = s.newer
	} else {
		t.oldest = s.newer
	}
}

// number returns the number of a peer's name. There are as many as there ever were peers.
func (t *sessionTable) number(name string) uint32 {
	n, ok := t.ids[name]
	if !ok {
		n = uint32(len(t.names))
		t.names = append(t.names, name)
		t.ids[name] = n
	}
	return n
}

package lua

import (
	"container/list"
	"math"
	"sync"
	"time"

	"limpet/internal/ngx"
)

// dict is a lua_shared_dict: values by key, with an order of use. It counts its
// bytes as nginx's slab allocator would, so that it holds, evicts and refuses what the
// original does for the same size.
// https://github.com/openresty/lua-nginx-module#ngxshareddict
type dict struct {
	name string
	size int64

	mu    sync.Mutex
	items map[string]*list.Element // of *item, guarded by mu
	lru   *list.List               // last used first, guarded by mu
	slab  slab
}

// item is a value with its key. A value is a string, float64, bool or a queue.
type item struct {
	key     string
	value   any
	flags   uint32
	expires int64 // Unix milliseconds; 0: never
	bytes   int64
}

// expired reports whether the item's time is over.
func (it *item) expired() bool { return it.expires != 0 && it.expires <= millis() }

// queue is the value of lpush and its kin.
type queue struct{ values []any }

// keepDict returns the dictionary, the one of the configuration before where its size is the same.
func keepDict(b *ngx.Build, c dictConf) *dict {
	key := "lua_shared_dict " + c.name + " " + numText(float(c.size))
	return ngx.Keep(b, key, func() *dict { return newDict(c.name, c.size) })
}

func newDict(name string, size int64) *dict {
	return &dict{name: name, size: size, items: make(map[string]*list.Element), lru: list.New(), slab: newSlab(size)}
}

// slab counts pages and pieces: sizes up to 2 KiB are rounded to a power of two and
// share pages, larger ones take whole pages.
type slab struct {
	free  int64     // pages
	slots [12]int64 // free pieces by power of two
	used  [12]int64
}

const (
	pageSize   = 4096
	pageHeader = 24  // of nginx's ngx_slab_page_t
	poolHeader = 704 // of its ngx_slab_pool_t with slots and statistics
	nodeHeader = 68  // of a dictionary's node before key and value
	listHeader = 24  // of a list's element
	maxPiece   = 2048
)

func newSlab(size int64) slab {
	s := slab{free: max((size-poolHeader)/(pageSize+pageHeader), 0)}
	s.alloc(100) // the dictionary's own context
	s.alloc(60)  // and its name for the log
	return s
}

// class returns the power of two of a size; 12 for whole pages.
func class(n int64) int {
	if n > maxPiece {
		return 12
	}
	c := 3
	for int64(1)<<c < n {
		c++
	}
	return c
}

func (s *slab) alloc(n int64) bool {
	c := class(n)
	if c == 12 {
		pages := (n + pageSize - 1) / pageSize
		if s.free < pages {
			return false
		}
		s.free -= pages
		return true
	}
	if s.slots[c] == 0 {
		if s.free == 0 {
			return false
		}
		s.free--
		s.slots[c] += pageSize >> c
	}
	s.slots[c]--
	s.used[c]++
	return true
}

func (s *slab) release(n int64) {
	c := class(n)
	if c == 12 {
		s.free += (n + pageSize - 1) / pageSize
		return
	}
	s.slots[c]++
	s.used[c]--
	if per := int64(pageSize) >> c; s.slots[c] >= per && s.used[c]%per == 0 {
		s.slots[c] -= per
		s.free++
	}
}

func valueSize(v any) int64 {
	switch v := v.(type) {
	case string:
		return int64(len(v))
	case bool:
		return 1
	case *queue:
		return 16
	}
	return 8
}

func millis() int64 { return time.Now().UnixMilli() }

// find returns a live item and makes it the last used; stale also returns one that has expired.
func (d *dict) find(key string, stale bool) (it *item, expired bool) {
	e := d.items[key]
	if e == nil {
		return nil, false
	}
	it = e.Value.(*item)
	d.lru.MoveToFront(e)
	if !it.expired() {
		return it, false
	}
	if !stale {
		return nil, true
	}
	return it, true
}

func (d *dict) remove(key string) {
	if e := d.items[key]; e != nil {
		it := e.Value.(*item)
		d.lru.Remove(e)
		delete(d.items, key)
		d.slab.release(it.bytes)
		if q, ok := it.value.(*queue); ok {
			for _, v := range q.values {
				d.slab.release(listHeader + valueSize(v))
			}
		}
	}
}

// expire removes expired items at the end of the order, as each operation of nginx's
// does: up to two, and with force the last item before them, expired or not. It reports whether any went.
func (d *dict) expire(force bool) (any bool) {
	for n := 0; n < 3; n++ {
		if n == 0 && !force {
			continue
		}
		e := d.lru.Back()
		if e == nil {
			return any
		}
		it := e.Value.(*item)
		if n > 0 && !it.expired() {
			return any
		}
		d.remove(it.key)
		any = true
	}
	return any
}

// maxEvict bounds how many items make room for one.
const maxEvict = 30

// alloc takes bytes, evicting the least used items unless safe.
func (d *dict) alloc(n int64, safe bool) (ok, forcible bool) {
	if d.slab.alloc(n) {
		return true, false
	}
	if safe {
		return false, false
	}
	for range maxEvict {
		if !d.expire(true) {
			break
		}
		forcible = true
		if d.slab.alloc(n) {
			return true, true
		}
	}
	return false, forcible
}

// mode is how set stores.
type mode uint8

const (
	setAny  mode = iota
	setNew       // add
	setOnly      // replace
)

// store sets a value. The error is OpenResty's word for what is wrong.
func (d *dict) store(key string, v any, ttl float64, flags uint32, how mode, safe bool) (msg string, forcible bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.expire(false)
	e := d.items[key]
	live := e != nil && !e.Value.(*item).expired()
	switch {
	case how == setNew && live:
		return "exists", false
	case how == setOnly && !live:
		return "not found", false
	}
	expires := deadline(ttl)
	n := nodeHeader + int64(len(key)) + valueSize(v)
	if e != nil {
		it := e.Value.(*item)
		if _, isQueue := it.value.(*queue); !isQueue && n == nodeHeader+int64(len(key))+valueSize(it.value) {
			it.value, it.flags, it.expires = v, flags, expires
			d.lru.MoveToFront(e)
			return "", false
		}
		d.remove(key)
	}
	ok, forcible := d.alloc(n, safe)
	if !ok {
		return "no memory", forcible
	}
	d.items[key] = d.lru.PushFront(&item{key, v, flags, expires, n})
	return "", forcible
}

func deadline(ttl float64) int64 {
	if ttl <= 0 {
		return 0
	}
	return millis() + int64(math.Ceil(ttl*1000))
}

// load returns a value. stale asks for expired ones, too.
func (d *dict) load(key string, stale bool) (v any, flags uint32, expired bool, msg string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !stale {
		d.expire(false)
	}
	it, expired := d.find(key, stale)
	if it == nil {
		return nil, 0, false, ""
	}
	if _, ok := it.value.(*queue); ok {
		return nil, 0, false, "value is a list"
	}
	return it.value, it.flags, expired, ""
}

// incr adds to a number; init, when given, is what a missing one begins with.
func (d *dict) incr(key string, by float64, init *float64, ttl float64) (n float64, msg string, forcible bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.expire(false)
	it, _ := d.find(key, false)
	if it == nil {
		if init == nil {
			return 0, "not found", false
		}
		d.remove(key)
		size := nodeHeader + int64(len(key)) + 8
		ok, forcible := d.alloc(size, false)
		if !ok {
			return 0, "no memory", forcible
		}
		n = *init + by
		d.items[key] = d.lru.PushFront(&item{key, n, 0, deadline(ttl), size})
		return n, "", forcible
	}
	old, ok := it.value.(float64)
	if !ok {
		return 0, "not a number", false
	}
	n = old + by
	it.value = n
	return n, "", false
}

// delete removes a value.
func (d *dict) delete(key string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.remove(key)
}

// ttl returns the seconds that an item lives on; 0 is for ever, ok is false when there is none.
func (d *dict) ttl(key string) (float64, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	it, expired := d.find(key, true)
	if it == nil || expired && it.value == nil {
		return 0, false
	}
	if it.expires == 0 {
		return 0, true
	}
	return float64(it.expires-millis()) / 1000, true
}

func (d *dict) setTTL(key string, ttl float64) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	it, _ := d.find(key, false)
	if it == nil {
		return false
	}
	it.expires = deadline(ttl)
	return true
}

// flushAll makes every item expired.
func (d *dict) flushAll() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for e := d.lru.Front(); e != nil; e = e.Next() {
		e.Value.(*item).expires = 1
	}
	d.expire(true)
}

// flushExpired removes up to limit expired items (0: all) and returns how many.
func (d *dict) flushExpired(limit int) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	n := 0
	for e := d.lru.Back(); e != nil && (limit <= 0 || n < limit); {
		prev := e.Prev()
		if it := e.Value.(*item); it.expired() {
			d.remove(it.key)
			n++
		}
		e = prev
	}
	return n
}

// keys returns up to limit keys of live items (0: all), the least used first.
func (d *dict) keys(limit int) []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	var keys []string
	for e := d.lru.Back(); e != nil && (limit <= 0 || len(keys) < limit); e = e.Prev() {
		if it := e.Value.(*item); !it.expired() {
			keys = append(keys, it.key)
		}
	}
	return keys
}

// push adds a value at an end of a list and returns its length.
func (d *dict) push(key string, v any, left bool) (n int, msg string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.expire(false)
	it, _ := d.find(key, false)
	if it == nil {
		d.remove(key)
		size := nodeHeader + int64(len(key)) + 16
		if ok, _ := d.alloc(size, false); !ok {
			return 0, "no memory"
		}
		it = &item{key: key, value: &queue{}, bytes: size}
		d.items[key] = d.lru.PushFront(it)
	}
	q, ok := it.value.(*queue)
	if !ok {
		return 0, "value not a list"
	}
	if ok, _ := d.alloc(listHeader+valueSize(v), true); !ok {
		if len(q.values) == 0 {
			d.remove(key)
		}
		return 0, "no memory"
	}
	if left {
		q.values = append([]any{v}, q.values...)
	} else {
		q.values = append(q.values, v)
	}
	return len(q.values), ""
}

// pop removes a value at an end of a list; nil when there is no list.
func (d *dict) pop(key string, left bool) (v any, msg string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	it, _ := d.find(key, false)
	if it == nil {
		return nil, ""
	}
	q, ok := it.value.(*queue)
	if !ok {
		return nil, "value not a list"
	}
	last := len(q.values) - 1
	if left {
		v, q.values = q.values[0], q.values[1:]
	} else {
		v, q.values = q.values[last], q.values[:last]
	}
	d.slab.release(listHeader + valueSize(v))
	if last == 0 {
		d.remove(key)
	}
	return v, ""
}

// length returns the length of a list, 0 when there is none.
func (d *dict) length(key string) (n int, msg string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	it, _ := d.find(key, false)
	if it == nil {
		return 0, ""
	}
	q, ok := it.value.(*queue)
	if !ok {
		return 0, "value not a list"
	}
	return len(q.values), ""
}

// freeSpace returns the bytes of whole free pages.
func (d *dict) freeSpace() int64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.slab.free * pageSize
}

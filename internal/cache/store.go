package cache

import (
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"limpet/internal/errlog"
)

// Store is the cache of one directory. Its methods may be called by any number of
// goroutines at once.
type Store struct {
	dir    string
	levels []int
	block  int64       // bytes of a block of the file system
	cold   atomic.Bool // the loader hasn't read all of the folders

	mu       sync.Mutex
	moved    sync.Cond // a node's file was removed
	conf     *Config
	log      *errlog.Log
	nodes    map[Key]*node
	lru      node // the head of a ring: next was used last
	capacity int
	size     int64 // bytes on disk, in whole blocks
	files    int   // nodes with a file
	users    int   // configurations in force
	stop     chan struct{}
	running  sync.WaitGroup // manager and loader
}

// node is what is known of a key.
type node struct {
	key        Key
	prev, next *node
	holds      int // by requests: the node stays
	uses       int
	exists     bool // it has a file
	deleting   bool // its file is being removed
	size       int64
	status     int       // to be answered without asking; 0 for none
	statusEnd  int64     // Unix seconds
	expire     time.Time // inactive from then on
	owner      *Hold     // who updates it; nil for nobody
	ownerEnd   time.Time
	done       chan struct{} // closed when the update ends; nil while nobody waits
}

// nodeSize is how much of the keys zone a node takes, and zoneOverhead what the zone needs itself.
const (
	nodeSize     = 128
	zoneOverhead = 2 * 4096
	minNodes     = 16
)

// New makes the store of a directory; it does nothing before Start.
func New(c *Config) *Store {
	s := &Store{dir: c.Dir, levels: c.Levels, block: 4096, nodes: make(map[Key]*node), conf: c}
	s.lru.prev, s.lru.next = &s.lru, &s.lru
	s.moved.L = &s.mu
	s.cold.Store(true)
	s.configure(c)
	return s
}

func (s *Store) configure(c *Config) {
	s.conf = c
	s.capacity = max(minNodes, int((c.ZoneSize-zoneOverhead)/nodeSize))
}

// Start puts a configuration in force: the manager runs while any is. Each Start needs a Stop.
func (s *Store) Start(c *Config, log *errlog.Log) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.configure(c)
	s.log = log
	if s.users++; s.users > 1 {
		return
	}
	s.stop = make(chan struct{})
	var fs syscall.Statfs_t
	if syscall.Statfs(s.dir, &fs) == nil && fs.Bsize > 0 {
		s.block = int64(fs.Bsize)
	}
	s.running.Add(2)
	go s.manage(s.stop)
	go s.loadAll(s.stop)
}

// Stop ends what Start began; the last one waits for the manager and the loader.
func (s *Store) Stop() {
	s.mu.Lock()
	s.users--
	last := s.users == 0
	if last {
		close(s.stop)
	}
	s.mu.Unlock()
	if last {
		s.running.Wait()
	}
}

// logf writes a line of the store's own to the error log.
func (s *Store) logf(level errlog.Level, format string, args ...any) {
	s.mu.Lock()
	log := s.log
	s.mu.Unlock()
	if log != nil {
		log.Printf(level, 0, format, args...)
	}
}

// Path returns the name of a key's file.
func (s *Store) Path(k Key) string {
	name := k.String()
	var b strings.Builder
	b.Grow(len(s.dir) + len(name) + 12)
	b.WriteString(s.dir)
	end := len(name)
	for _, l := range s.levels {
		b.WriteByte('/')
		b.WriteString(name[end-l : end])
		end -= l
	}
	b.WriteByte('/')
	b.WriteString(name)
	return b.String()
}

// UseTempPath says that files are written in the proxy's folder for temporary files.
func (s *Store) UseTempPath() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.conf.UseTempPath
}

// Found is what Get knows of a key.
type Found uint8

// What Get knows.
const (
	Absent  Found = iota // nothing: the answer may be kept
	Scarce               // too few uses: the answer isn't to be kept
	Present              // there may be a file
	Failed               // a status is to be answered: Hold.Status
)

// Hold is a request's hold on a key: the index keeps the key until Release. It is
// used by one goroutine at a time.
type Hold struct {
	s      *Store
	n      *node
	Key    Key
	Status int // of Failed
}

// Get counts a use of a key and takes hold of it.
func (s *Store) Get(k Key, minUses int) (*Hold, Found) {
	h := &Hold{s: s, Key: k}
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.nodes[k]
	fresh := n == nil
	if fresh {
		n = s.add(k)
	} else {
		s.unlink(n)
	}
	s.use(n)
	n.holds++
	n.uses++
	h.n = n
	return h, s.found(h, n, fresh, minUses)
}

// found says what is known of a node. s.mu is held.
func (s *Store) found(h *Hold, n *node, fresh bool, minUses int) Found {
	if n.status != 0 {
		if n.statusEnd >= time.Now().Unix() {
			h.Status = n.status
			return Failed
		}
		n.status = 0
		if !n.exists {
			return Absent
		}
	}
	switch {
	case n.exists:
		return Present
	case fresh && s.cold.Load():
		return Present // perhaps
	case n.uses < minUses:
		return Scarce
	}
	return Absent
}

// Again says what is known of the key after a wait, without counting a use.
func (h *Hold) Again() Found {
	s := h.s
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.found(h, h.n, false, 0)
}

// MayKeep says that the key has the uses that it takes to be kept, when its file was looked for in vain.
func (h *Hold) MayKeep(minUses int) bool {
	h.s.mu.Lock()
	defer h.s.mu.Unlock()
	return h.n.uses >= minUses
}

// Open opens the key's file and reads its beginning into buf. The error is nil with a
// nil File where there is none; else it says why the file can't be used.
func (h *Hold) Open(key, buf []byte) (*File, error) {
	name := h.s.Path(h.Key)
	f, _, err := openFile(name, key, buf)
	switch err {
	case nil:
		h.s.opened(h.n, f.l.end)
		return f, nil
	case syscall.ENOENT, syscall.ENOTDIR:
		h.s.lost(h.n)
		return nil, nil
	}
	return nil, &FileError{name, err}
}

// FileError says why a file of the cache can't be used.
type FileError struct {
	Name string
	Err  error
}

// Error returns the text for the error log.
func (e *FileError) Error() string {
	if _, ok := e.Err.(syscall.Errno); ok {
		return `open() "` + e.Name + `" failed ` + errlog.Errno(e.Err)
	}
	return `cache file "` + e.Name + `" ` + e.Err.Error()
}

// opened notes a file that the index didn't know yet.
func (s *Store) opened(n *node, size int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !n.exists && !n.deleting {
		s.has(n, size)
	}
}

// lost notes that a file has gone.
func (s *Store) lost(n *node) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.hasNot(n)
}

// has counts a node's file. s.mu is held.
func (s *Store) has(n *node, size int64) {
	s.hasNot(n)
	n.exists = true
	n.size = (size + s.block - 1) / s.block * s.block
	s.size += n.size
	s.files++
}

// hasNot counts a node's file no longer. s.mu is held.
func (s *Store) hasNot(n *node) {
	if n.exists {
		n.exists = false
		s.size -= n.size
		s.files--
		n.size = 0
	}
}

// Own makes the holder the one who updates the key, for at most age. It is false while another one does.
func (h *Hold) Own(age time.Duration) bool {
	h.s.mu.Lock()
	defer h.s.mu.Unlock()
	n, now := h.n, time.Now()
	if n.owner != nil && n.owner != h && now.Before(n.ownerEnd) {
		return false
	}
	n.owner, n.ownerEnd = h, now.Add(age)
	return true
}

// Busy returns a channel that is closed when the update of the key by another ends, and how
// long it may last at most; nil when nobody updates it.
func (h *Hold) Busy() (done <-chan struct{}, left time.Duration) {
	h.s.mu.Lock()
	defer h.s.mu.Unlock()
	n := h.n
	if n.owner == nil || n.owner == h {
		return nil, 0
	}
	if left = time.Until(n.ownerEnd); left <= 0 {
		return nil, 0
	}
	if n.done == nil {
		n.done = make(chan struct{})
	}
	return n.done, left
}

// Fail remembers a status to be answered for the key until a time, in Unix seconds.
func (h *Hold) Fail(status int, until int64) {
	h.s.mu.Lock()
	defer h.s.mu.Unlock()
	h.n.status, h.n.statusEnd = status, until
}

// Renew changes the times of the key's file.
func (h *Hold) Renew(m *Meta) error { return writeTimes(h.s.Path(h.Key), m) }

// Release gives the key up. Releasing a nil Hold, or twice, does nothing.
func (h *Hold) Release() {
	if h == nil || h.n == nil {
		return
	}
	h.s.mu.Lock()
	defer h.s.mu.Unlock()
	h.disown()
	h.n.holds--
	h.n = nil
}

// disown ends the update. s.mu is held.
func (h *Hold) disown() {
	if h.n.owner == h {
		h.n.free()
	}
}

// free ends whatever update there is and wakes who waits for it.
func (n *node) free() {
	n.owner = nil
	if n.done != nil {
		close(n.done)
		n.done = nil
	}
}

// add makes a node, at the cost of others when the zone is full. s.mu is held.
func (s *Store) add(k Key) *node {
	if len(s.nodes) >= s.capacity {
		s.makeRoom()
	}
	n := &node{key: k}
	s.nodes[k] = n
	return n
}

// use makes a node the one that was used last. s.mu is held.
func (s *Store) use(n *node) {
	n.expire = time.Now().Add(s.conf.Inactive)
	n.prev, n.next = &s.lru, s.lru.next
	n.prev.next, n.next.prev = n, n
}

func (s *Store) unlink(n *node) {
	n.prev.next, n.next.prev = n.next, n.prev
	n.prev, n.next = nil, nil
}

// attempts bounds how many nodes in use are passed over in the search for one to remove, as in nginx.
const attempts = 20

// makeRoom removes the node that was used least recently and that nobody holds; the index
// outgrows the zone where there is none. s.mu is held.
func (s *Store) makeRoom() {
	n := s.lru.prev
	for i := 0; i < attempts && n != &s.lru; i++ {
		if n.holds == 0 && !n.deleting {
			s.remove(n)
			return
		}
		n = n.prev
	}
}

// remove takes a node out of the index, with its file. s.mu is held, and let go while the file is removed.
func (s *Store) remove(n *node) {
	if n.exists {
		s.hasNot(n)
		n.deleting = true
		name := s.Path(n.key)
		s.mu.Unlock()
		err := os.Remove(name)
		s.mu.Lock()
		n.deleting = false
		s.moved.Broadcast()
		if err != nil && !os.IsNotExist(err) && s.log != nil {
			s.log.Printf(errlog.Crit, 0, `unlink() "%s" failed %s`, name, errlog.Errno(err))
		}
	}
	if n.holds == 0 && !n.exists && s.nodes[n.key] == n {
		s.unlink(n)
		delete(s.nodes, n.key)
	}
}

package accesslog

import (
	"container/list"
	"os"
	"sync"
	"time"
)

// fileCache is what open_log_file_cache keeps open. It is safe for concurrent use.
type fileCache struct {
	max      int
	inactive time.Duration // a file that wasn't written for so long is closed
	valid    time.Duration // after so long it is checked that the file is still there
	minUses  int           // a file stays open from so many uses on

	mu    sync.Mutex // guards what follows, and the order of writes
	files map[string]*list.Element
	order list.List // of *cached, most recently used first
}

// cached is a file, open where it was used often enough.
type cached struct {
	name    string
	file    *os.File // nil: not kept open
	info    os.FileInfo
	checked time.Time
	used    time.Time
	uses    int
}

// write writes a line to the file of that name; failed names the call that did.
func (c *fileCache) write(name string, line []byte) (failed string, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	c.expire(now)
	e := c.entry(name)
	e.used = now
	e.uses++
	if e.uses < c.minUses {
		return writeOnce(name, line)
	}
	if err := e.open(now, c.valid); err != nil {
		return "open", err
	}
	_, err = e.file.Write(line)
	return "write", err
}

// entry returns the entry of a name as the most recently used one, making room for a new one.
func (c *fileCache) entry(name string) *cached {
	if el := c.files[name]; el != nil {
		c.order.MoveToFront(el)
		return el.Value.(*cached)
	}
	if c.order.Len() >= c.max {
		c.drop(c.order.Back())
	}
	if c.files == nil {
		c.files = make(map[string]*list.Element)
	}
	e := &cached{name: name}
	c.files[name] = c.order.PushFront(e)
	return e
}

// expire closes what wasn't used for long.
func (c *fileCache) expire(now time.Time) {
	for el := c.order.Back(); el != nil && now.Sub(el.Value.(*cached).used) > c.inactive; el = c.order.Back() {
		c.drop(el)
	}
}

func (c *fileCache) drop(el *list.Element) {
	e := c.order.Remove(el).(*cached)
	e.close()
	delete(c.files, e.name)
}

// close closes all files.
func (c *fileCache) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.order.Len() > 0 {
		c.drop(c.order.Back())
	}
}

// open opens the file, again where another one, or none, has its name.
func (e *cached) open(now time.Time, valid time.Duration) error {
	if e.file != nil && now.Sub(e.checked) > valid {
		if info, err := os.Stat(e.name); err != nil || !os.SameFile(info, e.info) {
			e.close()
		}
		e.checked = now
	}
	if e.file != nil {
		return nil
	}
	f, err := openLog(e.name)
	if err != nil {
		return err
	}
	e.file, e.checked = f, now
	e.info, err = f.Stat()
	return err
}

func (e *cached) close() {
	if e.file != nil {
		e.file.Close()
		e.file = nil
	}
}

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
	el := c.files[name]
	if el == nil {
		return c.first(name, line, now)
	}
	c.order.MoveToFront(el)
	e := el.Value.(*cached)
	e.used = now
	if e.uses++; e.uses < c.minUses {
		return writeOnce(name, line)
	}
	if err := e.open(now, c.valid); err != nil {
		return "open", err
	}
	_, err = e.file.Write(line)
	return "write", err
}

// first writes the first line to a file. One that can't be opened is forgotten:
// it drives no other file out.
func (c *fileCache) first(name string, line []byte, now time.Time) (failed string, err error) {
	e := &cached{name: name, used: now, uses: 1}
	if err := e.open(now, c.valid); err != nil {
		return "open", err
	}
	if _, err := e.file.Write(line); err != nil {
		e.close()
		return "write", err
	}
	if c.minUses > 1 {
		e.close()
	}
	if c.order.Len() >= c.max {
		c.drop(c.order.Back())
	}
	if c.files == nil {
		c.files = make(map[string]*list.Element)
	}
	c.files[name] = c.order.PushFront(e)
	return "", nil
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

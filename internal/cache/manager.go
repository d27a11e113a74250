package cache

import (
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"limpet/internal/errlog"
)

// managerIdle is how long the manager waits at most, as in nginx.
const managerIdle = 10 * time.Second

// manage removes what is inactive or too much until stop is closed.
func (s *Store) manage(stop chan struct{}) {
	defer s.running.Done()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-stop:
			return
		case <-timer.C:
			timer.Reset(s.sweep())
		}
	}
}

// sweep is one run of the manager. It returns how long the next one waits.
func (s *Store) sweep() time.Duration {
	start := time.Now()
	next := s.expire(start)
	for removed := 0; s.tooMuch(); {
		if !s.removeOldest() {
			return next
		}
		removed++
		s.mu.Lock()
		pace := s.conf.Manager
		s.mu.Unlock()
		if removed >= pace.Files || time.Since(start) >= pace.Threshold {
			return min(next, pace.Sleep)
		}
	}
	return next
}

// tooMuch reports whether files or nodes are to be removed.
func (s *Store) tooMuch() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.files > 0 && (s.size > s.conf.MaxSize || s.lacking()) {
		return true
	}
	return len(s.nodes) > s.capacity-s.capacity/8
}

// lacking reports whether the file system has less than min_free left. s.mu is held.
func (s *Store) lacking() bool {
	if s.conf.MinFree == 0 {
		return false
	}
	var fs syscall.Statfs_t
	return syscall.Statfs(s.dir, &fs) == nil && int64(fs.Bavail)*int64(fs.Bsize) < s.conf.MinFree
}

// removeOldest removes the node that was used least recently; false when all of those looked at are held.
func (s *Store) removeOldest() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.lru.prev
	for i := 0; i < attempts && n != &s.lru; i++ {
		if n.holds == 0 && !n.deleting {
			s.remove(n)
			return true
		}
		n = n.prev
	}
	return false
}

// expire removes nodes that nobody asked for, up to manager_files, and returns when the next one is due.
func (s *Store) expire(now time.Time) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	for removed := 0; ; {
		n := s.lru.prev
		switch {
		case n == &s.lru:
			return managerIdle
		case n.expire.After(now):
			return max(min(n.expire.Sub(now), managerIdle), time.Millisecond)
		case removed >= s.conf.Manager.Files || time.Since(now) >= s.conf.Manager.Threshold:
			return max(s.conf.Manager.Sleep, time.Millisecond)
		case n.holds > 0 || n.deleting: // as if it were used
			s.unlink(n)
			s.use(n)
			n.expire = now.Add(max(s.conf.Inactive, managerIdle))
		default:
			s.remove(n)
			removed++
		}
	}
}

// loader reads the folders.
type loader struct {
	s     *Store
	stop  chan struct{}
	files int
	start time.Time
}

// loadAll puts the files on disk into the index.
func (s *Store) loadAll(stop chan struct{}) {
	defer s.running.Done()
	if !s.cold.Load() {
		return
	}
	l := &loader{s, stop, 0, time.Now()}
	if l.folder(s.dir, len(s.levels)) {
		s.cold.Store(false)
	}
}

// folder reads a folder with depth levels of folders below it; false when it is time to stop.
func (l *loader) folder(dir string, depth int) bool {
	f, err := os.Open(dir)
	if err != nil {
		return true
	}
	defer f.Close()
	for {
		entries, err := f.ReadDir(256)
		for _, e := range entries {
			name := dir + "/" + e.Name()
			switch {
			case depth > 0 && e.IsDir():
				if !l.folder(name, depth-1) {
					return false
				}
			case depth == 0 && e.Type().IsRegular():
				l.file(name)
				if !l.pause() {
					return false
				}
			}
		}
		if err != nil {
			return true
		}
	}
}

// file takes a file into the index, or removes it where it isn't a good one.
func (l *loader) file(name string) {
	base, suffix, temp := strings.Cut(filepath.Base(name), ".")
	var key Key
	if n, err := hex.Decode(key[:], []byte(base[:min(len(base), 2*len(key))])); err != nil || n != len(key) || len(base) != 2*n || l.s.Path(key) != filepath.Dir(name)+"/"+base {
		return // nobody's that is known here
	}
	if temp {
		l.leftover(name, suffix)
		return
	}
	size, err := checkFile(name, key)
	if err == nil {
		l.s.loaded(key, size)
		return
	}
	if os.IsNotExist(err) {
		return
	}
	if l.s.discard(key, name) {
		l.s.logf(errlog.Crit, `cache file "%s" %s`, name, err)
	}
}

// leftover removes a temporary file that nobody writes to any more.
func (l *loader) leftover(name, suffix string) {
	const old = time.Minute
	if len(suffix) != 10 || strings.Trim(suffix, "0123456789") != "" {
		return
	}
	if st, err := os.Stat(name); err == nil && time.Since(st.ModTime()) > old {
		os.Remove(name)
	}
}

// loaded notes a file found on disk.
func (s *Store) loaded(key Key, size int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.nodes[key]
	if n == nil {
		n = s.add(key)
		s.use(n)
	}
	if !n.exists && !n.deleting {
		s.has(n, size)
	}
}

// discard removes a broken file, unless a good one may have taken its place meanwhile.
func (s *Store) discard(key Key, name string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if n := s.nodes[key]; n != nil {
		return false
	}
	return os.Remove(name) == nil
}

// pause keeps the loader from taking the disk for itself; false when it is time to stop.
func (l *loader) pause() bool {
	l.s.mu.Lock()
	pace := l.s.conf.Loader
	l.s.mu.Unlock()
	if l.files++; l.files < pace.Files && time.Since(l.start) < pace.Threshold {
		select {
		case <-l.stop:
			return false
		default:
			return true
		}
	}
	timer := time.NewTimer(pace.Sleep)
	defer timer.Stop()
	select {
	case <-l.stop:
		return false
	case <-timer.C:
		l.files, l.start = 0, time.Now()
		return true
	}
}

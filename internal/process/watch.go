package process

import (
	"maps"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/fsnotify/fsnotify"

	"limpet/nginxconf"
)

// The times of watching: a look is taken when nothing has happened for quietTime, so
// that a burst of changes is one, but at the latest lateTime after the first; and
// every pollTime where the system doesn't tell of changes.
const (
	quietTime = 200 * time.Millisecond
	lateTime  = 2 * time.Second
	pollTime  = time.Second
)

// watch tells when the files of the configuration have changed: the main file, what
// it includes, and what modules note by Config.Watch. It watches their folders, as
// editors rename and Kubernetes swaps symlinks, those on the way included, and
// compares bytes, so that touching a file is no change. It is used by one goroutine.
type watch struct {
	fs     *fsnotify.Watcher // nil: there is nothing but looking
	timer  *time.Timer
	first  time.Time // of the events that the timer runs for; zero while it doesn't
	onFail func(err error)

	files   map[string]nginxconf.Sum // as the last attempt to load saw them
	inForce map[string]nginxconf.Sum
	seen    map[string]nginxconf.Sum // as changed saw them
	globs   []string
	failed  bool            // the last attempt
	folders map[string]bool // watched
	// noisy are the folders that logs are written to: each line would be an event, so
	// their files are looked at now and then instead, by their stamps first.
	noisy  map[string]bool
	polled bool // some file lies in a noisy folder
	told   bool // an event came since the last look
	stamps map[string]stamp
	names  map[string]bool // last elements of the files' paths, symlinks on the way included
}

// newWatch returns a watch of no files; onFail, when not nil, is told why it has to poll.
func newWatch(onFail func(error)) *watch {
	w := &watch{timer: time.NewTimer(time.Hour), onFail: onFail, folders: make(map[string]bool)}
	w.timer.Stop()
	fs, err := fsnotify.NewWatcher()
	if err != nil {
		w.poll(err)
		return w
	}
	w.fs = fs
	return w
}

// poll gives up on being told.
func (w *watch) poll(err error) {
	if w.fs != nil {
		w.fs.Close()
		w.fs = nil
	}
	w.timer.Reset(pollTime)
	if w.onFail != nil {
		w.onFail(err)
	}
}

// close ends the watch.
func (w *watch) close() {
	w.timer.Stop()
	if w.fs != nil {
		w.fs.Close()
	}
}

// events is where the system's events come from; they go to event.
func (w *watch) events() <-chan fsnotify.Event {
	if w.fs == nil {
		return nil
	}
	return w.fs.Events
}

// errors is where the system's errors come from: events were lost, so a look is due.
func (w *watch) errors() <-chan error {
	if w.fs == nil {
		return nil
	}
	return w.fs.Errors
}

// event takes an event; a look may become due.
func (w *watch) event(e fsnotify.Event) {
	if e.Has(fsnotify.Create) || e.Has(fsnotify.Remove) || e.Has(fsnotify.Rename) || w.names[filepath.Base(e.Name)] {
		w.soon()
	}
}

// stamp is what a file's change changes: a look at it is cheaper than its bytes.
type stamp struct {
	modified time.Time
	size     int64
	inode    uint64
}

// stampAll returns the stamps of the files and of what the patterns match.
func (w *watch) stampAll() map[string]stamp {
	all := make(map[string]stamp, len(w.files))
	add := func(name string) {
		fi, err := os.Stat(name)
		if err != nil {
			all[name] = stamp{}
			return
		}
		s := stamp{modified: fi.ModTime(), size: fi.Size()}
		if sys, ok := fi.Sys().(*syscall.Stat_t); ok {
			s.inode = sys.Ino
		}
		all[name] = s
	}
	for name := range w.files {
		add(name)
	}
	for _, pattern := range w.globs {
		names, _ := nginxconf.Glob(pattern)
		for _, name := range names {
			add(name)
		}
	}
	return all
}

// quiet names the folders that logs are written to.
func (w *watch) quiet(logs []string) {
	w.noisy = make(map[string]bool)
	for _, name := range logs {
		if dir, err := filepath.EvalSymlinks(filepath.Dir(name)); err == nil {
			w.noisy[dir] = true
		}
	}
}

// soon makes a look due once it has been quiet.
func (w *watch) soon() {
	w.told = true
	now := time.Now()
	if w.first.IsZero() {
		w.first = now
	}
	w.timer.Reset(min(quietTime, w.first.Add(lateTime).Sub(now)))
}

// changed takes the look that the timer called for.
func (w *watch) changed() bool {
	w.first = time.Time{}
	if w.fs == nil || w.polled {
		w.timer.Reset(pollTime)
		stamps := w.stampAll()
		if !w.told && maps.Equal(stamps, w.stamps) {
			return false
		}
		w.stamps = stamps
	}
	w.told = false
	w.seen = w.look(w.files)
	if maps.Equal(w.seen, w.files) {
		w.follow() // a folder may be another one
		return false
	}
	if w.failed && maps.Equal(w.look(w.inForce), w.inForce) {
		w.files, w.failed = w.seen, false // the mistake was taken back
		w.follow()
		return false
	}
	return true
}

// look returns the files as they are, with those that the patterns match.
func (w *watch) look(files map[string]nginxconf.Sum) map[string]nginxconf.Sum {
	now := make(map[string]nginxconf.Sum, len(files))
	for name := range files {
		now[name] = nginxconf.SumFile(name)
	}
	for _, pattern := range w.globs {
		names, _ := nginxconf.Glob(pattern)
		for _, name := range names {
			if _, ok := now[name]; !ok {
				now[name] = nginxconf.SumFile(name)
			}
		}
	}
	return now
}

// note tells of an attempt to load that gave the configuration, complete unless it failed.
func (w *watch) note(config *nginxconf.Config, failed bool) {
	read := make(map[string]nginxconf.Sum)
	for _, f := range config.Watched {
		read[f.Name] = f.Sum
	}
	for _, f := range config.Files {
		read[f.Name] = nginxconf.SumOf(f.Text)
	}
	w.failed = failed
	if failed {
		// What it didn't come to read may be where the mistake is mended.
		w.globs = append(w.globs[:len(w.globs):len(w.globs)], config.Globs...)
		w.files = w.seen
		if w.files == nil {
			w.files = w.look(w.inForce)
		}
		w.files = w.look(w.files)
		maps.Copy(w.files, read)
	} else {
		w.globs, w.files, w.inForce = config.Globs, read, read
	}
	w.seen = nil
	w.follow()
	if w.polled {
		w.stamps = w.stampAll()
	}
}

// follow watches the folders that the files lie in, and no others.
func (w *watch) follow() {
	folders := make(map[string]bool)
	w.names = make(map[string]bool)
	for name := range w.files {
		w.walk(name, folders)
	}
	for _, pattern := range w.globs {
		w.walk(pattern, folders)
		dirs, _ := filepath.Glob(filepath.Dir(pattern))
		for _, d := range dirs {
			w.walk(d+"/*", folders)
		}
	}
	for d := range w.folders {
		if !folders[d] && w.fs != nil {
			w.fs.Remove(d)
		}
	}
	w.polled = false
	for d := range folders {
		if w.fs == nil {
			break
		}
		if real, err := filepath.EvalSymlinks(d); err == nil && w.noisy[real] {
			w.polled = true
			w.fs.Remove(d)
			continue
		}
		// Adding again costs little, and finds a folder that took another's name.
		if err := w.fs.Add(d); err != nil && !os.IsNotExist(err) && !os.IsPermission(err) {
			w.poll(err)
		}
	}
	w.folders = folders
	if w.polled && w.first.IsZero() {
		w.timer.Reset(pollTime)
	}
}

// maxLinks bounds the symlinks on one way, as the kernel does.
const maxLinks = 40

// walk notes the folders whose entries lead to a file: its own, those of the
// symlinks on the way, and where the way ends early, the last that is there.
func (w *watch) walk(name string, folders map[string]bool) {
	rest, at := strings.Split(name, "/"), "/"
	if !filepath.IsAbs(name) {
		at = "."
	}
	for links := 0; len(rest) > 0; {
		part := rest[0]
		rest = rest[1:]
		if part == "" || part == "." {
			continue
		}
		path := filepath.Join(at, part)
		to, err := os.Readlink(path)
		if err == nil && links < maxLinks {
			links++
			folders[at] = true
			w.names[part] = true
			if filepath.IsAbs(to) {
				at = "/"
			}
			rest = append(strings.Split(to, "/"), rest...)
			continue
		}
		if _, err := os.Lstat(path); err != nil || len(rest) == 0 {
			folders[at] = true
			w.names[part] = true
			return
		}
		at = path
	}
}

package ngx

import (
	"fmt"
	"slices"

	"limpet/internal/errlog"
	"limpet/internal/tcp"
	"limpet/nginxconf"
)

// Build is the making of one configuration: what modules take part in while it
// is built, and what they leave behind. It isn't safe for concurrent use.
type Build struct {
	Config *nginxconf.Config
	Vars   *Vars
	Log    *errlog.Log   // for messages of the build itself
	Files  *errlog.Files // open logs, shared with the configuration before
	Stats  *Stats        // the process's counters
	Poller *tcp.Poller   // of the process's connections; nil for -t
	// Workers is how many processes nginx would serve with: what it has once in each, and counts there, is as much
	// as all have together.
	Workers int
	// Test is true for -t: nothing is started and what is opened is closed again.
	Test bool
	// Offline forbids name resolution and opening keys and logs.
	Offline bool

	old, kept map[string]any
	shared    []any
	temp      []string
	start     []func()
	retire    []func()
	undo      []func()
	reopen    []func()
	slots     int
	scopes    map[*nginxconf.Level]*Scope
}

// NewBuild begins the making of a configuration; old is the Build of the one in force, or nil.
func NewBuild(config *nginxconf.Config, old *Build) *Build {
	b := &Build{Config: config, Stats: new(Stats), Workers: 1, kept: make(map[string]any)}
	b.Vars = nginxconf.Of[*VarConf](config.Root).Vars
	if old != nil {
		b.old = old.kept
	}
	return b
}

// Keep returns state that lives on over reloads (a zone, a peer's health): the
// old configuration's under the same key and of the same type, else a new one.
// Key it by all that makes it incompatible, such as a zone's size.
func Keep[T any](b *Build, key string, fresh func() T) T {
	if v, ok := b.kept[key].(T); ok {
		return v
	}
	v, ok := b.old[key].(T)
	if !ok {
		v = fresh()
	}
	b.kept[key] = v
	return v
}

// Shared returns the configuration's one value of type T, made on first use:
// how packages hand things to each other while building.
func Shared[T any](b *Build) *T {
	for _, v := range b.shared {
		if t, ok := v.(*T); ok {
			return t
		}
	}
	t := new(T)
	b.shared = append(b.shared, t)
	return t
}

// ScopeOf notes the scope that was built of a level; Scope finds it. Scopes inside
// a level are built before the level's own modules run, so that rewrite finds its ifs.
func (b *Build) ScopeOf(lv *nginxconf.Level, s *Scope) {
	if b.scopes == nil {
		b.scopes = make(map[*nginxconf.Level]*Scope)
	}
	b.scopes[lv] = s
}

// Scope returns the scope built of a level, nil when there is none.
func (b *Build) Scope(lv *nginxconf.Level) *Scope { return b.scopes[lv] }

// Watch notes a file that the configuration depends on besides its own, so that
// its change reloads; see nginxconf.Config.Watch. Call it before the file is read.
func (b *Build) Watch(name string) {
	if !b.Test && !b.Offline {
		b.Config.Watch(name)
	}
}

// TempDir notes a folder for temporary files, so that root makes it and gives it to
// the user that requests are served as.
func (b *Build) TempDir(dir string) {
	if !slices.Contains(b.temp, dir) {
		b.temp = append(b.temp, dir)
	}
}

// TempDirs returns the folders for temporary files.
func (b *Build) TempDirs() []string { return b.temp }

// Notice adds what -t has to say besides errors, severity "warn" or "notice".
func (b *Build) Notice(severity, format string, args ...any) {
	b.Config.Notices = append(b.Config.Notices, nginxconf.Notice{Severity: severity, Msg: fmt.Sprintf(format, args...)})
}

// OnStart runs f when the configuration comes into force.
func (b *Build) OnStart(f func()) { b.start = append(b.start, f) }

// OnRetire runs f when the configuration's last request has ended.
func (b *Build) OnRetire(f func()) { b.retire = append(b.retire, f) }

// OnUndo runs f when the configuration fails to be built after all, or was only tested.
func (b *Build) OnUndo(f func()) { b.undo = append(b.undo, f) }

// OnReopen runs f before the log files are opened anew.
func (b *Build) OnReopen(f func()) { b.reopen = append(b.reopen, f) }

// Reopen runs what is due before the log files are opened anew.
func (b *Build) Reopen() { run(b.reopen) }

// Start, Retire and Undo run what was noted for them; server calls them, each at most once.
func (b *Build) Start() { run(b.start) }

// Retire ends what the configuration started, last first: the error log, opened first, hears of all the rest.
func (b *Build) Retire() { runBack(b.retire) }

// Close closes what was kept from configuration to configuration, at the process' end.
func (b *Build) Close() {
	for _, v := range b.kept {
		if c, ok := v.(interface{ Close() }); ok {
			c.Close()
		}
	}
}

// Undo closes what was opened, last first.
func (b *Build) Undo() { runBack(b.undo) }

func runBack(fs []func()) {
	for i := len(fs) - 1; i >= 0; i-- {
		fs[i]()
	}
}

func run(fs []func()) {
	for _, f := range fs {
		f()
	}
}

// Slot is a place in every request for a module's own value of type T.
type Slot[T any] struct{ index int }

// NewSlot reserves a place in every request of the configuration.
func NewSlot[T any](b *Build) Slot[T] {
	b.slots++
	return Slot[T]{b.slots - 1}
}

// Slots returns how many places were reserved.
func (b *Build) Slots() int { return b.slots }

// Get returns the request's value, the zero T when none was put.
func (s Slot[T]) Get(r *Request) T {
	if s.index < len(r.slots) {
		if v, ok := r.slots[s.index].(T); ok {
			return v
		}
	}
	var zero T
	return zero
}

// Put keeps a value with the request (subrequests have their own).
func (s Slot[T]) Put(r *Request, v T) {
	for len(r.slots) <= s.index {
		r.slots = append(r.slots, nil)
	}
	r.slots[s.index] = v
}

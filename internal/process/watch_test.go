package process

import (
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"limpet/nginxconf"
)

// tree is a folder with a watch of the files that lie in it.
type tree struct {
	t   *testing.T
	dir string
	*watch
}

func newTree(t *testing.T, files map[string]string) *tree {
	t.Helper()
	tr := &tree{t: t, dir: t.TempDir()}
	for name, text := range files {
		tr.write(name, text)
	}
	tr.watch = newWatch(func(err error) { t.Errorf("polling: %v", err) })
	t.Cleanup(tr.close)
	return tr
}

func (tr *tree) path(name string) string { return filepath.Join(tr.dir, name) }

func (tr *tree) write(name, text string) {
	tr.t.Helper()
	if err := os.MkdirAll(filepath.Dir(tr.path(name)), 0o755); err != nil {
		tr.t.Fatal(err)
	}
	if err := os.WriteFile(tr.path(name), []byte(text), 0o644); err != nil {
		tr.t.Fatal(err)
	}
}

// load notes an attempt to load that read the files and patterns named.
func (tr *tree) load(failed bool, names []string, globs ...string) {
	c := &nginxconf.Config{}
	for _, name := range names {
		text, err := os.ReadFile(tr.path(name))
		if err != nil {
			c.Watch(tr.path(name))
			continue
		}
		c.Files = append(c.Files, nginxconf.File{Name: tr.path(name), Text: text})
	}
	for _, g := range globs {
		c.Globs = append(c.Globs, tr.path(g))
	}
	tr.note(c, failed)
}

// told waits until a look is due and reports whether something had changed; false,
// too, when nothing happens for a while.
func (tr *tree) told() bool {
	tr.t.Helper()
	nothing := time.After(2 * quietTime)
	for {
		select {
		case e := <-tr.events():
			tr.event(e)
		case <-tr.timer.C:
			return tr.changed()
		case <-nothing:
			if tr.first.IsZero() {
				return false
			}
		}
	}
}

func (tr *tree) want(changed bool, what string) {
	tr.t.Helper()
	if tr.told() != changed {
		tr.t.Errorf("%s: changed is %v", what, !changed)
	}
}

func TestChangedBytesAreSeen(t *testing.T) {
	tr := newTree(t, map[string]string{"nginx.conf": "1", "other": "1"})
	tr.load(false, []string{"nginx.conf"})
	tr.write("nginx.conf", "2")
	tr.want(true, "written in place")
	tr.load(false, []string{"nginx.conf"})
	tr.write("nginx.conf", "2")
	tr.want(false, "written without a change")
	now := time.Now()
	os.Chtimes(tr.path("nginx.conf"), now, now)
	tr.want(false, "touched")
	tr.write("other", "2")
	tr.want(false, "another file of the folder")
	tr.write("nginx.conf~", "3")
	os.Rename(tr.path("nginx.conf~"), tr.path("nginx.conf"))
	tr.want(true, "replaced by a rename, as editors do")
	tr.load(false, []string{"nginx.conf"})
	tr.write("nginx.conf", "4")
	tr.want(true, "written after it was replaced")
}

func TestIncludedPatternsSeeNewAndRemovedFiles(t *testing.T) {
	tr := newTree(t, map[string]string{"nginx.conf": "1", "conf.d/a.conf": "1"})
	load := func(names ...string) { tr.load(false, append(names, "nginx.conf"), "conf.d/*.conf", "sites/*/x.conf") }
	load("conf.d/a.conf")
	tr.write("conf.d/b.conf", "1")
	tr.want(true, "a new file")
	load("conf.d/a.conf", "conf.d/b.conf")
	tr.write("conf.d/notes.txt", "1")
	tr.want(false, "a file that the pattern doesn't match")
	os.Remove(tr.path("conf.d/a.conf"))
	tr.want(true, "a removed file")
	load("conf.d/b.conf")
	tr.write("sites/one/x.conf", "1")
	told := tr.told() // the folder first, then what is in it
	if !told && !tr.told() {
		t.Error("a file in a folder that wasn't there")
	}
}

func TestSymlinksAreFollowed(t *testing.T) {
	tr := newTree(t, map[string]string{"..v1/nginx.conf": "1", "..v2/nginx.conf": "2", "available/site": "1"})
	link := func(to, name string) {
		os.Symlink(to, tr.path(name+".tmp"))
		if err := os.Rename(tr.path(name+".tmp"), tr.path(name)); err != nil {
			t.Fatal(err)
		}
	}
	link("..v1", "..data")
	link("..data/nginx.conf", "nginx.conf")
	os.Mkdir(tr.path("enabled"), 0o755)
	link("../available/site", "enabled/site")
	load := func() { tr.load(false, []string{"nginx.conf", "enabled/site"}) }
	load()
	link("..v2", "..data") // Kubernetes' way
	tr.want(true, "the folder behind a symlink was swapped")
	load()
	tr.write("..v2/nginx.conf", "3")
	tr.want(true, "written in the new folder")
	load()
	tr.write("available/site", "2")
	tr.want(true, "written behind a symlink")
}

func TestMistakeIsTriedOnce(t *testing.T) {
	tr := newTree(t, map[string]string{"nginx.conf": "good", "lib": "1"})
	tr.load(false, []string{"nginx.conf", "lib"})
	tr.write("nginx.conf", "bad")
	tr.want(true, "a mistake")
	tr.load(true, []string{"nginx.conf"})
	tr.write("nginx.conf", "bad")
	tr.want(false, "the same mistake")
	tr.write("lib", "2")
	tr.want(true, "a file that the failed attempt didn't come to")
	tr.load(true, []string{"nginx.conf"})
	tr.write("lib", "1")
	tr.want(true, "that file again")
	tr.load(true, []string{"nginx.conf"})
	tr.write("nginx.conf", "good")
	tr.want(false, "the mistake was taken back: what is in force is what the files say")
	tr.write("nginx.conf", "better")
	tr.want(true, "a change after that")
}

func TestFileThatGoesAndComesBack(t *testing.T) {
	tr := newTree(t, map[string]string{"nginx.conf": "1"})
	tr.load(false, []string{"nginx.conf"})
	os.Remove(tr.path("nginx.conf"))
	tr.want(true, "gone")
	tr.load(true, []string{"nginx.conf"})
	tr.write("nginx.conf", "1")
	tr.want(false, "back as it was")
	os.Remove(tr.path("nginx.conf"))
	tr.want(true, "gone again")
	tr.load(true, []string{"nginx.conf"})
	tr.write("nginx.conf", "2")
	tr.want(true, "back with a change")
	tr.load(true, []string{"nginx.conf", "missing.conf"})
	tr.write("missing.conf", "1")
	tr.want(true, "an include that was missing")
}

func TestBurstIsOneChangeAndNotPutOffForEver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &watch{timer: time.NewTimer(time.Hour)}
		start := time.Now()
		last := start
		for due := false; !due; {
			w.soon()
			last = time.Now()
			select {
			case <-w.timer.C:
				due = true
			case <-time.After(quietTime / 2): // the next of the burst
			}
		}
		if d := time.Since(start); d != lateTime {
			t.Errorf("a burst put the look off for %s, want %s", d, lateTime)
		}
		if d := time.Since(last); d >= quietTime {
			t.Errorf("the look waited for %s behind the last event", d)
		}
	})
}

// A folder that logs are written to isn't watched: its files are looked at now and then.
func TestLogsFolderIsPolled(t *testing.T) {
	dir := t.TempDir()
	conf := filepath.Join(dir, "nginx.conf")
	os.WriteFile(conf, []byte("a"), 0o600)
	w := newWatch(nil)
	defer w.close()
	w.quiet([]string{filepath.Join(dir, "access.log")})
	w.note(&nginxconf.Config{Files: []nginxconf.File{{Name: conf, Text: []byte("a")}}}, false)
	if !w.polled {
		t.Fatal("the folder is watched")
	}
	if w.changed() {
		t.Error("nothing has changed")
	}
	os.WriteFile(conf, []byte("bb"), 0o600)
	select {
	case <-w.events():
		t.Error("the system told of the change")
	case <-w.timer.C:
	}
	if !w.changed() {
		t.Error("the change was missed")
	}
}

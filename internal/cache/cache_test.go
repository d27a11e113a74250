package cache

import (
	"bytes"
	"crypto/md5"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func testConfig(t testing.TB) *Config {
	return &Config{Dir: t.TempDir(), Levels: []int{1, 2}, Zone: "z", ZoneSize: 1 << 20, Inactive: time.Minute, MaxSize: 1 << 40,
		Manager: Pace{100, time.Second, 50 * time.Millisecond}, Loader: Pace{1000, time.Second, time.Millisecond}}
}

func keyOf(text string) Key { return md5.Sum([]byte(text)) }

// put keeps an answer under a key.
func put(t testing.TB, s *Store, key, body string, m Meta) {
	t.Helper()
	h, _ := s.Get(keyOf(key), 0)
	defer h.Release()
	w := h.Create(&m, []byte(key), []byte("HTTP/1.1 200 OK\r\n\r\n"), nil)
	if err := w.Write([]byte(body)); err != nil {
		t.Fatal(err)
	}
	if err := w.Commit(); err != nil {
		t.Fatal(err)
	}
}

// get returns what is kept under a key, "" when that is nothing.
func get(s *Store, key string) (string, error) {
	h, _ := s.Get(keyOf(key), 0)
	defer h.Release()
	buf := make([]byte, 4096)
	f, err := h.Open([]byte(key), buf)
	if f == nil {
		return "", err
	}
	defer f.Close()
	off, n := f.Body()
	body := make([]byte, n)
	file := f.Take()
	defer file.Close()
	_, err = file.ReadAt(body, off)
	return string(body), err
}

func TestAnswerComesBackAsItWasKept(t *testing.T) {
	s := New(testConfig(t))
	for _, size := range []int{0, 1, 1000, writeBuffer - 200, writeBuffer, 3*writeBuffer + 7} {
		key, body := fmt.Sprint("key", size), strings.Repeat("x", size)
		m := Meta{Valid: 10, Updating: 20, Error: 30, Date: 40, LastModified: 50, ETag: []byte(`"e"`), Vary: []byte("a, b"), Variant: keyOf("v")}
		put(t, s, key, body, m)
		if got, err := get(s, key); err != nil || got != body {
			t.Errorf("%d bytes: got %d, %v", size, len(got), err)
		}
		h, found := s.Get(keyOf(key), 0)
		if found != Present {
			t.Errorf("%d bytes: found %d", size, found)
		}
		buf := make([]byte, 4096)
		f, err := h.Open([]byte(key), buf)
		if err != nil {
			t.Fatal(err)
		}
		if fmt.Sprint(f.Meta) != fmt.Sprint(m) {
			t.Errorf("%d bytes: got %v", size, f.Meta)
		}
		head, part, err := f.Load(buf)
		if err != nil || string(head) != "HTTP/1.1 200 OK\r\n\r\n" || !strings.HasPrefix(body, string(part)) {
			t.Errorf("%d bytes: head %q, %d bytes of body, %v", size, head, len(part), err)
		}
		f.Close()
		h.Release()
	}
}

func TestBrokenFilesAreNotServed(t *testing.T) {
	cases := []struct {
		name   string
		change func(b []byte) []byte
		want   error
	}{
		{"cut short", func(b []byte) []byte { return b[:len(b)-1] }, errTruncated},
		{"too long", func(b []byte) []byte { return append(b, 'x') }, errTruncated},
		{"cut in the head", func(b []byte) []byte { return b[:fixedSize+3] }, errTruncated},
		{"empty", func(b []byte) []byte { return nil }, errForeign},
		{"foreign", func(b []byte) []byte { b[0] = 5; return b }, errForeign},
		{"another head", func(b []byte) []byte { return bytes.Replace(b, []byte("200"), []byte("201"), 1) }, errChecksum},
		{"another key", func(b []byte) []byte {
			return appendHead(nil, &Meta{}, []byte("other"), []byte("HTTP/1.1 200 OK\r\n\r\n"), 0)
		}, errCollision},
		{"negative length", func(b []byte) []byte { b[31] = 0x80; return b }, errForeign},
	}
	for _, c := range cases {
		s := New(testConfig(t))
		put(t, s, "key", "body", Meta{})
		name := s.Path(keyOf("key"))
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, c.change(b), 0o600); err != nil {
			t.Fatal(err)
		}
		got, err := get(s, "key")
		var fe *FileError
		if got != "" || !errors.As(err, &fe) || fe.Err != c.want {
			t.Errorf("%s: %q, %v", c.name, got, err)
		}
	}
}

func TestHalfChangedTimesAreStale(t *testing.T) {
	s := New(testConfig(t))
	put(t, s, "key", "body", Meta{Valid: 1 << 40})
	f, err := os.OpenFile(s.Path(keyOf("key")), os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	f.WriteAt([]byte{1}, timesAt)
	f.Close()
	h, _ := s.Get(keyOf("key"), 0)
	defer h.Release()
	file, err := h.Open([]byte("key"), make([]byte, 4096))
	if err != nil || file.Valid != 0 {
		t.Fatalf("%v, %v", file, err)
	}
	file.Close()
	if err := h.Renew(&Meta{Valid: 7}); err != nil {
		t.Fatal(err)
	}
	if file, err = h.Open([]byte("key"), make([]byte, 4096)); err != nil || file.Valid != 7 {
		t.Fatalf("%v, %v", file, err)
	}
	file.Close()
}

func TestLoaderTakesGoodFilesAndRemovesBrokenOnes(t *testing.T) {
	c := testConfig(t)
	old := New(c)
	for i := range 5 {
		put(t, old, fmt.Sprint(i), "body", Meta{})
	}
	broken := old.Path(keyOf("0"))
	os.WriteFile(broken, []byte("nginx's, perhaps"), 0o600)
	misplaced := old.Path(keyOf("nowhere"))
	MakeDirs(misplaced, 0o700)
	good, _ := os.ReadFile(old.Path(keyOf("1")))
	os.WriteFile(misplaced, good, 0o600)
	foreign := c.Dir + "/1/README"
	MakeDirs(foreign, 0o700)
	os.WriteFile(foreign, nil, 0o600)
	deep := filepath.Dir(broken) + "/index.html"
	os.WriteFile(deep, nil, 0o600)
	left := broken + ".0123456789"
	os.WriteFile(left, nil, 0o600)
	os.Chtimes(left, time.Time{}, time.Now().Add(-time.Hour))

	s := New(c)
	s.running.Add(1)
	s.loadAll(make(chan struct{}))
	if s.cold.Load() || s.files != 4 || s.size != 4*s.block {
		t.Errorf("cold %v, %d files, %d bytes", s.cold.Load(), s.files, s.size)
	}
	for name, want := range map[string]bool{broken: false, misplaced: false, left: false, foreign: true, deep: true} {
		if _, err := os.Stat(name); (err == nil) != want {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestFileIsFoundBeforeTheLoaderComes(t *testing.T) {
	c := testConfig(t)
	put(t, New(c), "key", "body", Meta{})
	if got, err := get(New(c), "key"); got != "body" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
}

func TestMinUses(t *testing.T) {
	s := New(testConfig(t))
	s.cold.Store(false)
	for i, want := range []Found{Scarce, Scarce, Absent, Absent} {
		h, found := s.Get(keyOf("key"), 3)
		if found != want {
			t.Errorf("use %d: %d", i+1, found)
		}
		h.Release()
	}
}

func TestFullIndexLosesWhatWasUsedLeastRecently(t *testing.T) {
	c := testConfig(t)
	c.ZoneSize = minZone // 16 nodes
	s := New(c)
	s.cold.Store(false)
	for i := range minNodes {
		put(t, s, fmt.Sprint(i), "body", Meta{})
	}
	get(s, "0")
	held, _ := s.Get(keyOf("1"), 0)
	defer held.Release()
	for range 3 {
		get(s, "2") // once more, so that 3 is the oldest that nobody holds
	}
	put(t, s, "new", "body", Meta{})
	for key, want := range map[string]string{"0": "body", "1": "body", "2": "body", "3": ""} {
		if got, _ := get(s, key); got != want {
			t.Errorf("%s: %q", key, got)
		}
	}
}

func TestManagerKeepsMaxSize(t *testing.T) {
	c := testConfig(t)
	s := New(c)
	c.MaxSize = 3 * s.block
	for i := range 5 {
		put(t, s, fmt.Sprint(i), "body", Meta{})
	}
	s.sweep()
	if s.size != c.MaxSize || s.files != 3 {
		t.Errorf("%d bytes in %d files", s.size, s.files)
	}
	if got, _ := get(s, "4"); got != "body" {
		t.Error("the newest went")
	}
}

func TestManagerPausesBetweenManagerFiles(t *testing.T) {
	c := testConfig(t)
	c.MaxSize, c.Manager = 0, Pace{2, time.Minute, 5 * time.Second}
	s := New(c)
	for i := range 5 {
		put(t, s, fmt.Sprint(i), "body", Meta{})
	}
	for _, want := range []int{3, 1, 0} {
		wait := s.sweep()
		if s.files != want || (wait != 5*time.Second) != (want == 0) {
			t.Errorf("%d files, then %s", s.files, wait)
		}
	}
}

func TestInactiveIsRemoved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New(testConfig(t))
		put(t, s, "idle", "body", Meta{})
		put(t, s, "used", "body", Meta{})
		s.Start(s.conf, nil)
		defer s.Stop()
		time.Sleep(40 * time.Second)
		get(s, "used")
		time.Sleep(40 * time.Second)
		synctest.Wait()
		for key, want := range map[string]bool{"idle": false, "used": true} {
			if _, err := os.Stat(s.Path(keyOf(key))); (err == nil) != want {
				t.Errorf("%s: %v", key, err)
			}
		}
	})
}

func TestOneUpdatesAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New(testConfig(t))
		a, _ := s.Get(keyOf("key"), 0)
		b, _ := s.Get(keyOf("key"), 0)
		first, again := a.Own(time.Minute), a.Own(time.Minute)
		if !first || !again || b.Own(time.Minute) {
			t.Fatal("not one owner")
		}
		done, left := b.Busy()
		if left != time.Minute {
			t.Errorf("left %s", left)
		}
		go func() {
			time.Sleep(time.Second)
			a.Release()
		}()
		start := time.Now()
		<-done
		if time.Since(start) != time.Second || !b.Own(time.Minute) {
			t.Error("the end of the update wakes nobody")
		}
		c, _ := s.Get(keyOf("key"), 0)
		time.Sleep(time.Minute)
		if !c.Own(time.Minute) {
			t.Error("an old update isn't taken over")
		}
		b.Release() // must not end c's
		if d, _ := s.Get(keyOf("key"), 0); d.Own(time.Minute) {
			t.Error("a late owner ends another's update")
		}
	})
}

func TestFailureIsRememberedUntilAnAnswerIsKept(t *testing.T) {
	s := New(testConfig(t))
	h, _ := s.Get(keyOf("key"), 0)
	h.Fail(502, time.Now().Unix()+60)
	h.Release()
	h, found := s.Get(keyOf("key"), 0)
	if found != Failed || h.Status != 502 {
		t.Errorf("%d, %d", found, h.Status)
	}
	h.Release()
	put(t, s, "key", "body", Meta{})
	if h, found = s.Get(keyOf("key"), 0); found != Present {
		t.Errorf("%d", found)
	}
	h.Release()
	h.Release()
}

func TestAbortLeavesNothing(t *testing.T) {
	s := New(testConfig(t))
	h, _ := s.Get(keyOf("key"), 0)
	w := h.Create(&Meta{}, []byte("key"), nil, nil)
	w.Write(make([]byte, 2*writeBuffer))
	w.Abort()
	w.Abort()
	h.Release()
	entries, _ := os.ReadDir(filepath.Dir(s.Path(keyOf("key"))))
	if len(entries) != 0 || s.files != 0 {
		t.Errorf("%v, %d files", entries, s.files)
	}
}

func TestReadersSeeWholeFilesWhileOthersWriteAndRemove(t *testing.T) {
	c := testConfig(t)
	s := New(c)
	s.cold.Store(false)
	bodies := []string{strings.Repeat("a", 100), strings.Repeat("b", 50_000), strings.Repeat("c", 5000)}
	var wg sync.WaitGroup
	for i := range 3 {
		wg.Add(2)
		go func() {
			defer wg.Done()
			for n := range 200 {
				put(t, s, fmt.Sprint(n%4), bodies[i], Meta{})
				if n%10 == 0 {
					s.removeOldest()
				}
			}
		}()
		go func() {
			defer wg.Done()
			for n := range 400 {
				got, err := get(s, fmt.Sprint(n%4))
				if err != nil || got != "" && got != bodies[0] && got != bodies[1] && got != bodies[2] {
					t.Errorf("%d bytes, %v", len(got), err)
					return
				}
			}
		}()
	}
	wg.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.files > 4 || s.size < 0 || s.size > 4*(50_000+2*s.block) {
		t.Errorf("%d bytes in %d files", s.size, s.files)
	}
}

func FuzzFile(f *testing.F) {
	f.Add(append(appendHead(nil, &Meta{ETag: []byte("e")}, []byte("key"), []byte("head"), 4), "body"...))
	f.Add([]byte(magic))
	f.Fuzz(func(t *testing.T, b []byte) {
		name := t.TempDir() + "/file"
		if err := os.WriteFile(name, b, 0o600); err != nil {
			t.Fatal(err)
		}
		file, n, err := openFile(name, nil, make([]byte, 512))
		if err != nil {
			return
		}
		defer file.Close()
		if off, size := file.Body(); off+size != int64(len(b)) || off > int64(n) {
			t.Errorf("body at %d of %d bytes in a file of %d", off, size, len(b))
		}
	})
}

func BenchmarkHit(b *testing.B) {
	s := New(testConfig(b))
	put(b, s, "key", strings.Repeat("x", 1000), Meta{Valid: 1 << 40})
	buf := make([]byte, 4096)
	key := []byte("key")
	b.ReportAllocs()
	for b.Loop() {
		h, _ := s.Get(md5.Sum(key), 1)
		f, err := h.Open(key, buf)
		if err != nil {
			b.Fatal(err)
		}
		f.Close()
		h.Release()
	}
}

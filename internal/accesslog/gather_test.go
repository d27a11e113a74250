package accesslog

import (
	"bytes"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// sink keeps what was written, write by write.
type sink struct {
	mu     sync.Mutex
	writes []string
	slow   chan struct{} // not nil: each write waits for it to be closed
}

func (s *sink) write(p []byte) {
	if s.slow != nil {
		<-s.slow
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.writes = append(s.writes, string(p))
}

func (s *sink) all() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.writes
}

// busy is a gather whose last turn had many lines.
func busy(out func([]byte)) *gather {
	g := newGather(out)
	g.last = time.Now()
	return g
}

func TestLoneLineIsWrittenAtOnce(t *testing.T) {
	var s sink
	g := newGather(s.write)
	defer g.close()
	for i := range 10 {
		g.add([]byte("a\n"))
		if n := len(s.all()); n != i+1 {
			t.Fatalf("%d writes behind line %d", n, i+1)
		}
		for done := false; !done; { // the turn ends
			runtime.Gosched()
			g.mu.Lock()
			done = g.turn == 0
			g.mu.Unlock()
		}
	}
}

func TestManyLinesOfATurnHaveTheNextGathered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s sink
		g := newGather(s.write)
		defer g.close()
		for range crowd {
			g.add([]byte("a\n"))
		}
		synctest.Wait()
		before := len(s.all())
		g.add([]byte("b\n"))
		g.mu.Lock()
		held := string(g.lines)
		g.mu.Unlock()
		synctest.Wait() // nothing can run any more, and no time has passed
		if got := s.all(); len(got) != before+1 || held != "b\n" && held != "" {
			t.Errorf("written %q, held %q", got, held)
		}
		time.Sleep(crowded) // that turn says nothing any more
		g.add([]byte("c\n"))
		if got := s.all(); len(got) != before+2 {
			t.Errorf("behind a pause written %q", got)
		}
	})
}

func TestGatheredLinesGoOutTogetherAndInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := sink{slow: make(chan struct{})}
		g := busy(s.write)
		g.add([]byte("1\n"))
		synctest.Wait() // the writer is held up
		for _, line := range []string{"2\n", "3\n", "4\n"} {
			g.add([]byte(line))
		}
		close(s.slow)
		synctest.Wait()
		if got := s.all(); len(got) != 2 || got[0] != "1\n" || got[1] != "2\n3\n4\n" {
			t.Errorf("writes %q", got)
		}
		g.close()
	})
}

func TestFullGatherIsWrittenByTheRequest(t *testing.T) {
	s := sink{slow: make(chan struct{})}
	g := busy(s.write)
	line := append(bytes.Repeat([]byte("x"), 1<<10), '\n')
	var count atomic.Int64
	added := make(chan struct{})
	go func() {
		for range 1000 {
			g.add(line)
			count.Add(1)
		}
		close(added)
	}()
	for still, last := 0, int64(0); still < 1000; still++ {
		if n := count.Load(); n != last || n == 0 {
			still, last = 0, n
		}
		runtime.Gosched()
	}
	// One write under way and one gathered.
	if n := int(count.Load()) * len(line); n > 2*(gatherLimit+len(line)) {
		t.Errorf("%d bytes are held while the disk is slow", n)
	}
	close(s.slow)
	<-added
	g.close()
	if got := strings.Join(s.all(), ""); len(got) != 1000*len(line) {
		t.Errorf("%d bytes written of %d", len(got), 1000*len(line))
	}
}

func TestLineBehindTheEndOfGatheringGoesOutAtOnce(t *testing.T) {
	var s sink
	g := busy(s.write)
	g.add([]byte("a\n"))
	g.close()
	g.add([]byte("b\n"))
	if got := strings.Join(s.all(), ""); got != "a\nb\n" {
		t.Errorf("written %q", got)
	}
}

package accesslog

import (
	"bytes"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
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

func TestGatheredLinesWaitForNoTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s sink
		g := newGather(s.write)
		for i, line := range []string{"a\n", "b\n"} {
			g.add([]byte(line))
			synctest.Wait() // nothing can run any more, and no time has passed
			if got := s.all(); len(got) != i+1 || got[i] != line {
				t.Errorf("written %q behind line %d", got, i+1)
			}
		}
		g.close()
	})
}

func TestGatheredLinesGoOutTogetherAndInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := sink{slow: make(chan struct{})}
		g := newGather(s.write)
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
	g := newGather(s.write)
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
	g := newGather(s.write)
	g.add([]byte("a\n"))
	g.close()
	g.add([]byte("b\n"))
	if got := strings.Join(s.all(), ""); got != "a\nb\n" {
		t.Errorf("written %q", got)
	}
}

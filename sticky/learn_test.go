package sticky

import (
	"fmt"
	"runtime"
	"testing"
	"testing/synctest"
	"time"
	"unsafe"

	"limpet/upstream"
)

const learning = `upstream u { server 127.0.0.1:1; server 127.0.0.1:2; sticky learn zone=z:1m timeout=2 create=$upstream_cookie_sid lookup=$cookie_sid; }`

func TestSessionsAreLearned(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := open(t, learning, nil)
		if got := s.visit(visit{cookies: []string{"sid=a"}}); got.status != "MISS/IN" || got.reason != "unknown" {
			t.Errorf("not learned yet: %+v", got)
		}
		s.visit(visit{set: []string{"sid=a; path=/"}}).check(t, "2", "sid=a; path=/")
		for range 3 {
			got := s.visit(visit{cookies: []string{"SID=a"}})
			if got.peers != "2" || got.status != "HIT/VN" || got.reason != "learned" {
				t.Errorf("%+v", got)
			}
		}
		if got := s.visit(visit{cookies: []string{"sid=A"}}); got.status != "MISS/IN" {
			t.Errorf("the value's case counts: %+v", got)
		}
		// a request prolongs the session, and none ends it
		time.Sleep(1500 * time.Millisecond)
		s.visit(visit{cookies: []string{"sid=a"}}).check(t, "2")
		time.Sleep(1500 * time.Millisecond)
		s.visit(visit{cookies: []string{"sid=a"}}).check(t, "2")
		time.Sleep(2 * time.Second)
		if got := s.visit(visit{cookies: []string{"sid=a"}}); got.reason != "unknown" {
			t.Errorf("%+v", got)
		}
	})
}

func TestSessionMovesToThePeerThatAnswered(t *testing.T) {
	s := open(t, learning, nil)
	s.visit(visit{set: []string{"sid=a"}}).check(t, "1", "sid=a")
	got := s.visit(visit{cookies: []string{"sid=a"}, fail: 1})
	if got.peers != "1 2" || got.status != "HIT/VN, MOVED/DN" {
		t.Errorf("%+v", got)
	}
	s.visit(visit{cookies: []string{"sid=a"}}).check(t, "2")
}

func TestLookupAloneBeginsNoSession(t *testing.T) {
	s := open(t, learning, nil)
	s.visit(visit{cookies: []string{"sid=a"}})
	if n, learns := Of(s.groups.List[0]).Sessions(); n != 0 || !learns {
		t.Errorf("%d sessions", n)
	}
}

func TestSessionsLiveOverReload(t *testing.T) {
	s := open(t, learning, nil)
	s.visit(visit{set: []string{"sid=a"}})
	draining := `upstream u { server 127.0.0.1:3; server 127.0.0.1:1 drain; sticky learn zone=z:1m timeout=2 create=$upstream_cookie_sid lookup=$cookie_sid; }`
	s = open(t, draining, s)
	s.visit(visit{cookies: []string{"sid=a"}}).check(t, "1")
	s.visit(visit{}).check(t, "3")
	gone := `upstream u { server 127.0.0.1:3; sticky learn zone=z:1m timeout=2 create=$upstream_cookie_sid lookup=$cookie_sid; }`
	s = open(t, gone, s)
	s.visit(visit{cookies: []string{"sid=a"}}).check(t, "3")
}

func TestLearningFromTheHeader(t *testing.T) {
	conf := `upstream u { server 127.0.0.1:1; server 127.0.0.1:2; sticky learn zone=z:1m header create=$cookie_sid lookup=$cookie_sid; }`
	s := open(t, conf, nil)
	g := s.groups.List[0]
	var ses upstream.Session
	g.Begin(&ses, s.request("sid=a"))
	p := ses.Next()
	g.Peers().Sticky.Answered(&ses, p) // the body is still to come
	s.visit(visit{cookies: []string{"sid=a"}}).check(t, "1")
}

func TestNoRefreshCountsFromTheBeginning(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := open(t, `upstream u { server 127.0.0.1:1; server 127.0.0.1:2; sticky learn zone=z:1m timeout=3 norefresh create=$cookie_sid lookup=$cookie_sid; }`, nil)
		a := visit{cookies: []string{"sid=a"}}
		for i, want := range []string{"unknown", "learned", "learned", "unknown"} {
			if got := s.visit(a); got.reason != want {
				t.Errorf("visit %d: %s", i, got.reason)
			}
			time.Sleep(time.Second)
		}
	})
}

func TestTableStaysWithinItsBytes(t *testing.T) {
	for _, size := range []int64{minZone, 100_000, 1 << 20, 50 << 20} {
		z := newSessionTable(size)
		took := int64(len(z.sessions))*int64(unsafe.Sizeof(session{})) + int64(len(z.buckets))*4
		if took > size || took < size*9/10 {
			t.Errorf("%d of %d bytes", took, size)
		}
	}
}

func TestFullTableForgetsTheOldest(t *testing.T) {
	z, forever := newSessionTable(minZone), life{timeout: 1 << 40}
	room := len(z.sessions) - 1
	id := func(i int) []byte { return fmt.Appendf(nil, "session %d", i) }
	crowded := 0
	for i := range room + 100 {
		if z.put(id(i), "p", 1000, forever, true) {
			crowded++
		}
		z.put(id(0), "p", 1000, forever, true) // in use all the time
	}
	if z.len() != room {
		t.Errorf("%d sessions in %d places", z.len(), room)
	}
	if crowded != 1 {
		t.Errorf("told %d times in a second that the table is full", crowded)
	}
	for i, want := range map[int]bool{0: true, 1: false, 100: false, 101: true, room + 99: true} {
		if _, ok := z.find(id(i), 1000, forever); ok != want {
			t.Errorf("session %d is there: %v", i, ok)
		}
	}
}

func TestExpiredSessionsMakeRoomUnnoticed(t *testing.T) {
	z, l := newSessionTable(minZone), life{timeout: 10}
	for i := range 3 * len(z.sessions) {
		if z.put(fmt.Appendf(nil, "%d", i), "p", int64(i), l, true) {
			t.Fatal("a live session had to go")
		}
	}
	if z.len() > 11 || z.used > 12 {
		t.Errorf("%d sessions, %d places taken", z.len(), z.used)
	}
}

func TestMillionSessions(t *testing.T) {
	const n = 1_000_000
	z, l := newSessionTable(50<<20), life{timeout: 1 << 40}
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	var buf [32]byte
	for i := range n {
		z.put(fmt.Appendf(buf[:0], "%d", i), "p", 1, l, true)
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	if z.len() != n {
		t.Errorf("%d sessions", z.len())
	}
	if grew := int64(after.HeapAlloc) - int64(before.HeapAlloc); grew > 1<<20 {
		t.Errorf("%d bytes beside the zone's", grew)
	}
	if name, ok := z.find([]byte("0"), 1, l); !ok || name != "p" {
		t.Error("the first was forgotten")
	}
}

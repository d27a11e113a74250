package ngx

import (
	"testing"

	"limpet/internal/errlog"
)

// TestSlots wants two workers of 5 connections, with one listening socket each, to have six between them.
func TestSlots(t *testing.T) {
	idle, closed := 0, 0
	s := &Slots{Spare: func() int { n := idle; closed += n; idle = 0; return n }}
	log := new(errlog.Log)
	for range 100 {
		if !s.Take(log) {
			t.Fatal("bounded without a bound")
		}
	}
	s = &Slots{Spare: s.Spare}
	s.Limit(2, 5, 1)
	for i := range 6 {
		if !s.Take(log) {
			t.Fatalf("no slot after %d", i)
		}
	}
	if s.Take(log) {
		t.Error("a seventh slot")
	}
	idle = 1
	if !s.Take(log) || closed != 1 {
		t.Error("an idle connection didn't give way")
	}
	s.Give() // the idle one ends
	s.Taken().Add(-1)
	if !s.Take(log) {
		t.Error("a slot that was given back is lost")
	}
	if s.Take(log) {
		t.Error("a slot more than there are")
	}
	s.Limit(1, 1000, 1)
	if !s.Take(log) {
		t.Error("a reload doesn't raise the bound")
	}
	if got, want := s.Short(), "1000 worker_connections are not enough"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

func BenchmarkSlots(b *testing.B) {
	var s Slots
	s.Limit(4, 20000, 1)
	b.ReportAllocs()
	for b.Loop() {
		s.Take(nil)
		s.Give()
	}
}

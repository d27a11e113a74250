package upstream

import (
	"testing"
	"time"
)

func TestHistogramCountsUpToAndIncludingItsBounds(t *testing.T) {
	var h Histogram
	for _, d := range []time.Duration{0, time.Millisecond, time.Millisecond + 1, time.Minute, time.Hour} {
		h.Observe(d)
	}
	got := map[time.Duration]uint64{}
	sum := h.Each(func(bound time.Duration, n uint64) { got[bound] = n })
	for bound, n := range map[time.Duration]uint64{
		time.Millisecond: 2, 2500 * time.Microsecond: 3, 30 * time.Second: 3, time.Minute: 4, 0: 5,
	} {
		if got[bound] != n {
			t.Errorf("up to %s: %d, want %d", bound, got[bound], n)
		}
	}
	if want := time.Hour + time.Minute + 2*time.Millisecond + 1; sum != want {
		t.Errorf("sum %s, want %s", sum, want)
	}
}

func BenchmarkHistogram(b *testing.B) {
	var h Histogram
	b.ReportAllocs()
	for b.Loop() {
		h.Observe(700 * time.Microsecond)
	}
}

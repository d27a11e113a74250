package upstream

import (
	"sync/atomic"
	"time"
)

// bounds are the upper bounds of a Histogram's buckets, those that Prometheus'
// client libraries have by default, from below and above made wider.
var bounds = [...]time.Duration{
	time.Millisecond, 2500 * time.Microsecond, 5 * time.Millisecond, 10 * time.Millisecond, 25 * time.Millisecond,
	50 * time.Millisecond, 100 * time.Millisecond, 250 * time.Millisecond, 500 * time.Millisecond, time.Second,
	2500 * time.Millisecond, 5 * time.Second, 10 * time.Second, 30 * time.Second, time.Minute,
}

// Histogram counts durations by buckets, without a lock and without allocating.
// The zero value is ready; all methods may be called at once.
type Histogram struct {
	counts [len(bounds) + 1]atomic.Uint64 // the last one: longer than all bounds
	sum    atomic.Int64                   // nanoseconds
}

// Observe counts one duration.
func (h *Histogram) Observe(d time.Duration) {
	i := 0
	for i < len(bounds) && d > bounds[i] {
		i++
	}
	h.counts[i].Add(1)
	h.sum.Add(int64(d))
}

// Each calls f for each bucket with the number of durations up to its bound, the
// shorter ones included; the last bound is 0 and stands for none. It returns the sum of
// all durations. Durations that are counted meanwhile may be in some of the numbers.
func (h *Histogram) Each(f func(bound time.Duration, n uint64)) time.Duration {
	var n uint64
	for i := range h.counts {
		n += h.counts[i].Load()
		var bound time.Duration
		if i < len(bounds) {
			bound = bounds[i]
		}
		f(bound, n)
	}
	return time.Duration(h.sum.Load())
}

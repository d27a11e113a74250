package sticky

import (
	"hash/maphash"
	"math"
	"math/bits"
	"sync/atomic"
	"time"

	"limpet/internal/ngx"
)

// clientTable estimates how many distinct clients a peer has served within any
// number of past minutes. It is a HyperLogLog whose registers hold, for each
// rank, the minute in which it was last seen, so that any window can be asked
// and nothing has to be turned over; a request writes at most once a minute and
// cell. It takes 12 KiB from the first request on.
// http://algo.inria.fr/flajolet/Publications/FlFuGaMe07.pdf
type clientTable struct {
	cells atomic.Pointer[[registers][ranks]atomic.Uint32] // minutes of Unix time
	last  atomic.Int64                                    // Unix time of the last request, in seconds
}

const (
	registers = 256 // an error of 6.5 %, less for few clients
	ranks     = 12  // up to about a million clients
)

// see notes the client of a request: its address together with its user agent.
func (t *clientTable) see(st *Stats, r *ngx.Request) {
	if r.Client == nil {
		return
	}
	h := maphash.Bytes(st.seed, r.Client.Text) ^ bits.RotateLeft64(maphash.Bytes(st.seed, r.In.Get(ngx.HeaderUserAgent)), 1)
	t.add(h, now(r))
}

func (t *clientTable) add(h uint64, second int64) {
	cells := t.cells.Load()
	if cells == nil {
		t.cells.CompareAndSwap(nil, new([registers][ranks]atomic.Uint32))
		cells = t.cells.Load()
	}
	if t.last.Load() != second {
		t.last.Store(second)
	}
	rank := min(bits.TrailingZeros64(h>>8), ranks-1)
	cell := &cells[h%registers][rank]
	if minute := uint32(second / 60); cell.Load() != minute {
		cell.Store(minute)
	}
}

// count estimates the clients of the minute that begins within the window before now, and of those since.
func (t *clientTable) count(window time.Duration, second int64) int {
	cells := t.cells.Load()
	if cells == nil {
		return 0
	}
	since := uint32((second - int64(window/time.Second)) / 60)
	sum, zeros := 0.0, 0
	for i := range cells {
		rank := 0
		for j := ranks - 1; j >= 0; j-- {
			if m := cells[i][j].Load(); m != 0 && m >= since {
				rank = j + 1
				break
			}
		}
		if rank == 0 {
			zeros++
		}
		sum += math.Pow(2, -float64(rank))
	}
	const m = float64(registers)
	estimate := 0.7213 / (1 + 1.079/m) * m * m / sum
	if estimate <= 2.5*m && zeros > 0 { // few: by the number of empty registers
		estimate = m * math.Log(m/float64(zeros))
	}
	return int(math.Round(estimate))
}

// now returns the time of a request in Unix seconds.
func now(r *ngx.Request) int64 {
	if r.Start.IsZero() {
		return time.Now().Unix()
	}
	return r.Start.Unix()
}

package ngx

import (
	"fmt"
	"sync/atomic"
	"time"

	"limpet/internal/errlog"
)

// Slots bound the connections of the process, those with clients and those with peers, kept ones included, as
// worker_connections does. All methods may be called at once. The zero Slots have no bound.
// https://nginx.org/en/docs/ngx_core_module.html#worker_connections
type Slots struct {
	// Spare closes idle connections of clients, to make room, and returns how many; nil where none can be. Set before
	// the first Take.
	Spare func() int

	taken  atomic.Int64
	limit  atomic.Int64 // 0: none
	few    atomic.Int64 // so many free ones, or fewer, have idle connections closed
	each   atomic.Int64 // worker_connections, for the log
	warned atomic.Int64 // when the log last told of it, in Unix seconds
}

// Limit sets the bound: as many connections as so many workers of nginx have, less those that each of them needs for
// listening sockets and for the master process.
func (s *Slots) Limit(workers, connections, sockets int) {
	s.each.Store(int64(connections))
	s.few.Store(int64(workers) * int64(connections) / 16)
	s.limit.Store(int64(workers) * max(int64(connections-sockets-1), 0))
}

// Take takes a slot and reports whether there was one. When few are left idle connections give way, which is
// written to log. Give gives it back.
func (s *Slots) Take(log *errlog.Log) bool {
	taken := s.taken.Add(1)
	limit := s.limit.Load()
	if limit == 0 || taken <= limit-s.few.Load() {
		return true
	}
	// Those that were spared are about to end. The one that comes takes the place of one of them.
	if s.spare(log) || taken <= limit {
		return true
	}
	s.Give()
	return false
}

// Give gives a slot back.
func (s *Slots) Give() { s.taken.Add(-1) }

// Taken is the counter of the slots that are taken, for who gives one back later.
func (s *Slots) Taken() *atomic.Int64 { return &s.taken }

// Short returns nginx's words for having no slot left.
func (s *Slots) Short() string {
	return fmt.Sprintf("%d worker_connections are not enough", s.each.Load())
}

func (s *Slots) spare(log *errlog.Log) bool {
	if s.Spare == nil || s.Spare() == 0 {
		return false
	}
	now := time.Now().Unix()
	if s.warned.Swap(now) != now {
		log.Printf(errlog.Warn, 0, "%s, reusing connections", s.Short())
	}
	return true
}

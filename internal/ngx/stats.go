package ngx

import "sync/atomic"

// Stats count what goes on in the process, for stub_status, metrics and the bound on connections.
type Stats struct {
	Accepted, Handled, Requests      atomic.Int64
	Active, Reading, Writing, Panics atomic.Int64
	// Slots bound the connections.
	Slots Slots
}

// Waiting returns how many connections are idle between requests.
func (s *Stats) Waiting() int64 {
	return max(0, s.Active.Load()-s.Reading.Load()-s.Writing.Load())
}

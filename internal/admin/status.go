package admin

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"time"

	"limpet/internal/ngx"
	"limpet/sticky"
	"limpet/upstream"
)

// Status is the answer of /api/status.
type Status struct {
	Version    string      `json:"version"` // limpet's
	Nginx      string      `json:"nginx"`   // whose contract is kept
	PID        int         `json:"pid"`
	Started    time.Time   `json:"started"`
	Generation int64       `json:"generation"` // counts configurations in force, from 1
	Reloads    ReloadState `json:"reloads"`
	Conns      ConnState   `json:"connections"`
	Upstreams  []Upstream  `json:"upstreams"`
}

// ReloadState tells of attempts to put a configuration in force.
type ReloadState struct {
	Succeeded   int64     `json:"succeeded"` // the start included
	Failed      int64     `json:"failed"`
	LastSuccess time.Time `json:"last_success"`
	LastFailed  bool      `json:"last_failed"` // the last attempt
}

// ConnState counts client connections.
type ConnState struct {
	Accepted int64 `json:"accepted"`
	Active   int64 `json:"active"`
	Idle     int64 `json:"idle"`
	Requests int64 `json:"requests"`
}

// Upstream is a group.
type Upstream struct {
	Name     string `json:"name"`
	Implicit bool   `json:"implicit,omitempty"` // made by proxy_pass to a host
	Peers    []Peer `json:"peers"`
}

// Peer is one address of a group.
type Peer struct {
	Addr      string           `json:"addr"`
	Server    string           `json:"server,omitempty"` // as the file has it
	Backup    bool             `json:"backup,omitempty"`
	State     string           `json:"state"` // up, down (by the file), unhealthy (by checks), failed (max_fails), draining
	Weight    int              `json:"weight"`
	Active    int64            `json:"active"`
	Kept      int              `json:"kept"`  // idle connections
	Fails     int              `json:"fails"` // that count against it
	Requests  int64            `json:"requests"`
	Failures  int64            `json:"failures"` // all, since it is known
	Sent      int64            `json:"sent"`
	Received  int64            `json:"received"`
	Responses map[string]int64 `json:"responses"`
	// Clients estimates how many distinct clients, by address and user agent, came to
	// the peer within the window asked for; nil where the group isn't sticky.
	Clients    *int       `json:"clients,omitempty"`
	LastClient *time.Time `json:"last_client,omitempty"` // when the last one came; nil for never
}

// defaultWindow is how far back clients are counted unless ?window= says otherwise.
const defaultWindow = 10 * time.Minute

// peerState names how a peer fares.
func peerState(g *upstream.Group, p *upstream.Peer) string {
	switch {
	case p.Down:
		return "down"
	case p.Unhealthy():
		return "unhealthy"
	case g.Failed(p) && len(g.Peers().All) > 1:
		return "failed"
	case p.Draining():
		return "draining"
	}
	return "up"
}

func (s *Server) groups() []*upstream.Group {
	return ngx.Shared[upstream.Groups](s.Server.Build()).List
}

func (s *Server) status(w http.ResponseWriter, r *http.Request) {
	window := defaultWindow
	if v := r.FormValue("window"); v != "" {
		d, err := time.ParseDuration(v)
		if err != nil || d < 0 {
			http.Error(w, fmt.Sprintf("window %q isn't a duration like 10m", v), http.StatusBadRequest)
			return
		}
		window = d
	}
	stats := s.Server.Stats()
	active := stats.Active.Load()
	st := Status{
		Version: s.Version, Nginx: ngx.Product, PID: os.Getpid(), Started: s.started, Generation: s.Server.Generation(),
		Reloads: ReloadState{s.Reloads.succeeded.Load(), s.Reloads.failed.Load(), s.Reloads.time(), s.Reloads.bad.Load()},
		Conns: ConnState{stats.Accepted.Load(), active,
			max(active-stats.Reading.Load()-stats.Writing.Load(), 0), stats.Requests.Load()},
		Upstreams: []Upstream{},
	}
	for _, g := range s.groups() {
		st.Upstreams = append(st.Upstreams, upstreamOf(g, window))
	}
	w.Header().Set("Content-Type", "application/json")
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	enc.Encode(st)
}

func upstreamOf(g *upstream.Group, window time.Duration) Upstream {
	st := sticky.Of(g)
	u := Upstream{Name: g.Name, Implicit: g.Implicit, Peers: []Peer{}}
	for _, p := range g.Peers().All {
		peer := Peer{
			Addr: string(p.Name), Server: p.Server, Backup: p.Backup, State: peerState(g, p), Weight: p.Weight(),
			Active: p.Conns(), Kept: keptOf(g, p), Fails: g.Fails(p), Requests: p.Stats.Requests.Load(),
			Failures: p.Stats.Fails.Load(), Sent: p.Stats.Sent.Load(), Received: p.Stats.Received.Load(),
			Responses: make(map[string]int64),
		}
		for i := range p.Stats.Classes {
			if n := p.Stats.Classes[i].Load(); n > 0 {
				peer.Responses[className(i)] = n
			}
		}
		if st != nil {
			n := st.Clients(p, window)
			peer.Clients = &n
			if last := st.LastSeen(p); !last.IsZero() {
				peer.LastClient = &last
			}
		}
		u.Peers = append(u.Peers, peer)
	}
	return u
}

func keptOf(g *upstream.Group, p *upstream.Peer) int {
	if g.Kept == nil {
		return 0
	}
	return g.Kept.Len(p)
}

// className is how a class of statuses is written: 2xx; those without a status are none.
func className(i int) string {
	if i == 0 {
		return "none"
	}
	return string(rune('0'+i)) + "xx"
}

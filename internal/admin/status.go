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
	Name     string `json:"name"`               // with the port where proxy_pass gave one
	Implicit bool   `json:"implicit,omitempty"` // made by proxy_pass to a host
	Sticky   string `json:"sticky,omitempty"`   // in whose words; "" where nobody sticks
	// Window is how far back clients are counted, Counted how much of it limpet has
	// been there to count, both in seconds.
	Window  float64 `json:"window"`
	Counted float64 `json:"counted"`
	Peers   []Peer  `json:"peers"`
	Queue   *Queue  `json:"queue,omitempty"` // nil without one
	// Notes are what a person who drains should know.
	Notes []string `json:"notes,omitempty"`
}

// Queue is the requests that wait for a peer of a group, and what became of those before, in the words of NGINX Plus' API.
type Queue struct {
	Size      int   `json:"size"`
	MaxSize   int   `json:"max_size"`
	Overflows int64 `json:"overflows"` // refused as it was full
	Served    int64 `json:"served"`
	TimedOut  int64 `json:"timedout"`
	Dropped   int64 `json:"dropped"` // their clients went away
}

// Peer is one address of a group.
type Peer struct {
	Addr      string           `json:"addr"`
	Server    string           `json:"server,omitempty"` // as the file has it
	Backup    bool             `json:"backup,omitempty"`
	State     string           `json:"state"` // up, down (by the file), unhealthy (by checks), failed (max_fails), draining
	Draining  bool             `json:"draining"`
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
	window, ok := windowOf(w, r)
	if !ok {
		return
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
		st.Upstreams = append(st.Upstreams, s.upstreamOf(g, g.Peers().All, window))
	}
	answer(w, st)
}

// upstream answers /api/upstreams.
func (s *Server) upstream(w http.ResponseWriter, r *http.Request) {
	window, ok := windowOf(w, r)
	if !ok {
		return
	}
	g, err := s.group(r.PathValue("name"))
	if err != nil {
		http.Error(w, err.Error(), http.StatusNotFound)
		return
	}
	ps := g.Peers().All
	if r.Form.Has("peer") {
		if ps, err = meant(g, r.Form.Get("peer")); err != nil {
			http.Error(w, err.Error(), http.StatusNotFound)
			return
		}
	}
	answer(w, s.upstreamOf(g, ps, window))
}

// windowOf reads ?window=; when it can't be read that is answered and ok is false.
func windowOf(w http.ResponseWriter, r *http.Request) (window time.Duration, ok bool) {
	v := r.FormValue("window")
	if v == "" {
		return defaultWindow, true
	}
	window, err := time.ParseDuration(v)
	if err != nil || window < 0 {
		http.Error(w, fmt.Sprintf("window %q isn't a duration like 10m", v), http.StatusBadRequest)
		return 0, false
	}
	return window, true
}

// answer writes JSON for programs that a person can read, too.
func answer(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	enc.Encode(v)
}

// upstreamOf describes a group with some of its peers.
func (s *Server) upstreamOf(g *upstream.Group, ps []*upstream.Peer, window time.Duration) Upstream {
	st := sticky.Of(g)
	u := Upstream{
		Name: g.FullName(), Implicit: g.Implicit, Peers: []Peer{},
		Window: window.Seconds(), Counted: min(window, time.Since(s.started)).Seconds(),
	}
	if st != nil {
		u.Sticky = st.Dialect()
	}
	if q := g.Queue; q != nil {
		u.Queue = &Queue{
			Size: q.Len(), MaxSize: g.Conf.Queue.V.Max, Overflows: q.Stats.Overflow.Load(),
			Served: q.Stats.Served.Load(), TimedOut: q.Stats.TimedOut.Load(), Dropped: q.Stats.Dropped.Load(),
		}
	}
	for _, p := range ps {
		peer := Peer{
			Addr: string(p.Name), Server: p.Server, Backup: p.Backup, State: peerState(g, p), Draining: p.Draining(), Weight: p.Weight(),
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

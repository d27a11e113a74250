package admin

import (
	"bytes"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	vm "github.com/VictoriaMetrics/metrics"

	"limpet/healthcheck"
	"limpet/internal/metrics"
	"limpet/internal/ngx"
	"limpet/upstream"
)

// family is one metric as /metrics has it; README.md lists them, and a test
// compares the two.
type family struct {
	name, kind, labels, help string
	write                    func(p *page)
}

// families lists every metric of limpet's own, in the order of the page.
func (s *Server) families() []family {
	stats := s.Server.Stats()
	count := func(n func() int64) func(*page) { return func(p *page) { p.add(n()) } }
	reloads := s.Reloads
	fs := []family{
		{"limpet_build_info", "gauge", "version, nginx", "Always 1; the versions of limpet and of the nginx whose contract it keeps.",
			func(p *page) { p.add(1, "version", s.Version, "nginx", strings.TrimPrefix(ngx.Product, "nginx/")) }},
		{"limpet_config_generation", "gauge", "", "Number of the configuration in force; the first is 1.", count(s.Server.Generation)},
		{"limpet_reloads_total", "counter", "result", "Attempts to put a configuration in force, the start included, by result: success, error.",
			func(p *page) {
				p.add(reloads.succeeded.Load(), "result", "success")
				p.add(reloads.failed.Load(), "result", "error")
			}},
		{"limpet_last_reload_success_timestamp_seconds", "gauge", "", "When the configuration in force was put in force, in Unix time.",
			func(p *page) { p.float(float64(reloads.last.Load()) / 1e9) }},
		{"limpet_last_reload_successful", "gauge", "", "1 when the last attempt to reload came into force, else 0.",
			func(p *page) { p.flag(!reloads.bad.Load()) }},
		{"limpet_connections_accepted_total", "counter", "", "Client connections accepted.", count(stats.Accepted.Load)},
		{"limpet_connections", "gauge", "state", "Open client connections by state: reading (a request's head), writing (serving a request), idle.",
			func(p *page) {
				reading, writing := stats.Reading.Load(), stats.Writing.Load()
				p.add(reading, "state", "reading")
				p.add(writing, "state", "writing")
				p.add(max(stats.Active.Load()-reading-writing, 0), "state", "idle")
			}},
		{"limpet_requests_total", "counter", "", "Client requests.", count(stats.Requests.Load)},
		{"limpet_panics_total", "counter", "", "Connections that a panic ended; each is an [alert] with its stack in the error log.", count(stats.Panics.Load)},
		{"limpet_server_requests_total", "counter", "server, code", "Requests by the first name of their virtual server and the class of their status; none: closed without an answer.",
			s.eachServer(func(p *page, v *metrics.Server) { p.classes(v.Classes[:], "server", v.Name) })},
		{"limpet_server_sent_bytes_total", "counter", "server", "Bytes sent to clients, heads included.",
			s.eachServer(func(p *page, v *metrics.Server) { p.add(v.Sent.Load(), "server", v.Name) })},
	}
	fs = append(fs, s.queueFamilies()...)
	fs = append(fs, s.peerFamilies()...)
	fs = append(fs, s.checkFamilies()...)
	fs = append(fs, s.stickyFamilies()...)
	return append(fs, s.luaFamilies()...)
}

// checkFamilies lists the metrics of active checks.
func (s *Server) checkFamilies() []family {
	const labels = "upstream, peer"
	each := func(f func(p *page, r *healthcheck.Report, l []string)) func(*page) {
		return func(p *page) {
			names := s.checkNames()
			healthcheck.Of(s.Server.Build()).Each(func(r healthcheck.Report) {
				if l := names.of(&r); l != nil {
					f(p, &r, l)
				}
			})
		}
	}
	return []family{
		{"limpet_upstream_check_up", "gauge", labels + ", check", "1 while the check, counted from 0 in its upstream, holds the peer for healthy, else 0.",
			each(func(p *page, r *healthcheck.Report, l []string) { p.flag(!r.Down, l...) })},
		{"limpet_upstream_checks_total", "counter", labels + ", check, result", "Probes by result: passed, refused, timeout, handshake, closed, malformed, status, mismatch.",
			each(func(p *page, r *healthcheck.Report, l []string) {
				for i, n := range r.Results {
					if n > 0 || healthcheck.Result(i) == healthcheck.Passed {
						p.add(n, append(l[:len(l):len(l)], "result", healthcheck.Result(i).String())...)
					}
				}
			})},
		{"limpet_upstream_check_flips_total", "counter", labels + ", check, to", "Times that the check turned the peer down, and up again.",
			each(func(p *page, r *healthcheck.Report, l []string) {
				p.add(r.WentDown, append(l[:len(l):len(l)], "to", "down")...)
				p.add(r.WentUp, append(l[:len(l):len(l)], "to", "up")...)
			})},
		{"limpet_upstream_check_duration_seconds", "gauge", labels + ", check", "Time that the last probe took.",
			each(func(p *page, r *healthcheck.Report, l []string) { p.float(r.Duration.Seconds(), l...) })},
	}
}

// checkNames finds what a check's series are called.
type checkNames struct {
	labels  map[*upstream.Group]map[*upstream.State]string
	numbers map[*healthcheck.Check]string // of checks among their group's
	last    map[*upstream.Group]int
	seen    map[seriesOf]bool
}

type seriesOf struct {
	state *upstream.State
	check *healthcheck.Check
}

func (s *Server) checkNames() *checkNames {
	return &checkNames{make(map[*upstream.Group]map[*upstream.State]string), make(map[*healthcheck.Check]string),
		make(map[*upstream.Group]int), make(map[seriesOf]bool)}
}

// of returns the labels of a report, nil where they were given away: two peers
// may have one State. Reports come in the order of checks.
func (c *checkNames) of(r *healthcheck.Report) []string {
	if k := (seriesOf{r.Peer.State, r.Check}); c.seen[k] {
		return nil
	} else {
		c.seen[k] = true
	}
	labels := c.labels[r.Group]
	if labels == nil {
		labels = labelsOf(r.Group.Peers().All)
		c.labels[r.Group] = labels
	}
	number, ok := c.numbers[r.Check]
	if !ok {
		number = strconv.Itoa(c.last[r.Group])
		c.numbers[r.Check] = number
		c.last[r.Group]++
	}
	name, ok := labels[r.Peer.State]
	if !ok { // gone by now
		name = string(r.Peer.Name)
	}
	return []string{"upstream", r.Group.FullName(), "peer", name, "check", number}
}

// peerFamilies lists the metrics of upstreams.
func (s *Server) peerFamilies() []family {
	const labels = "upstream, peer"
	count := func(n func(*upstream.Peer) int64) func(*page) {
		return s.eachPeer(func(p *page, _ *upstream.Group, peer *upstream.Peer, l []string) { p.add(n(peer), l...) })
	}
	return []family{
		{"limpet_upstream_peer_up", "gauge", labels, "1 when requests may go to the peer, 0 when the file or a check has it down.",
			s.eachPeer(func(p *page, _ *upstream.Group, peer *upstream.Peer, l []string) { p.flag(!peer.IsDown(), l...) })},
		{"limpet_upstream_peer_state", "gauge", labels + ", state", "1 for the state that the peer is in: up, down (by the file), unhealthy (by a check), failed (max_fails), draining.",
			s.eachPeer(func(p *page, g *upstream.Group, peer *upstream.Peer, l []string) {
				p.add(1, append(l, "state", peerState(g, peer))...)
			})},
		{"limpet_upstream_peer_fails", "gauge", labels, "Failures that count against the peer at present (max_fails).",
			s.eachPeer(func(p *page, g *upstream.Group, peer *upstream.Peer, l []string) { p.add(int64(g.Fails(peer)), l...) })},
		{"limpet_upstream_peer_active", "gauge", labels, "Requests that the peer is serving.", count(func(p *upstream.Peer) int64 { return p.Conns() })},
		{"limpet_upstream_peer_kept_connections", "gauge", labels, "Idle connections kept to the peer.",
			s.eachPeer(func(p *page, g *upstream.Group, peer *upstream.Peer, l []string) { p.add(int64(keptOf(g, peer)), l...) })},
		{"limpet_upstream_peer_requests_total", "counter", labels, "Requests sent to the peer, retries included.",
			count(func(p *upstream.Peer) int64 { return p.Stats.Requests.Load() })},
		{"limpet_upstream_peer_fails_total", "counter", labels, "Tries that failed: no connection, no answer, a broken one.",
			count(func(p *upstream.Peer) int64 { return p.Stats.Fails.Load() })},
		{"limpet_upstream_peer_responses_total", "counter", labels + ", code", "Answers by the class of their status.",
			s.eachPeer(func(p *page, _ *upstream.Group, peer *upstream.Peer, l []string) {
				p.classes(peer.Stats.Classes[:], l...)
			})},
		{"limpet_upstream_peer_sent_bytes_total", "counter", labels, "Bytes sent to the peer.",
			count(func(p *upstream.Peer) int64 { return p.Stats.Sent.Load() })},
		{"limpet_upstream_peer_received_bytes_total", "counter", labels, "Bytes received from the peer.",
			count(func(p *upstream.Peer) int64 { return p.Stats.Received.Load() })},
		{"limpet_upstream_peer_response_seconds", "histogram", labels + ", le", "Time from the choice of the peer to the last byte of its answer.",
			s.eachPeer(func(p *page, _ *upstream.Group, peer *upstream.Peer, l []string) { p.histogram(&peer.Stats.Times, l) })},
	}
}

// queueFamilies lists the metrics of queues of upstreams.
func (s *Server) queueFamilies() []family {
	each := func(f func(p *page, q *upstream.Queue, l []string)) func(*page) {
		return func(p *page) {
			for _, g := range s.groups() {
				if q := g.Queue; q != nil {
					f(p, q, []string{"upstream", g.FullName()})
				}
			}
		}
	}
	return []family{
		{"limpet_upstream_queue_waiting", "gauge", "upstream", "Requests that wait in the upstream's queue.",
			each(func(p *page, q *upstream.Queue, l []string) { p.add(int64(q.Len()), l...) })},
		{"limpet_upstream_queued_total", "counter", "upstream, result", "Requests that found no peer at once and what became of them: served, dropped (the client went away), timedout, overflow (the queue was full).",
			each(func(p *page, q *upstream.Queue, l []string) {
				st := &q.Stats
				p.add(st.Served.Load(), append(l, "result", "served")...)
				p.add(st.Dropped.Load(), append(l, "result", "dropped")...)
				p.add(st.TimedOut.Load(), append(l, "result", "timedout")...)
				p.add(st.Overflow.Load(), append(l, "result", "overflow")...)
			})},
	}
}

// eachServer writes for each virtual server's name.
func (s *Server) eachServer(f func(p *page, v *metrics.Server)) func(*page) {
	return func(p *page) {
		for _, v := range ngx.Shared[metrics.Servers](s.Server.Build()).List {
			f(p, v)
		}
	}
}

// eachPeer writes for each peer of each group; l are its labels, to be appended to.
func (s *Server) eachPeer(f func(p *page, g *upstream.Group, peer *upstream.Peer, l []string)) func(*page) {
	return func(p *page) {
		for _, g := range s.groups() {
			ps := g.Peers().All
			labels := labelsOf(ps)
			for _, peer := range ps {
				f(p, g, peer, []string{"upstream", g.FullName(), "peer", labels[peer.State]})
			}
		}
	}
}

// labelsOf returns what peers are called: by their addresses, with a number behind
// the second server of an address, whose State is another.
func labelsOf(ps []*upstream.Peer) map[*upstream.State]string {
	labels, times := make(map[*upstream.State]string, len(ps)), make(map[string]int)
	for _, p := range ps {
		name := string(p.Name)
		if times[name]++; times[name] > 1 {
			name += " #" + strconv.Itoa(times[name])
		}
		labels[p.State] = name
	}
	return labels
}

// metrics writes the page, limpet's own metrics first, then those of the Go runtime and of the process.
func (s *Server) metrics(w http.ResponseWriter, _ *http.Request) {
	var b bytes.Buffer
	p := &page{w: &b}
	for _, f := range s.families() {
		p.family = f.name
		b.WriteString("# HELP " + f.name + " " + f.help + "\n# TYPE " + f.name + " " + f.kind + "\n")
		f.write(p)
	}
	vm.WriteProcessMetrics(&b)
	w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
	w.Write(b.Bytes())
}

// page is the page being written, at one family.
type page struct {
	w      io.Writer
	family string
}

// add writes a sample; labels are names and values in turn.
func (p *page) add(n int64, labels ...string) {
	vm.WriteGaugeUint64(p.w, p.family+braced(labels), uint64(max(n, 0)))
}

func (p *page) float(v float64, labels ...string) {
	vm.WriteGaugeFloat64(p.w, p.family+braced(labels), v)
}

func (p *page) flag(on bool, labels ...string) {
	if on {
		p.add(1, labels...)
	} else {
		p.add(0, labels...)
	}
}

// classes writes a sample for each class of statuses that has any, and for 2xx always, so that the series are there from the start.
func (p *page) classes(classes []atomic.Int64, labels ...string) {
	for i := range classes {
		if n := classes[i].Load(); n > 0 || i == 2 {
			p.add(n, append(labels[:len(labels):len(labels)], "code", className(i))...)
		}
	}
}

// histogram writes a histogram in Prometheus' form.
func (p *page) histogram(h *upstream.Histogram, labels []string) {
	name, total := p.family, uint64(0)
	sum := h.Each(func(bound time.Duration, n uint64) {
		le := "+Inf"
		if bound > 0 {
			le = strconv.FormatFloat(bound.Seconds(), 'g', -1, 64)
		}
		vm.WriteCounterUint64(p.w, name+"_bucket"+braced(append(labels[:len(labels):len(labels)], "le", le)), n)
		total = n
	})
	vm.WriteCounterFloat64(p.w, name+"_sum"+braced(labels), sum.Seconds())
	vm.WriteCounterUint64(p.w, name+"_count"+braced(labels), total)
}

// braced writes labels, names and values in turn, as {name="value",...}.
func braced(labels []string) string {
	if len(labels) == 0 {
		return ""
	}
	b := []byte{'{'}
	for i := 0; i+1 < len(labels); i += 2 {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, labels[i]...)
		b = append(b, `="`...)
		b = appendEscaped(b, labels[i+1])
		b = append(b, '"')
	}
	return string(append(b, '}'))
}

// appendEscaped appends a label's value; what isn't UTF-8 is replaced.
// https://prometheus.io/docs/instrumenting/exposition_formats/#comments-help-text-and-type-information
func appendEscaped(b []byte, s string) []byte {
	for _, c := range strings.ToValidUTF8(s, "\uFFFD") {
		switch c {
		case '\\':
			b = append(b, `\\`...)
		case '"':
			b = append(b, `\"`...)
		case '\n':
			b = append(b, `\n`...)
		default:
			b = append(b, string(c)...)
		}
	}
	return b
}

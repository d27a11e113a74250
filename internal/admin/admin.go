// Package admin is limpet's own endpoint, opened by --admin ADDR beside the data
// path: metrics, status and actions. It stands where NGINX Plus has
// ngx_http_api_module and others have exporters; nothing of it is configured in the
// file, which stays nginx's.
// https://nginx.org/en/docs/http/ngx_http_api_module.html
//
//	GET  /            what there is
//	GET  /healthz     ok
//	GET  /metrics     counters in the text format of Prometheus; metrics.go lists them
//	GET  /api/status  version, generation, upstreams with their peers, as JSON;
//	                  ?window=10m says how far back clients are counted
//	GET  /api/upstreams/NAME  one upstream of these; ?peer=ADDR: only that peer
//	POST /api/reload  reads the configuration again, as the signal HUP does
//	POST /api/drain?upstream=NAME&peer=ADDR    sends only clients that stick to the peer there
//	POST /api/undrain?upstream=NAME&peer=ADDR  takes that back
//
// `limpet drain`, `limpet undrain` (Drain) and `limpet status` (Client) are clients
// of these. Draining lasts until it is taken back, over reloads and, with --state,
// over restarts; see internal/drain.
//
// Reading is open to whoever reaches the address. Actions are for those who reach
// it by a unix socket, or who have the token of the environment's
// LIMPET_ADMIN_TOKEN: `Authorization: Bearer TOKEN`.
package admin

import (
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"limpet/internal/drain"
	"limpet/internal/server"
)

// Source is what the endpoint shows.
type Source struct {
	Server  *server.Server
	Drains  *drain.Set
	Reloads *Reloads
	Version string // limpet's own
	Token   string // for actions; "" allows none but by a unix socket
	// Reload asks for a reload without waiting for it; nil sends the process HUP.
	Reload func()
}

// Reloads count attempts to put a configuration in force, the start included. All
// methods may be called at once.
type Reloads struct {
	succeeded, failed atomic.Int64
	last              atomic.Int64 // Unix nanoseconds of the last success
	bad               atomic.Bool  // the last attempt failed
}

// Succeeded counts an attempt that came into force.
func (r *Reloads) Succeeded(now time.Time) {
	r.succeeded.Add(1)
	r.last.Store(now.UnixNano())
	r.bad.Store(false)
}

// Failed counts an attempt that changed nothing.
func (r *Reloads) Failed() {
	r.failed.Add(1)
	r.bad.Store(true)
}

// Server is the endpoint.
type Server struct {
	Source
	http    http.Server
	ln      net.Listener
	unix    bool
	started time.Time
	done    chan struct{} // closed when Serve's goroutine has ended; nil before Serve
}

// Listen listens on addr, ip:port or unix:path; who connects waits for Serve. Errors are in nginx's words for binding.
func Listen(addr string, src Source) (*Server, error) {
	s := &Server{Source: src}
	if s.Reload == nil {
		s.Reload = func() { syscall.Kill(os.Getpid(), syscall.SIGHUP) }
	}
	network := "tcp"
	path, isUnix := strings.CutPrefix(addr, "unix:")
	if isUnix {
		network, addr, s.unix = "unix", path, true
		removeStale(path)
	}
	ln, err := net.Listen(network, addr)
	if err != nil {
		return nil, fmt.Errorf("bind() to %s failed (%w)", addr, errors.Unwrap(err))
	}
	if isUnix {
		if err := os.Chmod(path, 0o660); err != nil { // who may connect may act
			ln.Close()
			return nil, err
		}
	}
	s.ln = ln
	s.http = http.Server{Handler: s.mux(), ReadHeaderTimeout: 10 * time.Second, IdleTimeout: time.Minute}
	return s, nil
}

// Serve answers until Close. It is called once, when the configuration is in force,
// before which it mustn't be looked at. Of a nil Server it does nothing.
func (s *Server) Serve() {
	if s == nil {
		return
	}
	s.started, s.done = time.Now(), make(chan struct{})
	go func() {
		defer close(s.done)
		s.http.Serve(s.ln)
	}()
}

// Addr is the address listened on.
func (s *Server) Addr() net.Addr { return s.ln.Addr() }

// Close ends the endpoint; a request that runs gets a second. Of a nil Server it does nothing.
func (s *Server) Close() {
	if s == nil {
		return
	}
	if s.done == nil {
		s.ln.Close()
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if s.http.Shutdown(ctx) != nil {
		s.http.Close()
	}
	<-s.done
}

// removeStale removes a unix socket that nobody listens on.
func removeStale(path string) {
	c, err := net.Dial("unix", path)
	if err == nil {
		c.Close()
	} else if errors.Is(err, syscall.ECONNREFUSED) {
		os.Remove(path)
	}
}

func (s *Server) mux() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", s.index)
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	mux.HandleFunc("GET /metrics", s.metrics)
	mux.HandleFunc("GET /api/status", s.status)
	mux.HandleFunc("GET /api/upstreams/{name...}", s.upstream)
	mux.HandleFunc("POST /api/reload", s.action(func(w http.ResponseWriter, _ *http.Request) {
		s.Reload()
		w.WriteHeader(http.StatusAccepted)
		fmt.Fprintln(w, "reloading; the outcome is in the error log and in /api/status")
	}))
	mux.HandleFunc("POST /api/drain", s.action(s.drain))
	mux.HandleFunc("POST /api/undrain", s.action(s.undrain))
	return mux
}

// action guards what changes something.
func (s *Server) action(do http.HandlerFunc) http.HandlerFunc {
	want := []byte("Bearer " + s.Token)
	return func(w http.ResponseWriter, r *http.Request) {
		given := []byte(r.Header.Get("Authorization"))
		switch {
		case s.unix, s.Token != "" && subtle.ConstantTimeCompare(given, want) == 1:
			do(w, r)
		case s.Token == "":
			http.Error(w, "actions want a unix socket (--admin unix:PATH), or LIMPET_ADMIN_TOKEN in limpet's environment", http.StatusForbidden)
		default:
			w.Header().Set("WWW-Authenticate", `Bearer realm="limpet"`)
			http.Error(w, "actions want Authorization: Bearer TOKEN", http.StatusUnauthorized)
		}
	}
}

func (s *Server) index(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	fmt.Fprintf(w, `<!DOCTYPE html>
<title>limpet</title>
<h1>limpet %s</h1>
<p>Configuration %d, in force since %s.</p>
<ul>
<li><a href="metrics">metrics</a>: counters for Prometheus and VictoriaMetrics</li>
<li><a href="api/status">api/status</a>: upstreams and their peers as JSON</li>
<li><code>api/upstreams/NAME</code>: one of them</li>
<li><a href="healthz">healthz</a>: ok while the process serves</li>
<li><code>POST api/reload</code>: read the configuration again</li>
<li><code>POST api/drain?upstream=NAME&amp;peer=ADDR</code>, <code>api/undrain</code>: send only clients that stick to the peer there</li>
</ul>
`, s.Version, s.Server.Generation(), s.Reloads.time().Format(time.RFC3339))
}

func (r *Reloads) time() time.Time { return time.Unix(0, r.last.Load()) }

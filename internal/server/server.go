package server

import (
	"errors"
	"net"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"limpet/internal/errlog"
	"limpet/internal/http1"
	"limpet/internal/http2"
	"limpet/internal/ngx"
	"limpet/internal/tcp"
	"limpet/nginxconf"
)

// Server serves HTTP by a configuration that can be exchanged. Its methods may
// be called by one goroutine at a time, those that only look (Log, Config, Build,
// Generation, Stats, Bytes) and Abort excepted.
type Server struct {
	opt        Options
	files      errlog.Files
	http       http1.Server
	poller     *tcp.Poller
	current    atomic.Pointer[Snapshot]
	generation atomic.Int64
	listens    map[string]*listener // by address, sockets of their own
	accept     sync.WaitGroup
	retired    sync.WaitGroup
	// OnRetire runs when a configuration has retired: a worker process of nginx would exit.
	OnRetire func()
	// OnExit runs in Shutdown when the last request has ended, while the logs are still open.
	OnExit func()
}

// New reads the configuration and goes on as NewFrom.
func New(opt Options) (*Server, *nginxconf.Config, error) {
	config, err := Load(opt)
	if err != nil {
		return nil, config, err
	}
	s, err := NewFrom(opt, config)
	return s, config, err
}

// NewFrom builds a configuration that was read and binds its addresses; nothing is served before Start.
func NewFrom(opt Options, config *nginxconf.Config) (*Server, error) {
	poller, err := tcp.NewPoller()
	if err != nil {
		return nil, err
	}
	s := &Server{opt: opt, poller: poller, listens: make(map[string]*listener)}
	snap, err := s.first(config)
	if err != nil {
		poller.Close()
		return nil, err
	}
	s.http.Log = s.Log
	s.http.Stats.Slots.Spare = s.http.Spare
	s.http.HTTP2 = func(c *ngx.Client, ep *ngx.Endpoint) http1.HTTP2Conn { return http2.New(c, ep, &s.http.Stats) }
	s.current.Store(snap)
	return s, nil
}

// first builds the first configuration and binds its addresses.
func (s *Server) first(config *nginxconf.Config) (*Snapshot, error) {
	snap, err := s.build(config, nil)
	if err != nil {
		return nil, err
	}
	report := s.opt.Report
	if report == nil {
		report = func(errlog.Level, string) {}
	}
	fresh, err := s.bind(snap, report)
	if err != nil {
		snap.build.Undo()
		return nil, err
	}
	s.listens = fresh
	return snap, nil
}

// build builds a configuration; old is the one in force or nil.
func (s *Server) build(config *nginxconf.Config, old *Snapshot) (*Snapshot, error) {
	if !MainOf(config).hasEvents {
		return nil, errNoEvents
	}
	return build(s.opt, config, shared{&s.files, &s.http.Stats, s.poller}, old)
}

// LogFiles returns the paths of the open logs.
func (s *Server) LogFiles() []string { return s.files.Paths() }

// Relocate tells where the configuration file and the prefix lie once the current folder changes.
func (s *Server) Relocate(confFile, prefix string) { s.opt.ConfFile, s.opt.Prefix = confFile, prefix }

// Log returns the main error log in force.
func (s *Server) Log() *errlog.Log { return s.current.Load().log }

// Config returns the configuration in force.
func (s *Server) Config() *nginxconf.Config { return s.current.Load().config }

// Build returns what the configuration in force was built to, for looking at what modules share.
func (s *Server) Build() *ngx.Build { return s.current.Load().build }

// Generation counts the configurations that came into force; the first is 1.
func (s *Server) Generation() int64 { return s.generation.Load() }

// Stats returns the counters of connections and requests.
func (s *Server) Stats() *ngx.Stats { return &s.http.Stats }

// Start serves.
func (s *Server) Start() {
	snap := s.current.Load()
	snap.build.Start()
	s.generation.Add(1)
	s.install(snap)
	for _, l := range s.listens {
		s.serve(l)
	}
}

// Reload reads the configuration again and puts it in force. An error leaves everything as it was.
func (s *Server) Reload() (*nginxconf.Config, error) {
	config, err := Load(s.opt)
	if err != nil {
		return config, err
	}
	old := s.current.Load()
	debug := old.log.Debugging(errlog.DebugCore)
	if debug {
		old.log.Debugf(errlog.DebugCore, 0, "reload: %s was read, generation %d is in force", s.opt.ConfFile, s.Generation())
	}
	snap, err := s.build(config, old)
	if err != nil {
		return config, err
	}
	fresh, err := s.bind(snap, func(level errlog.Level, msg string) { s.Log().Write(level, 0, msg) })
	if err != nil {
		snap.build.Undo()
		return config, err
	}
	gone := s.exchange(snap, fresh)
	if debug {
		old.log.Debugf(errlog.DebugCore, 0, "reload: built, %d addresses, %d sockets opened, %d to be closed", len(snap.points), len(fresh), len(gone))
	}
	snap.build.Start()
	s.generation.Add(1)
	s.current.Store(snap)
	s.install(snap)
	for _, l := range fresh {
		s.serve(l)
	}
	for _, l := range gone {
		s.leave(l)
	}
	s.http.CloseGone()
	s.http.LeaveUnder(old.has)
	if debug {
		old.log.Debugf(errlog.DebugCore, 0, "reload: generation %d is in force, the old one has %d requests", s.Generation(), old.users.Load()-1)
	}
	s.retire(old)
	return config, nil
}

// retire lets a snapshot go when its last request has ended, at the latest after its worker_shutdown_timeout.
func (s *Server) retire(old *Snapshot) {
	s.retired.Add(1)
	var late *time.Timer
	if d := MainOf(old.config).ShutdownTimeout.V; d > 0 {
		late = time.AfterFunc(d, func() { s.http.AbortUnder(old.has) })
	}
	old.onIdle = func() {
		if late != nil {
			late.Stop()
		}
		if old.log.Debugging(errlog.DebugCore) {
			old.log.Debugf(errlog.DebugCore, 0, "reload: the old configuration's last request has ended")
		}
		old.build.Retire()
		if s.OnRetire != nil {
			s.OnRetire()
		}
		s.retired.Done()
	}
	old.release()
}

// StopAccepting closes the listening sockets and the idle connections; running
// requests end. A Reload listens again.
func (s *Server) StopAccepting() {
	old := s.listens
	s.listens = make(map[string]*listener)
	for _, l := range old {
		s.leave(l)
	}
	s.accept.Wait()
	s.http.CloseGone()
}

// Shutdown stops listening and returns when every running request has ended; Abort ends it sooner.
func (s *Server) Shutdown() {
	s.StopAccepting()
	s.http.Shutdown()
	last := s.current.Load()
	last.onIdle = func() {}
	last.release()
	s.retired.Wait()
	if s.OnExit != nil {
		s.OnExit()
	}
	last.build.Retire()
	last.build.Close()
	s.poller.Close()
}

// Abort closes all connections; Shutdown, running or called next, then returns soon.
func (s *Server) Abort() { s.http.Abort() }

// Reopen opens the log files anew.
func (s *Server) Reopen() {
	s.current.Load().build.Reopen()
	s.files.Reopen(func(err error) { s.Log().Printf(errlog.Emerg, 0, "%s", err) })
}

// serve accepts connections until the socket is closed.
func (s *Server) serve(l *listener) {
	s.accept.Add(1)
	go func() {
		defer s.accept.Done()
		for {
			c, err := l.ln.Accept(s.poller)
			if err == nil {
				go s.http.Serve(c, &l.face(c).Listener)
				runtime.Gosched() // it runs before the next is accepted, so that connections are served in order
				continue
			}
			if errors.Is(err, net.ErrClosed) {
				return
			}
			s.Log().Printf(errlog.Crit, 0, "accept4() failed %s", errlog.Errno(err))
			time.Sleep(500 * time.Millisecond)
		}
	}()
}

package server

import (
	"errors"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"limpet/internal/errlog"
	"limpet/internal/http1"
	"limpet/internal/location"
	"limpet/internal/ngx"
	"limpet/internal/tcp"
	"limpet/nginxconf"
)

// Server serves HTTP by a configuration that can be exchanged. Its methods may
// be called by one goroutine at a time, Config excepted.
type Server struct {
	opt     Options
	files   errlog.Files
	http    http1.Server
	watcher *tcp.Watcher
	current atomic.Pointer[Snapshot]
	listens map[string]*listener // by address, sockets of their own
	accept  sync.WaitGroup
	retired sync.WaitGroup
	// OnRetire runs when a configuration has retired: a worker process of nginx would exit.
	OnRetire func()
}

// listener is one listening socket and the addresses that it serves.
type listener struct {
	ln    *tcp.Listener
	addr  *location.Address
	faces atomic.Pointer[map[string]*face] // by address: its own and those that share the socket
	own   *face
}

// face is an address as connections know it.
type face struct {
	ngx.Listener
	point atomic.Pointer[point]
}

// point is an endpoint with the snapshot that it belongs to.
type point struct {
	*ngx.Endpoint
	snap *Snapshot
}

// New reads and builds the configuration and binds its addresses; nothing is served before Start.
func New(opt Options) (*Server, *nginxconf.Config, error) {
	config, err := Load(opt)
	if err != nil {
		return nil, config, err
	}
	s := &Server{opt: opt, listens: make(map[string]*listener)}
	snap, err := build(opt, config, &s.files, nil)
	if err != nil {
		return nil, config, err
	}
	fresh, err := s.bind(snap)
	if err != nil {
		snap.build.Undo()
		return nil, config, err
	}
	for a, l := range fresh {
		s.listens[a] = l
	}
	if s.watcher, err = tcp.NewWatcher(); err != nil {
		return nil, config, err
	}
	s.http.Watcher = s.watcher
	s.http.Log = s.Log
	s.current.Store(snap)
	return s, config, nil
}

// Log returns the main error log in force.
func (s *Server) Log() *errlog.Log { return s.current.Load().log }

// Config returns the configuration in force.
func (s *Server) Config() *nginxconf.Config { return s.current.Load().config }

// Stats returns the counters of connections and requests.
func (s *Server) Stats() *http1.Stats { return &s.http.Stats }

// bind opens the sockets that a snapshot needs and the server doesn't have yet.
func (s *Server) bind(snap *Snapshot) (map[string]*listener, error) {
	fresh := make(map[string]*listener)
	for _, a := range snap.sockets() {
		if s.listens[a.Listen.Addr] != nil {
			continue
		}
		l, err := openListener(a)
		if err != nil {
			for _, l := range fresh {
				l.ln.Close()
			}
			return nil, err
		}
		fresh[a.Listen.Addr] = l
	}
	return fresh, nil
}

func openListener(a *location.Address) (*listener, error) {
	var ln *tcp.Listener
	var err error
	for try := 0; try < 5; try++ { // as nginx: an old process may just be going
		if try > 0 {
			time.Sleep(500 * time.Millisecond)
		}
		if a.Listen.Network == "unix" {
			removeStale(a.Listen.Sock)
		}
		if ln, err = tcp.Listen(a.Listen.Network, a.Listen.Sock, a.Listen.Options); !errors.Is(err, syscall.EADDRINUSE) {
			break
		}
	}
	if err != nil {
		return nil, bindError(a, err)
	}
	l := &listener{ln: ln, addr: a}
	l.own = newFace(a.Listen.Addr)
	return l, nil
}

// removeStale removes a unix socket that nobody listens on any more.
func removeStale(path string) {
	if c, err := tcp.Dial("unix", path, tcp.DialOptions{Timeout: time.Second}); err == nil {
		c.Close()
	} else if errors.Is(err, syscall.ECONNREFUSED) {
		os.Remove(path)
	}
}

func newFace(addr string) *face {
	f := &face{}
	f.Addr = addr
	f.Acquire = f.acquire
	return f
}

// acquire returns the endpoint in force with its snapshot held, nil when the address isn't listened on any more.
func (f *face) acquire() *ngx.Endpoint {
	for {
		p := f.point.Load()
		if p == nil {
			return nil
		}
		if n := p.snap.users.Load(); n > 0 && p.snap.users.CompareAndSwap(n, n+1) {
			return p.Endpoint
		} // else it retired, or another connection was faster
	}
}

// Start serves.
func (s *Server) Start() {
	snap := s.current.Load()
	snap.build.Start()
	s.install(snap)
	for _, l := range s.listens {
		s.serve(l)
	}
}

// install makes a snapshot the one that connections of every socket find.
func (s *Server) install(snap *Snapshot) {
	for _, l := range s.listens {
		faces := make(map[string]*face)
		old := l.faces.Load()
		for addr, ep := range snap.points {
			if !l.serves(addr, s.listens) {
				continue
			}
			f := l.own
			if addr != l.addr.Listen.Addr {
				f = nil
				if old != nil {
					f = (*old)[addr]
				}
				if f == nil {
					f = newFace(addr)
				}
			}
			f.point.Store(&point{ep, snap})
			faces[addr] = f
		}
		if old != nil {
			for addr, f := range *old {
				if faces[addr] == nil {
					f.point.Store(l.own.point.Load()) // the wildcard address takes its connections over
				}
			}
		}
		l.faces.Store(&faces)
	}
}

// drop takes the configuration from the connections that came by a socket: the
// idle ones end at once, the others behind their running request.
func (s *Server) drop(l *listener) {
	for _, f := range *l.faces.Load() {
		f.point.Store(nil)
		s.http.Drop(&f.Listener)
	}
}

// serves reports whether connections to an address come by this socket.
func (l *listener) serves(addr string, all map[string]*listener) bool {
	if own := all[addr]; own != nil {
		return own == l
	}
	return l.addr.Listen.Network == "tcp" && l.addr.Listen.Wildcard() && family(addr) == family(l.addr.Listen.Addr)
}

// face returns the address that a connection came to.
func (l *listener) face(c *tcp.Conn) *face {
	faces := *l.faces.Load()
	if len(faces) > 1 {
		if f := faces[string(c.LocalText())]; f != nil {
			return f
		}
	}
	return l.own
}

// serve accepts connections until the socket is closed.
func (s *Server) serve(l *listener) {
	s.accept.Add(1)
	go func() {
		defer s.accept.Done()
		for {
			c, err := l.ln.Accept()
			if err == nil {
				go s.http.Serve(c, &l.face(c).Listener)
				continue
			}
			var ne interface{ Temporary() bool }
			if !errors.As(err, &ne) || !ne.Temporary() {
				return
			}
			s.Log().Printf(errlog.Crit, 0, "accept4() failed %s", errlog.Errno(err))
			time.Sleep(500 * time.Millisecond)
		}
	}()
}

// Reload reads the configuration again and puts it in force. An error leaves everything as it was.
func (s *Server) Reload() (*nginxconf.Config, error) {
	config, err := Load(s.opt)
	if err != nil {
		return config, err
	}
	old := s.current.Load()
	snap, err := build(s.opt, config, &s.files, old)
	if err != nil {
		return config, err
	}
	fresh, err := s.bind(snap)
	if err != nil {
		snap.build.Undo()
		return config, err
	}
	gone := s.exchange(snap, fresh)
	snap.build.Start()
	s.current.Store(snap)
	s.install(snap)
	for _, l := range fresh {
		s.serve(l)
	}
	for _, l := range gone {
		l.ln.Close()
		s.drop(l)
	}
	s.retire(old)
	return config, nil
}

// exchange adds the new sockets and takes those out that the snapshot doesn't need.
func (s *Server) exchange(snap *Snapshot, fresh map[string]*listener) (gone []*listener) {
	needed := make(map[string]bool)
	for _, a := range snap.sockets() {
		needed[a.Listen.Addr] = true
	}
	for addr, l := range s.listens {
		if !needed[addr] {
			gone = append(gone, l)
			delete(s.listens, addr)
		}
	}
	for addr, l := range fresh {
		s.listens[addr] = l
	}
	return gone
}

// retire lets a snapshot go when its last request has ended.
func (s *Server) retire(old *Snapshot) {
	s.retired.Add(1)
	old.onIdle = func() {
		old.build.Retire()
		if s.OnRetire != nil {
			s.OnRetire()
		}
		s.retired.Done()
	}
	old.release()
}

// Shutdown stops listening and returns when every running request has ended; Abort ends it sooner.
func (s *Server) Shutdown() {
	for _, l := range s.listens {
		l.ln.Close()
	}
	s.accept.Wait()
	s.http.Shutdown()
	s.retire(s.current.Load())
	s.retired.Wait()
	s.watcher.Close()
}

// Abort closes all connections; Shutdown, running or called next, then returns soon.
func (s *Server) Abort() { s.http.Abort() }

// Reopen opens the log files anew.
func (s *Server) Reopen() {
	s.current.Load().build.Reopen()
	s.files.Reopen(func(err error) { s.Log().Printf(errlog.Emerg, 0, "%s", err) })
}

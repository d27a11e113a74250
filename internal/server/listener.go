package server

import (
	"errors"
	"maps"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"limpet/internal/errlog"
	"limpet/internal/location"
	"limpet/internal/ngx"
	"limpet/internal/tcp"
	"limpet/nginxconf"
)

// listener is one listening socket and the addresses that it serves.
type listener struct {
	ln    *tcp.Listener
	addr  *location.Address
	mu    sync.Mutex                       // held while faces is replaced
	faces atomic.Pointer[map[string]*face] // by address: its own and those that share, or shared, the socket
	own   *face
}

// face is an address as connections know it.
type face struct {
	ngx.Listener
	point atomic.Pointer[point] // nil: no configuration has the address any more
	moved atomic.Pointer[face]  // where the connections go on once the socket was closed
}

// point is an endpoint with the snapshot that it belongs to.
type point struct {
	*ngx.Endpoint
	snap *Snapshot
}

func newFace(addr string) *face {
	f := &face{}
	f.Addr = addr
	f.Acquire, f.Gone = f.acquire, f.gone
	return f
}

// acquire returns the endpoint in force with its snapshot held, nil when there is none.
func (f *face) acquire() *ngx.Endpoint {
	for {
		p := f.point.Load()
		if p == nil {
			if to := f.moved.Load(); to != nil {
				return to.acquire()
			}
			return nil
		}
		if n := p.snap.users.Load(); n > 0 && p.snap.users.CompareAndSwap(n, n+1) {
			return p.Endpoint
		} // else it retired, or another connection was faster
	}
}

// gone reports whether acquire returns nil.
func (f *face) gone() bool {
	if f.point.Load() != nil {
		return false
	}
	to := f.moved.Load()
	return to == nil || to.gone()
}

// The tries to bind an address that is in use, and the time between two, are nginx's:
// an old process may just be going.
const (
	bindTries = 5
	bindPause = 500 * time.Millisecond
)

// bind opens the sockets that a snapshot needs and the server doesn't have yet.
func (s *Server) bind(snap *Snapshot, report func(errlog.Level, string)) (map[string]*listener, error) {
	fresh := make(map[string]*listener)
	for try := range bindTries {
		if try > 0 {
			time.Sleep(bindPause)
		}
		busy := false
		for _, a := range snap.sockets() {
			if s.listens[a.Listen.Addr] != nil || fresh[a.Listen.Addr] != nil {
				continue
			}
			l, err := s.open(a)
			switch {
			case err == nil:
				fresh[a.Listen.Addr] = l
				if snap.log.Debugging(errlog.DebugCore) {
					snap.log.Debugf(errlog.DebugCore, 0, "bind() %s", a.Listen.Addr)
				}
			case errors.Is(err, syscall.EADDRINUSE):
				report(errlog.Emerg, bindError(a, err).Error())
				busy = true
			default:
				closeAll(fresh)
				return nil, bindError(a, err)
			}
		}
		if !busy {
			return fresh, nil
		}
	}
	closeAll(fresh)
	return nil, nginxconf.Errorf("", 0, "still could not bind()")
}

func closeAll(ls map[string]*listener) {
	for _, l := range ls {
		l.ln.Close()
	}
}

// open listens on an address. A socket of ours that overlaps it, the wildcard
// address of the port or one that it covers, serves on until the exchange.
func (s *Server) open(a *location.Address) (*listener, error) {
	opt := a.Listen.Options
	if a.Listen.Network == "unix" {
		removeStale(a.Listen.Sock)
	} else {
		for _, l := range s.listens {
			if l.overlaps(a) {
				if err := l.ln.Share(); err != nil {
					return nil, err
				}
				opt.ReusePort = true
			}
		}
	}
	ln, err := tcp.Listen(a.Listen.Network, a.Listen.Sock, opt)
	if err != nil {
		return nil, err
	}
	if a.Listen.Network == "unix" { // as nginx: whoever may enter the folder may connect
		if err := os.Chmod(a.Listen.Sock, 0o666); err != nil {
			ln.Close()
			return nil, os.NewSyscallError("chmod", err.(*os.PathError).Err)
		}
	}
	return &listener{ln: ln, addr: a, own: newFace(a.Listen.Addr)}, nil
}

// overlaps reports whether two different addresses share a port and one of them is the wildcard.
func (l *listener) overlaps(a *location.Address) bool {
	have := &l.addr.Listen
	return have.Network == "tcp" && family(have.Addr) == family(a.Listen.Addr) && (have.Wildcard() || a.Listen.Wildcard())
}

// removeStale removes a unix socket that nobody listens on any more.
func removeStale(path string) {
	if c, err := net.DialTimeout("unix", path, time.Second); err == nil {
		c.Close()
	} else if errors.Is(err, syscall.ECONNREFUSED) {
		os.Remove(path)
	}
}

// exchange adds the new sockets and takes those out whose address the snapshot
// doesn't have. A specific address keeps its socket beside a new wildcard one.
func (s *Server) exchange(snap *Snapshot, fresh map[string]*listener) (gone []*listener) {
	for addr, l := range s.listens {
		if snap.points[addr] == nil {
			gone = append(gone, l)
			delete(s.listens, addr)
		}
	}
	for addr, l := range fresh {
		s.listens[addr] = l
	}
	return gone
}

// install makes a snapshot the one that connections of every socket find.
func (s *Server) install(snap *Snapshot) {
	s.http.Stats.Slots.Limit(MainOf(snap.config).Workers.V, connectionsOf(snap.config), len(snap.sockets()))
	for _, l := range s.listens {
		l.install(snap, s.listens)
	}
}

// install points the socket's faces to a snapshot. Connections that came to an
// address which has no servers of its own go on under the socket's address.
func (l *listener) install(snap *Snapshot, all map[string]*listener) {
	l.mu.Lock()
	defer l.mu.Unlock()
	faces := make(map[string]*face)
	if old := l.faces.Load(); old != nil {
		for addr, f := range *old {
			faces[addr] = f
		}
	}
	for addr := range snap.points {
		if faces[addr] == nil && l.serves(addr, all) {
			faces[addr] = newFace(addr)
		}
	}
	faces[l.own.Addr] = l.own
	for addr, f := range faces {
		ep := snap.points[addr]
		if ep == nil {
			ep = snap.points[l.own.Addr]
		}
		f.point.Store(&point{ep, snap})
	}
	l.faces.Store(&faces)
}

// leave closes a socket that is out of use. Its connections go on where another
// socket took the address over, those that wait to be accepted included; else they end.
func (s *Server) leave(l *listener) {
	moved := false
	faces := l.faces.Load()
	if faces == nil { // never served
		l.ln.Close()
		return
	}
	for addr, f := range *faces {
		if to := s.faceOf(addr); to != nil {
			f.moved.Store(to)
			moved = true
		}
		f.point.Store(nil)
	}
	if moved {
		for _, c := range l.ln.Waiting(s.poller) {
			go s.http.Serve(c, &l.face(c).Listener)
		}
	}
	l.ln.Close()
}

// faceOf returns the face of the socket that takes connections to an address, nil when none does.
func (s *Server) faceOf(addr string) *face {
	for _, l := range s.listens {
		if l.serves(addr, s.listens) {
			return l.faceOf(addr)
		}
	}
	return nil
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
	if !l.addr.Listen.Wildcard() {
		return l.own
	}
	if f := (*l.faces.Load())[string(c.LocalText())]; f != nil {
		return f
	}
	return l.faceOf(string(c.LocalText()))
}

// maxFaces bounds the addresses of a wildcard socket that are told apart; connections
// to others end when the wildcard gives way to specific addresses.
const maxFaces = 1000

// faceOf returns the face of an address of the socket, made on first use, so that
// connections find their way when the address gets a socket of its own.
func (l *listener) faceOf(addr string) *face {
	l.mu.Lock()
	defer l.mu.Unlock()
	faces := *l.faces.Load()
	if f := faces[addr]; f != nil {
		return f
	}
	if len(faces) >= maxFaces {
		return l.own
	}
	f := newFace(addr)
	f.point.Store(l.own.point.Load())
	f.moved.Store(l.own.moved.Load())
	more := maps.Clone(faces)
	more[addr] = f
	l.faces.Store(&more)
	return f
}

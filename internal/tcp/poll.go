package tcp

import (
	"net"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Poller tells goroutines when their sockets are ready, on an epoll instance of its own on which each socket is
// registered once, edge-triggered. The instance itself sits in the runtime's poller, so that no thread is blocked.
//
// The runtime's poller forgets at the beginning of an operation what it was told before, so that a send which is to be
// followed by a wait has to look at the socket once more. This one forgets nothing: a socket known to be empty isn't
// looked at, a connection kept idle is known to be fresh, and a hangup of the peer is seen while nobody reads.
type Poller struct {
	fd   int
	file *os.File
	done chan struct{}
	due  deadlines

	mu     sync.Mutex
	table  []*socket // by descriptor
	serial uint32    // of the socket registered last: tells the users of a descriptor apart
}

// NewPoller starts a poller. Close ends it.
func NewPoller() (*Poller, error) {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("epoll_create1", err)
	}
	if err := unix.SetNonblock(fd, true); err != nil {
		unix.Close(fd)
		return nil, err
	}
	p := &Poller{fd: fd, file: os.NewFile(uintptr(fd), "poller"), done: make(chan struct{})}
	p.due.init()
	raw, err := p.file.SyscallConn()
	if err != nil {
		p.file.Close()
		return nil, err
	}
	go p.run(raw)
	go p.expire()
	return p, nil
}

// Close stops the poller and waits for its goroutines. Whoever waits on a connection, or goes on to, gets net.ErrClosed.
func (p *Poller) Close() error {
	err := p.file.Close()
	<-p.done
	close(p.due.stop)
	<-p.due.stopped
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, s := range p.table {
		if s != nil {
			s.in.end(net.ErrClosed)
			s.out.end(net.ErrClosed)
		}
	}
	return err
}

// eager is how many events at once make the poller look again behind the goroutines that they woke, without waiting
// to be told that there are more.
const eager = 4

// run hands out events until the poller is closed.
func (p *Poller) run(raw syscall.RawConn) {
	defer close(p.done)
	events := make([]unix.EpollEvent, 256)
	raw.Read(func(fd uintptr) bool {
		for {
			n, _, e := syscall.RawSyscall6(unix.SYS_EPOLL_PWAIT, fd, uintptr(unsafe.Pointer(unsafe.SliceData(events))), uintptr(len(events)), 0, 0, 0)
			switch {
			case e == syscall.EINTR:
				continue
			case e != 0:
				return true
			}
			p.hand(events[:n])
			if n < eager {
				return false // what comes from now on makes the instance ready again
			}
			runtime.Gosched()
		}
	})
}

// hand wakes the goroutines that wait for the events.
func (p *Poller) hand(events []unix.EpollEvent) {
	const gone = unix.EPOLLRDHUP | unix.EPOLLHUP | unix.EPOLLERR
	p.mu.Lock()
	defer p.mu.Unlock()
	for i := range events {
		e := &events[i]
		if int(e.Fd) >= len(p.table) {
			continue
		}
		s := p.table[e.Fd]
		if s == nil || s.serial != uint32(e.Pad) {
			continue
		}
		if e.Events&gone != 0 {
			s.gone()
		}
		if e.Events&(unix.EPOLLIN|gone) != 0 {
			s.in.notify()
		}
		if e.Events&(unix.EPOLLOUT|unix.EPOLLHUP|unix.EPOLLERR) != 0 {
			s.out.notify()
		}
	}
}

// socket is a non-blocking descriptor under a poller. Its methods are safe for concurrent use, but each gate has one
// who waits.
type socket struct {
	fd      int
	serial  uint32
	poller  *Poller
	in, out gate
	// users is how many operations use the descriptor, less closing once it is to be closed behind them.
	users atomic.Int64
	// hup says that the peer has ended its side, or the connection.
	hup atomic.Bool
	// onGone is called once hup is set; guarded by poller.mu. It must not wait.
	onGone func()
}

const closing = 1 << 32

// register makes s the socket of a descriptor, which is closed with it, or in an error.
func (p *Poller) register(s *socket, fd int) error {
	s.fd, s.poller = fd, p
	s.in.table, s.out.table = &p.due, &p.due
	p.mu.Lock()
	p.serial++
	s.serial = p.serial
	for fd >= len(p.table) {
		p.table = append(p.table, make([]*socket, max(64, len(p.table)))...)
	}
	p.table[fd] = s
	s.in.due, s.out.due = p.due.place(fd)
	p.mu.Unlock()
	ev := unix.EpollEvent{
		Events: unix.EPOLLIN | unix.EPOLLOUT | unix.EPOLLRDHUP | unix.EPOLLET&(1<<32-1),
		Fd:     int32(fd),
		Pad:    int32(s.serial),
	}
	if _, _, e := syscall.RawSyscall6(unix.SYS_EPOLL_CTL, uintptr(p.fd), unix.EPOLL_CTL_ADD, uintptr(fd), uintptr(unsafe.Pointer(&ev)), 0, 0); e != 0 {
		s.Close()
		return os.NewSyscallError("epoll_ctl", e)
	}
	return nil
}

// gone notes the end of the peer. poller.mu is held.
func (s *socket) gone() {
	if !s.hup.Swap(true) && s.onGone != nil {
		s.onGone()
	}
}

// watch has f called, once, when the peer has ended its side, which it may have already.
func (s *socket) watch(f func()) {
	s.poller.mu.Lock()
	defer s.poller.mu.Unlock()
	s.onGone = f
	if s.hup.Load() {
		f()
	}
}

// enter begins a use of the descriptor, which leave ends; false when it is closed.
func (s *socket) enter() bool {
	for {
		n := s.users.Load()
		if n < 0 {
			return false
		}
		if s.users.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

func (s *socket) leave() {
	if s.users.Add(-1) == -closing {
		s.free()
	}
}

// Close closes the descriptor behind the operations under way, whose waits end with net.ErrClosed.
func (s *socket) Close() error {
	for {
		n := s.users.Load()
		if n < 0 {
			return net.ErrClosed
		}
		if s.users.CompareAndSwap(n, n-closing) {
			s.in.end(net.ErrClosed)
			s.out.end(net.ErrClosed)
			if n == 0 {
				s.free()
			}
			return nil
		}
	}
}

// free closes the descriptor. It leaves the epoll instance by that.
func (s *socket) free() {
	s.poller.mu.Lock()
	s.poller.table[s.fd] = nil
	s.in.due.Store(0)
	s.out.due.Store(0)
	s.onGone = nil
	s.poller.mu.Unlock()
	syscall.RawSyscall(unix.SYS_CLOSE, uintptr(s.fd), 0, 0) // it waits for nothing
}

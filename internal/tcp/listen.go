package tcp

import (
	"net"
	"net/netip"
	"os"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// ListenOptions are those of the listen directive; zero ones are the system's.
// https://nginx.org/en/docs/http/ngx_http_core_module.html#listen
type ListenOptions struct {
	Backlog   int // 0: 511, as nginx
	ReusePort bool
	IPv6Only  bool
	Deferred  bool
	FastOpen  int
	SndBuf    int
	RcvBuf    int
	KeepAlive KeepAlive
}

// KeepAlive is so_keepalive: the system's default unless Set; then off, or on with the system's values where zero.
type KeepAlive struct {
	Set, On        bool
	Idle, Interval time.Duration
	Count          int
}

// Listener accepts connections.
type Listener struct {
	file *os.File // the socket: in the runtime's poller, as the process's own may not be there yet
	raw  syscall.RawConn
	addr net.Addr
	// closed tells the error of a closed file, which has no name, from others.
	closed atomic.Bool
}

// listenAddr parses a literal address.
func listenAddr(network, addr string) (unix.Sockaddr, int, error) {
	if network == "unix" {
		return &unix.SockaddrUnix{Name: addr}, unix.AF_UNIX, nil
	}
	ap, err := netip.ParseAddrPort(addr)
	if err != nil {
		return nil, 0, err
	}
	sa, family := sockaddr(ap)
	return sa, family, nil
}

// Listen listens on a literal address, ip:port for "tcp", a path for "unix". Errors are the system's, in an
// *os.SyscallError with the name of the call (`bind`, `listen`, `socket`, `setsockopt`).
func Listen(network, addr string, opt ListenOptions) (*Listener, error) {
	sa, family, err := listenAddr(network, addr)
	if err != nil {
		return nil, err
	}
	fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	if err := opt.listen(fd, network, addr, sa); err != nil {
		unix.Close(fd)
		return nil, err
	}
	f := os.NewFile(uintptr(fd), "listener")
	raw, err := f.SyscallConn()
	if err != nil {
		f.Close()
		return nil, err
	}
	bound, _ := unix.Getsockname(fd)
	path := ""
	if sa, ok := bound.(*unix.SockaddrUnix); ok {
		path = sa.Name
	}
	return &Listener{file: f, raw: raw, addr: netAddr(addrPort(bound), path)}, nil
}

// listen sets the options, binds the socket and listens.
func (opt *ListenOptions) listen(fd int, network, addr string, sa unix.Sockaddr) error {
	if err := opt.apply(fd, network, addr); err != nil {
		return err
	}
	if err := unix.Bind(fd, sa); err != nil {
		return os.NewSyscallError("bind", err)
	}
	backlog := opt.Backlog
	if backlog == 0 {
		backlog = 511
	}
	return os.NewSyscallError("listen", unix.Listen(fd, backlog))
}

// control calls f with the descriptor.
func (l *Listener) control(f func(fd int) error) error {
	var err error
	if e := l.raw.Control(func(fd uintptr) { err = f(int(fd)) }); e != nil {
		return e
	}
	return err
}

// Accept waits for the next connection, which p tells when it is ready. An error of the system's, such as EMFILE, is an
// *os.SyscallError, that of a closed listener net.ErrClosed.
func (l *Listener) Accept(p *Poller) (*Conn, error) {
	var nfd int
	var from unix.Sockaddr
	var err error
	e := l.raw.Read(func(fd uintptr) bool {
		nfd, from, err = accept(int(fd))
		return err != unix.EAGAIN
	})
	switch {
	case e != nil && l.closed.Load():
		return nil, net.ErrClosed
	case e != nil:
		return nil, e
	case err != nil:
		return nil, os.NewSyscallError("accept4", err)
	}
	return p.conn(nfd, addrPort(from))
}

// accept takes a connection; EAGAIN: none waits.
func accept(fd int) (int, unix.Sockaddr, error) {
	for {
		nfd, from, err := unix.Accept4(fd, unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC)
		if err != unix.EINTR && err != unix.ECONNABORTED {
			return nfd, from, err
		}
	}
}

// addrPort is an address of the system's; invalid for one of a unix socket.
func addrPort(sa unix.Sockaddr) netip.AddrPort {
	switch sa := sa.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(sa.Addr), uint16(sa.Port))
	case *unix.SockaddrInet6:
		return netip.AddrPortFrom(netip.AddrFrom16(sa.Addr), uint16(sa.Port))
	}
	return netip.AddrPort{}
}

// Waiting returns the connections that wait to be accepted, without waiting for
// more, so that a socket can be closed without losing them.
func (l *Listener) Waiting(p *Poller) []*Conn {
	var conns []*Conn
	l.control(func(fd int) error {
		for {
			nfd, from, err := accept(fd)
			if err != nil {
				return nil
			}
			if c, err := p.conn(nfd, addrPort(from)); err == nil {
				conns = append(conns, c)
			}
		}
	})
	return conns
}

// Share lets another socket of this process be bound to an address that overlaps
// this one's, such as the wildcard address of the same port, with ReusePort.
func (l *Listener) Share() error {
	return l.control(func(fd int) error {
		return os.NewSyscallError("setsockopt", unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1))
	})
}

// Addr is the address listened on.
func (l *Listener) Addr() net.Addr { return l.addr }

// Close stops listening; a unix socket's path is removed.
func (l *Listener) Close() error {
	if a, ok := l.addr.(*net.UnixAddr); ok && a.Name != "" && a.Name[0] != '@' {
		os.Remove(a.Name)
	}
	l.closed.Store(true)
	return l.file.Close()
}

// apply sets the options on the socket before it is bound; connections inherit them.
func (opt *ListenOptions) apply(fd int, network, addr string) error {
	type option struct {
		when               bool
		level, name, value int
	}
	one := func(b bool) int {
		if b {
			return 1
		}
		return 0
	}
	tcp := network != "unix"
	v6 := tcp && addr != "" && addr[0] == '['
	ka := opt.KeepAlive
	for _, o := range []option{
		{tcp, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1},
		{tcp && opt.ReusePort, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1},
		{v6, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, one(opt.IPv6Only)},
		{tcp && opt.Deferred, unix.IPPROTO_TCP, unix.TCP_DEFER_ACCEPT, 1},
		{tcp && opt.FastOpen > 0, unix.IPPROTO_TCP, unix.TCP_FASTOPEN, opt.FastOpen},
		{opt.SndBuf > 0, unix.SOL_SOCKET, unix.SO_SNDBUF, opt.SndBuf},
		{opt.RcvBuf > 0, unix.SOL_SOCKET, unix.SO_RCVBUF, opt.RcvBuf},
		{tcp, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1},
		{ka.Set, unix.SOL_SOCKET, unix.SO_KEEPALIVE, one(ka.On)},
		{tcp && ka.Idle > 0, unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, int(ka.Idle / time.Second)},
		{tcp && ka.Interval > 0, unix.IPPROTO_TCP, unix.TCP_KEEPINTVL, int(ka.Interval / time.Second)},
		{tcp && ka.Count > 0, unix.IPPROTO_TCP, unix.TCP_KEEPCNT, ka.Count},
	} {
		if !o.when {
			continue
		}
		if err := unix.SetsockoptInt(fd, o.level, o.name, o.value); err != nil {
			return os.NewSyscallError("setsockopt", err)
		}
	}
	return nil
}

package tcp

import (
	"encoding/binary"
	"net/netip"
	"os"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// DialOptions are the options of a connection to an upstream; zero ones are the system's.
type DialOptions struct {
	Timeout     time.Duration  // of connecting; 0: the system's
	LocalAddr   netip.AddrPort // bound to; port 0: chosen when connecting
	SndBuf      int
	RcvBuf      int
	KeepAlive   bool
	Transparent bool // LocalAddr may be another machine's
	// To, unless nil, is what network and addr stand for, by ParseAddress, so that they aren't parsed each time.
	To *Address
	// Delay leaves TCP_NODELAY unset, for who waits for an answer between writes.
	Delay bool
	// Opened, unless nil, is handed the connection before the wait for the other end, so that somebody can Guard or Abort it.
	// After an error of Dial it is closed.
	Opened func(*Conn)
	// Held, unless nil, counts the connection: it is lowered by one when that is closed, or couldn't be opened.
	Held *atomic.Int64
}

// Dial connects to a literal address, ip:port or [ip]:port for "tcp", a path for "unix". The socket is made by hand:
// net.Dialer's goroutine, context and address lists cost more than the connection. A failed connect is a
// *os.SyscallError around the system's error, a late one ErrTimeout.
func (p *Poller) Dial(network, addr string, opt DialOptions) (*Conn, error) {
	c, err := p.dial(network, addr, opt)
	switch {
	case opt.Held == nil:
	case err != nil:
		opt.Held.Add(-1)
	default:
		c.held.Store(opt.Held)
	}
	return c, err
}

func (p *Poller) dial(network, addr string, opt DialOptions) (*Conn, error) {
	to := opt.To
	if to == nil {
		var own Address
		if err := own.parse(network, addr); err != nil {
			return nil, err
		}
		to = &own
	}
	family := to.family
	fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	if err := opt.apply(fd, family); err != nil {
		unix.Close(fd)
		return nil, err
	}
	err = to.connect(fd)
	if err != nil && err != unix.EINPROGRESS && err != unix.EINTR {
		unix.Close(fd)
		return nil, os.NewSyscallError("connect", err)
	}
	c, e := p.conn(fd, to.remote)
	if e != nil {
		return nil, e
	}
	if opt.Opened != nil {
		opt.Opened(c)
	}
	if err == nil {
		return c, nil
	}
	c.SetWriteTimeout(opt.Timeout)
	c.out.op = opConnect
	_, err = c.waitWrite()
	c.SetWriteTimeout(0)
	if err != nil {
		c.Close()
		if e, ok := err.(syscall.Errno); ok {
			err = os.NewSyscallError("connect", e)
		}
		return nil, err
	}
	return c, nil
}

// Address is a literal address, ready for connecting. It is read-only.
type Address struct {
	family int
	path   string // of a unix socket
	remote netip.AddrPort
	raw    unix.RawSockaddrInet6 // has room for IPv4, too
	length uintptr               // of raw
}

// ParseAddress reads what Dial takes.
func ParseAddress(network, addr string) (*Address, error) {
	a := new(Address)
	return a, a.parse(network, addr)
}

// parse sets a zero address.
func (a *Address) parse(network, addr string) error {
	if network == "unix" {
		a.family, a.path = unix.AF_UNIX, addr
		return nil
	}
	ap, err := netip.ParseAddrPort(addr)
	if err != nil {
		return err
	}
	a.remote = ap
	var port uint16
	binary.BigEndian.PutUint16((*[2]byte)(unsafe.Pointer(&port))[:], ap.Port())
	if ap.Addr().Is4() {
		a.family, a.length = unix.AF_INET, unix.SizeofSockaddrInet4
		*(*unix.RawSockaddrInet4)(unsafe.Pointer(&a.raw)) = unix.RawSockaddrInet4{Family: unix.AF_INET, Port: port, Addr: ap.Addr().As4()}
		return nil
	}
	a.family, a.length = unix.AF_INET6, unix.SizeofSockaddrInet6
	a.raw = unix.RawSockaddrInet6{Family: unix.AF_INET6, Port: port, Addr: ap.Addr().As16()}
	return nil
}

// connect begins to connect a socket; the error is the system's, EINPROGRESS or EINTR when it goes on.
func (a *Address) connect(fd int) error {
	if a.family == unix.AF_UNIX {
		return unix.Connect(fd, &unix.SockaddrUnix{Name: a.path})
	}
	_, _, e := syscall.Syscall(unix.SYS_CONNECT, uintptr(fd), uintptr(unsafe.Pointer(&a.raw)), a.length)
	if e != 0 {
		return e
	}
	return nil
}

// sockaddr is the system's form of an address, and its family.
func sockaddr(ap netip.AddrPort) (unix.Sockaddr, int) {
	if ap.Addr().Is4() {
		return &unix.SockaddrInet4{Port: int(ap.Port()), Addr: ap.Addr().As4()}, unix.AF_INET
	}
	return &unix.SockaddrInet6{Port: int(ap.Port()), Addr: ap.Addr().As16()}, unix.AF_INET6
}

// apply sets the options on a fresh socket.
func (opt *DialOptions) apply(fd, family int) error {
	set := func(level, name, value int) error {
		return os.NewSyscallError("setsockopt", unix.SetsockoptInt(fd, level, name, value))
	}
	var errs [6]error
	if family != unix.AF_UNIX && !opt.Delay {
		errs[0] = set(unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
	}
	if opt.SndBuf > 0 {
		errs[1] = set(unix.SOL_SOCKET, unix.SO_SNDBUF, opt.SndBuf)
	}
	if opt.RcvBuf > 0 {
		errs[2] = set(unix.SOL_SOCKET, unix.SO_RCVBUF, opt.RcvBuf)
	}
	if opt.KeepAlive {
		errs[3] = set(unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1)
	}
	if opt.Transparent && family == unix.AF_INET {
		errs[4] = set(unix.SOL_IP, unix.IP_TRANSPARENT, 1)
	} else if opt.Transparent && family == unix.AF_INET6 {
		errs[4] = set(unix.SOL_IPV6, unix.IPV6_TRANSPARENT, 1)
	}
	if opt.LocalAddr.IsValid() {
		if opt.LocalAddr.Port() == 0 { // the port is chosen by connect, when the other end is known
			if err := set(unix.SOL_IP, unix.IP_BIND_ADDRESS_NO_PORT, 1); err != nil && family == unix.AF_INET {
				return err
			}
		}
		sa, _ := sockaddr(opt.LocalAddr)
		errs[5] = os.NewSyscallError("bind", unix.Bind(fd, sa))
	}
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// connectState is how a connect under way has ended; EAGAIN: it hasn't.
func connectState(fd int) syscall.Errno {
	var name unix.RawSockaddrAny
	size := uint32(unsafe.Sizeof(name))
	_, _, e := syscall.RawSyscall(unix.SYS_GETPEERNAME, uintptr(fd), uintptr(unsafe.Pointer(&name)), uintptr(unsafe.Pointer(&size)))
	if e != syscall.ENOTCONN {
		return e
	}
	switch v, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ERROR); {
	case err != nil:
		return err.(syscall.Errno)
	case v != 0:
		return syscall.Errno(v)
	}
	return syscall.EAGAIN
}

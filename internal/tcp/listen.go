package tcp

import (
	"context"
	"net"
	"os"
	"strings"
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
	ln net.Listener
}

// Listen listens on a literal address, ip:port for "tcp", a path for "unix". Errors wrap the system's, with the name
// of the call (`bind`, `listen`, `socket`, `setsockopt`) in an *os.SyscallError.
func Listen(network, addr string, opt ListenOptions) (*Listener, error) {
	lc := net.ListenConfig{KeepAlive: -1, Control: func(_, _ string, raw syscall.RawConn) error {
		var err error
		if e := raw.Control(func(fd uintptr) { err = opt.apply(int(fd), network, addr) }); e != nil {
			return e
		}
		return err
	}}
	lc.SetMultipathTCP(false) // nginx doesn't ask for it, and it can't be spliced
	ln, err := lc.Listen(context.Background(), familyOf(network, addr), addr)
	if err != nil {
		return nil, err
	}
	l := &Listener{ln}
	// net listens with the system's greatest backlog; to listen again is to change it.
	backlog := opt.Backlog
	if backlog == 0 {
		backlog = 511
	}
	if err := l.control(func(fd int) error { return os.NewSyscallError("listen", unix.Listen(fd, backlog)) }); err != nil {
		ln.Close()
		return nil, err
	}
	return l, nil
}

// familyOf returns the network that is of the address' family alone: under "tcp" net
// listens on [::] for 0.0.0.0, so that `listen 80; listen [::]:80;` would be one address twice.
func familyOf(network, addr string) string {
	switch {
	case network != "tcp":
		return network
	case strings.HasPrefix(addr, "["):
		return "tcp6"
	}
	return "tcp4"
}

// control calls f with the descriptor.
func (l *Listener) control(f func(fd int) error) error {
	sc, ok := l.ln.(syscall.Conn)
	if !ok {
		return nil
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return err
	}
	if e := raw.Control(func(fd uintptr) { err = f(int(fd)) }); e != nil {
		return e
	}
	return err
}

// Accept waits for the next connection. Under lack of descriptors the error is a net.Error that wraps EMFILE.
func (l *Listener) Accept() (*Conn, error) {
	nc, err := l.ln.Accept()
	if err != nil {
		return nil, err
	}
	return New(nc), nil
}

// Waiting returns the connections that wait to be accepted, without waiting for
// more, so that a socket can be closed without losing them.
func (l *Listener) Waiting() []*Conn {
	var conns []*Conn
	l.control(func(fd int) error {
		for {
			nfd, _, err := unix.Accept4(fd, unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC)
			if err == unix.EINTR || err == unix.ECONNABORTED {
				continue
			}
			if err != nil {
				return nil
			}
			f := os.NewFile(uintptr(nfd), "")
			if nc, err := net.FileConn(f); err == nil {
				conns = append(conns, New(nc))
			}
			f.Close()
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
func (l *Listener) Addr() net.Addr { return l.ln.Addr() }

// Close stops listening; a unix socket's path is removed.
func (l *Listener) Close() error { return l.ln.Close() }

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
		{tcp && opt.ReusePort, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1},
		{v6, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, one(opt.IPv6Only)},
		{tcp && opt.Deferred, unix.IPPROTO_TCP, unix.TCP_DEFER_ACCEPT, 1},
		{tcp && opt.FastOpen > 0, unix.IPPROTO_TCP, unix.TCP_FASTOPEN, opt.FastOpen},
		{opt.SndBuf > 0, unix.SOL_SOCKET, unix.SO_SNDBUF, opt.SndBuf},
		{opt.RcvBuf > 0, unix.SOL_SOCKET, unix.SO_RCVBUF, opt.RcvBuf},
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

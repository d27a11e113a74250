package tcp

import (
	"net"
	"net/netip"

	"golang.org/x/sys/unix"
)

// addrs are a connection's addresses and their texts, made when first asked for.
type addrs struct {
	remote, local netip.AddrPort // invalid: a unix socket, or not known
	localPath     string
	known         bool

	remoteText, remoteIPText, remoteBinary []byte
	localText, localIPText                 []byte
}

// load fills the addresses and texts once.
func (c *Conn) load() *addrs {
	a := &c.addrs
	if a.known {
		return a
	}
	a.known = true
	remotePath := ""
	if c.nc != nil {
		a.remote, remotePath = split(c.nc.RemoteAddr())
		a.local, a.localPath = split(c.nc.LocalAddr())
	} else {
		c.Control(func(fd int) error {
			sa, err := unix.Getsockname(fd)
			a.local = addrPort(sa)
			if sa, ok := sa.(*unix.SockaddrUnix); ok {
				a.localPath = sa.Name
			}
			return err
		})
	}
	a.remoteText, a.remoteIPText = text(a.remote, remotePath)
	a.localText, a.localIPText = text(a.local, a.localPath)
	if a.remote.IsValid() {
		a.remoteBinary = a.remote.Addr().AsSlice()
	} else {
		a.remoteBinary = a.remoteIPText
	}
	return a
}

// split takes an address of package net apart.
func split(addr net.Addr) (netip.AddrPort, string) {
	switch addr := addr.(type) {
	case *net.TCPAddr:
		return addr.AddrPort(), ""
	case *net.UnixAddr:
		if addr != nil && addr.Name != "@" { // "@": unnamed
			return netip.AddrPort{}, addr.Name
		}
	}
	return netip.AddrPort{}, ""
}

// text is `ip:port` and `ip`, or `unix:path` and `unix:`.
func text(ap netip.AddrPort, path string) (whole, ip []byte) {
	if !ap.IsValid() {
		return []byte("unix:" + path), []byte("unix:")
	}
	return ap.AppendTo(nil), ap.Addr().AppendTo(nil)
}

// Remote returns the peer's address; it is invalid for a unix socket.
func (c *Conn) Remote() netip.AddrPort { return c.load().remote }

// Local returns the own address; it is invalid for a unix socket.
func (c *Conn) Local() netip.AddrPort { return c.load().local }

// RemoteText is the peer as nginx writes it: `127.0.0.1:8080`, `[::1]:80`, `unix:`. The slice is shared.
func (c *Conn) RemoteText() []byte { return c.load().remoteText }

// RemoteIP is the peer's address alone: `127.0.0.1`, `::1`, `unix:`. The slice is shared.
func (c *Conn) RemoteIP() []byte { return c.load().remoteIPText }

// RemoteBinary is the peer's address in 4 or 16 bytes ($binary_remote_addr), `unix:` for a unix socket. The slice is
// shared.
func (c *Conn) RemoteBinary() []byte { return c.load().remoteBinary }

// LocalText is the own address: `127.0.0.1:8080`, `[::1]:80`, `unix:/path`. The slice is shared.
func (c *Conn) LocalText() []byte { return c.load().localText }

// LocalIP is the own address alone: `127.0.0.1`, `::1`, `unix:`. The slice is shared.
func (c *Conn) LocalIP() []byte { return c.load().localIPText }

// RemoteAddr returns the peer's address in package net's form.
func (c *Conn) RemoteAddr() net.Addr {
	if c.nc != nil {
		return c.nc.RemoteAddr()
	}
	return netAddr(c.load().remote, "")
}

// LocalAddr returns the own address in package net's form.
func (c *Conn) LocalAddr() net.Addr {
	if c.nc != nil {
		return c.nc.LocalAddr()
	}
	return netAddr(c.load().local, c.load().localPath)
}

// netAddr is package net's form of an address.
func netAddr(ap netip.AddrPort, path string) net.Addr {
	if ap.IsValid() {
		return net.TCPAddrFromAddrPort(ap)
	}
	return &net.UnixAddr{Name: path, Net: "unix"}
}

package corevars

import (
	"net/netip"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"limpet/internal/ngx"
)

// connectionVars are the variables about the client and its connection.
func connectionVars() []ngx.Variable {
	return []ngx.Variable{
		{Name: "remote_addr", Doc: "The client's address.", Get: func(r *ngx.Request, b []byte) ([]byte, bool) {
			return append(b, r.Client.Text...), true
		}},
		{Name: "remote_port", Doc: "The client's port.", Get: func(r *ngx.Request, b []byte) ([]byte, bool) {
			return port(b, r.Client.Addr)
		}},
		{Name: "binary_remote_addr", Doc: "The client's address in 4 or 16 bytes.", Get: binaryRemoteAddr},
		{Name: "server_addr", Doc: "The address to which the client came.", Get: serverAddr},
		{Name: "server_port", Doc: "The port to which the client came.", Get: func(r *ngx.Request, b []byte) ([]byte, bool) {
			return port(b, r.Client.Local)
		}},
		{Name: "connection", Doc: "The connection's serial number.", Get: func(r *ngx.Request, b []byte) ([]byte, bool) {
			return strconv.AppendUint(b, r.Client.ID, 10), true
		}},
		{Name: "connection_requests", Doc: "The number of requests on the connection.", Get: func(r *ngx.Request, b []byte) ([]byte, bool) {
			return number(b, int64(r.Client.Requests))
		}},
		{Name: "connection_time", Doc: "The connection's age in seconds with milliseconds.", Get: func(r *ngx.Request, b []byte) ([]byte, bool) {
			return seconds(b, max(0, time.Since(r.Client.Start))), true
		}},
		{Name: "tcpinfo_rtt", Doc: "The connection's round-trip time in microseconds.", Get: tcpInfo(func(i *unix.TCPInfo) uint32 { return i.Rtt })},
		{Name: "tcpinfo_rttvar", Doc: "The variance of the round-trip time.", Get: tcpInfo(func(i *unix.TCPInfo) uint32 { return i.Rttvar })},
		{Name: "tcpinfo_snd_cwnd", Doc: "The size of the congestion window.", Get: tcpInfo(func(i *unix.TCPInfo) uint32 { return i.Snd_cwnd })},
		{Name: "tcpinfo_rcv_space", Doc: "The size of the receiver's window.", Get: tcpInfo(func(i *unix.TCPInfo) uint32 { return i.Rcv_space })},
	}
}

// port appends an address's port, nothing where it has none.
func port(b []byte, a netip.AddrPort) ([]byte, bool) {
	if a.Port() != 0 {
		b = strconv.AppendUint(b, uint64(a.Port()), 10)
	}
	return b, true
}

func binaryRemoteAddr(r *ngx.Request, b []byte) ([]byte, bool) {
	addr := r.Client.Addr.Addr()
	switch {
	case addr.Is4():
		ip := addr.As4()
		return append(b, ip[:]...), true
	case addr.Is6():
		ip := addr.As16()
		return append(b, ip[:]...), true
	}
	return append(b, r.Client.Text...), true
}

func serverAddr(r *ngx.Request, b []byte) ([]byte, bool) {
	if local := r.Client.Local; local.IsValid() {
		return local.Addr().AppendTo(b), true
	}
	return append(b, r.Client.Conn.LocalText()...), true
}

// tcpInfo makes the getter of a number that the kernel keeps of the connection; a UNIX-domain socket has none.
func tcpInfo(get func(*unix.TCPInfo) uint32) ngx.Getter {
	return func(r *ngx.Request, b []byte) ([]byte, bool) {
		var info *unix.TCPInfo
		err := r.Client.Conn.Control(func(fd int) (err error) {
			info, err = unix.GetsockoptTCPInfo(fd, unix.IPPROTO_TCP, unix.TCP_INFO)
			return err
		})
		if err != nil || r.Client.Unix {
			return b, false
		}
		return strconv.AppendUint(b, uint64(get(info)), 10), true
	}
}

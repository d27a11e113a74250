package relay

import (
	"hash/fnv"
	"net/netip"
	"strings"
	"time"

	"limpet/internal/errlog"
	"limpet/internal/tcp"
	"limpet/upstream"
)

// connect takes a kept connection to the peer or opens one.
func (x *Exchange) connect(p *upstream.Peer) Failure {
	c := x.H.conf
	x.kept = false
	if k := x.To.group.Kept; k != nil {
		if x.R.Debugging() {
			x.R.Debugf("get keepalive peer")
		}
		for {
			l, ok := k.Get(p, x.keptKey(), x.begun)
			if !ok {
				break
			}
			if x.AtOnce() && x.idempotent() || l.Conn.Fresh() { // Exchange takes less care
				x.link, x.kept = l, true
				x.guard(l.Conn)
				x.arm()
				if x.R.Debugging() {
					x.debugKept(l, true)
				}
				return Failure{}
			}
			if x.R.Debugging() {
				x.debugKept(l, false)
			}
			l.Conn.Close()
		}
	}
	opt := tcp.DialOptions{
		Timeout: or(x.s.Asked.Connect, c.ConnectTimeout.V), KeepAlive: c.SocketKeepalive.V, RcvBuf: int(c.RcvBuf.V), SndBuf: int(c.SndBuf.V), Opened: x.guard,
		Held: x.H.slots.Taken(),
	}
	if c.Bind.V.On {
		if addr := c.Bind.V.Addr.Bytes(x.R); len(addr) > 0 {
			local, err := localAddr(addr)
			if err != nil {
				x.R.Errorf(`invalid local address "%s"`, addr)
			} else {
				opt.LocalAddr, opt.Transparent = local, c.Bind.V.Transparent
			}
		}
	}
	if addr := x.s.Asked.LocalAddr; addr != "" {
		opt.LocalAddr, _ = localAddr([]byte(addr)) // checked by who asked
	}
	if !x.H.slots.Take(x.R.Scope.Core.ErrorLog) {
		x.R.Logf(errlog.Alert, "%s while %s", x.H.slots.Short(), WhileConnecting)
		return Failure{Class: NextOff, Status: 500}
	}
	conn, err := x.H.poller.Dial(p.Network, p.Addr, opt)
	if err != nil {
		if x.R.Debugging() {
			x.debugConnected(p, -1, err)
		}
		x.guard(nil)
		return x.connectError(p, err)
	}
	x.link = upstream.Link{Conn: conn, Opened: x.begun, Idle: x.s.Asked.KeepIdle, Limit: x.s.Asked.KeepRequests}
	x.arm()
	if x.R.Debugging() {
		x.debugConnected(p, conn.FD(), nil)
	}
	if t := x.s.Asked.TLS; x.To.scheme.TLS && (t == nil || *t) {
		return x.handshake(p)
	}
	return Failure{}
}

// arm sets the timeouts of the connection at hand.
func (x *Exchange) arm() {
	x.link.Conn.SetWriteTimeout(or(x.s.Asked.Send, x.H.conf.SendTimeout.V))
	x.link.Conn.SetReadTimeout(x.readTimeout())
}

// readTimeout is proxy_read_timeout, or what a script asked for in its place.
func (x *Exchange) readTimeout() time.Duration { return or(x.s.Asked.Read, x.H.conf.ReadTimeout.V) }

// or returns what was asked for, else the place's own.
func or(asked, own time.Duration) time.Duration {
	if asked > 0 {
		return asked
	}
	return own
}

// keptKey tells apart the kept connections of scripts' hosts, and of names and certificates by variables, too.
func (x *Exchange) keptKey() uint64 {
	dynamic := x.To.scheme.TLS && x.H.tls.dynamic
	if x.s.Asked.Host == "" && !dynamic {
		return x.H.key
	}
	f := fnv.New64a()
	if dynamic {
		x.H.tls.identify(f, x)
	}
	f.Write([]byte(x.s.Asked.Host))
	return x.H.key ^ f.Sum64()
}

// guard has the end of the client's connection end the waiting for the peer; where
// the client's going doesn't matter, only its being cut by Abort. The one slot is the
// main request's: subrequests aren't guarded.
func (x *Exchange) guard(conn *tcp.Conn) {
	c := x.R.Client
	ignore := x.H.conf.IgnoreClientAbort.V || x.c != nil && x.c.keep || x.H.store != nil
	switch {
	case !x.R.IsMain():
	case c.Stream != nil:
		if !ignore {
			c.Stream.Guard(conn)
		}
	case c.HTTP2 || c.Conn == nil:
	case ignore:
		c.Conn.Bind(conn)
	default:
		c.Conn.Guard(conn)
	}
}

// close ends the reading of an answer and the connection at hand.
func (x *Exchange) close() {
	x.spool.stop()
	x.spool = nil
	x.disconnect()
}

// disconnect closes the connection at hand.
func (x *Exchange) disconnect() {
	if x.link.Conn == nil {
		return
	}
	x.guard(nil)
	if x.R.Debugging() {
		x.R.Debugf("close http upstream connection: %d", x.link.Conn.FD())
	}
	x.link.Conn.Close()
	x.link = upstream.Link{}
}

// release gives the connection back for other requests where it can be kept.
func (x *Exchange) release() {
	if x.link.Conn == nil {
		return // a spool did it, or nobody was asked
	}
	k := x.To.group.Kept
	if k != nil && x.R.Debugging() {
		x.R.Debugf("free keepalive peer")
	}
	if k == nil || !x.Keep || x.Rd != x.Wr || x.s.Peer == nil {
		x.disconnect()
		return
	}
	x.guard(nil)
	if x.ended.IsZero() {
		x.ended = time.Now()
	}
	if x.R.Debugging() {
		x.R.Debugf("free keepalive peer: saving connection %d", x.link.Conn.FD())
	}
	l := x.link
	x.link = upstream.Link{}
	l.Requests++
	k.Put(x.s.Peer, x.keptKey(), l, x.ended)
}

// localAddr reads an address, with or without a port.
func localAddr(b []byte) (netip.AddrPort, error) {
	if ap, err := netip.ParseAddrPort(string(b)); err == nil {
		return ap, nil
	}
	a, err := netip.ParseAddr(strings.Trim(string(b), "[]"))
	return netip.AddrPortFrom(a, 0), err
}

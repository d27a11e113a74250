package proxy

import (
	"errors"
	"io"
	"os"
	"syscall"

	"limpet/internal/errlog"
	"limpet/internal/tcp"
	"limpet/upstream"
)

// What nginx says it was doing, behind "while".
const (
	whileConnecting = "connecting to upstream"
	whileTLS        = "SSL handshaking to upstream"
	whileSending    = "sending request to upstream"
	whileHead       = "reading response header from upstream"
	whileBody       = "reading upstream"
	whileTunnel     = "proxying upgraded connection"
)

// connectError turns an error of dialling into a failure and logs it.
func (x *exchange) connectError(p *upstream.Peer, err error) failure {
	switch {
	case errors.Is(err, tcp.ErrHangup):
		return x.clientGone(whileConnecting)
	case errors.Is(err, tcp.ErrAborted):
		return failure{class: nextOff, status: 499}
	case errors.Is(err, tcp.ErrTimeout):
		return x.timedOut(whileConnecting)
	}
	var call *os.SyscallError
	if errors.As(err, &call) && call.Syscall != "connect" { // not the peer's fault
		level, arg := errlog.Alert, []byte(nil)
		if call.Syscall == "bind" {
			level, arg = errlog.Crit, x.h.conf.Bind.V.Addr.Bytes(x.r)
		}
		x.r.Logf(level, "%s(%s) failed %s while %s", call.Syscall, arg, errlog.Errno(err), whileConnecting)
		return failure{class: nextOff, status: 500}
	}
	level, to := errlog.Error, ""
	if !errlog.IsUnreachable(err) {
		level = errlog.Crit
	}
	if p.Network == "unix" || level == errlog.Crit || errors.Is(err, syscall.ENETUNREACH) { // the system says so at once
		to = " to " + string(p.Name)
	}
	x.r.Logf(level, "connect()%s failed %s while %s", to, errlog.Errno(err), whileConnecting)
	return failure{class: nextError, status: 502}
}

func (x *exchange) timedOut(while string) failure {
	x.s.While = while
	x.r.Errorf("upstream timed out (110: Connection timed out) while %s", while)
	return failure{class: nextTimeout, status: 504}
}

// clientGone ends a request whose client has closed its connection: nobody is asked any more.
func (x *exchange) clientGone(while string) failure {
	x.r.Infof("epoll_wait() reported that client prematurely closed connection, so upstream connection is closed too while %s", while)
	return failure{class: nextOff, status: 499}
}

// ioError turns an error of the connection, op being recv or send, into a failure and logs it.
func (x *exchange) ioError(err error, op, while string) failure {
	switch {
	case errors.Is(err, tcp.ErrHangup):
		return x.clientGone(while)
	case errors.Is(err, tcp.ErrTimeout):
		return x.timedOut(while)
	case errors.Is(err, tcp.ErrAborted):
		return failure{class: nextOff, status: 499}
	}
	x.s.While = while
	stale := x.kept && x.got == 0
	if stale && x.mayRepeat() {
		return failure{class: nextError, status: 502, stale: true}
	}
	if errors.Is(err, io.EOF) {
		x.r.Errorf("upstream prematurely closed connection while %s", while)
	} else {
		x.r.Errorf("%s() failed %s while %s", op, errlog.Errno(err), while)
	}
	return failure{class: nextError, status: 502, stale: stale}
}

// invalid logs an answer that breaks the protocol.
func (x *exchange) invalid(format string, args ...any) failure {
	x.r.Errorf(format+" while "+whileHead, args...)
	return failure{class: nextInvalidHeader, status: 502}
}

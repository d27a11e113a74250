package relay

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
	WhileConnecting = "connecting to upstream"
	WhileTLS        = "SSL handshaking to upstream"
	WhileSending    = "sending request to upstream"
	WhileHead       = "reading response header from upstream"
	WhileBody       = "reading upstream"
	WhileTunnel     = "proxying upgraded connection"
)

// connectError turns an error of dialling into a failure and logs it.
func (x *Exchange) connectError(p *upstream.Peer, err error) Failure {
	switch {
	case errors.Is(err, tcp.ErrHangup):
		return x.ClientGone(WhileConnecting)
	case errors.Is(err, tcp.ErrAborted):
		return Failure{Class: NextOff, Status: 499}
	case errors.Is(err, tcp.ErrTimeout):
		return x.timedOut(WhileConnecting)
	}
	var call *os.SyscallError
	if errors.As(err, &call) && call.Syscall != "connect" { // not the peer's fault
		level, arg := errlog.Alert, []byte(nil)
		if call.Syscall == "bind" {
			level, arg = errlog.Crit, x.H.conf.Bind.V.Addr.Bytes(x.R)
		}
		x.R.Logf(level, "%s(%s) failed %s while %s", call.Syscall, arg, errlog.Errno(err), WhileConnecting)
		return Failure{Class: NextOff, Status: 500}
	}
	level, to := errlog.Error, ""
	if !errlog.IsUnreachable(err) {
		level = errlog.Crit
	}
	if p.Network == "unix" || level == errlog.Crit || errors.Is(err, syscall.ENETUNREACH) { // the system says so at once
		to = " to " + string(p.Name)
	}
	x.R.Logf(level, "connect()%s failed %s while %s", to, errlog.Errno(err), WhileConnecting)
	return Failure{Class: NextError, Status: 502}
}

func (x *Exchange) timedOut(while string) Failure {
	x.s.While = while
	x.R.Errorf("upstream timed out (110: Connection timed out) while %s", while)
	return Failure{Class: NextTimeout, Status: 504}
}

// ClientGone ends a request whose client has closed its connection: nobody is asked any more.
func (x *Exchange) ClientGone(while string) Failure {
	x.R.Infof("epoll_wait() reported that client prematurely closed connection, so upstream connection is closed too while %s", while)
	return Failure{Class: NextOff, Status: 499}
}

// ioError turns an error of the connection, op being recv or send, into a failure and logs it.
func (x *Exchange) ioError(err error, op, while string) Failure {
	switch {
	case errors.Is(err, tcp.ErrHangup):
		return x.ClientGone(while)
	case errors.Is(err, tcp.ErrTimeout):
		return x.timedOut(while)
	case errors.Is(err, tcp.ErrAborted):
		return Failure{Class: NextOff, Status: 499}
	}
	x.s.While = while
	stale := x.kept && x.got == 0
	if stale && x.mayRepeat() {
		return Failure{Class: NextError, Status: 502, Stale: true}
	}
	if errors.Is(err, io.EOF) {
		x.R.Errorf("upstream prematurely closed connection while %s", while)
	} else {
		x.R.Errorf("%s() failed %s while %s", op, errlog.Errno(err), while)
	}
	return Failure{Class: NextError, Status: 502, Stale: stale}
}

// Invalid logs an answer that breaks the protocol.
func (x *Exchange) Invalid(format string, args ...any) Failure {
	x.R.Errorf(format+" while "+WhileHead, args...)
	return Failure{Class: NextInvalidHeader, Status: 502}
}

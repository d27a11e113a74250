package relay

import (
	"errors"
	"io"

	"limpet/internal/ngx"
	"limpet/internal/tcp"
)

// Send sends the request: what AppendRequest made and the body as it is, with one call where both are in memory.
func (x *Exchange) Send() Failure {
	conn, r := x.link.Conn, x.R
	if x.streaming {
		return x.stream()
	}
	if x.AtOnce() {
		body := x.body
		if x.H.Body == nil && x.passesBody() && x.BodyLength > 0 {
			body = r.Main.Body.Mem
		}
		return x.ask(body)
	}
	n, err := conn.Write(x.Out)
	x.sent += int64(n)
	if err != nil {
		return x.sendError(err)
	}
	err = r.Main.Body.Each(func(p []byte) error {
		n, err := conn.WriteUnlessAnswered(nil, p)
		x.sent += int64(n)
		return err
	})
	if err != nil {
		return x.sendError(err)
	}
	return Failure{}
}

// SendFramed sends the request for a protocol whose bodies are framed. One that is in memory is in Out already: see Body.
func (x *Exchange) SendFramed() Failure {
	switch {
	case x.streaming:
		return x.stream()
	case x.AtOnce():
		return x.ask(nil)
	}
	n, err := x.link.Conn.Write(x.Out)
	x.sent += int64(n)
	if err != nil {
		return x.sendError(err)
	}
	err = x.R.Main.Body.Each(func(p []byte) error {
		for len(p) > 0 {
			n := copy(x.In[FrameRoom:len(x.In)-FrameTail], p)
			p = p[n:]
			sent, err := x.link.Conn.WriteUnlessAnswered(nil, x.H.Protocol.Frame(x, n, false))
			x.sent += int64(sent)
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err == nil {
		n, err = x.link.Conn.WriteUnlessAnswered(nil, x.H.Protocol.Frame(x, 0, true))
		x.sent += int64(n)
	}
	if err != nil {
		return x.sendError(err)
	}
	return Failure{}
}

// Body returns the body of the request where it is in memory, for AppendRequest; nil for none.
func (x *Exchange) Body() []byte {
	switch {
	case x.H.Body != nil:
		return x.body
	case x.AtOnce() && x.passesBody() && x.BodyLength > 0:
		return x.R.Main.Body.Mem
	}
	return nil
}

// passesBody reports whether the request's own body goes to the peer.
func (x *Exchange) passesBody() bool { return (x.H.BodyAlways || x.H.conf.PassBody.V) && !x.H.NoBody }

// AtOnce reports whether head and body lie in memory.
func (x *Exchange) AtOnce() bool {
	return !x.streaming && (x.R.Main.Body.File == nil || x.H.Body != nil || !x.passesBody() || x.BodyLength <= 0)
}

// ask sends the request and reads the first bytes of the answer.
func (x *Exchange) ask(body []byte) Failure {
	sent, n, err := x.link.Conn.Exchange(x.Out, body, x.In, x.kept)
	x.sent += int64(sent)
	x.Wr, x.got = n, int64(n)
	x.Cut = sent < len(x.Out)+len(body)
	switch {
	case err == nil:
		return Failure{}
	case err == tcp.ErrStale:
		return Failure{Class: NextError, Status: 502, Stale: true}
	case sent < len(x.Out)+len(body):
		return x.sendError(err)
	}
	return x.ioError(err, "recv", WhileHead)
}

// sendError judges an error of sending. A peer that answers before it has the
// whole request, or that closes while it is sent, may have an answer all the same.
func (x *Exchange) sendError(err error) Failure {
	x.Cut = true
	if errors.Is(err, tcp.ErrAnswered) {
		return Failure{}
	}
	if !errors.Is(err, tcp.ErrTimeout) && !errors.Is(err, tcp.ErrHangup) && x.link.Conn.Readable() {
		return Failure{}
	}
	return x.ioError(err, "send", WhileSending)
}

// FrameRoom and FrameTail are the bytes around a piece of a request's body that a protocol's framing may take.
const (
	FrameRoom = 18
	FrameTail = 24
)

// preread takes what has come of the body, without waiting. One that is whole and
// small is kept as if it had been read before; else streaming begins with it.
func (x *Exchange) preread() ngx.Outcome {
	r := x.R
	w, ok := r.Wire.(ngx.BodyWaiter)
	size := min(r.Scope.Core.ClientBodyBufferSize.V, int64(len(x.In)-FrameRoom-FrameTail))
	if !ok || r.Length > size || size <= 0 {
		return ngx.Next
	}
	buf := x.In[FrameRoom : FrameRoom+size]
	for x.ahead < len(buf) {
		n, err := w.TryReadBody(r, buf[x.ahead:])
		x.ahead += n
		switch {
		case err == io.EOF || err == nil && int64(x.ahead) == r.Length:
			r.Body = ngx.Body{Read: true, Mem: r.Copy(buf[:x.ahead]), Size: int64(x.ahead)}
			x.ahead = 0
			return ngx.Next
		case err == tcp.ErrWouldBlock:
			return ngx.Next
		case err != nil:
			return r.BodyError(err)
		}
	}
	return ngx.Next
}

// stream sends the head, then the body as it comes from the client, and stops when the peer answers before its end.
func (x *Exchange) stream() Failure {
	conn := x.link.Conn
	// The input buffer isn't used before the answer: the body goes through it.
	if fail := x.piece(x.Out, x.ahead, false); fail.Class != 0 {
		return fail
	}
	if conn.Readable() {
		return x.answered()
	}
	waiter, _ := x.R.Wire.(ngx.BodyWaiter)
	for {
		n, err := x.gather(waiter)
		if n > 0 || err == io.EOF {
			if fail := x.piece(nil, n, err == io.EOF); fail.Class != 0 || err == io.EOF {
				return fail
			}
			if conn.Readable() {
				return x.answered()
			}
		}
		if err == tcp.ErrWouldBlock {
			err = waiter.WaitBody(x.R, conn)
			if err == tcp.ErrAnswered && conn.Readable() { // not only a TLS record without data
				return x.answered()
			}
		}
		if err != nil && err != tcp.ErrAnswered {
			return x.bodyFailed(err)
		}
	}
}

// gather reads what has come of the body to in[FrameRoom:]; where the wire can't but wait, the next piece.
func (x *Exchange) gather(waiter ngx.BodyWaiter) (n int, err error) {
	p := x.In[FrameRoom : len(x.In)-FrameTail]
	if waiter == nil {
		return x.R.Wire.ReadBody(x.R, p)
	}
	for n < len(p) && err == nil {
		var m int
		m, err = waiter.TryReadBody(x.R, p[n:])
		n += m
	}
	return n, err
}

// answered ends a stream whose peer answers before it has all: the rest of the body is nobody's.
func (x *Exchange) answered() Failure {
	x.Cut = true
	x.R.KeepAlive = false
	return Failure{}
}

// piece sends head, x.Out or nothing, and n bytes of the body at in[FrameRoom:], and the body's end behind them.
func (x *Exchange) piece(head []byte, n int, end bool) Failure {
	if n > 0 {
		x.bodySent = true
	}
	p := x.H.Protocol.Frame(x, n, end)
	if len(head) > 0 && len(p) > 0 { // what came together goes on together, with one call
		both := append(x.Out, p...)
		x.Out = both[:len(x.Out)]
		head, p = both, nil
	}
	sent, err := x.link.Conn.WriteUnlessAnswered(head, p)
	x.sent += int64(sent)
	if err != nil {
		return x.sendError(err)
	}
	return Failure{}
}

// bodyFailed ends a request whose body can't be read: the client's fault.
func (x *Exchange) bodyFailed(err error) Failure {
	out := x.R.BodyError(err)
	if !out.IsStatus() {
		return Failure{Class: NextOff, Status: 499}
	}
	return Failure{Class: NextOff, Status: int(out)}
}

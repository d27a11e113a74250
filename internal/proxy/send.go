package proxy

import (
	"errors"
	"io"
	"strconv"

	"limpet/internal/ngx"
	"limpet/internal/tcp"
)

// send sends the request: head and body with one call where the body is in memory.
func (x *exchange) send() failure {
	conn, r := x.link.Conn, x.r
	if x.streaming {
		return x.stream()
	}
	if x.atOnce() {
		body := x.body
		if !x.h.conf.SetBody.IsSet() && x.h.conf.PassBody.V && x.bodyLength > 0 {
			body = r.Main.Body.Mem
		}
		return x.ask(body)
	}
	n, err := conn.Write(x.out)
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
	return failure{}
}

// atOnce reports whether head and body lie in memory, for one Exchange.
func (x *exchange) atOnce() bool {
	return !x.streaming && (x.r.Main.Body.File == nil || x.h.conf.SetBody.IsSet() || !x.h.conf.PassBody.V || x.bodyLength <= 0)
}

// ask sends the request and reads the first bytes of the answer.
func (x *exchange) ask(body []byte) failure {
	sent, n, err := x.link.Conn.Exchange(x.out, body, x.in, x.kept)
	x.sent += int64(sent)
	x.wr, x.got = n, int64(n)
	x.cut = sent < len(x.out)+len(body)
	switch {
	case err == nil:
		return failure{}
	case err == tcp.ErrStale:
		return failure{class: nextError, status: 502, stale: true}
	case sent < len(x.out)+len(body):
		return x.sendError(err)
	}
	return x.ioError(err, "recv", whileHead)
}

// sendError judges an error of sending. A peer that answers before it has the
// whole request, or that closes while it is sent, may have an answer all the same.
func (x *exchange) sendError(err error) failure {
	x.cut = true
	if errors.Is(err, tcp.ErrAnswered) {
		return failure{}
	}
	if !errors.Is(err, tcp.ErrTimeout) && !errors.Is(err, tcp.ErrHangup) && x.link.Conn.Readable() {
		return failure{}
	}
	return x.ioError(err, "send", whileSending)
}

// chunkRoom is what a chunk's size line takes at most.
const chunkRoom = 18

// preread takes what has come of the body, without waiting. One that is whole and
// small is kept as if it had been read before; else streaming begins with it.
func (x *exchange) preread() ngx.Outcome {
	r := x.r
	w, ok := r.Wire.(ngx.BodyWaiter)
	size := min(r.Scope.Core.ClientBodyBufferSize.V, int64(len(x.in)-chunkRoom-len(lastChunk)))
	if !ok || r.Length > size || size <= 0 {
		return ngx.Next
	}
	buf := x.in[chunkRoom : chunkRoom+size]
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
func (x *exchange) stream() failure {
	conn := x.link.Conn
	// The input buffer isn't used before the answer: the body goes through it.
	if fail := x.piece(x.out, x.ahead, false); fail.class != 0 {
		return fail
	}
	if conn.Readable() {
		return x.answered()
	}
	waiter, _ := x.r.Wire.(ngx.BodyWaiter)
	for {
		n, err := x.gather(waiter)
		if n > 0 || err == io.EOF {
			if fail := x.piece(nil, n, err == io.EOF); fail.class != 0 || err == io.EOF {
				return fail
			}
			if conn.Readable() {
				return x.answered()
			}
		}
		if err == tcp.ErrWouldBlock {
			err = waiter.WaitBody(x.r, conn)
			if err == tcp.ErrAnswered && conn.Readable() { // not only a TLS record without data
				return x.answered()
			}
		}
		if err != nil && err != tcp.ErrAnswered {
			return x.bodyFailed(err)
		}
	}
}

// gather reads what has come of the body to in[chunkRoom:]; where the wire can't but wait, the next piece.
func (x *exchange) gather(waiter ngx.BodyWaiter) (n int, err error) {
	p := x.in[chunkRoom : len(x.in)-len(lastChunk)]
	if waiter == nil {
		return x.r.Wire.ReadBody(x.r, p)
	}
	for n < len(p) && err == nil {
		var m int
		m, err = waiter.TryReadBody(x.r, p[n:])
		n += m
	}
	return n, err
}

// answered ends a stream whose peer answers before it has all: the rest of the body is nobody's.
func (x *exchange) answered() failure {
	x.cut = true
	x.r.KeepAlive = false
	return failure{}
}

// piece sends head, x.out or nothing, and n bytes of the body at in[chunkRoom:], and the body's end behind them.
func (x *exchange) piece(head []byte, n int, end bool) failure {
	if n > 0 {
		x.bodySent = true
	}
	p := x.in[chunkRoom : chunkRoom+n]
	if x.bodyChunked {
		p = frame(x.in, chunkRoom, n, end)
	}
	if len(head) > 0 && len(p) > 0 { // what came together goes on together, with one call
		both := append(x.out, p...)
		x.out = both[:len(x.out)]
		head, p = both, nil
	}
	sent, err := x.link.Conn.WriteUnlessAnswered(head, p)
	x.sent += int64(sent)
	if err != nil {
		return x.sendError(err)
	}
	return failure{}
}

// lastChunk is behind the last byte of a body in chunks: of its last piece with data and of the empty one.
const lastChunk = "\r\n0\r\n\r\n"

// frame puts n bytes at buf[room:] into a chunk, in place; at the body's end the last chunk follows.
func frame(buf []byte, room, n int, end bool) []byte {
	start := room
	tail := ""
	if n > 0 {
		var line [chunkRoom]byte
		size := append(strconv.AppendInt(line[:0], int64(n), 16), "\r\n"...)
		start -= len(size)
		copy(buf[start:], size)
		tail = lastChunk[:2]
	}
	if end {
		tail = lastChunk[2-len(tail):]
	}
	return append(buf[start:room+n], tail...)
}

// bodyFailed ends a request whose body can't be read: the client's fault.
func (x *exchange) bodyFailed(err error) failure {
	out := x.r.BodyError(err)
	if !out.IsStatus() {
		return failure{class: nextOff, status: 499}
	}
	return failure{class: nextOff, status: int(out)}
}

// early passes a 103 on where early_hints says so; other interim answers are dropped.
func (x *exchange) early() error {
	r := x.r
	if x.line.Status != 103 || !r.IsMain() || !holds(x.h.conf.EarlyHints.V, r) {
		return nil
	}
	var h ngx.Header
	for i := range r.UpHead.Fields {
		if f := &r.UpHead.Fields[i]; !x.h.hide.has(f) && !hopByHop(f.ID) {
			h.Fields = append(h.Fields, *f)
		}
	}
	return r.Wire.SendInterim(r, 103, &h)
}

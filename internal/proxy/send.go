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
	x.whole = true
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
	x.whole = sent == len(x.out)+len(body)
	switch {
	case err == nil:
		return failure{}
	case err == tcp.ErrStale:
		return failure{class: nextError, status: 502, stale: true}
	case !x.whole:
		return x.sendError(err)
	}
	return x.ioError(err, "recv", whileHead)
}

// sendError judges an error of sending. A peer that answers before it has the
// whole request, or that closes while it is sent, may have an answer all the same.
func (x *exchange) sendError(err error) failure {
	if errors.Is(err, tcp.ErrAnswered) {
		return failure{}
	}
	if !errors.Is(err, tcp.ErrTimeout) && !errors.Is(err, tcp.ErrHangup) && x.link.Conn.Readable() {
		return failure{}
	}
	return x.ioError(err, "send", whileSending)
}

// stream sends the head, then the body as it comes from the client, and stops when the peer answers before its end.
func (x *exchange) stream() failure {
	conn, r := x.link.Conn, x.r
	n, err := conn.Write(x.out)
	x.sent += int64(n)
	if err != nil {
		return x.sendError(err)
	}
	// The rest of the input buffer isn't used before the answer: the body goes through it.
	buf := x.in
	for {
		const room = 18 // for a chunk's size line
		var got int
		if got, err = r.Wire.ReadBody(r, buf[room:len(buf)-2]); got > 0 {
			x.bodySent = true
			p := buf[room : room+got]
			if x.bodyChunked {
				p = frame(buf, room, got)
			}
			n, werr := conn.WriteUnlessAnswered(nil, p)
			x.sent += int64(n)
			if werr != nil {
				return x.sendError(werr)
			}
		}
		if err != nil {
			break
		}
		if conn.Readable() {
			r.KeepAlive = false // the rest of the body is nobody's
			return failure{}
		}
	}
	if err != io.EOF {
		return x.bodyFailed(err)
	}
	if x.bodyChunked {
		n, err := conn.Write([]byte("0\r\n\r\n"))
		x.sent += int64(n)
		if err != nil {
			return x.sendError(err)
		}
	}
	x.whole = true
	return failure{}
}

// frame puts n bytes at buf[room:] into a chunk, in place.
func frame(buf []byte, room, n int) []byte {
	var line [18]byte
	size := strconv.AppendInt(line[:0], int64(n), 16)
	size = append(size, "\r\n"...)
	start := room - len(size)
	copy(buf[start:], size)
	buf = append(buf[:room+n], "\r\n"...)
	return buf[start:]
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

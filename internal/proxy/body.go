package proxy

import (
	"bytes"
	"errors"
	"io"
	"time"

	"limpet/internal/http1"
	"limpet/internal/ngx"
	"limpet/internal/tcp"
)

// errChunked is an answer's body that breaks the framing of chunks.
var errChunked = errors.New("upstream sent invalid chunked response")

// errEarly is an answer whose connection ended before its body.
var errEarly = errors.New("upstream prematurely closed connection")

// source is where the reading of an answer's body stands.
type source struct {
	base    int   // in x.in: what lies before is the head's
	remain  int64 // of a body of known length
	trailer bool  // the fields behind the last chunk are being read
	ended   bool
	rate    int64 // proxy_limit_rate, bytes a second
	start   time.Time
	read    int64      // bytes of the body
	fields  ngx.Header // behind the last chunk
	pending bool       // something was written to the client and perhaps not sent
	busy    bool       // next, or a pipe, is at work: a spool has to wait
	slow    bool       // the client took less than there was meanwhile
}

// relay copies the answer's body to the client and ends the response.
func (x *exchange) relay() ngx.Outcome {
	r := x.r
	x.begin()
	if !x.limit() && x.length >= 0 && int64(x.wr-x.rd) >= x.length {
		return x.relayBuffered()
	}
	upErr, clientErr := x.copy()
	x.spool.stop()
	x.spool = nil
	if upErr != nil {
		x.bodyError(upErr)
	}
	if upErr != nil || clientErr != nil {
		x.close()
		x.endTry(0)
		r.KeepAlive = false
		return ngx.Close
	}
	x.release()
	x.takeTrailer()
	x.endTry(0)
	if r.Finish() != nil {
		return ngx.Close
	}
	return ngx.OK
}

// begin sets the reading of the body up.
func (x *exchange) begin() {
	x.src = source{base: x.rd, remain: x.length}
	if x.noBody {
		x.src.remain = 0
		x.length = 0
		x.chunked = false
	}
}

// relayBuffered answers with a body that came with the head: the usual way. The
// connection to the peer is free before the client has the answer.
func (x *exchange) relayBuffered() ngx.Outcome {
	r := x.r
	p := x.in[x.rd : x.rd+int(x.length)]
	x.rd += int(x.length)
	if x.rd < x.wr {
		x.extra()
	}
	x.src.read = x.length
	x.ended = x.begun.Add(x.lastTry().Header) // the body came with the head
	x.release()
	x.endTry(0)
	if len(p) > 0 && r.Write(p) != nil || r.Finish() != nil {
		return ngx.Close
	}
	return ngx.OK
}

// extra notes bytes behind the body's end: they are nobody's, and the connection isn't used again.
func (x *exchange) extra() {
	x.r.Warnf(`upstream sent more data than specified in "Content-Length" header while %s`, whileBody)
	x.keep = false
}

// limit sets the rate of reading up.
func (x *exchange) limit() bool {
	t := &x.h.conf.LimitRate.V
	if v, static := t.Static(); static && len(v) == 1 && v[0] == '0' {
		return false
	}
	x.src.rate, x.src.start = ngx.ParseRate(t.Bytes(x.r)), time.Now()
	return x.src.rate > 0
}

// copy copies the body piece by piece. Where the client takes it more slowly than
// it comes and proxy_buffering is on, a spool reads on meanwhile.
func (x *exchange) copy() (upErr, clientErr error) {
	r := x.r
	if x.buffering && r.IsMain() && r.Client.Conn != nil && !r.Client.HTTP2 {
		r.Client.Conn.OnWriteBlocked(x.blocked)
		defer r.Client.Conn.OnWriteBlocked(nil)
	}
	for {
		if x.spool == nil && x.src.remain >= spliceFrom && x.mayFly() {
			if done, up, client := x.fly(); done || up != nil || client != nil {
				return up, client
			}
		}
		if x.src.slow && x.spool == nil {
			x.startSpool()
		}
		var p []byte
		var err error
		if x.spool != nil {
			if x.src.pending && !r.HasFilters() && !x.spool.ready() {
				if e := x.flush(); e != nil {
					return nil, e
				}
			}
			p, err = x.spool.take()
		} else {
			p, err = x.next()
		}
		if len(p) > 0 {
			if e := r.Write(p); e != nil {
				return nil, e
			}
			x.src.pending = true
			if !x.buffering {
				if e := x.flush(); e != nil {
					return nil, e
				}
			}
		}
		switch {
		case err == io.EOF:
			return nil, nil
		case err == errClient:
			return nil, err
		case err != nil:
			return err, nil
		}
	}
}

// errClient says that sending to the client failed while the peer was read.
var errClient = errors.New("client is gone")

// flush sends on to the client what it was sent. As next does it, a write that blocks
// starts no spool.
func (x *exchange) flush() error {
	x.src.pending = false
	if x.muted {
		return nil
	}
	x.src.busy = true
	err := x.r.Flush()
	x.src.busy = false
	return err
}

// spliceFrom is how much of a body must be left for splice(2) to be worth its pipe.
const spliceFrom = 64 << 10

// mayFly reports whether the body can go from socket to socket without being looked at.
func (x *exchange) mayFly() bool {
	return !x.chunked && x.length >= 0 && x.rd == x.wr && x.src.rate == 0 && x.buffering && !x.r.HasFilters() && !x.link.Conn.Secure()
}

// fly moves the body in the kernel until it ends or a spool takes over.
func (x *exchange) fly() (done bool, upErr, clientErr error) {
	w, ok := x.r.Wire.(ngx.Splicer)
	if !ok {
		return false, nil, nil
	}
	x.src.busy = true
	n, upErr, clientErr := w.Splice(x.r, x.link.Conn, x.src.remain, func() bool { return x.src.slow })
	x.src.busy = false
	if errors.Is(upErr, tcp.ErrUnsupported) {
		x.buffering = x.buffering && n == 0
		return false, nil, nil
	}
	x.src.remain -= n
	x.got += n
	x.src.read += n
	if upErr == io.EOF {
		upErr = errEarly
	}
	return x.src.remain == 0, upErr, clientErr
}

// nextPiece is next without keeping what it returns.
func (x *exchange) nextPiece() ([]byte, error) {
	s := &x.src
	for {
		if x.rd < x.wr {
			p, err := x.decode(x.in[x.rd:x.wr])
			if len(p) > 0 || err != nil {
				s.read += int64(len(p))
				return p, err
			}
			continue
		}
		switch {
		case s.ended, !x.chunked && x.length >= 0 && s.remain == 0:
			return nil, io.EOF
		}
		if err := x.more(); err != nil {
			return nil, err
		}
	}
}

// decode takes the framing off what is in the buffer.
func (x *exchange) decode(b []byte) ([]byte, error) {
	s := &x.src
	switch {
	case s.ended:
		x.extra()
		x.rd = x.wr
		return nil, io.EOF
	case s.trailer:
		return nil, x.readTrailer(b)
	case x.chunked:
		p, n, err := x.dec.Next(b, len(b))
		x.rd += n
		if err != nil {
			return nil, errChunked
		}
		s.trailer = x.dec.Done()
		return p, nil
	case x.length >= 0:
		n := min(int64(len(b)), s.remain)
		s.remain -= n
		x.rd += int(n)
		if s.remain == 0 {
			if x.rd < x.wr {
				x.extra()
				x.rd = x.wr
			}
			return b[:n], io.EOF
		}
		return b[:n], nil
	}
	x.rd = x.wr
	return b, nil
}

// readTrailer reads a field behind the last chunk, or the end of the body.
func (x *exchange) readTrailer(b []byte) error {
	f, n, res := http1.ParseField(b)
	switch res {
	case http1.FieldMore:
		if len(b) >= len(x.in)-x.src.base {
			return errChunked
		}
		return x.append()
	case http1.FieldBad:
		return errChunked
	case http1.FieldEnd:
		x.rd += n
		x.src.ended = true
		if x.rd < x.wr {
			x.extra()
			x.rd = x.wr
		}
		return io.EOF
	}
	x.rd += n
	f.Name, f.Value = bytes.Clone(f.Name), bytes.Clone(f.Value)
	x.src.fields.Fields = append(x.src.fields.Fields, f)
	return nil
}

// takeTrailer hands the fields behind the last chunk over, and on to the client where proxy_pass_trailers says so.
func (x *exchange) takeTrailer() {
	r := x.r
	for _, f := range x.src.fields.Fields {
		r.UpTrailer.Fields = append(r.UpTrailer.Fields, f)
		if x.h.conf.PassTrailers.V && !hopByHop(f.ID) {
			r.Out.Trailer.Fields = append(r.Out.Trailer.Fields, f)
		}
	}
}

// append reads more behind what is unread in the buffer.
func (x *exchange) append() error {
	n := copy(x.in[x.src.base:], x.in[x.rd:x.wr])
	x.rd, x.wr = x.src.base, x.src.base+n
	return x.read()
}

// more reads on when the buffer is used up.
func (x *exchange) more() error {
	x.rd, x.wr = x.src.base, x.src.base
	if x.src.rate > 0 {
		if err := x.slowDown(); err != nil {
			return err
		}
	}
	return x.read()
}

// slowDown waits until proxy_limit_rate lets more be read.
func (x *exchange) slowDown() error {
	s := &x.src
	due := s.start.Add(time.Duration(float64(s.read) / float64(s.rate) * float64(time.Second)))
	if wait := time.Until(due); wait > 0 {
		if x.spool == nil && x.flush() != nil {
			return errClient
		}
		return x.link.Conn.Sleep(wait)
	}
	return nil
}

// read reads from the peer. Before it waits, what the client was sent so far goes out.
func (x *exchange) read() error {
	conn, buf := x.link.Conn, x.in[x.wr:]
	if x.src.rate > 0 {
		buf = buf[:min(int64(len(buf)), max(x.src.rate, 1))]
	}
	n, err := 0, error(nil)
	if x.spool == nil && x.src.pending && !x.r.HasFilters() {
		if n, err = conn.TryRead(buf); err == tcp.ErrWouldBlock {
			if x.flush() != nil {
				return errClient
			}
			n, err = conn.Read(buf)
		}
	} else {
		n, err = conn.Read(buf)
	}
	x.wr += n
	x.got += int64(n)
	switch {
	case n > 0:
		return nil
	case err == nil || err == io.EOF:
		if !x.chunked && x.length < 0 {
			x.src.ended, x.keep = true, false
			return io.EOF
		}
		return errEarly
	}
	return err
}

// bodyError logs why an answer's body broke off.
func (x *exchange) bodyError(err error) {
	switch err {
	case errChunked, errEarly:
		x.r.Errorf("%s while %s", err, whileBody)
	default:
		x.kept = false
		x.ioError(err, "recv", whileBody)
	}
}

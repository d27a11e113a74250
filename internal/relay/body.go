package relay

import (
	"errors"
	"io"
	"time"

	"limpet/internal/ngx"
	"limpet/internal/tcp"
)

// FramingError is an answer's body that breaks its framing: what the log says of it.
type FramingError string

func (e FramingError) Error() string { return string(e) }

// errEarly is an answer whose connection ended before its body.
var errEarly = errors.New("upstream prematurely closed connection")

// source is where the reading of an answer's body stands.
type source struct {
	base    int   // in x.In: what lies before is the head's
	remain  int64 // of a body of known length
	ended   bool
	rate    int64 // proxy_limit_rate, bytes a second
	start   time.Time
	read    int64 // bytes of the body
	pending bool  // something was written to the client and perhaps not sent
	busy    bool  // next, or a pipe, is at work: a spool has to wait
	slow    bool  // the client took less than there was meanwhile
}

// relay copies the answer's body to the client and ends the response.
func (x *Exchange) relay() ngx.Outcome {
	r := x.R
	x.begin()
	if !x.limit() && !x.Framed && x.Length >= 0 && int64(x.Wr-x.Rd) >= x.Length {
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
func (x *Exchange) begin() {
	x.src = source{base: x.Rd, remain: x.Length}
	if x.NoBody && !x.Framed {
		x.src.remain = 0
		x.Length = 0
	}
}

// relayBuffered answers with a body that came with the head: the usual way. The
// connection to the peer is free before the client has the answer.
func (x *Exchange) relayBuffered() ngx.Outcome {
	r := x.R
	p := x.In[x.Rd : x.Rd+int(x.Length)]
	x.Rd += int(x.Length)
	if x.Rd < x.Wr {
		x.Extra()
	}
	x.src.read = x.Length
	x.ended = x.begun.Add(x.lastTry().Header) // the body came with the head
	x.release()
	x.endTry(0)
	if len(p) > 0 && r.Write(p) != nil || r.Finish() != nil {
		return ngx.Close
	}
	return ngx.OK
}

// Extra notes bytes behind the body's end: they are nobody's, and the connection isn't used again.
func (x *Exchange) Extra() {
	x.R.Warnf(`upstream sent more data than specified in "Content-Length" header while %s`, WhileBody)
	x.Keep = false
}

// limit sets the rate of reading up.
func (x *Exchange) limit() bool {
	t := &x.H.conf.LimitRate.V
	if v, static := t.Static(); static && len(v) == 1 && v[0] == '0' {
		return false
	}
	x.src.rate, x.src.start = ngx.ParseRate(t.Bytes(x.R)), time.Now()
	return x.src.rate > 0
}

// copy copies the body piece by piece. Where the client takes it more slowly than
// it comes and proxy_buffering is on, a spool reads on meanwhile.
func (x *Exchange) copy() (upErr, clientErr error) {
	r := x.R
	if w, ok := r.Wire.(ngx.Blocker); ok && x.buffering && r.IsMain() {
		w.OnWriteBlocked(x.blocked)
		defer w.OnWriteBlocked(nil)
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
func (x *Exchange) flush() error {
	x.src.pending = false
	if x.muted {
		return nil
	}
	x.src.busy = true
	err := x.R.Flush()
	x.src.busy = false
	return err
}

// spliceFrom is how much of a body must be left for splice(2) to be worth its pipe.
const spliceFrom = 64 << 10

// mayFly reports whether the body can go from socket to socket without being looked at.
func (x *Exchange) mayFly() bool {
	return !x.Framed && x.Length >= 0 && x.Rd == x.Wr && x.src.rate == 0 && x.buffering && !x.R.HasFilters() && !x.link.Conn.Secure()
}

// fly moves the body in the kernel until it ends or a spool takes over.
func (x *Exchange) fly() (done bool, upErr, clientErr error) {
	w, ok := x.R.Wire.(ngx.Splicer)
	if !ok {
		return false, nil, nil
	}
	x.src.busy = true
	n, upErr, clientErr := w.Splice(x.R, x.link.Conn, x.src.remain, func() bool { return x.src.slow })
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
func (x *Exchange) nextPiece() ([]byte, error) {
	s := &x.src
	for {
		if x.Rd < x.Wr {
			p, err := x.decode(x.In[x.Rd:x.Wr])
			if len(p) > 0 || err != nil {
				s.read += int64(len(p))
				return p, err
			}
			continue
		}
		switch {
		case s.ended, !x.Framed && x.Length >= 0 && s.remain == 0:
			return nil, io.EOF
		}
		if err := x.more(); err != nil {
			return nil, err
		}
	}
}

// decode takes the framing off what is in the buffer.
func (x *Exchange) decode(b []byte) ([]byte, error) {
	s := &x.src
	switch {
	case s.ended:
		x.Extra()
		x.Rd = x.Wr
		return nil, io.EOF
	case x.Framed:
		p, err := x.H.Protocol.Decode(x, b)
		s.ended = err == io.EOF
		return p, err
	case x.Length >= 0:
		n := min(int64(len(b)), s.remain)
		s.remain -= n
		x.Rd += int(n)
		if s.remain == 0 {
			if x.Rd < x.Wr {
				x.Extra()
				x.Rd = x.Wr
			}
			return b[:n], io.EOF
		}
		return b[:n], nil
	}
	x.Rd = x.Wr
	return b, nil
}

// takeTrailer hands the fields behind the answer over, and on to the client where the place says so.
func (x *Exchange) takeTrailer() {
	r := x.R
	for _, f := range x.Trailer.Fields {
		r.UpTrailer.Fields = append(r.UpTrailer.Fields, f)
		if x.H.Trailers && !hopByHop(f.ID) {
			r.Out.Trailer.Fields = append(r.Out.Trailer.Fields, f)
		}
	}
}

// More reads more behind what is unread in the buffer, for a Decode that can't go on; ErrFull when there is no room.
func (x *Exchange) More() error {
	if x.Wr-x.Rd >= len(x.In)-x.src.base {
		return ErrFull
	}
	n := copy(x.In[x.src.base:], x.In[x.Rd:x.Wr])
	x.Rd, x.Wr = x.src.base, x.src.base+n
	return x.read()
}

// ErrFull says that what has to be read as a whole is longer than the buffer.
var ErrFull = errors.New("buffer is full")

// more reads on when the buffer is used up.
func (x *Exchange) more() error {
	x.Rd, x.Wr = x.src.base, x.src.base
	if x.src.rate > 0 {
		if err := x.slowDown(); err != nil {
			return err
		}
	}
	return x.read()
}

// slowDown waits until proxy_limit_rate lets more be read.
func (x *Exchange) slowDown() error {
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
func (x *Exchange) read() error {
	conn, buf := x.link.Conn, x.In[x.Wr:]
	if x.src.rate > 0 {
		buf = buf[:min(int64(len(buf)), max(x.src.rate, 1))]
	}
	n, err := 0, error(nil)
	if x.spool == nil && x.src.pending && !x.R.HasFilters() {
		if n, err = conn.TryRead(buf); err == tcp.ErrWouldBlock {
			if x.flush() != nil {
				return errClient
			}
			n, err = conn.Read(buf)
		}
	} else {
		n, err = conn.Read(buf)
	}
	x.Wr += n
	x.got += int64(n)
	switch {
	case n > 0:
		return nil
	case err == nil || err == io.EOF:
		if !x.Framed && x.Length < 0 {
			x.src.ended, x.Keep = true, false
			return io.EOF
		}
		return errEarly
	}
	return err
}

// bodyError logs why an answer's body broke off.
func (x *Exchange) bodyError(err error) {
	switch _, framing := err.(FramingError); {
	case framing || err == errEarly:
		x.R.Errorf("%s while %s", err, WhileBody)
	default:
		x.kept = false
		x.ioError(err, "recv", WhileBody)
	}
}

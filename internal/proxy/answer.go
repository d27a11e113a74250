package proxy

import (
	"bytes"
	"io"
	"strconv"

	"limpet/internal/http1"
	"limpet/internal/ngx"
	"limpet/internal/relay"
)

// state is what a request keeps of HTTP/1's framing.
type state struct {
	line    http1.StatusLine
	dec     http1.ChunkDecoder
	trailer bool // the fields behind the last chunk are being read
}

// NewState implements relay.Protocol.
func (p *place) NewState() any { return new(state) }

// Send implements relay.Protocol.
func (p *place) Send(x *relay.Exchange) relay.Failure { return x.Send() }

// lastChunk is behind the last byte of a body in chunks: of its last piece with data and of the empty one.
const lastChunk = "\r\n0\r\n\r\n"

// Frame implements relay.Protocol: a body without length goes out in chunks.
func (p *place) Frame(x *relay.Exchange, n int, end bool) []byte {
	if !x.BodyChunked {
		return x.In[relay.FrameRoom : relay.FrameRoom+n]
	}
	return frame(x.In, relay.FrameRoom, n, end)
}

// frame puts n bytes at buf[room:] into a chunk, in place; at the body's end the last chunk follows.
func frame(buf []byte, room, n int, end bool) []byte {
	start := room
	tail := ""
	if n > 0 {
		var line [relay.FrameRoom]byte
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

// ReadHead implements relay.Protocol. Interim answers are skipped.
func (p *place) ReadHead(x *relay.Exchange) relay.Failure {
	for {
		if fail := x.AwaitHead(); fail.Class != 0 {
			return fail
		}
		if s := x.Status; s >= 200 || s == 101 {
			return p.framing(x)
		}
		if x.Early() != nil {
			return x.ClientGone(relay.WhileHead)
		}
	}
}

// ParseHead implements relay.Protocol.
func (p *place) ParseHead(x *relay.Exchange) (done bool, fail relay.Failure) {
	s := x.State.(*state)
	n, ok := s.line.ParseStatusLine(x.In[x.Rd:x.Wr])
	if !ok {
		return false, x.Invalid("upstream sent no valid HTTP/1.0 header")
	}
	if n == 0 {
		return false, relay.Failure{}
	}
	x.Status, x.Reason = s.line.Status, s.line.Text
	return x.ParseFields(x.Rd + n)
}

// framing decides how the answer's body ends and checks what of a chunked one is
// here already, while the request can still be answered otherwise.
func (p *place) framing(x *relay.Exchange) relay.Failure {
	s, status := x.State.(*state), x.Status
	old := p.conf.HTTPVersion.V == ngx.HTTP10
	x.Keep = !x.Fields.Close && (!s.line.Old || x.Fields.KeepAlive) && !old || old && x.Fields.KeepAlive
	if x.Cut || status == 101 {
		x.Keep = false // what is sent next would be the rest of this request, or isn't HTTP any more
	}
	x.NoBody = status == 204 || status == 304 || status == 101 || bytes.HasPrefix(x.Out, []byte("HEAD "))
	x.Framed = x.Fields.Chunked && !x.NoBody
	s.dec, s.trailer = http1.ChunkDecoder{KeepTrailer: true}, false
	if x.Framed {
		dec := s.dec
		for b := x.In[x.Rd:x.Wr]; len(b) > 0 && !dec.Done(); {
			_, n, err := dec.Next(b, len(b))
			if err != nil {
				x.R.Errorf("upstream sent invalid chunked response while %s", relay.WhileBody)
				return relay.Failure{Class: relay.NextOff, Status: 502}
			}
			b = b[n:]
		}
	}
	return relay.Failure{}
}

// errChunked is an answer's body that breaks the framing of chunks.
const errChunked = relay.FramingError("upstream sent invalid chunked response")

// Decode implements relay.Protocol.
func (p *place) Decode(x *relay.Exchange, b []byte) ([]byte, error) {
	s := x.State.(*state)
	if s.trailer {
		return nil, s.readTrailer(x, b)
	}
	piece, n, err := s.dec.Next(b, len(b))
	x.Rd += n
	if err != nil {
		return nil, errChunked
	}
	s.trailer = s.dec.Done()
	return piece, nil
}

// readTrailer reads a field behind the last chunk, or the end of the body.
func (s *state) readTrailer(x *relay.Exchange, b []byte) error {
	f, n, res := http1.ParseField(b)
	switch res {
	case http1.FieldMore:
		err := x.More()
		if err == relay.ErrFull {
			err = errChunked
		}
		return err
	case http1.FieldBad:
		return errChunked
	case http1.FieldEnd:
		x.Rd += n
		if x.Rd < x.Wr {
			x.Extra()
			x.Rd = x.Wr
		}
		return io.EOF
	}
	x.Rd += n
	f.Name, f.Value = bytes.Clone(f.Name), bytes.Clone(f.Value)
	x.Trailer.Fields = append(x.Trailer.Fields, f)
	return nil
}

package fastcgi

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"

	"limpet/internal/relay"
)

// Kinds of records.
// https://fastcgi-archives.github.io/FastCGI_Specification.html#S8
const (
	beginRequest = 1
	endRequest   = 3
	params       = 4
	stdin        = 5
	stdout       = 6
	stderr       = 7
)

const (
	version    = 1
	responder  = 1
	keepConn   = 1
	headerSize = 8
	maxContent = 0xffff
	requestID  = 1 // one request at a time on a connection
)

// appendHeader appends the header of a record.
func appendHeader(b []byte, kind byte, content, padding int) []byte {
	return append(b, version, kind, 0, requestID, byte(content>>8), byte(content), byte(padding), 0)
}

// pad is how much padding makes a record's content end on a multiple of eight bytes.
func pad(content int) int { return -content & 7 }

const zeros = "\x00\x00\x00\x00\x00\x00\x00\x00"

// endStream makes records of a kind of what is in b behind from+headerSize, where room for a header was left, and appends the empty record that ends the stream.
func endStream(b []byte, from int, kind byte) []byte {
	content := b[from+headerSize:]
	if len(content) > maxContent { // rare: parted, on a copy
		whole := bytes.Clone(content)
		b = b[:from]
		for len(whole) > 0 {
			n := min(len(whole), maxContent&^7)
			b = appendHeader(b, kind, n, pad(n))
			b = append(append(b, whole[:n]...), zeros[:pad(n)]...)
			whole = whole[n:]
		}
		return appendHeader(b, kind, 0, 0)
	}
	if len(content) > 0 {
		n := len(content)
		appendHeader(b[:from], kind, n, pad(n))
		b = append(b, zeros[:pad(n)]...)
	} else {
		b = b[:from]
	}
	return appendHeader(b, kind, 0, 0)
}

// appendLength appends the length of a name or a value: a byte, or four with the highest bit set.
func appendLength(b []byte, n int) []byte {
	if n < 128 {
		return append(b, byte(n))
	}
	return binary.BigEndian.AppendUint32(b, uint32(n)|1<<31)
}

// AppendRequest implements relay.Protocol: the records of a request but for a body that isn't in memory.
func (p *place) AppendRequest(b []byte, x *relay.Exchange) []byte {
	flags := byte(0)
	if p.conf.KeepConn.V {
		flags = keepConn
	}
	b = appendHeader(b, beginRequest, 8, 0)
	b = append(b, 0, responder, flags, 0, 0, 0, 0, 0)
	s := x.State.(*state)
	s.pairs = p.params.Append(s.pairs[:0], x)
	from := len(b)
	b = append(b, zeros...)
	for _, pair := range s.pairs {
		b = appendLength(b, len(pair.Name))
		b = appendLength(b, len(pair.Value))
		b = append(append(b, pair.Name...), pair.Value...)
	}
	clear(s.pairs)
	b = endStream(b, from, params)
	if x.AtOnce() {
		from = len(b)
		b = append(append(b, zeros...), x.Body()...)
		b = endStream(b, from, stdin)
	}
	return b
}

// Frame implements relay.Protocol.
func (p *place) Frame(x *relay.Exchange, n int, end bool) []byte {
	const room = relay.FrameRoom
	start := room
	buf := x.In[:room+n]
	if n > 0 {
		start -= headerSize
		appendHeader(x.In[:start], stdin, n, pad(n))
		buf = append(buf, zeros[:pad(n)]...)
	}
	if end {
		buf = appendHeader(buf, stdin, 0, 0)
	}
	return buf[start:]
}

// ParseHead implements relay.Protocol. The content of records is brought together, so that the head lies in one piece;
// what comes behind it is s.ready. Records behind the one that ends the head are Decode's.
func (p *place) ParseHead(x *relay.Exchange) (done bool, fail relay.Failure) {
	if x.Stored {
		return x.ParseCGI()
	}
	s := x.State.(*state)
	text := x.Rd + s.ready // x.In[x.Rd:text] is content, x.In[raw:x.Wr] what is to come
	raw := text
	for more := true; more && !done && fail.Class == 0; {
		n, used, wrong := p.step(x, x.In[raw:x.Wr], relay.WhileHead)
		raw += used
		if s.kind == stdout && n > 0 {
			text += copy(x.In[text:], x.In[raw-n:raw])
		}
		more = used > 0 && !s.over
		switch {
		case s.caught:
			return false, relay.Failure{Class: relay.NextInvalidHeader, Status: 502}
		case wrong != "":
			return false, x.Invalid("%s", wrong)
		case !more || s.kind == stdout && n > 0 && s.left == 0:
			done, fail = parse(x, text)
		}
	}
	s.ready = text - x.Rd
	x.Wr = text + copy(x.In[text:], x.In[raw:x.Wr])
	if s.over && !done && fail.Class == 0 {
		fail = x.Invalid("upstream prematurely closed FastCGI stdout")
	}
	return done, fail
}

// parse parses the head in x.In[x.Rd:end].
func parse(x *relay.Exchange, end int) (done bool, fail relay.Failure) {
	wr := x.Wr
	x.Wr = end
	x.ResetHead()
	done, fail = x.ParseCGI()
	x.Wr = wr
	return done, fail
}

// step takes one step through the records in b: a header, or n bytes of content or padding at the end of the used
// ones. It takes nothing where bytes are missing. A record that mustn't be there is what wrong says.
func (p *place) step(x *relay.Exchange, b []byte, while string) (n, used int, wrong relay.FramingError) {
	s := x.State.(*state)
	switch {
	case s.left > 0:
		n = min(s.left, len(b))
		s.left -= n
		if s.kind == stderr {
			if len(s.stderr)+n > maxStderr {
				p.flush(x, while)
			}
			s.stderr = append(s.stderr, b[:min(n, maxStderr)]...)
			if s.left == 0 {
				p.flush(x, while)
			}
		}
		return n, n, ""
	case s.padding > 0:
		used = min(s.padding, len(b))
		s.padding -= used
		return 0, used, ""
	case len(b) < headerSize:
		return 0, 0, ""
	}
	kind, content := b[1], int(binary.BigEndian.Uint16(b[4:]))
	switch {
	case b[0] != version:
		return 0, 0, wrongly("unsupported FastCGI protocol version", b[0])
	case kind != stdout && kind != stderr && kind != endRequest:
		return 0, 0, wrongly("invalid FastCGI record type", kind)
	case b[2] != 0:
		return 0, 0, wrongly("unexpected FastCGI request id high byte", b[2])
	case b[3] != requestID:
		return 0, 0, wrongly("unexpected FastCGI request id low byte", b[3])
	case kind == endRequest && while == relay.WhileHead:
		return 0, 0, wrongly("unexpected FastCGI record", kind)
	}
	s.kind, s.left, s.padding = kind, content, int(b[6])
	if kind == stdout && content == 0 {
		s.over = true
	}
	return 0, headerSize, ""
}

// maxStderr is how much of standard error is logged at once.
const maxStderr = 2048

// wrongly says in nginx's words what a peer did wrong.
func wrongly(what string, arg byte) relay.FramingError {
	return relay.FramingError(fmt.Sprintf("upstream sent %s: %d", what, arg))
}

// flush logs what has come of standard error, and looks for what fastcgi_catch_stderr names.
func (p *place) flush(x *relay.Exchange, while string) {
	s := x.State.(*state)
	if len(s.stderr) == 0 {
		return
	}
	for _, text := range p.conf.CatchStderr.V {
		s.caught = s.caught || bytes.Contains(s.stderr, []byte(text))
	}
	x.R.Errorf(`FastCGI sent in stderr: "%s" while %s`, bytes.TrimRight(s.stderr, "\r\n. "), while)
	s.stderr = s.stderr[:0]
}

// Decode implements relay.Protocol.
func (p *place) Decode(x *relay.Exchange, b []byte) ([]byte, error) {
	s := x.State.(*state)
	if n := s.ready; n > 0 {
		x.Rd += n
		s.ready = 0
		return p.body(x, b[:n]), nil
	}
	at := 0
	for {
		n, used, wrong := p.step(x, b[at:], relay.WhileBody)
		at += used
		switch {
		case wrong != "":
			return nil, wrong
		case s.kind == stdout && n > 0:
			x.Rd += at
			return p.body(x, b[at-n:at]), nil
		case s.kind == endRequest && s.left == 0 && s.padding == 0:
			x.Rd += at
			return nil, p.end(x)
		case s.kind == stdout && s.over && s.rest > 0 && !s.mayLack:
			return nil, relay.FramingError("upstream prematurely closed FastCGI stdout")
		}
		if used > 0 {
			continue
		}
		x.Rd += at
		p.flush(x, relay.WhileBody) // in case the rest doesn't come
		if at < len(b) {
			return nil, x.More() // the rest of a header
		}
		return nil, nil
	}
}

// body returns what of a piece is the client's.
func (p *place) body(x *relay.Exchange, b []byte) []byte {
	s := x.State.(*state)
	switch {
	case x.NoBody:
		return nil
	case s.rest < 0:
		return b
	case int64(len(b)) > s.rest:
		x.Extra()
		b = b[:s.rest]
	}
	s.rest -= int64(len(b))
	return b
}

// end is how an answer ends with its last record.
func (p *place) end(x *relay.Exchange) error {
	if s := x.State.(*state); s.rest > 0 && !(s.mayLack && s.rest == x.Length) {
		if s.over {
			return relay.FramingError("upstream prematurely closed FastCGI stdout")
		}
		return relay.FramingError("upstream prematurely closed FastCGI request")
	}
	if x.Rd < x.Wr {
		x.Keep = false
		x.Rd = x.Wr
	}
	return io.EOF
}

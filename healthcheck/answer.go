package healthcheck

import (
	"bytes"
	"errors"
	"io"
	"strconv"

	"limpet/internal/ngx"
)

// answer is an HTTP/1 response as a probe reads it. Its bytes are the
// exchange's and live until the next probe.
// https://www.rfc-editor.org/rfc/rfc9112
type answer struct {
	status  int
	header  ngx.Header
	body    []byte
	length  int64 // of the body by its framing; -1: chunked or until the end of the connection
	chunked bool
	close   bool // the connection ends behind the answer
	end     int  // of what was read of it, in exchange.in
}

// statusLine reads `HTTP/digits.digits code`; behind the code comes a blank, a
// dot (IIS writes 403.1) or the line's end.
func statusLine(line []byte) (code int, http11, ok bool) {
	rest, found := bytes.CutPrefix(bytes.TrimRight(line, "\r\n"), []byte("HTTP/"))
	version, rest, blank := bytes.Cut(rest, []byte(" "))
	major, minor, dot := bytes.Cut(version, []byte("."))
	if !found || !blank || !dot || !digits(major) || !digits(minor) {
		return 0, false, false
	}
	rest = bytes.TrimLeft(rest, " ")
	if len(rest) < 3 || !digits(rest[:3]) || len(rest) > 3 && rest[3] != ' ' && rest[3] != '.' {
		return 0, false, false
	}
	code = int(rest[0]-'0')*100 + int(rest[1]-'0')*10 + int(rest[2]-'0')
	return code, string(major) != "0" && string(version) != "1.0", true
}

func digits(b []byte) bool {
	for _, c := range b {
		if c < '0' || c > '9' {
			return false
		}
	}
	return len(b) > 0
}

var (
	errStatusLine = errors.New("no valid HTTP/1.x header")
	errHeader     = errors.New("invalid header")
	errTooBig     = errors.New("too big header")
	errChunked    = errors.New("invalid chunked response")
)

// readHead reads a response's head whose status line begins at from. noBody says that none follows whatever the head says (HEAD).
func (x *exchange) readHead(from int, noBody bool) bool {
	a := &x.answer
	a.header.Reset()
	a.body, a.length, a.chunked, a.close = nil, -1, false, false
	end, ok := x.line(from)
	if !ok {
		return false
	}
	code, http11, ok := statusLine(x.in[from:end])
	if !ok {
		return x.judge(Malformed, errStatusLine)
	}
	a.status, x.status, a.close = code, code, !http11
	// The head's end is looked for first: buffers move while bytes come in.
	start, at := end, end
	for {
		next, ok := x.line(at)
		if !ok {
			return false
		}
		empty := len(bytes.TrimRight(x.in[at:next], "\r\n")) == 0
		at = next
		if empty {
			break
		}
		if at-from > maxHead {
			return x.judge(Malformed, errTooBig)
		}
	}
	a.end = at
	if !a.fields(x.in[start:at]) {
		return x.judge(Malformed, errHeader)
	}
	if noBody || code/100 == 1 || code == 204 || code == 304 {
		a.length, a.chunked = 0, false
	}
	return true
}

// fields reads the header's lines.
func (a *answer) fields(b []byte) bool {
	for line := range bytes.Lines(b) {
		line = bytes.TrimRight(line, "\r\n")
		if len(line) == 0 {
			return true
		}
		name, value, ok := bytes.Cut(line, []byte(":"))
		if !ok || len(name) == 0 || bytes.ContainsAny(name, " \t") {
			return false
		}
		value = bytes.Trim(value, " \t")
		a.header.Add(name, value)
		if !a.framing(a.header.Fields[len(a.header.Fields)-1].ID, value) {
			return false
		}
	}
	return true
}

func (a *answer) framing(id ngx.HeaderID, value []byte) bool {
	switch id {
	case ngx.HeaderContentLength:
		n, err := strconv.ParseUint(string(value), 10, 62)
		if err != nil || a.length >= 0 && a.length != int64(n) {
			return false
		}
		if !a.chunked {
			a.length = int64(n)
		}
	case ngx.HeaderTransferEncoding:
		if !ngx.EqualFold(value, "chunked") {
			return false
		}
		a.chunked, a.length = true, -1
	case ngx.HeaderConnection:
		switch {
		case ngx.EqualFold(value, "close"):
			a.close = true
		case ngx.EqualFold(value, "keep-alive"):
			a.close = false
		}
	}
	return true
}

// readBody reads at most limit bytes of the body into x.answer.body; whole says that it ended within them.
func (x *exchange) readBody(limit int) (whole, ok bool) {
	a := &x.answer
	switch {
	case a.length >= 0:
		n := int(min(a.length, int64(limit)))
		if !x.receiveAll(a.end + n) {
			return false, false
		}
		a.body = x.in[a.end : a.end+n]
		return int64(n) == a.length, true
	case a.chunked:
		return x.readChunks(limit)
	}
	a.close = true
	from := a.end
	for len(x.in)-from < limit {
		if !x.receive() {
			if x.err == io.EOF {
				x.err, x.result = nil, Passed
				break
			}
			return false, false
		}
	}
	a.body = x.in[from:min(len(x.in), from+limit)]
	return false, true
}

// readChunks reads a chunked body. The chunks are moved together in place.
func (x *exchange) readChunks(limit int) (whole, ok bool) {
	a := &x.answer
	from, to, at := a.end, a.end, a.end
	for to-from < limit {
		end, ok := x.line(at)
		if !ok {
			return false, false
		}
		word, _, _ := bytes.Cut(bytes.TrimRight(x.in[at:end], "\r\n"), []byte(";"))
		size, err := strconv.ParseUint(string(bytes.TrimRight(word, " \t")), 16, 31)
		if err != nil {
			return false, x.judge(Malformed, errChunked)
		}
		at = end
		if size == 0 {
			a.body = x.in[from:to]
			return x.trailer(at)
		}
		n := min(int(size), limit-(to-from))
		if !x.receiveAll(at + n) {
			return false, false
		}
		to += copy(x.in[to:], x.in[at:at+n])
		if n < int(size) {
			break
		}
		at += n
		if end, ok = x.line(at); !ok {
			return false, false
		}
		if len(bytes.TrimRight(x.in[at:end], "\r\n")) != 0 {
			return false, x.judge(Malformed, errChunked)
		}
		at = end
	}
	a.body = x.in[from:to]
	return false, true
}

// trailer reads to the empty line behind the last chunk.
func (x *exchange) trailer(at int) (whole, ok bool) {
	for {
		body := len(x.answer.body)
		end, ok := x.line(at)
		if !ok {
			return false, false
		}
		x.answer.body = x.in[x.answer.end : x.answer.end+body] // the buffer may have moved
		if len(bytes.TrimRight(x.in[at:end], "\r\n")) == 0 {
			x.answer.end = end
			return true, true
		}
		at = end
	}
}

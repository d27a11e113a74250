package http1

import (
	"bytes"

	"limpet/internal/ngx"
)

// parseError is why a request is refused while its head is read: the words for
// the log and the status for the client.
type parseError struct {
	status int
	msg    string
}

func (e *parseError) Error() string { return e.msg }

// requestLine is a parsed request line; the slices are of the buffer parsed.
type requestLine struct {
	line   []byte // without its end
	method []byte
	host   []byte // of an absolute target, with its port; nil for an origin-form one
	scheme []byte
	uri    []byte // target behind scheme and host: path and arguments; "/" when there was none
	proto  ngx.Proto
	// complex says that the path needs normalising: %, //, /. or #.
	complex   bool
	emptyPath bool // absolute target without a path
	noPath    bool // absolute target followed by ? at once
}

func badMethod() *parseError  { return &parseError{400, "client sent invalid method"} }
func badRequest() *parseError { return &parseError{400, "client sent invalid request"} }
func badVersion() *parseError { return &parseError{505, "client sent invalid version"} }
func bad09() *parseError {
	return &parseError{400, "client sent invalid method in HTTP/0.9 request"}
}

// uriByte tells what a byte means in a target: plain bytes are 0.
const (
	uriPlain = iota
	uriSlash
	uriDot
	uriPercent
	uriHash
	uriQuestion
	uriSpace
	uriEnd // CR or LF
	uriBad // control bytes
)

// uriClass is the class of each byte of a target.
func uriClass(c byte) byte {
	switch {
	case c == '/':
		return uriSlash
	case c == '.':
		return uriDot
	case c == '%':
		return uriPercent
	case c == '#':
		return uriHash
	case c == '?':
		return uriQuestion
	case c == ' ':
		return uriSpace
	case c == '\r' || c == '\n':
		return uriEnd
	case c < 0x20 || c == 0x7f:
		return uriBad
	}
	return uriPlain
}

// parseLine parses a request line at the start of b, RFC 9112 section 3, as nginx
// takes it. n is the length with the line's end; 0 without an error asks for more bytes.
func (l *requestLine) parseLine(b []byte) (n int, err *parseError) {
	*l = requestLine{}
	i := 0
	for i < len(b) && (isUpper(b[i]) || b[i] == '_' || b[i] == '-') {
		i++
	}
	if i == len(b) {
		return 0, nil
	}
	if b[i] != ' ' || i == 0 {
		return 0, badMethod()
	}
	l.method = b[:i]
	for i < len(b) && b[i] == ' ' {
		i++
	}
	if i == len(b) {
		return 0, nil
	}
	i, err = l.target(b, i)
	if err != nil || i == 0 {
		return 0, err
	}
	return l.version(b, i)
}

func isUpper(c byte) bool { return 'A' <= c && c <= 'Z' }
func isAlpha(c byte) bool { c |= 0x20; return 'a' <= c && c <= 'z' }
func isDigit(c byte) bool { return '0' <= c && c <= '9' }

// target parses the target that begins at i and returns the index of the byte
// behind it, 0 when bytes are missing.
func (l *requestLine) target(b []byte, i int) (int, *parseError) {
	if string(l.method) == "CONNECT" {
		return l.authority(b, i)
	}
	switch {
	case b[i] == '/':
		return l.path(b, i)
	case isAlpha(b[i]):
		return l.absolute(b, i)
	}
	return 0, badRequest()
}

// authority parses the authority-form target of CONNECT.
func (l *requestLine) authority(b []byte, i int) (int, *parseError) {
	end, err := scanAuthority(b, i)
	if err != nil || end == len(b) {
		return 0, err
	}
	if colon := bytes.LastIndexByte(b[i:end], ':'); b[end] != ' ' || colon <= 0 || !isDigit(b[end-1]) {
		return 0, badRequest() // the port may not be left out, RFC 9110 section 9.3.6
	}
	l.host, l.uri, l.emptyPath = b[i:end], []byte("/"), true
	return end, nil
}

// absolute parses an absolute-form target: scheme://authority followed by a path, ? or nothing.
func (l *requestLine) absolute(b []byte, i int) (int, *parseError) {
	start := i
	for i < len(b) && (isAlpha(b[i]) || isDigit(b[i]) || b[i] == '+' || b[i] == '-' || b[i] == '.') {
		i++
	}
	for k, c := range []byte("://") {
		if i+k == len(b) {
			return 0, nil
		}
		if b[i+k] != c {
			return 0, badRequest()
		}
	}
	l.scheme = b[start:i]
	host := i + 3
	end, err := scanAuthority(b, host)
	if err != nil || end == len(b) {
		return 0, err
	}
	if end == host {
		return 0, badRequest()
	}
	l.host = b[host:end]
	switch b[end] {
	case '/':
		return l.path(b, end)
	case '?':
		l.noPath = true
		return l.path(b, end)
	case ' ':
		l.uri, l.emptyPath = []byte("/"), true
		return end, nil
	}
	return 0, badRequest()
}

// scanAuthority returns the end of host[:port] as far as its bytes are allowed in a URI.
func scanAuthority(b []byte, i int) (int, *parseError) {
	if i < len(b) && b[i] == '[' {
		for i++; i < len(b) && b[i] != ']'; i++ {
			c := b[i]
			if !isAlpha(c) && !isDigit(c) && !ngx.IsHostMark(c) && c != ':' {
				return 0, badRequest()
			}
		}
		if i == len(b) {
			return i, nil
		}
		i++
	} else {
		for i < len(b) && (isAlpha(b[i]) || isDigit(b[i]) || b[i] == '.' || b[i] == '-') {
			i++
		}
	}
	if i < len(b) && b[i] == ':' {
		for i++; i < len(b) && isDigit(b[i]); i++ {
		}
	}
	return i, nil
}

// path parses path and arguments from i on; b[i] is / or ?.
func (l *requestLine) path(b []byte, i int) (int, *parseError) {
	start := i
	args := false
	for ; i < len(b); i++ {
		switch uriClass(b[i]) {
		case uriPlain:
		case uriSlash:
			if !args && i > start && b[i-1] == '/' {
				l.complex = true
			}
		case uriDot:
			if !args && i > start && b[i-1] == '/' {
				l.complex = true
			}
		case uriPercent:
			if !args {
				l.complex = true
			}
		case uriHash:
			l.complex = true
		case uriQuestion:
			args = true
		case uriBad:
			return 0, badRequest()
		default: // space, CR, LF
			l.uri = b[start:i]
			return i, nil
		}
	}
	return 0, nil
}

// version parses what follows the target: nothing (HTTP/0.9) or the version.
func (l *requestLine) version(b []byte, i int) (int, *parseError) {
	for i < len(b) && b[i] == ' ' {
		i++
	}
	if i == len(b) {
		return 0, nil
	}
	if b[i] == '\r' || b[i] == '\n' {
		l.proto = ngx.HTTP09
		n, err := l.end(b, i)
		if err == nil && n > 0 && string(l.method) != "GET" {
			return 0, bad09()
		}
		return n, err
	}
	for k, c := range []byte("HTTP/") {
		if i+k == len(b) {
			return 0, nil
		}
		if b[i+k] != c {
			return 0, badRequest()
		}
	}
	return l.numbers(b, i+5)
}

// numbers parses the version's numbers from i on. HTTP/1.2 and above count as 1.1.
func (l *requestLine) numbers(b []byte, i int) (int, *parseError) {
	if i == len(b) {
		return 0, nil
	}
	if b[i] < '1' || b[i] > '9' {
		return 0, badRequest()
	}
	major := 0
	for ; i < len(b) && isDigit(b[i]); i++ {
		if major = major*10 + int(b[i]-'0'); major > 1 {
			return 0, badVersion()
		}
	}
	if i == len(b) {
		return 0, nil
	}
	if b[i] != '.' {
		return 0, badRequest()
	}
	i++
	if i == len(b) {
		return 0, nil
	}
	if !isDigit(b[i]) {
		return 0, badRequest()
	}
	minor := 0
	for ; i < len(b) && isDigit(b[i]); i++ {
		if minor > 99 {
			return 0, badRequest()
		}
		minor = minor*10 + int(b[i]-'0')
	}
	l.proto = ngx.HTTP11
	if minor == 0 {
		l.proto = ngx.HTTP10
	}
	for i < len(b) && b[i] == ' ' {
		i++
	}
	return l.end(b, i)
}

// end parses the end of the line: LF or CR LF.
func (l *requestLine) end(b []byte, i int) (int, *parseError) {
	stop := i
	if i < len(b) && b[i] == '\r' {
		i++
	}
	if i == len(b) {
		return 0, nil
	}
	if b[i] != '\n' {
		return 0, badRequest()
	}
	l.line = b[:stop]
	for len(l.line) > 0 && l.line[len(l.line)-1] == ' ' {
		l.line = l.line[:len(l.line)-1]
	}
	return i + 1, nil
}

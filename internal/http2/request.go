package http2

import (
	"bytes"
	"fmt"

	"limpet/internal/http1"
	"limpet/internal/ngx"
)

// refusal is why a request is refused: the status and the words for the log.
type refusal struct {
	status int
	msg    string
}

func (e *refusal) Error() string { return e.msg }

func bad(format string, args ...any) error { return &refusal{400, fmt.Sprintf(format, args...)} }

// field takes a decoded field of the block at hand. The strings are valid during the call alone.
func (c *Conn) field(name, value string) {
	b := &c.block
	core := c.core
	b.size += len(name) + len(value)
	limit := core.LargeClientHeaderBuffers.V
	if b.tooLarge = b.tooLarge || int64(b.size) > limit.Size*int64(limit.Num); b.tooLarge || b.s == nil || b.err != nil {
		return
	}
	b.err = b.s.field(name, value, core)
}

// field takes a field of the request's header.
func (s *stream) field(text, content string, core *ngx.Core) error {
	r := &s.r
	valid, err := validField(text, content, core.UnderscoresInHeaders.V)
	if err != nil {
		return err
	}
	if text[0] == ':' {
		return s.pseudo(text, content)
	}
	if !valid && core.IgnoreInvalidHeaders.V {
		r.Infof(`client sent invalid header: "%s"`, text)
		return nil
	}
	if s.fields++; s.fields > core.MaxHeaders.V {
		return bad("client sent too many header lines")
	}
	name, value := r.CopyString(text), r.CopyString(content)
	field := ngx.Field{Name: name, Value: value, ID: ngx.HeaderIDOf(name)}
	switch field.ID {
	case ngx.HeaderCookie: // they become one, RFC 9113 section 8.2.3
		if have := r.In.Find(ngx.HeaderCookie); have != nil {
			both := r.Alloc(len(have.Value) + 2 + len(value))
			copy(both[copy(both[copy(both, have.Value):], "; ")+len(have.Value):], value)
			have.Value = both
			return nil
		}
	case ngx.HeaderHost:
		return s.host(field)
	case ngx.HeaderContentLength:
		if s.declared, _ = http1.ParseLength(value); s.declared < 0 {
			s.declared = -1
		}
	}
	if err := http1.AddField(r, field); err != nil {
		return bad("%s", err)
	}
	return nil
}

// host takes Host or :authority.
func (s *stream) host(f ngx.Field) error {
	r := &s.r
	if have := r.In.Find(ngx.HeaderHost); have != nil {
		if s.authority && bytes.EqualFold(have.Value, f.Value) {
			return nil // both were sent and agree
		}
		return bad(`client sent duplicate host header: "%s: %s", previous value: "%s: %s"`, f.Name, f.Value, have.Name, have.Value)
	}
	host, ok := ngx.ValidHost(r.Alloc(len(f.Value))[:0], f.Value)
	if !ok {
		return bad("client sent invalid host header")
	}
	r.In.Fields = append(r.In.Fields, f)
	r.Host = host
	return nil
}

// pseudo takes a pseudo-header field, RFC 9113 section 8.3.1.
func (s *stream) pseudo(name, value string) error {
	r := &s.r
	var to *[]byte
	switch name {
	case ":method":
		to = &r.Method
	case ":path":
		to = &r.URI
	case ":scheme":
		to = &s.scheme
	case ":authority":
		s.authority = true
		return s.host(ngx.Field{Name: []byte("host"), Value: r.CopyString(value), ID: ngx.HeaderHost})
	default:
		return bad(`client sent unknown pseudo-header "%s"`, name)
	}
	if *to != nil {
		return bad("client sent duplicate %s header", name)
	}
	if value == "" {
		return bad("client sent empty %s header", name)
	}
	*to = r.CopyString(value)
	switch name {
	case ":method":
		for _, c := range r.Method {
			if (c < 'A' || c > 'Z') && c != '_' && c != '-' {
				return bad(`client sent invalid method: "%s"`, r.Method)
			}
		}
	case ":path":
		if !http1.Target(r, s.r.Scope.Core.MergeSlashes.V) {
			return bad(`client sent invalid :path header: "%s"`, r.URI)
		}
	case ":scheme":
		for i, c := range s.scheme {
			letter := 'a' <= c|0x20 && c|0x20 <= 'z'
			if !letter && (i == 0 || (c < '0' || c > '9') && c != '+' && c != '-' && c != '.') {
				return bad(`client sent invalid :scheme header: "%s"`, s.scheme)
			}
		}
	}
	return nil
}

// validField checks the bytes of a field as nginx does; valid is false for a name that may be ignored.
func validField(name, value string, underscores bool) (valid bool, err error) {
	if name == "" {
		return false, bad("client sent zero header name length")
	}
	valid = true
	for i := range len(name) {
		switch c := name[i]; {
		case 'a' <= c && c <= 'z', '0' <= c && c <= '9', c == '-', c == '_' && underscores, c == ':' && i == 0:
		case c <= ' ', c == 0x7f, c == ':', 'A' <= c && c <= 'Z':
			return false, bad(`client sent invalid header name: "%s"`, name)
		default:
			valid = false
		}
	}
	for i := range len(value) {
		switch value[i] {
		case 0, '\n', '\r':
			return false, bad(`client sent header "%s" with invalid value: "%s"`, name, value)
		}
	}
	return valid, nil
}

// head completes the request by its header; the error is a *refusal.
func (s *stream) head() error {
	r := &s.r
	if s.refused != nil {
		return s.refused
	}
	for _, p := range [...]struct {
		name  string
		value []byte
	}{{":method", r.Method}, {":scheme", s.scheme}, {":path", r.URI}} {
		if p.value == nil {
			return bad("client sent no %s header", p.name)
		}
	}
	r.Line = r.Alloc(len(r.Method) + 1 + len(r.URI) + len(" HTTP/2.0"))
	n := copy(r.Line, r.Method)
	r.Line[n] = ' '
	n++
	n += copy(r.Line[n:], r.URI)
	copy(r.Line[n:], " HTTP/2.0")
	if r.Debugging() {
		debugHeader(r)
	}
	if !s.c.ep.Serve(r, r.Host) {
		return &refusal{421, ""}
	}
	if !s.c.ep.HTTP2 && !r.Scope.HTTP2 {
		return &refusal{421, "client attempted to request the server name for which the negotiated protocol is disabled"}
	}
	return s.checkHead()
}

// checkHead makes the checks that need the whole header.
func (s *stream) checkHead() error {
	r := &s.r
	if r.Host == nil {
		return bad("client sent neither \":authority\" nor \"Host\" header")
	}
	for i := range r.In.Fields {
		switch f := &r.In.Fields[i]; f.ID {
		case ngx.HeaderConnection, ngx.HeaderKeepAlive, ngx.HeaderProxyConnection, ngx.HeaderTransferEncoding, ngx.HeaderUpgrade:
			return bad(`client sent "%s" header`, f.Name)
		case ngx.HeaderTE:
			if !ngx.EqualFold(f.Value, "trailers") {
				return bad(`client sent invalid "%s" header`, f.Name)
			}
		}
	}
	s.c.mu.Lock()
	ended := s.inClosed && s.at == len(s.in) && !s.hadBody
	s.c.mu.Unlock()
	if v := r.In.Find(ngx.HeaderContentLength); v != nil {
		n, ok := http1.ParseLength(v.Value)
		if !ok {
			return bad(`client sent invalid "Content-Length" header`)
		}
		if n > 0 && ended {
			return bad("client prematurely closed stream")
		}
		r.Length = n
	} else if !ended {
		r.Chunked = true
	}
	switch string(r.Method) {
	case "TRACE":
		return &refusal{405, "client sent TRACE method"}
	case "CONNECT":
		return &refusal{405, "client sent CONNECT method"}
	}
	return nil
}

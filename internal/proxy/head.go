package proxy

import (
	"slices"
	"strconv"
	"strings"

	"limpet/internal/ngx"
	"limpet/internal/relay"
)

// headOp appends one part of the request's head.
type headOp struct {
	kind    headKind
	literal []byte   // what is the same for every request; for headField and headHost: "Name: "
	value   ngx.Text // headField
}

type headKind uint8

const (
	headLiteral   headKind = iota
	headHost               // Host: $proxy_host
	headField              // a proxy_set_header with variables
	headLength             // Content-Length as the body has it
	headEncoding           // Transfer-Encoding: chunked for a body without length
	headSince              // If-Modified-Since of the cached answer that is asked for again
	headNoneMatch          // If-None-Match of it
)

// headPlan is the compiled head of a place: what proxy_set_header and nginx's own
// fields come to.
type headPlan struct {
	ops []headOp
	// set are the fields that proxy_set_header, or nginx's own list, decides about:
	// the client's don't pass. A bit an ID, and the names without one.
	set   uint64
	names []string
}

// ownFields are nginx's own fields of a request passed on, in order (since
// 1.31.0); an empty value keeps the client's field from passing.
func ownFields() []string {
	return []string{"Host", "Connection", "Proxy-Connection", "Content-Length", "Transfer-Encoding", "TE", "Keep-Alive", "Expect", "Upgrade"}
}

// cacheFields are nginx's own fields, besides, of a request whose answer may be kept.
func cacheFields() []string {
	return []string{"If-Modified-Since", "If-Unmodified-Since", "If-None-Match", "If-Match", "Range", "If-Range"}
}

// compileHead makes the plan; kept says that answers may be kept. The Host field comes first whatever sets it, as
// nginx does since 1.31.4.
func compileHead(c *Conf, kept bool) *headPlan {
	p := &headPlan{}
	var fields []setHeader
	host := headOp{kind: headHost, literal: []byte("Host: ")}
	withHost := c.HTTPVersion.V != ngx.HTTP10
	for _, f := range c.SetHeader.V {
		p.decide(f.Name)
		if strings.EqualFold(f.Name, "Host") {
			if v, static := f.Value.Static(); static && len(v) == 0 {
				continue // $proxy_host in HTTP/1.1, none in 1.0
			}
			host = fieldOp(f)
			withHost = true
			continue
		}
		fields = append(fields, f)
	}
	has := func(name string) bool {
		return slices.ContainsFunc(c.SetHeader.V, func(f setHeader) bool { return strings.EqualFold(f.Name, name) })
	}
	if withHost || !has("Host") {
		p.ops = append(p.ops, host)
	}
	for _, f := range fields {
		p.add(fieldOp(f))
	}
	own := ownFields()
	if kept {
		own = append(own, cacheFields()...)
	}
	for _, name := range own {
		if has(name) {
			continue
		}
		p.decide(name)
		switch name {
		case "Connection":
			if c.HTTPVersion.V == ngx.HTTP10 {
				p.add(headOp{literal: []byte("Connection: close\r\n")})
			}
		case "Content-Length":
			p.add(headOp{kind: headLength})
		case "Transfer-Encoding":
			p.add(headOp{kind: headEncoding})
		case "If-Modified-Since":
			p.add(headOp{kind: headSince, literal: []byte("If-Modified-Since: ")})
		case "If-None-Match":
			p.add(headOp{kind: headNoneMatch, literal: []byte("If-None-Match: ")})
		}
	}
	return p
}

// fieldOp is the op of a proxy_set_header; one with an empty value has none.
func fieldOp(f setHeader) headOp {
	v, static := f.Value.Static()
	switch {
	case !static:
		return headOp{kind: headField, literal: []byte(f.Name + ": "), value: f.Value}
	case len(v) == 0:
		return headOp{}
	}
	return headOp{literal: []byte(f.Name + ": " + string(v) + "\r\n")}
}

// add appends an op, joining literals.
func (p *headPlan) add(op headOp) {
	if op.kind == headLiteral {
		if len(op.literal) == 0 {
			return
		}
		if n := len(p.ops); n > 0 && p.ops[n-1].kind == headLiteral {
			p.ops[n-1].literal = append(p.ops[n-1].literal, op.literal...)
			return
		}
	}
	p.ops = append(p.ops, op)
}

// decide keeps the client's fields of that name from passing.
func (p *headPlan) decide(name string) {
	if id := ngx.HeaderIDOf([]byte(name)); id != ngx.HeaderOther {
		p.set |= 1 << id
		return
	}
	p.names = append(p.names, name)
}

// passes reports whether a client's field goes on to the peer.
func (p *headPlan) passes(f *ngx.Field) bool {
	if f.Hidden {
		return false
	}
	if f.ID != ngx.HeaderOther {
		return p.set&(1<<f.ID) == 0
	}
	for _, n := range p.names {
		if ngx.EqualFold(f.Name, n) {
			return false
		}
	}
	return true
}

// AppendRequest implements relay.Protocol: the whole head, line, fields and empty line.
func (p *place) AppendRequest(b []byte, x *relay.Exchange) []byte {
	r, plan := x.R, p.head
	if x.Keeping() {
		plan = p.keptHead
	}
	if m := &p.conf.Method.V; x.AsGet {
		b = append(b, "GET"...)
	} else if p.conf.Method.IsSet() {
		b = append(b, m.Bytes(r)...)
	} else {
		b = append(b, r.Method...)
	}
	b = append(b, ' ')
	mark := len(b)
	b = x.To.AppendURI(b, r, x.Location())
	x.URI = [2]int{mark, len(b)}
	b = append(b, p.version()...)
	for i := range plan.ops {
		b = plan.ops[i].append(b, x)
	}
	if p.conf.PassHeaders.V {
		for i := range r.In.Fields {
			f := &r.In.Fields[i]
			if !plan.passes(f) {
				continue
			}
			b = append(b, f.Name...)
			b = append(b, ": "...)
			b = append(b, f.Value...)
			b = append(b, "\r\n"...)
		}
	}
	return append(b, "\r\n"...)
}

// version ends the request's line.
func (p *place) version() string {
	if p.conf.HTTPVersion.V == ngx.HTTP10 {
		return " HTTP/1.0\r\n"
	}
	return " HTTP/1.1\r\n"
}

func (op *headOp) append(b []byte, x *relay.Exchange) []byte {
	switch op.kind {
	case headHost:
		b = append(append(b, op.literal...), x.To.Host...)
		return append(b, "\r\n"...)
	case headField:
		mark := len(b)
		b = append(b, op.literal...)
		start := len(b)
		if b = op.value.Append(x.R, b); len(b) == start {
			return b[:mark]
		}
		return append(b, "\r\n"...)
	case headLength:
		if x.BodyLength >= 0 {
			b = strconv.AppendInt(append(b, "Content-Length: "...), x.BodyLength, 10)
			b = append(b, "\r\n"...)
		}
		return b
	case headSince:
		return op.validator(b, x, (*relay.Exchange).AppendModified)
	case headNoneMatch:
		return op.validator(b, x, (*relay.Exchange).AppendETag)
	case headEncoding:
		if x.BodyChunked {
			b = append(b, "Transfer-Encoding: chunked\r\n"...)
		}
		return b
	}
	return append(b, op.literal...)
}

// validator appends a field by which a kept answer is asked for again.
func (op *headOp) validator(b []byte, x *relay.Exchange, value func(*relay.Exchange, []byte) ([]byte, bool)) []byte {
	mark := len(b)
	b, ok := value(x, append(b, op.literal...))
	if !ok {
		return b[:mark]
	}
	return append(b, "\r\n"...)
}

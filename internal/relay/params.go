package relay

import (
	"errors"
	"slices"
	"strings"

	"limpet/internal/ngx"
	"limpet/nginxconf"
)

// Param is one _param of a kind that passes requests on as CGI has them.
type Param struct {
	Name       string
	Value      ngx.Text
	IfNotEmpty bool // it isn't sent when its value is empty
}

// ParseParam reads a _param.
func ParseParam(s *nginxconf.Setting) (Param, error) {
	v, err := ngx.ParseText(s, s.Arg(1))
	p := Param{Name: s.Arg(0), Value: v}
	if len(s.Args) == 3 {
		if s.Arg(2) != "if_not_empty" {
			return p, errors.New(`invalid parameter "` + s.Arg(2) + `"`)
		}
		p.IfNotEmpty = true
	}
	return p, err
}

// Pair is a name and its value as they are sent.
type Pair struct{ Name, Value []byte }

// Params are the parameters of a place: its own, and the client's header fields as HTTP_NAME but those that its own name.
type Params struct {
	own     []param
	decided []string // names of fields, as HTTP has them, that don't pass
	headers bool     // the client's fields pass
	kept    *Params  // of requests whose answers may be kept; nil where no cache is
}

type param struct {
	name  []byte
	value ngx.Text
	some  bool // only with a value
}

// headerPrefix is in front of the names of header fields.
const headerPrefix = "HTTP_"

// HostParam is the value of HTTP_HOST unless a _param sets it, for Kind.Value.
const HostParam = "$host$is_request_port$request_port"

// NewParams compiles the parameters of a place; host is HostParam, compiled.
func NewParams(list []Param, c *Conf, host ngx.Text) *Params {
	p := newParams(list, c, host, false)
	if c.Cached.On() {
		p.kept = newParams(list, c, host, true)
	}
	return p
}

// newParams compiles the parameters of requests whose answers may be kept, or of the others: in those the fields that
// make an answer conditional or a part are nginx's own.
func newParams(list []Param, c *Conf, host ngx.Text, kept bool) *Params {
	p := &Params{headers: c.PassHeaders.V}
	if kept {
		for _, name := range [...]string{"If-Modified-Since", "If-Unmodified-Since", "If-None-Match", "If-Match", "Range", "If-Range"} {
			p.decided = append(p.decided, name)
		}
	}
	for _, own := range list {
		if name, ok := strings.CutPrefix(own.Name, headerPrefix); ok && name != "" {
			name = strings.ReplaceAll(name, "_", "-")
			if kept && slices.ContainsFunc(p.decided[:6], func(n string) bool { return strings.EqualFold(n, name) }) {
				continue
			}
			p.decided = append(p.decided, name)
			if v, static := own.Value.Static(); static && len(v) == 0 {
				continue
			}
		}
		p.own = append(p.own, param{[]byte(own.Name), own.Value, own.IfNotEmpty})
	}
	if !p.decides([]byte("Host")) {
		p.decided = append(p.decided, "Host")
		p.own = append(p.own, param{[]byte(headerPrefix + "HOST"), host, true})
	}
	return p
}

// Append appends the parameters of a request. They are good as long as the request.
func (p *Params) Append(list []Pair, x *Exchange) []Pair {
	r := x.R
	if x.Keeping() {
		p = p.kept
	}
	for i := range p.own {
		own := &p.own[i]
		v := own.value.Bytes(r)
		if len(v) == 0 && own.some {
			continue
		}
		list = append(list, Pair{own.name, v})
	}
	if x.Keeping() {
		if v, ok := x.AppendModified(nil); ok {
			list = append(list, Pair{[]byte("HTTP_IF_MODIFIED_SINCE"), v})
		}
		if v, ok := x.AppendETag(nil); ok {
			list = append(list, Pair{[]byte("HTTP_IF_NONE_MATCH"), v})
		}
	}
	if !p.headers {
		return list
	}
	fields := r.In.Fields
	for i := range fields {
		f := &fields[i]
		if f.Hidden || p.decides(f.Name) || seen(fields[:i], f.Name) {
			continue
		}
		list = append(list, Pair{headerName(r, f.Name), joined(r, fields[i:])})
	}
	return list
}

// decides reports whether a field of the client doesn't pass.
func (p *Params) decides(name []byte) bool {
	for _, d := range p.decided {
		if len(d) == len(name) && sameName(name, d) {
			return true
		}
	}
	return false
}

// sameName compares names of one length as CGI has them: without regard to case, - and _ alike.
func sameName(a []byte, b string) bool {
	for i := range a {
		if upper(a[i]) != upper(b[i]) {
			return false
		}
	}
	return true
}

func upper(c byte) byte {
	switch {
	case 'a' <= c && c <= 'z':
		return c - 'a' + 'A'
	case c == '-':
		return '_'
	}
	return c
}

// seen reports whether one of the fields has the name.
func seen(fields []ngx.Field, name []byte) bool {
	for i := range fields {
		if !fields[i].Hidden && ngx.EqualFold(fields[i].Name, string(name)) {
			return true
		}
	}
	return false
}

// headerName returns a field's name as CGI has it.
func headerName(r *ngx.Request, name []byte) []byte {
	b := r.Alloc(len(headerPrefix) + len(name))
	n := copy(b, headerPrefix)
	for i, c := range name {
		b[n+i] = upper(c)
	}
	return b
}

// joined returns the value of the first field and of all others of its name, as one list; cookies have their own mark.
func joined(r *ngx.Request, fields []ngx.Field) []byte {
	first := &fields[0]
	value := first.Value
	for i := 1; i < len(fields); i++ {
		f := &fields[i]
		if f.Hidden || !ngx.EqualFold(f.Name, string(first.Name)) {
			continue
		}
		mark := ", "
		if f.ID == ngx.HeaderCookie {
			mark = "; "
		}
		b := r.Alloc(len(value) + len(mark) + len(f.Value))
		n := copy(b, value)
		n += copy(b[n:], mark)
		copy(b[n:], f.Value)
		value = b
	}
	return value
}

package charset

import (
	"bytes"
	"strconv"
	"unicode/utf8"

	"limpet/internal/ngx"
)

// start is the header filter: it names the answer's character set, and adds the conversion where one is needed.
func start(r *ngx.Request, c *Conf, tables []*table) ngx.Outcome {
	o := &r.Out
	if c.Charset.V.off && o.OverrideCharset == nil && r.IsMain() || o.ContentType == nil {
		return ngx.Next
	}
	have := split(r)
	to := destination(r, c, have)
	if len(to) == 0 {
		return ngx.Next
	}
	from := have
	if len(from) == 0 && !c.Source.V.off {
		from = c.Source.V.text.Bytes(r)
	}
	if len(from) == 0 || bytes.EqualFold(from, to) {
		label(r, to)
		return ngx.Next
	}
	if o.Header.Has(ngx.HeaderContentEncoding) {
		return ngx.Next
	}
	t, reverse := find(tables, string(from), string(to))
	if t == nil {
		r.Errorf(`no "charset_map" between the charsets "%s" and "%s"`, from, to)
		return ngx.Next
	}
	label(r, to)
	if t.utf8 && r.IsMain() {
		o.Length = -1
	}
	if !r.HeaderOnly {
		r.AddFilter(&filter{table: t, reverse: reverse})
	}
	return ngx.Next
}

// split returns the character set that the answer has, "" for none, and takes it out of the Content-Type.
func split(r *ngx.Request) []byte {
	o := &r.Out
	if len(o.Charset) > 0 {
		return o.Charset
	}
	const param = "charset="
	for i := bytes.IndexByte(o.ContentType, ';'); i >= 0 && i < len(o.ContentType); i++ {
		if o.ContentType[i] != ';' {
			continue
		}
		p := bytes.TrimLeft(o.ContentType[i+1:], " ")
		if len(p) < len(param) || !ngx.EqualFold(p[:len(param)], param) {
			continue
		}
		o.ContentType = o.ContentType[:i]
		o.Charset = bytes.Trim(p[len(param):], `"`)
		return o.Charset
	}
	return nil
}

// destination returns the character set that the client gets, nil to leave the answer alone.
func destination(r *ngx.Request, c *Conf, have []byte) []byte {
	if !r.IsMain() {
		return r.Main.Out.Charset
	}
	if r.Out.OverrideCharset != nil {
		return r.Out.OverrideCharset
	}
	switch {
	case len(have) > 0:
		if !c.Override.V {
			return nil
		}
	case !c.Types.V.Has(r.Out.ContentType):
		return nil
	}
	return c.Charset.V.text.Bytes(r)
}

// label names the character set, but not in redirects, where old browsers take it for the next page's.
func label(r *ngx.Request, to []byte) {
	if r.Out.Status == 301 || r.Out.Status == 302 {
		to = nil
	}
	r.Out.Charset = to
}

// filter converts the body.
type filter struct {
	next    ngx.Sink
	table   *table
	reverse bool
	held    []byte // the beginning of a UTF-8 sequence
	out     []byte
}

// Chain implements ngx.BodyFilter.
func (f *filter) Chain(next ngx.Sink) { f.next = next }

// Write implements ngx.Sink.
func (f *filter) Write(r *ngx.Request, p []byte) error {
	out := f.out[:0]
	switch {
	case f.table.utf8 && f.reverse:
		out = f.fromUTF8(out, p)
	case f.table.utf8:
		for _, c := range p {
			if w := f.table.wide[c]; w != "" {
				out = append(out, w...)
			} else {
				out = append(out, '?')
			}
		}
	case f.reverse:
		for _, c := range p {
			out = append(out, f.table.back[c])
		}
	default:
		for _, c := range p {
			out = append(out, f.table.there[c])
		}
	}
	f.out = out
	if len(out) == 0 {
		return nil
	}
	return f.next.Write(r, out)
}

// fromUTF8 appends p converted; a sequence that isn't complete waits for the next piece.
func (f *filter) fromUTF8(out, p []byte) []byte {
	if len(f.held) > 0 {
		f.held = append(f.held, p...)
		p = f.held
	}
	for len(p) > 0 {
		if !utf8.FullRune(p) {
			break
		}
		c, n := utf8.DecodeRune(p)
		switch b, ok := f.table.narrow[c]; {
		case c == utf8.RuneError && n == 1:
			out = append(out, '?')
		case ok:
			out = append(out, byte(b))
		default:
			out = append(strconv.AppendInt(append(out, "&#"...), int64(c), 10), ';')
		}
		p = p[n:]
	}
	f.held = append(f.held[:0], p...)
	return out
}

// Flush implements ngx.Sink.
func (f *filter) Flush(r *ngx.Request) error { return f.next.Flush(r) }

// Finish implements ngx.Sink. What is left of a cut sequence goes, as in nginx.
func (f *filter) Finish(r *ngx.Request) error { return f.next.Finish(r) }

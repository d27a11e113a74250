package static

import (
	"math/rand/v2"
	"os"
	"strconv"

	"limpet/internal/ngx"
)

// span is a range of the body, its end excluded.
type span struct{ start, end int64 }

// Outcomes of reading a Range field.
const (
	rangesGood = iota
	rangesWhole
	rangesBad
)

// ranges answers a request for ranges with 206 or 416, RFC 9110 section 14; limit bounds their number unless negative.
func ranges(r *ngx.Request, limit int) ngx.Outcome {
	o := &r.Out
	if !o.AcceptRanges || o.Status != 200 || o.Length < 0 || !r.IsMain() || r.Proto < ngx.HTTP10 {
		return ngx.Next
	}
	field := r.In.Get(ngx.HeaderRange)
	if len(field) < 7 || !ngx.EqualFold(field[:6], "bytes=") || !rangeCurrent(r) {
		acceptRanges(r)
		return ngx.Next
	}
	if o.SingleRange {
		limit = 1
	}
	spans, how := parseRanges(field[6:], o.Length, limit)
	switch how {
	case rangesBad:
		if r.Debugging() {
			r.Debugf("http range: none of %d bytes", o.Length)
		}
		o.Header.Hide(ngx.HeaderContentRange) // a peer's
		b := append(r.Alloc(40)[:0], "bytes */"...)
		o.Header.AddID(ngx.HeaderContentRange, strconv.AppendInt(b, o.Length, 10))
		o.Length = -1
		return ngx.Status(416)
	case rangesWhole:
		acceptRanges(r)
		return ngx.Next
	}
	if r.Debugging() {
		for _, s := range spans {
			r.Debugf("http range: %d-%d of %d", s.start, s.end-1, o.Length)
		}
	}
	o.Status, o.Reason = 206, nil
	o.Header.Hide(ngx.HeaderAcceptRanges)
	o.Header.Hide(ngx.HeaderContentRange)
	if len(spans) == 1 {
		oneRange(r, spans)
	} else {
		manyRanges(r, spans)
	}
	return ngx.Next
}

func acceptRanges(r *ngx.Request) {
	r.Out.Header.Hide(ngx.HeaderAcceptRanges)
	r.Out.Header.AddID(ngx.HeaderAcceptRanges, []byte("bytes"))
}

// rangeCurrent reports whether If-Range lets ranges be answered, RFC 9110 section 13.1.5.
func rangeCurrent(r *ngx.Request) bool {
	h := r.In.Get(ngx.HeaderIfRange)
	if h == nil {
		return true
	}
	if len(h) >= 2 && h[len(h)-1] == '"' {
		return string(r.Out.Header.Get(ngx.HeaderETag)) == string(h)
	}
	want, ok := ngx.ParseTime(h)
	is := r.Out.LastModified
	if f := r.Out.Header.Get(ngx.HeaderLastModified); f != nil { // a peer's
		is, _ = ngx.ParseTime(f)
	}
	return ok && !is.IsZero() && want.Unix() == is.Unix()
}

// parseRanges parses what follows "bytes=". Ranges behind the body's end are left
// out. More than limit ranges, or ranges of more bytes than the body has, are answered with the whole body.
func parseRanges(b []byte, length int64, limit int) ([]span, int) {
	var spans []span
	var size int64
	for {
		var s span
		var ok bool
		if s, b, ok = parseRange(skipSpaces(b), length); !ok {
			return nil, rangesBad
		}
		if s.start < s.end {
			if len(spans) == limit {
				return nil, rangesWhole
			}
			spans = append(spans, s)
			size += s.end - s.start
		}
		if len(b) == 0 {
			break
		}
		b = b[1:]
	}
	switch {
	case len(spans) == 0:
		return nil, rangesBad
	case size > length:
		return nil, rangesWhole
	}
	return spans, rangesGood
}

// parseRange parses one range up to its comma or the end.
func parseRange(b []byte, length int64) (s span, rest []byte, ok bool) {
	suffix := len(b) > 0 && b[0] == '-'
	if !suffix {
		if s.start, b, ok = parseOffset(b); !ok {
			return s, nil, false
		}
		if b = skipSpaces(b); len(b) == 0 || b[0] != '-' {
			return s, nil, false
		}
	}
	b = skipSpaces(b[1:])
	if !suffix && (len(b) == 0 || b[0] == ',') {
		s.end = length
		return s, b, true
	}
	if s.end, b, ok = parseOffset(b); !ok {
		return s, nil, false
	}
	if b = skipSpaces(b); len(b) > 0 && b[0] != ',' {
		return s, nil, false
	}
	switch {
	case suffix:
		s = span{max(length-s.end, 0), length}
	case s.end >= length:
		s.end = length
	default:
		s.end++
	}
	return s, b, true
}

// parseOffset parses digits; their number's overflow is no number.
func parseOffset(b []byte) (n int64, rest []byte, ok bool) {
	i := 0
	for ; i < len(b) && '0' <= b[i] && b[i] <= '9'; i++ {
		d := int64(b[i] - '0')
		if n > (1<<63-1-d)/10 {
			return 0, nil, false
		}
		n = n*10 + d
	}
	return n, b[i:], i > 0
}

func skipSpaces(b []byte) []byte {
	for len(b) > 0 && b[0] == ' ' {
		b = b[1:]
	}
	return b
}

func oneRange(r *ngx.Request, spans []span) {
	o := &r.Out
	s := spans[0]
	b := append(r.Alloc(80)[:0], "bytes "...)
	o.Header.AddID(ngx.HeaderContentRange, appendSpan(b, s, o.Length))
	o.Length = s.end - s.start
	if !r.HeaderOnly {
		r.AddFilter(&rangeFilter{start: s.start, end: s.end})
	}
}

func appendSpan(b []byte, s span, length int64) []byte {
	b = append(strconv.AppendInt(b, s.start, 10), '-')
	b = append(strconv.AppendInt(b, s.end-1, 10), '/')
	return strconv.AppendInt(b, length, 10)
}

// manyRanges makes the answer a multipart/byteranges one, RFC 9110 section 14.6.
func manyRanges(r *ngx.Request, spans []span) {
	o := &r.Out
	boundary := strconv.FormatUint(rand.Uint64(), 10)
	for len(boundary) < 20 {
		boundary = "0" + boundary
	}
	head := append([]byte("\r\n--"), boundary...)
	if o.ContentType != nil {
		head = append(append(head, "\r\nContent-Type: "...), o.ContentType...)
		if len(o.Charset) > 0 {
			head = append(append(head, "; charset="...), o.Charset...)
		}
	}
	head = append(head, "\r\nContent-Range: bytes "...)
	m := &multiFilter{total: o.Length, last: append(append([]byte("\r\n--"), boundary...), "--\r\n"...)}
	o.Length = int64(len(m.last))
	for _, s := range spans {
		h := append(appendSpan(head[:len(head):len(head)], s, m.total), "\r\n\r\n"...)
		m.parts = append(m.parts, part{s, h})
		o.Length += int64(len(h)) + s.end - s.start
	}
	o.ContentType, o.Charset = append([]byte("multipart/byteranges; boundary="), boundary...), nil
	if !r.HeaderOnly {
		r.AddFilter(m)
	}
}

// rangeFilter lets one range of the body through.
type rangeFilter struct {
	next       ngx.Sink
	start, end int64
	pos        int64
}

// Chain implements ngx.BodyFilter.
func (f *rangeFilter) Chain(next ngx.Sink) { f.next = next }

// Write implements ngx.Sink.
func (f *rangeFilter) Write(r *ngx.Request, p []byte) error {
	s := f.pass(int64(len(p)))
	if s.start >= s.end {
		return nil
	}
	return f.next.Write(r, p[s.start:s.end])
}

// pass returns the part of the next n bytes that is in the range.
func (f *rangeFilter) pass(n int64) span {
	s := span{max(f.start-f.pos, 0), min(f.end-f.pos, n)}
	f.pos += n
	return s
}

// SendFile implements ngx.FileSink.
func (f *rangeFilter) SendFile(r *ngx.Request, file *os.File, off, n int64) error {
	s := f.pass(n)
	if s.start >= s.end {
		return nil
	}
	return ngx.SendFileTo(f.next, r, file, off+s.start, s.end-s.start)
}

// Flush implements ngx.Sink.
func (f *rangeFilter) Flush(r *ngx.Request) error { return f.next.Flush(r) }

// Finish implements ngx.Sink.
func (f *rangeFilter) Finish(r *ngx.Request) error { return f.next.Finish(r) }

// part is a part of a multipart/byteranges body.
type part struct {
	span
	head []byte
}

// multiFilter makes the body a multipart/byteranges one. A body that comes as a
// file is sent by parts; one that comes in pieces is kept, as ranges may come in any order.
type multiFilter struct {
	next  ngx.Sink
	parts []part
	last  []byte
	total int64
	body  []byte
}

// Chain implements ngx.BodyFilter.
func (m *multiFilter) Chain(next ngx.Sink) { m.next = next }

// Write implements ngx.Sink.
func (m *multiFilter) Write(r *ngx.Request, p []byte) error {
	m.body = append(m.body, p...)
	return nil
}

// SendFile implements ngx.FileSink.
func (m *multiFilter) SendFile(r *ngx.Request, f *os.File, off, n int64) error {
	if n != m.total {
		return ngx.SendFileTo(onlySink{m}, r, f, off, n)
	}
	err := m.send(r, func(s span) error { return ngx.SendFileTo(m.next, r, f, off+s.start, s.end-s.start) })
	m.parts = nil
	return err
}

// onlySink hides SendFile.
type onlySink struct{ ngx.Sink }

func (m *multiFilter) send(r *ngx.Request, body func(s span) error) error {
	for i := range m.parts {
		if err := m.next.Write(r, m.parts[i].head); err != nil {
			return err
		}
		if err := body(m.parts[i].span); err != nil {
			return err
		}
	}
	return m.next.Write(r, m.last)
}

// Flush implements ngx.Sink.
func (m *multiFilter) Flush(r *ngx.Request) error { return nil }

// Finish implements ngx.Sink.
func (m *multiFilter) Finish(r *ngx.Request) error {
	if m.parts != nil && int64(len(m.body)) >= m.total {
		if err := m.send(r, func(s span) error { return m.next.Write(r, m.body[s.start:s.end]) }); err != nil {
			return err
		}
	}
	return m.next.Finish(r)
}

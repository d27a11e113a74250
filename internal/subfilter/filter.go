package subfilter

import (
	"bytes"

	"limpet/internal/ngx"
)

// table is a set of patterns made ready.
type table struct {
	patterns []pattern
	first    [256]bool // bytes with which a pattern begins
	longest  int
}

// pattern is a pattern in lower case; sub is its place in the configuration.
type pattern struct {
	text []byte
	sub  int
}

// compile makes the table of patterns without variables; nil when there are any with.
func compile(subs []sub) *table {
	t := &table{}
	for i := range subs {
		text, ok := subs[i].match.Static()
		if !ok {
			return nil
		}
		t.add(text, i)
	}
	return t
}

// evaluate makes the table of patterns for a request; empty ones are left out.
func evaluate(r *ngx.Request, subs []sub) *table {
	t := &table{}
	for i := range subs {
		if text := subs[i].match.Bytes(r); len(text) > 0 {
			t.add(text, i)
		}
	}
	return t
}

func (t *table) add(text []byte, sub int) {
	low := bytes.Clone(text)
	for i, c := range low {
		low[i] = lower(c)
	}
	t.patterns = append(t.patterns, pattern{low, sub})
	t.longest = max(t.longest, len(low))
	t.first[low[0]] = true
	if c := low[0]; 'a' <= c && c <= 'z' {
		t.first[c-'a'+'A'] = true
	}
}

func lower(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		return c + 'a' - 'A'
	}
	return c
}

// filter replaces in a body that comes in pieces. What may be the beginning of a
// match at a piece's end is held back until the next piece decides.
type filter struct {
	next   ngx.Sink
	table  *table
	subs   []sub
	once   bool
	done   []bool   // by pattern: replaced already, under sub_filter_once
	values [][]byte // by pattern: the replacement once it was needed
	held   []byte
	out    []byte
}

// Chain implements ngx.BodyFilter.
func (f *filter) Chain(next ngx.Sink) { f.next = next }

// Write implements ngx.Sink.
func (f *filter) Write(r *ngx.Request, p []byte) error {
	if len(f.held) > 0 {
		f.held = append(f.held, p...)
		p = f.held
	}
	return f.replace(r, p, false)
}

// replace passes on b with its matches replaced; what it holds back at the end stays in f.held.
func (f *filter) replace(r *ngx.Request, b []byte, last bool) error {
	out := f.out[:0]
	begin, i := 0, 0 // b[begin:i] goes on as it is
scan:
	for i < len(b) {
		if !f.table.first[b[i]] {
			i++
			continue
		}
		switch n, which := f.match(b[i:], last); {
		case n < 0:
			break scan
		case n == 0:
			i++
		default:
			out = append(append(out, b[begin:i]...), f.value(r, which)...)
			i += n
			begin = i
		}
	}
	var err error
	switch {
	case begin == 0 && i > 0:
		err = f.next.Write(r, b[:i])
	default:
		if out = append(out, b[begin:i]...); len(out) > 0 {
			err = f.next.Write(r, out)
		}
	}
	f.out = out[:0]
	f.held = append(f.held[:0], b[i:]...) // b may be held itself: the copy goes forwards
	return err
}

// match returns the length of the match at the beginning of b and its pattern: 0
// for none, -1 when only more bytes can tell. Of several patterns the first in the configuration matches.
func (f *filter) match(b []byte, last bool) (n, which int) {
	for i := range f.table.patterns {
		if f.done[i] {
			continue
		}
		text := f.table.patterns[i].text
		k := 0
		for k < len(text) && k < len(b) && lower(b[k]) == text[k] {
			k++
		}
		switch {
		case k == len(text):
			return k, i
		case k == len(b) && !last:
			return -1, i
		}
	}
	return 0, 0
}

// value returns a pattern's replacement, evaluated once a response.
func (f *filter) value(r *ngx.Request, which int) []byte {
	f.done[which] = f.once
	if f.values[which] == nil {
		f.values[which] = append([]byte{}, f.subs[f.table.patterns[which].sub].value.Bytes(r)...)
	}
	return f.values[which]
}

// Flush implements ngx.Sink.
func (f *filter) Flush(r *ngx.Request) error { return f.next.Flush(r) }

// Finish implements ngx.Sink.
func (f *filter) Finish(r *ngx.Request) error {
	if len(f.held) > 0 {
		held := f.held
		f.held = nil
		if err := f.replace(r, held, true); err != nil {
			return err
		}
	}
	return f.next.Finish(r)
}

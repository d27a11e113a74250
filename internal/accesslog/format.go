package accesslog

import (
	"fmt"

	"limpet/internal/ngx"
)

// escaping is how a format writes what isn't plain text.
type escaping int

const (
	escapeDefault escaping = iota
	escapeJSON
	escapeNone
)

// Format is a compiled log_format.
type Format struct {
	escape escaping
	ops    []op
}

// op is a literal or, where v isn't nil, a variable.
type op struct {
	literal []byte
	v       *ngx.Var
}

// compile appends one word of a log_format. Unlike elsewhere, $1 isn't a
// capture and a dollar sign alone is an error that shows what follows it.
func (f *Format) compile(vs *ngx.Vars, word string) error {
	for i := 0; i < len(word); {
		if word[i] != '$' {
			f.literal(word[i])
			i++
			continue
		}
		start := i + 1
		brace := start < len(word) && word[start] == '{'
		if brace {
			start++
		}
		end := start
		for end < len(word) && isNameByte(word[end]) {
			end++
		}
		name := word[start:end]
		if brace && name != "" {
			if end == len(word) || word[end] != '}' {
				return fmt.Errorf(`the closing bracket in "%s" variable is missing`, name)
			}
			end++
		}
		if name == "" {
			return fmt.Errorf(`invalid parameter "%s"`, word[i:])
		}
		if name == "apache_bytes_sent" { // known to log_format alone
			name = "body_bytes_sent"
		}
		f.ops = append(f.ops, op{v: vs.Use(name)})
		i = end
	}
	return nil
}

func isNameByte(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_'
}

func (f *Format) literal(c byte) {
	if n := len(f.ops); n > 0 && f.ops[n-1].v == nil {
		f.ops[n-1].literal = append(f.ops[n-1].literal, c)
		return
	}
	f.ops = append(f.ops, op{literal: []byte{c}})
}

// Append appends the line about a request to b, without a newline.
func (f *Format) Append(r *ngx.Request, b []byte) []byte {
	for i := range f.ops {
		o := &f.ops[i]
		if o.v == nil {
			b = append(b, o.literal...)
			continue
		}
		mark := len(b)
		var ok bool
		b, ok = o.v.Append(r, b)
		switch {
		case !ok:
			if f.escape == escapeDefault {
				b = append(b, '-')
			}
		case f.escape == escapeDefault:
			b = escapeFrom(b, mark)
		case f.escape == escapeJSON:
			b = escapeJSONFrom(b, mark)
		}
	}
	return b
}

// escapeFrom writes what nginx's logs don't show as it is, from mark on, as \xXX:
// control bytes, the double quote, the backslash and all from 0x7f up.
func escapeFrom(b []byte, mark int) []byte {
	n := 0
	for _, c := range b[mark:] {
		if isHidden(c) {
			n++
		}
	}
	if n == 0 {
		return b
	}
	const hex = "0123456789ABCDEF"
	b, from, to := widen(b, 3*n)
	for to > from {
		from, to = from-1, to-1
		c := b[from]
		if !isHidden(c) {
			b[to] = c
			continue
		}
		to -= 3
		b[to], b[to+1], b[to+2], b[to+3] = '\\', 'x', hex[c>>4], hex[c&15]
	}
	return b
}

func isHidden(c byte) bool { return c < 0x20 || c >= 0x7f || c == '"' || c == '\\' }

// widen makes room for n more bytes behind b; from and to are the old and the new end.
func widen(b []byte, n int) (wide []byte, from, to int) {
	from = len(b)
	for range n {
		b = append(b, 0)
	}
	return b, from, len(b)
}

// escapeJSONFrom escapes from mark on what a JSON string can't hold as it is, RFC 8259 section 7.
func escapeJSONFrom(b []byte, mark int) []byte {
	n := 0
	for _, c := range b[mark:] {
		n += jsonExtra(c)
	}
	if n == 0 {
		return b
	}
	const hex = "0123456789ABCDEF"
	b, from, to := widen(b, n)
	for to > from {
		from, to = from-1, to-1
		c := b[from]
		switch jsonExtra(c) {
		case 0:
			b[to] = c
		case 1:
			b[to] = jsonShort(c)
			to--
			b[to] = '\\'
		default:
			to -= 5
			copy(b[to:], `\u00`)
			b[to+4], b[to+5] = hex[c>>4], hex[c&15]
		}
	}
	return b
}

// jsonExtra is how many bytes more a byte takes when it is escaped.
func jsonExtra(c byte) int {
	switch {
	case jsonShort(c) != 0:
		return 1
	case c < 0x20:
		return 5
	}
	return 0
}

// jsonShort is the letter of a byte's two-character escape, 0 for none.
func jsonShort(c byte) byte {
	switch c {
	case '"', '\\':
		return c
	case '\b':
		return 'b'
	case '\f':
		return 'f'
	case '\n':
		return 'n'
	case '\r':
		return 'r'
	case '\t':
		return 't'
	}
	return 0
}

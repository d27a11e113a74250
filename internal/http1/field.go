package http1

import "limpet/internal/ngx"

// fieldResult says what one header line was.
type fieldResult int

const (
	fieldMore    fieldResult = iota // bytes are missing
	fieldOK                         // a field
	fieldIgnored                    // a field whose name isn't valid: dropped under ignore_invalid_headers
	fieldEnd                        // the empty line
	fieldBad                        // not a header line; n is where it went wrong
)

// parseField parses one header line at the start of b, RFC 9112 section 5, as
// nginx takes it: names of letters, digits and hyphens are valid, underscores if
// asked for; other visible bytes make the name ignored; blanks and control
// bytes in a name, NUL and bare CR in a value are refused. n is the line's length with its end.
func parseField(b []byte, underscores bool) (f ngx.Field, n int, res fieldResult) {
	if len(b) == 0 {
		return f, 0, fieldMore
	}
	if b[0] == '\r' {
		if len(b) == 1 {
			return f, 0, fieldMore
		}
		if b[1] == '\n' {
			return f, 2, fieldEnd
		}
		return f, 1, fieldBad
	}
	if b[0] == '\n' {
		return f, 1, fieldEnd
	}
	i, valid := 0, true
	for ; ; i++ {
		if i == len(b) {
			return f, 0, fieldMore
		}
		c := b[i]
		if c == ':' {
			break
		}
		switch nameClass(c) {
		case nameOK:
		case nameUnderscore:
			valid = valid && underscores
		case nameOdd:
			valid = false
		case nameLineEnd:
			return bareName(b, i, valid)
		default:
			return f, i, fieldBad
		}
	}
	if i == 0 {
		return f, 0, fieldBad
	}
	f.Name = b[:i]
	i++
	for i < len(b) && b[i] == ' ' {
		i++
	}
	value, n, ok := fieldValue(b, i)
	if !ok {
		return f, n, fieldBad
	}
	if n == 0 {
		return f, 0, fieldMore
	}
	f.Value = value
	if !valid {
		return f, n, fieldIgnored
	}
	f.ID = ngx.HeaderIDOf(f.Name)
	return f, n, fieldOK
}

const (
	nameOK = iota
	nameUnderscore
	nameOdd
	nameLineEnd
	nameBad
)

func nameClass(c byte) int {
	switch {
	case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '-':
		return nameOK
	case c == '_':
		return nameUnderscore
	case c == '\r' || c == '\n':
		return nameLineEnd
	case c <= 0x20 || c == 0x7f:
		return nameBad
	}
	return nameOdd
}

// bareName is a line without a colon: a field with an empty value, as nginx takes it.
func bareName(b []byte, i int, valid bool) (f ngx.Field, n int, res fieldResult) {
	f.Name, f.Value = b[:i], b[i:i]
	if b[i] == '\r' {
		if i+1 == len(b) {
			return f, 0, fieldMore
		}
		if b[i+1] != '\n' {
			return f, i + 1, fieldBad
		}
		i++
	}
	if !valid {
		return f, i + 1, fieldIgnored
	}
	f.ID = ngx.HeaderIDOf(f.Name)
	return f, i + 1, fieldOK
}

// fieldValue finds the value that begins at i: up to the line's end, without blanks before it.
func fieldValue(b []byte, i int) (value []byte, n int, ok bool) {
	start := i
	for ; i < len(b); i++ {
		switch b[i] {
		case 0:
			return nil, i, false
		case '\n':
			return trimRight(b[start:i]), i + 1, true
		case '\r':
			if i+1 == len(b) {
				return nil, 0, true
			}
			if b[i+1] == '\n' {
				return trimRight(b[start:i]), i + 2, true
			}
			return nil, i + 1, false
		}
	}
	return nil, 0, true
}

func trimRight(b []byte) []byte {
	for len(b) > 0 && b[len(b)-1] == ' ' {
		b = b[:len(b)-1]
	}
	return b
}

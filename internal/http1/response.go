package http1

import "limpet/internal/ngx"

// StatusLine is the first line of a peer's answer.
type StatusLine struct {
	Status int
	// Text is the status with the reason, as it came.
	Text []byte
	// Old says that the version is HTTP/1.0, where a connection ends by default.
	Old bool
}

// ParseStatusLine parses a status line at the start of b, RFC 9112 section 4, as
// nginx takes it: any version from 1.0 up, three digits, then a blank, a dot or
// the line's end. n is its length with the line's end, 0 when bytes are missing;
// ok is false for what isn't one.
func (l *StatusLine) ParseStatusLine(b []byte) (n int, ok bool) {
	for i, c := range []byte("HTTP/") {
		if i == len(b) {
			return 0, true
		}
		if b[i] != c {
			return 0, false
		}
	}
	i, major, ok := digits(b, 5)
	if !ok || i < len(b) && (b[i] != '.' || major == 0) {
		return 0, false
	}
	if i == len(b) {
		return 0, true
	}
	i, minor, ok := digits(b, i+1)
	if !ok || i < len(b) && b[i] != ' ' {
		return 0, false
	}
	for i < len(b) && b[i] == ' ' {
		i++
	}
	start := i
	for ; i < start+3; i++ {
		if i >= len(b) {
			return 0, true
		}
		if !isDigit(b[i]) {
			return 0, false
		}
	}
	if i == len(b) {
		return 0, true
	}
	switch b[i] {
	case ' ', '.', '\r', '\n':
	default:
		return 0, false
	}
	l.Status = int(b[start]-'0')*100 + int(b[start+1]-'0')*10 + int(b[start+2]-'0')
	l.Old = major == 1 && minor == 0
	for ; i < len(b); i++ {
		switch b[i] {
		case '\n':
			l.Text = b[start:i]
			return i + 1, true
		case '\r':
			if i+1 == len(b) {
				return 0, true
			}
			if b[i+1] != '\n' {
				return 0, false
			}
			l.Text = b[start:i]
			return i + 2, true
		}
	}
	return 0, true
}

// digits reads one or more digits at i; at the end of b it asks for more by i == len(b).
func digits(b []byte, i int) (end, value int, ok bool) {
	if i == len(b) {
		return i, 0, true
	}
	start := i
	for ; i < len(b) && isDigit(b[i]); i++ {
		if value = value*10 + int(b[i]-'0'); value > 999 {
			return i, 0, false
		}
	}
	return i, value, i > start
}

// FieldResult says what ParseField found.
type FieldResult int

// The results of ParseField.
const (
	FieldMore FieldResult = iota // bytes are missing
	FieldOK
	FieldEnd // the empty line
	FieldBad // not a header line
)

// ParseField parses one header line of a peer's answer at the start of b. n is its
// length with its end; where it is bad, n is the index of the byte that is wrong.
// Names may have any visible byte; blanks in a name, NUL and a bare CR are refused.
func ParseField(b []byte) (f ngx.Field, n int, res FieldResult) {
	f, n, r := parseField(b, true)
	switch r {
	case fieldMore:
		return f, 0, FieldMore
	case fieldEnd:
		return f, n, FieldEnd
	case fieldBad:
		return f, n, FieldBad
	case fieldIgnored:
		f.ID = ngx.HeaderOther
	}
	return f, n, FieldOK
}

// ParseLength reads a Content-Length: digits only, below 2^63.
func ParseLength(b []byte) (int64, bool) { return parseLength(b) }

// ContainsFold looks for a word anywhere in a value in any case, as nginx reads Connection fields.
func ContainsFold(b []byte, word string) bool { return containsFold(b, word) }

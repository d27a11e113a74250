package ngx

// Escape is a set of bytes that are written as %XX.
type Escape uint8

// The sets of nginx's places. All have control bytes, the blank and %; all but
// EscapeMemcached bytes from 0x7f up.
const (
	// EscapeURI is for a path: also " # < > ? \ ^ ` { | }.
	EscapeURI Escape = iota
	// EscapeArgs is for arguments: EscapeURI's, and &, + , ;.
	EscapeArgs
	// EscapeComponent is all but RFC 3986's unreserved bytes.
	EscapeComponent
	// EscapeMemcached is for a key of memcached: nothing else.
	EscapeMemcached
)

// AppendEscaped appends s with the bytes of a set as %XX, upper-case.
func AppendEscaped(dst, s []byte, set Escape) []byte {
	const hex = "0123456789ABCDEF"
	for _, c := range s {
		if set.has(c) {
			dst = append(dst, '%', hex[c>>4], hex[c&15])
		} else {
			dst = append(dst, c)
		}
	}
	return dst
}

func (e Escape) has(c byte) bool {
	if e == EscapeMemcached {
		return c <= ' ' || c == '%'
	}
	if c <= ' ' || c >= 0x7f {
		return true
	}
	if e == EscapeComponent {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
			return false
		}
		return c != '-' && c != '.' && c != '_' && c != '~'
	}
	switch c {
	case '"', '#', '%', '<', '>', '?', '\\', '^', '`', '{', '|', '}':
		return true
	case '&', '+', ';':
		return e == EscapeArgs
	}
	return false
}

// Unhex returns the value of a hexadecimal digit, -1 for what is none.
func Unhex(c byte) int {
	switch {
	case '0' <= c && c <= '9':
		return int(c - '0')
	case 'a' <= c|0x20 && c|0x20 <= 'f':
		return int(c|0x20-'a') + 10
	}
	return -1
}

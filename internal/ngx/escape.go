package ngx

// EscapeURI appends a decoded path to dst with what can't stand in a URI
// escaped: control bytes, space, #, %, ?, quotes and brackets, and bytes above 0x7e.
func EscapeURI(dst, path []byte) []byte { return appendEscaped(dst, path, mustEscape) }

// EscapeURIComponent is EscapeURI for one component: all but unreserved bytes is escaped, RFC 3986 section 2.3.
func EscapeURIComponent(dst, s []byte) []byte { return appendEscaped(dst, s, notUnreserved) }

func mustEscape(c byte) bool {
	switch c {
	case ' ', '"', '#', '%', '<', '>', '?', '\\', '^', '`', '{', '|', '}':
		return true
	}
	return c < 0x20 || c >= 0x7f
}

func notUnreserved(c byte) bool {
	switch {
	case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		return false
	}
	return c != '-' && c != '.' && c != '_' && c != '~'
}

func appendEscaped(dst, s []byte, must func(c byte) bool) []byte {
	const hex = "0123456789ABCDEF"
	for _, c := range s {
		if must(c) {
			dst = append(dst, '%', hex[c>>4], hex[c&15])
		} else {
			dst = append(dst, c)
		}
	}
	return dst
}

package ngx

import "bytes"

// ValidHost checks a host as RFC 3986 section 3.2.2 and nginx do and returns it
// in lower case without port and final dot, changed in place only by lower-casing into dst.
func ValidHost(dst, host []byte) (name []byte, ok bool) {
	name, rest := host, []byte(nil)
	if len(host) > 0 && host[0] == '[' {
		end := bytes.IndexByte(host, ']')
		if end < 0 || !validLiteral(host[1:end]) {
			return nil, false
		}
		name, rest = host[:end+1], host[end+1:]
	} else {
		if i := bytes.IndexByte(host, ':'); i >= 0 {
			name, rest = host[:i], host[i:]
		}
		if !validName(name) {
			return nil, false
		}
		if len(name) > 0 && name[len(name)-1] == '.' {
			name = name[:len(name)-1]
		}
	}
	if !validPort(rest) || len(name) == 0 {
		return nil, false
	}
	base := len(dst)
	for _, c := range name {
		dst = append(dst, lower(c))
	}
	return dst[base:], true
}

func validPort(b []byte) bool {
	if len(b) == 0 {
		return true
	}
	if b[0] != ':' {
		return false
	}
	port := 0
	for _, c := range b[1:] {
		if !isDigit(c) {
			return false
		}
		if port = port*10 + int(c-'0'); port > 65535 {
			return false
		}
	}
	return true
}

// validLiteral checks the inside of [ ].
func validLiteral(b []byte) bool {
	for i, c := range b {
		if c == '.' && i > 0 && b[i-1] == '.' {
			return false
		}
		if !isAlpha(c) && !isDigit(c) && !IsHostMark(c) && c != ':' {
			return false
		}
	}
	return len(b) > 0
}

// validName checks a registered name or IPv4 address: unreserved, sub-delims,
// escapes; no empty label.
func validName(b []byte) bool {
	for i, c := range b {
		switch {
		case isAlpha(c), isDigit(c):
		case c == '.':
			if i == 0 || b[i-1] == '.' {
				return false
			}
		case c == '%':
			if i+2 >= len(b) || !isHex(b[i+1]) || !isHex(b[i+2]) {
				return false
			}
		case !IsHostMark(c):
			return false
		}
	}
	return true
}

// IsHostMark reports the marks that RFC 3986 allows in an IP literal beside letters and digits.
func IsHostMark(c byte) bool {
	switch c {
	case '-', '.', '_', '~', '!', '$', '&', '\'', '(', ')', '*', '+', ',', ';', '=':
		return true
	}
	return false
}

func isAlpha(c byte) bool { c |= 0x20; return 'a' <= c && c <= 'z' }
func isDigit(c byte) bool { return '0' <= c && c <= '9' }
func isHex(c byte) bool   { return isDigit(c) || 'a' <= c|0x20 && c|0x20 <= 'f' }

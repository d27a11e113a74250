package http1

import "limpet/internal/ngx"

// validHost checks a host as RFC 3986 section 3.2.2 and nginx do and returns it
// in lower case without port and final dot, changed in place only by lower-casing into dst.
func validHost(dst, host []byte) (name []byte, ok bool) {
	name, rest := host, []byte(nil)
	if len(host) > 0 && host[0] == '[' {
		end := indexByte(host, ']')
		if end < 0 || !validLiteral(host[1:end]) {
			return nil, false
		}
		name, rest = host[:end+1], host[end+1:]
	} else {
		if i := indexByte(host, ':'); i >= 0 {
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
		if isUpper(c) {
			c |= 0x20
		}
		dst = append(dst, c)
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
		if !isAlpha(c) && !isDigit(c) && !isHostMark(c) && c != ':' {
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
			if i+2 >= len(b) || ngx.Unhex(b[i+1]) < 0 || ngx.Unhex(b[i+2]) < 0 {
				return false
			}
		case !isHostMark(c):
			return false
		}
	}
	return true
}

func indexByte(b []byte, c byte) int {
	for i := range b {
		if b[i] == c {
			return i
		}
	}
	return -1
}

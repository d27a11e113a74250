package ngx

// Cookie returns the value of the first cookie of that name, compared without
// regard to case, in the header's Cookie fields as nginx reads them: cookies are
// parted by semicolons, blanks around the equals sign are skipped. False when there is none.
// RFC 6265 section 5.4
func (h *Header) Cookie(name string) ([]byte, bool) {
	for i := range h.Fields {
		if f := &h.Fields[i]; f.ID == HeaderCookie && !f.Hidden {
			if v, ok := cookieIn(f.Value, name); ok {
				return v, true
			}
		}
	}
	return nil, false
}

func cookieIn(b []byte, name string) ([]byte, bool) {
	for len(b) > 0 {
		if v, ok := pairValue(b, name); ok {
			return v, true
		}
		b = skipBlanks(afterSemicolon(b))
	}
	return nil, false
}

// SetCookie returns the value of the first cookie of that name, compared
// without regard to case, that the header's Set-Cookie fields set, hidden ones included.
func (h *Header) SetCookie(name string) ([]byte, bool) {
	for i := range h.Fields {
		if f := &h.Fields[i]; f.ID == HeaderSetCookie {
			if v, ok := pairValue(f.Value, name); ok {
				return v, true
			}
		}
	}
	return nil, false
}

// pairValue returns what follows `name =` at the start of b, up to a semicolon.
func pairValue(b []byte, name string) ([]byte, bool) {
	if len(b) < len(name) || !EqualFold(b[:len(name)], name) {
		return nil, false
	}
	b = skipBlanks(b[len(name):])
	if len(b) == 0 || b[0] != '=' {
		return nil, false
	}
	b = skipBlanks(b[1:])
	for i, c := range b {
		if c == ';' {
			return b[:i], true
		}
	}
	return b, true
}

func skipBlanks(b []byte) []byte {
	for len(b) > 0 && b[0] == ' ' {
		b = b[1:]
	}
	return b
}

func afterSemicolon(b []byte) []byte {
	for i, c := range b {
		if c == ';' {
			return b[i+1:]
		}
	}
	return nil
}

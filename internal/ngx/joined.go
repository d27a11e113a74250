package ngx

// AppendJoined appends the values of all fields whose name is that of a
// variable ($http_x_forwarded_for: lower-case, with _ for -), joined by sep; false when
// there is no such field. Hidden fields count only where hidden is true.
func (h *Header) AppendJoined(dst []byte, name, sep string, hidden bool) ([]byte, bool) {
	found := false
	for i := range h.Fields {
		f := &h.Fields[i]
		if len(f.Name) != len(name) || f.Hidden && !hidden || !isVariableName(f.Name, name) {
			continue
		}
		if found {
			dst = append(dst, sep...)
		}
		dst = append(dst, f.Value...)
		found = true
	}
	return dst, found
}

func isVariableName(field []byte, name string) bool {
	for i := range len(field) {
		c := lower(field[i])
		if c == '-' {
			c = '_'
		}
		if c != name[i] {
			return false
		}
	}
	return true
}

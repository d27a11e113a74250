package sticky

import "limpet/internal/ngx"

// found is a cookie in the Cookie fields of a request.
type found struct {
	value []byte
	field int // its place among the request's fields
	start int // where its name begins in the field's value
	from  int // where its value begins; it goes up to end
	end   int
}

// find returns the first cookie of that name, whatever its value, as nginx 1.31
// looks for it: lines in order, in any case unless exact.
// https://nginx.org/en/docs/http/ngx_http_core_module.html#var_cookie_
func find(h *ngx.Header, name string, exact bool) (found, bool) {
	for i := range h.Fields {
		f := &h.Fields[i]
		if f.ID != ngx.HeaderCookie || f.Hidden {
			continue
		}
		if start, from, end, ok := scan(f.Value, name, exact); ok {
			return found{f.Value[from:end], i, start, from, end}, true
		}
	}
	return found{}, false
}

// scan looks for the cookie in one line. A cookie begins at the line's start or
// behind `;`, blanks skipped; a comma doesn't separate. Blanks around = are
// skipped; the value goes up to `;`, so that blanks before it belong to it. A name without = takes what is up
// to the `;` behind the next cookie with it, as in nginx.
func scan(line []byte, name string, exact bool) (start, from, end int, ok bool) {
	for i := 0; i < len(line); {
		start = i
		if hasPrefix(line[i:], name, exact) {
			i = skipBlanks(line, i+len(name))
			if i == len(line) {
				return 0, 0, 0, false
			}
			i++
			if line[i-1] == '=' {
				from = skipBlanks(line, i)
				for end = from; end < len(line) && line[end] != ';'; end++ {
				}
				return start, from, end, true
			}
		}
		for i < len(line) && line[i] != ';' {
			i++
		}
		i = skipBlanks(line, i+1)
	}
	return 0, 0, 0, false
}

func skipBlanks(b []byte, i int) int {
	for i < len(b) && b[i] == ' ' {
		i++
	}
	return i
}

func hasPrefix(b []byte, name string, exact bool) bool {
	if len(b) < len(name) {
		return false
	}
	if exact {
		return string(b[:len(name)]) == name
	}
	return ngx.EqualFold(b[:len(name)], name)
}

// sets reports whether the value of a Set-Cookie field sets a cookie of that name.
func sets(field []byte, name string) bool {
	return len(field) > len(name) && field[len(name)] == '=' && hasPrefix(field, name, true)
}

package nginxconf

import "strings"

// skipLua reads a Lua block up to the } that ends it, as OpenResty does: braces
// in strings, comments and long brackets don't count. The scanner then stands
// behind the }. False leaves the error set.
func (s *scanner) skipLua() bool {
	depth := 1
	for s.i < len(s.src) {
		c := s.src[s.i]
		switch c {
		case '\n':
			s.line++
		case '{':
			depth++
		case '}':
			if depth--; depth == 0 {
				s.i++
				return true
			}
		case '\'', '"':
			s.luaString(c)
			continue
		case '-':
			if strings.HasPrefix(s.src[s.i:], "--") {
				s.i += 2
				if n := longBracket(s.src[s.i:]); n > 0 {
					if !s.luaLong(n) {
						return false
					}
					continue
				}
				for s.i < len(s.src) && s.src[s.i] != '\n' {
					s.i++
				}
				continue
			}
		case '[':
			if n := longBracket(s.src[s.i:]); n > 0 {
				if !s.luaLong(n) {
					return false
				}
				continue
			}
		}
		s.i++
	}
	s.fail(`unexpected end of file, expecting "}"`)
	return false
}

// longBracket returns the length of an opening long bracket at the start of b, 0 when there is none.
func longBracket(b string) int {
	if b == "" || b[0] != '[' {
		return 0
	}
	n := 1
	for n < len(b) && b[n] == '=' {
		n++
	}
	if n < len(b) && b[n] == '[' {
		return n + 1
	}
	return 0
}

// luaLong skips a long string or comment whose opening bracket is n bytes long.
func (s *scanner) luaLong(n int) bool {
	closing := "]" + strings.Repeat("=", n-2) + "]"
	end := strings.Index(s.src[s.i+n:], closing)
	if end < 0 {
		s.fail(`Lua code block missing the closing long bracket "%s"`, closing)
		return false
	}
	end += s.i + n + len(closing)
	s.line += strings.Count(s.src[s.i:end], "\n")
	s.i = end
	return true
}

// luaString skips a string in quotes; one that isn't closed ends with its line.
func (s *scanner) luaString(q byte) {
	for s.i++; s.i < len(s.src); s.i++ {
		switch s.src[s.i] {
		case '\\':
			s.i++
			if s.i < len(s.src) && s.src[s.i] == 'z' { // blanks and newlines that follow aren't the string's
				for s.i+1 < len(s.src) && strings.IndexByte(" \t\r\n\v\f", s.src[s.i+1]) >= 0 {
					if s.i++; s.src[s.i] == '\n' {
						s.line++
					}
				}
				continue
			}
			if s.i < len(s.src) && s.src[s.i] == '\n' {
				s.line++
			}
		case '\n':
			return
		case q:
			s.i++
			return
		}
	}
}

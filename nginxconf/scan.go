package nginxconf

import "strings"

// maxWord is the length from which nginx refuses a word: its read buffer's.
const maxWord = 4096

// word is a word of the file: its bytes, and where it lies.
type word struct {
	value      string
	start, end int // in the source, quotes included
	line       int // where it begins
	quoted     bool
}

// scanned is a statement as the scanner sees it.
type scanned struct {
	words    []word
	end      int // of the terminator
	line     int
	open     bool // ended with {
	close    int  // of the block's }; 0 while it is open
	endLine  int
	lua      [2]int // body of a Lua block
	luaLine  int
	children []*scanned
}

// scanner reads a file by nginx's lexical rules, as its documentation and its
// behaviour show them: words are parted by blanks; ; { } end statements only
// where a word may begin or behind an unquoted word; quotes count at a word's
// beginning only; a backslash takes the next byte as it is; ${ keeps its brace in the word.
type scanner struct {
	file string
	src  string
	i    int
	line int
	// good is the end of the last thing that was complete, depth the number of blocks open there.
	good, depth int
	err         *Error
}

func (s *scanner) fail(format string, args ...any) { s.err = Errorf(s.file, s.line, format, args...) }

// block reads statements up to the } that ends the block, or the file's end at the top level.
func (s *scanner) block(top bool) (list []*scanned) {
	for {
		words, end, ok := s.words()
		if !ok {
			return list
		}
		switch end {
		case 0: // the file's end
			if !top {
				s.fail(`unexpected end of file, expecting "}"`)
			}
			return list
		case '}':
			if top {
				s.fail(`unexpected "}"`)
			}
			return list
		}
		st := &scanned{words: words, end: s.i - 1, line: s.line, endLine: s.line, open: end == '{'}
		list = append(list, st)
		s.good = s.i
		if !st.open {
			continue
		}
		s.depth++
		s.body(st)
		if s.err != nil {
			return list
		}
		st.close, st.endLine = s.i-1, s.line
		s.good = s.i
		s.depth--
	}
}

func (s *scanner) body(st *scanned) {
	if strings.HasSuffix(st.words[0].value, "_by_lua_block") {
		st.luaLine = s.line
		start := s.i
		if s.skipLua() {
			st.lua = [2]int{start, s.i - 1}
		}
		return
	}
	st.children = s.block(false)
}

// words reads the words of a statement and what ended it: ; { } or 0 for the
// end of the file between statements.
func (s *scanner) words() (words []word, end byte, ok bool) {
	for {
		s.skipBlanks()
		if s.i == len(s.src) {
			if len(words) > 0 {
				s.unfinished()
				return nil, 0, false
			}
			return nil, 0, true
		}
		switch c := s.src[s.i]; c {
		case ';', '{':
			if len(words) == 0 {
				s.fail(`unexpected "%c"`, c)
				return nil, 0, false
			}
			s.i++
			return words, c, true
		case '}':
			if len(words) > 0 {
				s.fail(`unexpected "}"`)
				return nil, 0, false
			}
			s.i++
			return nil, c, true
		case '"', '\'':
			w, ok := s.quoted(c)
			if !ok {
				return nil, 0, false
			}
			words = append(words, w)
		default:
			w, ok := s.bare()
			if !ok {
				return nil, 0, false
			}
			words = append(words, w)
		}
	}
}

func (s *scanner) unfinished() { s.fail(`unexpected end of file, expecting ";" or "}"`) }

// skipBlanks skips blanks and comments between words.
func (s *scanner) skipBlanks() {
	for ; s.i < len(s.src); s.i++ {
		switch s.src[s.i] {
		case '\n':
			s.line++
		case ' ', '\t', '\r':
		case '#':
			for s.i+1 < len(s.src) && s.src[s.i+1] != '\n' {
				s.i++
			}
		default:
			return
		}
	}
}

// quoted reads a word in quotes; what follows must be a blank or end the statement.
func (s *scanner) quoted(q byte) (word, bool) {
	w := word{start: s.i, line: s.line, quoted: true}
	for s.i++; s.i < len(s.src); s.i++ {
		switch c := s.src[s.i]; c {
		case '\n':
			s.line++
		case '\\':
			s.i++
			if s.i < len(s.src) && s.src[s.i] == '\n' {
				s.line++
			}
		case q:
			if s.i-w.start-1 >= maxWord {
				return w, s.tooLongQuoted(w, q)
			}
			w.value = unquote(s.src[w.start+1 : s.i])
			s.i++
			w.end = s.i
			return w, s.behindQuote()
		}
	}
	if s.i = len(s.src); s.i-w.start-1 >= maxWord {
		return w, s.tooLongQuoted(w, q)
	}
	s.unfinished()
	return w, false
}

func (s *scanner) tooLongQuoted(w word, q byte) bool {
	s.line = w.line
	s.fail(`too long parameter, probably missing terminating "%c" character`, q)
	return false
}

// behindQuote checks the byte behind a closing quote; a ) counts as a blank, for `if ("$a" = "b")`.
func (s *scanner) behindQuote() bool {
	if s.i == len(s.src) {
		s.unfinished()
		return false
	}
	switch c := s.src[s.i]; c {
	case ' ', '\t', '\r', '\n', ';', '{', ')':
		return true
	default:
		s.fail(`unexpected "%c"`, c)
		return false
	}
}

// bare reads a word without quotes.
func (s *scanner) bare() (word, bool) {
	w := word{start: s.i, line: s.line}
	dollar := false
	for ; s.i < len(s.src); s.i++ {
		c := s.src[s.i]
		if c == '{' && dollar {
			continue
		}
		dollar = false
		switch c {
		case '\\':
			s.i++
			if s.i < len(s.src) && s.src[s.i] == '\n' {
				s.line++
			}
			continue
		case '$':
			dollar = true
			continue
		case ' ', '\t', '\r', '\n', ';', '{':
			if s.i-w.start >= maxWord {
				return w, s.tooLongBare(w)
			}
			w.end = s.i
			w.value = unquote(s.src[w.start:s.i])
			return w, true
		}
	}
	if s.i = len(s.src); s.i-w.start >= maxWord {
		return w, s.tooLongBare(w)
	}
	s.unfinished()
	return w, false
}

func (s *scanner) tooLongBare(w word) bool {
	s.line = w.line
	s.fail(`too long parameter "%s..." started`, s.src[w.start:w.start+10])
	return false
}

// unquote takes the backslashes off: before quotes and backslashes, and \t \r \n. Others stay.
func unquote(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+1 < len(s) {
			switch s[i+1] {
			case '"', '\'', '\\':
				i++
			case 't':
				b = append(b, '\t')
				i++
				continue
			case 'r':
				b = append(b, '\r')
				i++
				continue
			case 'n':
				b = append(b, '\n')
				i++
				continue
			}
		}
		b = append(b, s[i])
	}
	return string(b)
}

package lua

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// syntaxFault is the panic that ends the checking of syntax: an error in LuaJIT's words.
type syntaxFault struct{ error }

// lexer reads tokens as LuaJIT does. It rewrites string escapes that the interpreter
// doesn't know (\x41, \z, \u{41}) into ones that it knows.
type lexer struct {
	src   string
	i     int
	line  int
	chunk string
	tok   token
	ahead *token
	last  int // line of the token before
	out   strings.Builder
	done  int // src up to here is in out
}

// token is a word of the program: kind is the word itself for keywords and
// operators, else "<name>", "<string>", "<number>", "<eof>".
type token struct {
	kind string
	text string // as written
	line int
}

func (x *lexer) fail(at token, format string, args ...any) {
	msg := fmt.Sprintf(format, args...)
	near := at.text
	if at.kind == "<eof>" {
		near = "<eof>"
	}
	panic(syntaxFault{fmt.Errorf("%s:%d: %s near '%s'", x.chunk, at.line, msg, near)})
}

// failHere reports an error within the token that begins at start.
func (x *lexer) failHere(start int, msg string) {
	text := x.src[start:min(x.i, len(x.src))]
	kind := ""
	if x.i >= len(x.src) && strings.HasPrefix(msg, "unfinished") {
		kind = "<eof>"
	}
	x.fail(token{kind, text, x.line}, "%s", msg)
}

func (x *lexer) next() {
	x.last = x.tok.line
	if x.ahead != nil {
		x.tok, x.ahead = *x.ahead, nil
		return
	}
	x.tok = x.scan()
}

func (x *lexer) peek() token {
	if x.ahead == nil {
		t := x.scan()
		x.ahead = &t
	}
	return *x.ahead
}

func isKeyword(s string) bool {
	switch s {
	case "and", "break", "do", "else", "elseif", "end", "false", "for", "function", "goto", "if", "in", "local", "nil", "not", "or", "repeat",
		"return", "then", "true", "until", "while":
		return true
	}
	return false
}

func isLetter(c byte) bool { return c == '_' || c|0x20 >= 'a' && c|0x20 <= 'z' || c >= 0x80 }

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

func (x *lexer) scan() token {
	x.skip()
	start := x.i
	if x.i >= len(x.src) {
		return token{"<eof>", "", x.line}
	}
	c := x.src[x.i]
	switch {
	case isLetter(c):
		for x.i < len(x.src) && (isLetter(x.src[x.i]) || isDigit(x.src[x.i])) {
			x.i++
		}
		word := x.src[start:x.i]
		if isKeyword(word) {
			return token{word, word, x.line}
		}
		return token{"<name>", word, x.line}
	case isDigit(c), c == '.' && x.i+1 < len(x.src) && isDigit(x.src[x.i+1]):
		return x.number()
	case c == '"' || c == '\'':
		return x.str(c)
	case c == '[':
		if n := bracket(x.src[x.i:]); n > 0 {
			x.long(n, "unfinished long string")
			return token{"<string>", x.src[start:x.i], x.line}
		}
	}
	for _, op := range []string{"...", "..", "==", "~=", "<=", ">=", "::"} {
		if strings.HasPrefix(x.src[x.i:], op) {
			x.i += len(op)
			return token{op, op, x.line}
		}
	}
	x.i++
	return token{string(c), string(c), x.line}
}

// skip skips blanks and comments.
func (x *lexer) skip() {
	for x.i < len(x.src) {
		switch c := x.src[x.i]; {
		case c == '\n':
			x.line++
			x.i++
		case c == ' ' || c == '\t' || c == '\r' || c == '\v' || c == '\f':
			x.i++
		case strings.HasPrefix(x.src[x.i:], "--"):
			x.i += 2
			if n := bracket(x.src[x.i:]); n > 0 {
				x.long(n, "unfinished long comment")
				continue
			}
			for x.i < len(x.src) && x.src[x.i] != '\n' {
				x.i++
			}
		default:
			return
		}
	}
}

// bracket returns the length of [[ or [=[ at the start of s, else 0.
func bracket(s string) int {
	n := 1
	for n < len(s) && s[n] == '=' {
		n++
	}
	if s != "" && s[0] == '[' && n < len(s) && s[n] == '[' {
		return n + 1
	}
	return 0
}

func (x *lexer) long(n int, unfinished string) {
	start := x.i
	end := strings.Index(x.src[x.i+n:], "]"+strings.Repeat("=", n-2)+"]")
	if end < 0 {
		x.line += strings.Count(x.src[x.i:], "\n")
		x.i = len(x.src)
		x.failHere(start, unfinished)
	}
	x.i += n + end + n
	x.line += strings.Count(x.src[start:x.i], "\n")
}

func (x *lexer) number() token {
	start := x.i
	hex := strings.HasPrefix(x.src[x.i:], "0x") || strings.HasPrefix(x.src[x.i:], "0X")
	for x.i < len(x.src) {
		c := x.src[x.i]
		exponent := !hex && c|0x20 == 'e' || hex && c|0x20 == 'p'
		if exponent && x.i+1 < len(x.src) && (x.src[x.i+1] == '+' || x.src[x.i+1] == '-') {
			x.i += 2
			continue
		}
		if !isDigit(c) && !isLetter(c) && c != '.' {
			break
		}
		x.i++
	}
	text := x.src[start:x.i]
	if !wellFormed(text, hex) {
		x.failHere(start, "malformed number")
	}
	return token{"<number>", text, x.line}
}

// wellFormed reports whether a numeral is one of Lua's.
func wellFormed(s string, hex bool) bool {
	if hex {
		s = s[2:]
	}
	digits, dots, exps := 0, 0, 0
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case isDigit(c) || hex && exps == 0 && isHex(c):
			digits++
		case c == '.' && exps == 0:
			dots++
		case exps == 0 && digits > 0 && (!hex && c|0x20 == 'e' || hex && c|0x20 == 'p'):
			exps++
			if i+1 < len(s) && (s[i+1] == '+' || s[i+1] == '-') {
				i++
			}
			digits = 0
		default:
			return false
		}
	}
	return digits > 0 && dots <= 1
}

func (x *lexer) str(q byte) token {
	start := x.i
	x.i++
	for {
		if x.i >= len(x.src) {
			x.failHere(start, "unfinished string")
		}
		switch c := x.src[x.i]; c {
		case q:
			x.i++
			return token{"<string>", x.src[start:x.i], x.line}
		case '\n':
			x.failHere(start, "unfinished string")
		case '\\':
			x.escape(start)
		default:
			x.i++
		}
	}
}

// escape reads a backslash and what belongs to it.
func (x *lexer) escape(start int) {
	at := x.i
	x.i++
	if x.i >= len(x.src) {
		x.failHere(start, "unfinished string")
	}
	switch c := x.src[x.i]; {
	case c == '\n':
		x.line++
		x.i++
	case c == 'x':
		if x.i+2 >= len(x.src) || !isHex(x.src[x.i+1]) || !isHex(x.src[x.i+2]) {
			x.fail(token{"", x.src[start:at], x.line}, "invalid escape sequence")
		}
		b := unhex(x.src[x.i+1])<<4 | unhex(x.src[x.i+2])
		x.i += 3
		x.rewrite(at, fmt.Sprintf(`\%03d`, b))
	case c == 'z':
		x.i++
		for x.i < len(x.src) && strings.IndexByte(" \t\r\n\v\f", x.src[x.i]) >= 0 {
			if x.src[x.i] == '\n' {
				x.line++
			}
			x.i++
		}
		x.rewrite(at, "")
	case c == 'u':
		x.unicode(start, at)
	case isDigit(c):
		n := 0
		for j := 0; j < 3 && x.i < len(x.src) && isDigit(x.src[x.i]); j++ {
			n = n*10 + int(x.src[x.i]-'0')
			x.i++
		}
		if n > 255 {
			x.fail(token{"", x.src[start:at], x.line}, "invalid escape sequence")
		}
	case strings.IndexByte("abfnrtv\\\"'\r", c) >= 0:
		x.i++
	default:
		x.i++
		x.fail(token{"", x.src[start:at], x.line}, "invalid escape sequence")
	}
}

// unicode is \u{H...}, of hexadecimal digits.
func (x *lexer) unicode(start, at int) {
	end := strings.IndexByte(x.src[x.i:], '}')
	if end < 3 || x.src[x.i+1] != '{' {
		x.fail(token{"", x.src[start:at], x.line}, "invalid escape sequence")
	}
	var r rune
	for _, c := range []byte(x.src[x.i+2 : x.i+end]) {
		if !isHex(c) || r > utf8.MaxRune {
			x.fail(token{"", x.src[start:at], x.line}, "invalid escape sequence")
		}
		r = r<<4 | rune(unhex(c))
	}
	x.i += end + 1
	var b strings.Builder
	for _, c := range []byte(string(r)) {
		fmt.Fprintf(&b, `\%03d`, c)
	}
	x.rewrite(at, b.String())
}

// rewrite puts text in the place of what was read since from.
func (x *lexer) rewrite(from int, text string) {
	x.out.WriteString(x.src[x.done:from])
	x.out.WriteString(text)
	x.done = x.i
}

// rewritten returns the program for the interpreter.
func (x *lexer) rewritten() string {
	if x.done == 0 {
		return x.src
	}
	return x.out.String() + x.src[x.done:]
}

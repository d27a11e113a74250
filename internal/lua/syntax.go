package lua

import "fmt"

// checkSyntax reports an error of syntax in LuaJIT's words, and returns the program in
// a form that the interpreter understands. Programs that pass may still be refused by the
// interpreter's own parser.
// https://www.lua.org/manual/5.1/manual.html#8
func checkSyntax(text, chunk string) (program string, err error) {
	p := &checker{lexer: lexer{src: text, line: 1, chunk: chunk}}
	defer func() {
		if r := recover(); r != nil {
			f, ok := r.(syntaxFault)
			if !ok {
				panic(r)
			}
			err = f.error
		}
	}()
	p.next()
	p.vararg = true
	p.block()
	if p.tok.kind != "<eof>" {
		p.fail(p.tok, "'<eof>' expected")
	}
	return p.rewritten(), nil
}

// checker is a parser that builds nothing.
type checker struct {
	lexer
	depth  int
	loops  int
	vararg bool
}

// maxDepth bounds nesting, as LuaJIT does (LJ_MAX_XLEVEL).
const maxDepth = 200

func (p *checker) enter() {
	if p.depth++; p.depth > maxDepth {
		p.fail(p.tok, "chunk has too many syntax levels")
	}
}

func (p *checker) leave() { p.depth-- }

func (p *checker) accept(kind string) bool {
	if p.tok.kind != kind {
		return false
	}
	p.next()
	return true
}

func (p *checker) expect(kind string) {
	if !p.accept(kind) {
		p.fail(p.tok, "'%s' expected", kind)
	}
}

// match wants the token that closes one at line.
func (p *checker) match(kind, opener string, line int) {
	if p.accept(kind) {
		return
	}
	if line == p.tok.line {
		p.fail(p.tok, "'%s' expected", kind)
	}
	p.fail(p.tok, "'%s' expected (to close '%s' at line %d)", kind, opener, line)
}

func (p *checker) name() {
	if !p.accept("<name>") {
		p.fail(p.tok, "'<name>' expected")
	}
}

func (p *checker) ends() bool {
	switch p.tok.kind {
	case "else", "elseif", "end", "until", "<eof>":
		return true
	}
	return false
}

func (p *checker) block() {
	p.enter()
	for !p.ends() {
		last := p.stmt()
		p.accept(";")
		if last {
			break
		}
	}
	p.leave()
}

// stmt reads a statement and reports whether it must be the block's last.
func (p *checker) stmt() (last bool) {
	line, kind := p.tok.line, p.tok.kind
	switch kind {
	case "if":
		p.ifStmt(line)
	case "while":
		p.next()
		p.expr()
		p.expect("do")
		p.loop()
		p.match("end", kind, line)
	case "do":
		p.next()
		p.block()
		p.match("end", kind, line)
	case "for":
		p.forStmt(line)
	case "repeat":
		p.next()
		p.loop()
		p.match("until", kind, line)
		p.expr()
	case "function":
		p.next()
		p.name()
		for p.accept(".") {
			p.name()
		}
		if p.accept(":") {
			p.name()
		}
		p.body(line)
	case "local":
		p.next()
		p.local(line)
	case "return":
		p.next()
		if !p.ends() && p.tok.kind != ";" {
			p.exprs()
		}
		return true
	case "break":
		if p.loops == 0 {
			panic(syntaxFault{fmt.Errorf("%s:%d: no loop to break", p.chunk, line)})
		}
		p.next()
	case "::":
		p.next()
		p.name()
		p.expect("::")
	case "goto":
		if p.peek().kind != "<name>" { // a name like any other
			p.tok.kind = "<name>"
			p.exprStmt()
			break
		}
		p.next()
		p.name()
	case ";":
		p.next()
	default:
		p.exprStmt()
	}
	return false
}

func (p *checker) loop() {
	p.loops++
	p.block()
	p.loops--
}

func (p *checker) ifStmt(line int) {
	for {
		p.next()
		p.expr()
		p.expect("then")
		p.block()
		if p.tok.kind != "elseif" {
			break
		}
	}
	if p.accept("else") {
		p.block()
	}
	p.match("end", "if", line)
}

func (p *checker) forStmt(line int) {
	p.next()
	p.name()
	switch p.tok.kind {
	case "=":
		p.next()
		p.expr()
		p.expect(",")
		p.expr()
		if p.accept(",") {
			p.expr()
		}
	case ",", "in":
		for p.accept(",") {
			p.name()
		}
		p.expect("in")
		p.exprs()
	default:
		p.fail(p.tok, "'=' or 'in' expected")
	}
	p.expect("do")
	p.loop()
	p.match("end", "for", line)
}

func (p *checker) local(line int) {
	if p.accept("function") {
		p.name()
		p.body(line)
		return
	}
	p.name()
	for p.accept(",") {
		p.name()
	}
	if p.accept("=") {
		p.exprs()
	}
}

// body is a function's parameters and statements.
func (p *checker) body(line int) {
	loops, vararg := p.loops, p.vararg
	p.loops, p.vararg = 0, false
	p.expect("(")
	if p.tok.kind != ")" {
		for {
			if p.accept("...") {
				p.vararg = true
				break
			}
			if !p.accept("<name>") {
				p.fail(p.tok, "<name> or '...' expected")
			}
			if !p.accept(",") {
				break
			}
		}
	}
	p.expect(")")
	p.block()
	p.match("end", "function", line)
	p.loops, p.vararg = loops, vararg
}

// exprStmt is an assignment or a call.
func (p *checker) exprStmt() {
	call := p.suffixed()
	if call {
		return
	}
	if p.tok.kind == "=" || p.tok.kind == "," {
		for p.accept(",") {
			if p.suffixed() {
				p.fail(p.tok, "syntax error")
			}
		}
		p.expect("=")
		p.exprs()
		return
	}
	p.fail(p.tok, "'=' expected")
}

// suffixed is a name or an expression in parentheses with what hangs on it; it reports whether it is a call.
func (p *checker) suffixed() (call bool) {
	line := p.tok.line
	paren := false
	switch p.tok.kind {
	case "<name>":
		p.next()
	case "(":
		p.next()
		p.expr()
		p.match(")", "(", line)
		paren = true
	default:
		p.fail(p.tok, "unexpected symbol")
	}
	call = paren
	suffix := false
	for {
		switch p.tok.kind {
		case ".":
			p.next()
			p.name()
			call = false
		case "[":
			p.next()
			p.expr()
			p.expect("]")
			call = false
		case ":":
			p.next()
			p.name()
			p.args()
			call = true
		case "(", "<string>", "{":
			p.args()
			call = true
		default:
			if paren && !suffix {
				return false
			}
			return call
		}
		suffix = true
	}
}

func (p *checker) args() {
	switch p.tok.kind {
	case "<string>":
		p.next()
	case "{":
		p.table()
	case "(":
		line := p.tok.line
		if line != p.last {
			p.fail(p.tok, "ambiguous syntax (function call x new statement)")
		}
		p.next()
		if p.tok.kind != ")" {
			p.exprs()
		}
		p.match(")", "(", line)
	default:
		p.fail(p.tok, "function arguments expected")
	}
}

func (p *checker) exprs() {
	p.expr()
	for p.accept(",") {
		p.expr()
	}
}

// priority returns how strongly an operator binds to its left and right; ok is false for other tokens.
func priority(op string) (left, right int, ok bool) {
	switch op {
	case "or":
		return 1, 1, true
	case "and":
		return 2, 2, true
	case "<", ">", "<=", ">=", "~=", "==":
		return 3, 3, true
	case "..":
		return 5, 4, true
	case "+", "-":
		return 6, 6, true
	case "*", "/", "%":
		return 7, 7, true
	case "^":
		return 10, 9, true
	}
	return 0, 0, false
}

func (p *checker) expr() { p.binary(0) }

func (p *checker) binary(limit int) {
	p.enter()
	switch p.tok.kind {
	case "not", "-", "#":
		p.next()
		p.binary(8)
	default:
		p.simple()
	}
	for {
		left, right, ok := priority(p.tok.kind)
		if !ok || left <= limit {
			break
		}
		p.next()
		p.binary(right)
	}
	p.leave()
}

func (p *checker) simple() {
	switch p.tok.kind {
	case "<number>", "<string>", "nil", "true", "false":
		p.next()
	case "...":
		if !p.vararg {
			p.fail(p.tok, "cannot use '...' outside a vararg function")
		}
		p.next()
	case "{":
		p.table()
	case "function":
		line := p.tok.line
		p.next()
		p.body(line)
	default:
		p.suffixed()
	}
}

func (p *checker) table() {
	line := p.tok.line
	p.expect("{")
	for p.tok.kind != "}" {
		switch {
		case p.tok.kind == "[":
			p.next()
			p.expr()
			p.expect("]")
			p.expect("=")
			p.expr()
		case p.tok.kind == "<name>" && p.peek().kind == "=":
			p.next()
			p.next()
			p.expr()
		default:
			p.expr()
		}
		if !p.accept(",") && !p.accept(";") {
			break
		}
	}
	p.match("}", "{", line)
}

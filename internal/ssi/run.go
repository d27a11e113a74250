package ssi

import (
	"bytes"

	"limpet/internal/ngx"
	"limpet/internal/rx"
)

// echo puts a variable's value into the text.
func echo(f *filter, r *ngx.Request, cmd *command) (bool, error) {
	f.setEncoding(r, cmd)
	name, _ := cmd.get("var")
	value, ok := f.variable(r, string(bytes.ToLower(name)))
	if !ok {
		def, given := cmd.get("default")
		if !given {
			def = []byte("(none)")
		}
		f.out = append(f.out, def...)
		return true, nil
	}
	switch f.encoding {
	case encodeNone:
		f.out = append(f.out, value...)
	case encodeURL:
		f.out = appendURL(f.out, value)
	default:
		f.out = appendEntities(f.out, value)
	}
	return true, nil
}

// The encodings of echo. One that was asked for holds until another is.
const (
	encodeEntity = iota
	encodeNone
	encodeURL
)

func (f *filter) setEncoding(r *ngx.Request, cmd *command) {
	encoding, ok := cmd.get("encoding")
	switch {
	case !ok:
	case string(encoding) == "none":
		f.encoding = encodeNone
	case string(encoding) == "url":
		f.encoding = encodeURL
	case string(encoding) == "entity":
		f.encoding = encodeEntity
	default:
		logError(r, `unknown encoding "%s" in the "echo" command`, encoding)
	}
}

// appendURL escapes what can't stand in a URL within HTML; what parts a URL stays.
func appendURL(b, s []byte) []byte {
	for i, c := range s {
		switch {
		case c == '?':
			b = append(b, c)
		case c == '\'':
			b = append(b, "%27"...)
		default:
			b = ngx.AppendEscaped(b, s[i:i+1], ngx.EscapeURI)
		}
	}
	return b
}

func appendEntities(b, s []byte) []byte {
	for _, c := range s {
		switch c {
		case '<':
			b = append(b, "&lt;"...)
		case '>':
			b = append(b, "&gt;"...)
		case '&':
			b = append(b, "&amp;"...)
		case '"':
			b = append(b, "&quot;"...)
		default:
			b = append(b, c)
		}
	}
	return b
}

// config sets the message of errors and the format of times.
func config(f *filter, r *ngx.Request, cmd *command) (bool, error) {
	if v, ok := cmd.get("errmsg"); ok {
		f.errMsg = string(v)
	}
	if v, ok := cmd.get("timefmt"); ok {
		f.timeFmt = string(v)
	}
	return true, nil
}

// set gives a variable of the page a value.
func set(f *filter, r *ngx.Request, cmd *command) (bool, error) {
	name, _ := cmd.get("var")
	text, _ := cmd.get("value")
	value, ok := f.evaluate(r, text)
	if !ok {
		return false, nil
	}
	f.page.vars[string(bytes.ToLower(name))] = value
	return true, nil
}

// blockCommand begins a block, which may stand in for an include's answer.
func blockCommand(f *filter, r *ngx.Request, cmd *command) (bool, error) {
	name, _ := cmd.get("name")
	f.block = &block{name: string(name), drop: !f.shown()}
	return true, nil
}

func endblock(f *filter, r *ngx.Request, cmd *command) (bool, error) {
	if f.block == nil {
		return f.misplaced(r, cmd)
	}
	if !f.block.drop {
		f.page.blocks[f.block.name] = f.block.text
	}
	f.block = nil
	return true, nil
}

// misplaced logs a command that can't stand where it does.
func (f *filter) misplaced(r *ngx.Request, cmd *command) (bool, error) {
	logError(r, `invalid context of SSI command: "%s"`, cmd.name)
	return !f.shown(), nil
}

func ifCommand(f *filter, r *ngx.Request, cmd *command) (bool, error) {
	if !f.shown() {
		f.conds = append(f.conds, cond{taken: true})
		return true, nil
	}
	expr, _ := cmd.get("expr")
	yes, ok := f.test(r, expr)
	if ok {
		f.conds = append(f.conds, cond{on: yes, taken: yes})
	}
	return ok, nil
}

func elif(f *filter, r *ngx.Request, cmd *command) (bool, error) {
	if len(f.conds) == 0 || f.conds[len(f.conds)-1].inElse {
		return f.misplaced(r, cmd)
	}
	c := &f.conds[len(f.conds)-1]
	c.on = false
	if c.taken {
		return true, nil
	}
	expr, _ := cmd.get("expr")
	yes, ok := f.test(r, expr)
	c.on, c.taken = yes, yes
	return ok, nil
}

func elseCommand(f *filter, r *ngx.Request, cmd *command) (bool, error) {
	if len(f.conds) == 0 || f.conds[len(f.conds)-1].inElse {
		return f.misplaced(r, cmd)
	}
	c := &f.conds[len(f.conds)-1]
	c.on, c.taken, c.inElse = !c.taken, true, true
	return true, nil
}

func endif(f *filter, r *ngx.Request, cmd *command) (bool, error) {
	if len(f.conds) == 0 {
		return f.misplaced(r, cmd)
	}
	f.conds = f.conds[:len(f.conds)-1]
	return true, nil
}

// test evaluates an expression: a text, which is true when it isn't empty, or the
// comparison of one by = or != with another or with a /pattern/. False for ok means that it is wrong; it was logged.
func (f *filter) test(r *ngx.Request, expr []byte) (yes, ok bool) {
	op := bytes.IndexByte(expr, '=')
	if op < 0 {
		left, ok := f.evaluate(r, trim(expr))
		return len(left) > 0, ok
	}
	left, negative := expr[:op], false
	if op > 0 && expr[op-1] == '!' {
		left, negative = expr[:op-1], true
	}
	a, ok := f.evaluate(r, trim(left))
	if !ok {
		return false, false
	}
	right := trim(expr[op+1:])
	if len(right) > 0 && right[0] == '/' {
		if len(right) < 2 || right[len(right)-1] != '/' {
			logError(r, `invalid expression in "%s"`, expr)
			return false, false
		}
		return f.match(r, a, right[1:len(right)-1], negative)
	}
	b, ok := f.evaluate(r, right)
	return bytes.Equal(a, b) != negative, ok
}

func trim(b []byte) []byte { return bytes.Trim(b, " ") }

// match matches a pattern, and keeps its captures for the commands that follow.
func (f *filter) match(r *ngx.Request, subject, pattern []byte, negative bool) (yes, ok bool) {
	re, err := rx.Compile(string(pattern), 0)
	if err != nil {
		logError(r, "%s", err)
		return false, false
	}
	caps, matched := re.Match(subject, nil)
	if matched {
		f.page.captures = make(map[string][]byte)
		group := func(i int) []byte {
			if 2*i+1 >= len(caps) || caps[2*i] < 0 {
				return nil
			}
			return bytes.Clone(subject[caps[2*i]:caps[2*i+1]])
		}
		for i := 0; i < 10 && 2*i < len(caps); i++ {
			f.page.captures[string(rune('0'+i))] = group(i)
		}
		for _, n := range re.Names() {
			f.page.captures[n.Name] = group(n.Index)
		}
	}
	return matched != negative, true
}

// variable returns a variable of the page, a capture or a variable of the request; false when there is none.
func (f *filter) variable(r *ngx.Request, name string) ([]byte, bool) {
	if v, ok := f.page.vars[name]; ok {
		return v, true
	}
	if v, ok := f.page.captures[name]; ok {
		return v, true
	}
	v := f.vs.Lookup(name)
	if v == nil {
		return nil, false
	}
	return v.Append(r, nil)
}

// evaluate returns a text with its $variables replaced. A backslash takes the meaning away from $ and itself.
func (f *filter) evaluate(r *ngx.Request, text []byte) ([]byte, bool) {
	out := []byte{}
	for i := 0; i < len(text); {
		switch c := text[i]; {
		case c == '\\' && i+1 < len(text) && (text[i+1] == '\\' || text[i+1] == '$'):
			out = append(out, text[i+1])
			i += 2
		case c != '$':
			out = append(out, c)
			i++
		default:
			name, n := variableName(text[i+1:])
			if name == nil {
				logError(r, `invalid variable name in "%s"`, text)
				return nil, false
			}
			value, _ := f.variable(r, string(bytes.ToLower(name)))
			out = append(out, value...)
			i += 1 + n
		}
	}
	return out, true
}

// variableName reads a name, perhaps in braces, and returns its length with them; nil for none.
func variableName(b []byte) (name []byte, n int) {
	if len(b) > 0 && b[0] == '{' {
		end := bytes.IndexByte(b, '}')
		if end < 2 {
			return nil, 0
		}
		return b[1:end], end + 1
	}
	for n < len(b) && (b[n] == '_' || 'a' <= b[n] && b[n] <= 'z' || 'A' <= b[n] && b[n] <= 'Z' || '0' <= b[n] && b[n] <= '9') {
		n++
	}
	if n == 0 {
		return nil, 0
	}
	return b[:n], n
}

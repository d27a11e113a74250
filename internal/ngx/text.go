package ngx

import (
	"errors"
	"fmt"

	"limpet/nginxconf"
)

// Text is a value with $variables, which nginx calls a complex value. The zero
// Text is empty.
type Text struct {
	literal []byte // the whole value when parts is nil
	parts   []part
}

// part is a literal, a variable or a capture.
type part struct {
	literal []byte
	v       *Var
	capture int // 1..9 for $1..$9
}

// Literal returns a Text without variables.
func Literal(s string) Text { return Text{literal: []byte(s)} }

// ParseText compiles a value of the configuration that s belongs to.
// Errors are nginx's: invalid variable name.
func ParseText(s *nginxconf.Setting, value string) (Text, error) {
	return CompileText(nginxconf.Of[*VarConf](s.Level.Root()).Vars, value)
}

// CompileText compiles a value with the variables vs.
func CompileText(vs *Vars, value string) (Text, error) {
	var t Text
	lit := []byte(nil)
	for i := 0; i < len(value); {
		if value[i] != '$' {
			lit = append(lit, value[i])
			i++
			continue
		}
		p, n, err := parseVariable(vs, value[i+1:])
		if err != nil {
			return Text{}, err
		}
		if len(lit) > 0 {
			t.parts = append(t.parts, part{literal: lit})
			lit = nil
		}
		t.parts = append(t.parts, p)
		i += 1 + n
	}
	if t.parts == nil {
		t.literal = lit
	} else if len(lit) > 0 {
		t.parts = append(t.parts, part{literal: lit})
	}
	return t, nil
}

// parseVariable reads what follows a dollar sign and returns how long it is.
func parseVariable(vs *Vars, s string) (part, int, error) {
	if s == "" || s == "{" {
		return part{}, 0, errors.New("invalid variable name")
	}
	if s[0] >= '1' && s[0] <= '9' {
		return part{capture: int(s[0] - '0')}, 1, nil
	}
	start, brace := 0, s[0] == '{'
	if brace {
		start = 1
		if len(s) > 2 && s[1] >= '1' && s[1] <= '9' && s[2] == '}' {
			return part{capture: int(s[1] - '0')}, 3, nil
		}
	}
	end := start
	for end < len(s) && isNameByte(s[end]) {
		end++
	}
	name := s[start:end]
	if brace {
		if end >= len(s) || s[end] != '}' {
			return part{}, 0, fmt.Errorf(`the closing bracket in "%s" variable is missing`, name)
		}
		end++
	}
	if name == "" {
		return part{}, 0, errors.New("invalid variable name")
	}
	return part{v: vs.Use(name)}, end, nil
}

func isNameByte(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_'
}

// Static returns the value when it has no variables.
func (t *Text) Static() ([]byte, bool) { return t.literal, t.parts == nil }

// IsEmpty reports whether the value is empty whatever the request.
func (t *Text) IsEmpty() bool { return t.parts == nil && len(t.literal) == 0 }

// Append appends the value for a request to dst.
func (t *Text) Append(r *Request, dst []byte) []byte {
	if t.parts == nil {
		return append(dst, t.literal...)
	}
	for i := range t.parts {
		p := &t.parts[i]
		switch {
		case p.v != nil:
			dst, _ = p.v.Append(r, dst)
		case p.capture > 0:
			dst = append(dst, r.Capture(p.capture)...)
		default:
			dst = append(dst, p.literal...)
		}
	}
	return dst
}

// AppendQuoted appends the value like Append, with captures escaped for use among a URI's arguments.
func (t *Text) AppendQuoted(r *Request, dst []byte) []byte {
	if t.parts == nil {
		return append(dst, t.literal...)
	}
	for i := range t.parts {
		p := &t.parts[i]
		switch {
		case p.v != nil:
			dst, _ = p.v.Append(r, dst)
		case p.capture > 0:
			dst = AppendEscaped(dst, r.Capture(p.capture), EscapeArgs)
		default:
			dst = append(dst, p.literal...)
		}
	}
	return dst
}

// Bytes returns the value for a request; the bytes live as long as the request and must not be changed.
func (t *Text) Bytes(r *Request) []byte {
	if t.parts == nil {
		return t.literal
	}
	if len(t.parts) == 1 {
		if p := &t.parts[0]; p.v != nil {
			return p.v.Bytes(r)
		} else if p.capture > 0 {
			return r.Capture(p.capture)
		}
	}
	// A variable's getter may evaluate texts itself: the scratch memory is
	// taken while this one is, and such an inner text gets its own.
	buf := r.scratch
	r.scratch = nil
	buf = t.Append(r, buf[:0])
	b := r.Copy(buf)
	r.scratch = buf
	return b
}

// UsesCaptures reports whether the value has $1..$9.
func (t *Text) UsesCaptures() bool {
	for i := range t.parts {
		if t.parts[i].capture > 0 {
			return true
		}
	}
	return false
}

// TextRow is a row that takes a value with variables.
func TextRow(name string, in nginxconf.Context, field *nginxconf.Opt[Text], def, doc string) nginxconf.Directive {
	return nginxconf.Custom(name, in, nginxconf.Args1, field, func(s *nginxconf.Setting) (Text, error) {
		return ParseText(s, s.Arg(0))
	}, def, doc)
}

// ParseConditions reads values of which one must be neither empty nor 0 for the directive to hold.
func ParseConditions(s *nginxconf.Setting) ([]Text, error) {
	var texts []Text
	for i := range s.Args {
		t, err := ParseText(s, s.Arg(i))
		if err != nil {
			return nil, err
		}
		texts = append(texts, t)
	}
	return texts, nil
}

// Holds reports whether one of the conditions is neither empty nor 0.
func Holds(conds []Text, r *Request) bool {
	for i := range conds {
		if v := conds[i].Bytes(r); len(v) > 0 && string(v) != "0" {
			return true
		}
	}
	return false
}

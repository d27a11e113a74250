package nginxconf

// Placeholder: delete when the real files of this package land.

import "fmt"

type Statement struct {
	Name          string
	Args          []Arg
	File          string
	Line, EndLine int
	HasBlock, Cut bool
	Block         []*Statement
	Lua           string
}
type Arg struct {
	Value  string
	Quoted bool
}
type Error struct {
	Msg, File string
	Line      int
}

func (e *Error) Error() string {
	if e.File == "" {
		return e.Msg
	}
	return fmt.Sprintf("%s in %s:%d", e.Msg, e.File, e.Line)
}
func Errorf(file string, line int, format string, args ...any) *Error {
	return &Error{fmt.Sprintf(format, args...), file, line}
}
func Parse(file string, src []byte) ([]*Statement, *Error) {
	i, line := 0, 1
	var block func() []*Statement
	block = func() (out []*Statement) {
		st := &Statement{File: file}
		var words []string
		for i < len(src) {
			c := src[i]
			switch {
			case c == '\n':
				line++
				i++
			case c == ' ' || c == '\t' || c == '\r':
				i++
			case c == '#':
				for i < len(src) && src[i] != '\n' {
					i++
				}
			case c == ';' || c == '{':
				i++
				st.Name, st.Line, st.EndLine = words[0], line, line
				for _, w := range words[1:] {
					st.Args = append(st.Args, Arg{Value: w})
				}
				if c == '{' {
					st.HasBlock = true
					st.Block = block()
					st.EndLine = line
				}
				out = append(out, st)
				st, words = &Statement{File: file}, nil
			case c == '}':
				i++
				return out
			case c == '"' || c == '\'':
				j := i + 1
				for src[j] != c {
					j++
				}
				words = append(words, string(src[i+1:j]))
				i = j + 1
			default:
				j := i
				for j < len(src) && src[j] > ' ' && src[j] != ';' && !(src[j] == '{' && src[j-1] != '$') {
					if src[j] == '$' && src[j+1] == '{' {
						j++
					}
					j++
				}
				words = append(words, string(src[i:j]))
				i = j
			}
		}
		return out
	}
	return block(), nil
}
func Glob(p string) ([]string, error) { return []string{p}, nil }

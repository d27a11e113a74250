// Placeholder: delete when the real files of this package land.
package nginxconf

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

func (e *Error) Error() string                                        { return e.Msg }
func Errorf(file string, line int, format string, args ...any) *Error { return nil }
func Parse(file string, src []byte) ([]*Statement, *Error)            { return nil, nil }
func Glob(p string) ([]string, error)                                 { return nil, nil }

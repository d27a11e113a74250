package nginxconf

import "fmt"

// Statement is one directive of a file as written: a name, arguments, and
// perhaps a block.
type Statement struct {
	Name string // unquoted
	Args []Arg
	File string // as nginx prints it
	// Line is the line of the `;` or `{` that ended the statement, the one that nginx prints in messages.
	Line    int
	EndLine int // line of the block's `}`; Line where there is no block
	// HasBlock says that the statement ended with `{`.
	HasBlock bool
	// Cut says that a lexical error, or the file's end, came inside the block: Block holds what was read before.
	Cut   bool
	Block []*Statement
	// Lua is the raw body of a *_by_lua_block.
	Lua string
	// LuaLine is the line on which the body begins.
	LuaLine int
}

// Arg is an argument, with quotes and escapes taken off.
type Arg struct {
	Value  string
	Quoted bool
}

// Error is a configuration error in nginx's words.
type Error struct {
	Msg  string
	File string // "" when the message has no position
	Line int
}

// Errorf makes an Error; an empty file is no position.
func Errorf(file string, line int, format string, args ...any) *Error {
	return &Error{fmt.Sprintf(format, args...), file, line}
}

// commandLine stands for the name of the file in statements of -g; nginx prints no line behind it.
const commandLine = "command line"

// Error returns the message with its position as nginx prints it.
func (e *Error) Error() string {
	switch {
	case e.File == "":
		return e.Msg
	case e.Line == 0, e.File == commandLine:
		return e.Msg + " in " + e.File
	}
	return fmt.Sprintf("%s in %s:%d", e.Msg, e.File, e.Line)
}

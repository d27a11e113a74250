package lua

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"

	lua "github.com/yuin/gopher-lua"
	"github.com/yuin/gopher-lua/ast"
	"github.com/yuin/gopher-lua/parse"

	"limpet/internal/ngx"
	"limpet/nginxconf"
)

// script is the code of one directive.
type script struct {
	phase phase
	name  string   // of the directive, without _block and _file
	text  string   // inline code
	file  bool     // the code is in a file
	path  ngx.Text // of the file, when it has variables
	*code          // nil for a path with variables
	fresh bool     // lua_code_cache off
}

// code is a compiled chunk.
type code struct {
	chunk  string // its name in messages
	path   string // of the file; "" for inline code
	proto  *lua.FunctionProto
	tree   []ast.Stmt
	source string // the text
	err    *loadError
}

// loadError says why code can't be loaded, in OpenResty's words for the log.
type loadError struct {
	msg     string
	missing bool // there is no such file
}

func (e *loadError) Error() string { return e.msg }

// parseScript reads the code of a statement, which is argument i, the block or a file.
// Code that can't be loaded is no error, as in OpenResty: what runs it then fails. -t warns of it.
func parseScript(s *nginxconf.Setting, name string, ph phase, i int) (*script, error) {
	sc := &script{phase: ph, name: name}
	switch {
	case s.HasBlock:
		sc.text = s.Lua
		sc.code = inline(s, name, s.Lua)
	case strings.HasSuffix(s.Name, "_file"):
		sc.file = true
		if strings.Contains(s.Arg(i), "$") {
			t, err := ngx.ParseText(s, s.Arg(i))
			if err != nil {
				return nil, err
			}
			if _, ok := t.Static(); !ok {
				sc.path = t
				return sc, nil
			}
		}
		path := s.Loader.PrefixPath(s.Arg(i))
		s.Loader.Watch(path)
		sc.code = loadFile(path, s.Loader.ReadFile)
	default:
		sc.text = s.Arg(i)
		if sc.text == "" {
			return nil, errors.New("invalid location config: no runnable Lua code")
		}
		sc.code = inline(s, name, sc.text)
	}
	if sc.err != nil {
		s.Warn("%s, in force it would be an error of each request that runs it", sc.err)
		return sc, nil
	}
	root := nginxconf.Of[*Conf](s.Level.Root())
	root.codes = append(root.codes, sc.code)
	return sc, refuse(s, sc.code)
}

// inline compiles code that stands in the configuration; its name tells where.
func inline(s *nginxconf.Setting, name, text string) *code {
	c := &code{chunk: chunkID(fmt.Sprintf("%s(%s:%d)", name, filepath.Base(s.File), s.Line), false)}
	c.compile(text)
	if c.err != nil {
		c.err.msg = "failed to load inlined Lua code: " + c.err.msg
	}
	return c
}

// loadFile compiles the code of a file.
func loadFile(path string, read func(string) ([]byte, error)) *code {
	c := &code{chunk: chunkID(path, true), path: path}
	text, err := read(path)
	if err != nil {
		c.err = &loadError{fmt.Sprintf(`failed to load external Lua file "%s": cannot open %s: %s`, path, path, errText(err)), true}
		return c
	}
	c.compile(string(text))
	if c.err != nil {
		c.err.msg = fmt.Sprintf(`failed to load external Lua file "%s": %s`, path, c.err.msg)
	}
	return c
}

func errText(err error) string {
	if errors.Is(err, os.ErrNotExist) {
		return "No such file or directory"
	}
	var pe *os.PathError
	if errors.As(err, &pe) {
		msg := pe.Err.Error()
		return strings.ToUpper(msg[:1]) + msg[1:]
	}
	return err.Error()
}

// chunkID shortens a chunk's name as Lua does for messages: 59 bytes, of a file's name the last 56.
func chunkID(name string, file bool) string {
	const size = 60
	switch {
	case len(name) < size:
		return name
	case file:
		return "..." + name[len(name)-(size-4):]
	}
	return name[:size-1]
}

func (c *code) compile(text string) {
	if strings.HasPrefix(text, "#") { // a shell's first line
		if i := strings.IndexByte(text, '\n'); i >= 0 {
			text = text[i:]
		} else {
			text = ""
		}
	}
	c.source = text
	program, err := checkSyntax(text, c.chunk)
	if err != nil {
		c.err = &loadError{msg: err.Error()}
		return
	}
	tree, err := parse.Parse(strings.NewReader(program), c.chunk)
	if err == nil {
		c.tree = tree
		c.proto, err = lua.Compile(concatenations(tree), c.chunk)
	}
	if err == nil {
		dropArg(c.proto)
	}
	if err != nil {
		c.err = &loadError{msg: syntaxError(c.chunk, err)}
	}
}

// dropArg takes Lua 5.0's table arg out of functions of varying arguments: LuaJIT
// hasn't it, and each chunk would make one at each run.
func dropArg(p *lua.FunctionProto) {
	p.IsVarArg &^= lua.VarArgNeedsArg
	for _, inner := range p.FunctionPrototypes {
		dropArg(inner)
	}
}

// syntaxError puts an error of the compiler into Lua's words.
func syntaxError(chunk string, err error) string {
	var pe *parse.Error
	if errors.As(err, &pe) {
		near := pe.Token
		if pe.Pos.Line == parse.EOF {
			return fmt.Sprintf("%s:1: syntax error near '<eof>'", chunk)
		}
		return fmt.Sprintf("%s:%d: syntax error near '%s'", chunk, pe.Pos.Line, near)
	}
	var ce *lua.CompileError
	if errors.As(err, &ce) {
		return fmt.Sprintf("%s:%d: %s", chunk, ce.Line, ce.Message)
	}
	return fmt.Sprintf("%s:1: %s", chunk, err)
}

// codeFor returns the code to run for a request.
func (sc *script) codeFor(rt *runtime, r *ngx.Request) *code {
	if sc.code != nil {
		if sc.fresh && sc.code.path != "" {
			return loadFile(sc.code.path, os.ReadFile)
		}
		return sc.code
	}
	path := string(sc.path.Bytes(r))
	if !filepath.IsAbs(path) {
		path = rt.prefix + path
	}
	if sc.fresh {
		return loadFile(path, os.ReadFile)
	}
	return rt.files.get(path)
}

// fileCache holds the code of files whose names had variables.
type fileCache struct {
	mu    sync.Mutex
	codes map[string]*code
}

// maxFiles bounds the number of files that are kept compiled.
const maxFiles = 1024

// get returns the code of a file, compiled at its first use. A file that can't be loaded is tried again next time.
func (fc *fileCache) get(path string) *code {
	fc.mu.Lock()
	defer fc.mu.Unlock()
	if c := fc.codes[path]; c != nil {
		return c
	}
	c := loadFile(path, os.ReadFile)
	if c.err == nil {
		if fc.codes == nil || len(fc.codes) >= maxFiles {
			fc.codes = make(map[string]*code)
		}
		fc.codes[path] = c
	}
	return c
}

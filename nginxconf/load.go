package nginxconf

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// Module is a named set of directives with one Conf a level.
type Module struct {
	Name string
	Conf func() Settings // a fresh Conf with nothing set
}

// Options say how a configuration is read.
type Options struct {
	Modules []Module
	Prefix  string // -p, with a final slash: logs, pid and Lua files lie under it
	// Globals is the text of -g, read before the file as if it stood at its top.
	Globals string
	// Offline forbids name resolution and opening files other than the configuration's own.
	Offline bool
	// Known tells of names that nginx or its relatives know but limpet doesn't do.
	Known func(name string) bool
	// WarnUnsupported makes a known, unsupported directive a warning.
	WarnUnsupported bool
	// Defaults replaces defaults of rows by their names, in configuration syntax: what
	// a package of nginx has compiled in its own way.
	Defaults map[string]string
	// ReadFile reads a configuration file; nil is os.ReadFile.
	ReadFile func(name string) ([]byte, error)
}

// Notice is what -t has to say besides errors.
type Notice struct {
	Severity string // "warn" or "notice"
	Msg      string // with nginx's ` in FILE:LINE` tail
}

// File is a configuration file as it was read, for -T and for watching.
type File struct {
	Name string
	Text []byte
}

// Config is a configuration that was read, checked and completed.
type Config struct {
	Root    *Level
	Files   []File   // in reading order
	Globs   []string // patterns of include, for watching
	Watched []Watched
	Notices []Notice
}

// Loader reads one configuration.
type Loader struct {
	Options
	ConfPrefix string // folder of the configuration file, with a final slash

	modules []Module
	protos  []levelConf
	rows    map[string][]rowRef
	config  *Config
	open    []string // files being read, innermost last
	httpEnd *Statement
}

// rowRef finds a row: rows[row] of modules[module].
type rowRef struct {
	module, row int
	in          Context
}

// maxIncludeDepth bounds nested includes, whose cycles nginx would follow until it dies.
const maxIncludeDepth = 64

// Load reads the file and what it includes, checks every statement in reading
// order and completes the values by inheritance and defaults. The returned
// error is an *Error in nginx's words; the Config is returned with it as far as
// it came, for its notices.
func Load(file string, opt Options) (*Config, error) {
	if opt.ReadFile == nil {
		opt.ReadFile = os.ReadFile
	}
	ld := &Loader{Options: opt, ConfPrefix: filepath.Dir(file) + "/", modules: opt.Modules, config: &Config{}}
	ld.index()
	root := ld.level(Main, nil, nil)
	ld.config.Root = root
	if err := ld.globals(root); err != nil {
		return ld.config, err
	}
	if err := ld.file(root, file, nil); err != nil {
		return ld.config, err
	}
	if err := root.inherit(); err != nil {
		return ld.config, err
	}
	return ld.config, nil
}

// globals reads the text of -g.
func (ld *Loader) globals(root *Level) error {
	sts, lexErr := Parse(commandLine, []byte(ld.Globals))
	for _, st := range sts {
		if st.HasBlock {
			return Errorf(commandLine, st.Line, "block directives are not supported in -g option")
		}
	}
	if lexErr != nil && lexErr.Msg == `unexpected end of file, expecting ";" or "}"` {
		lexErr.Msg = `unexpected end of parameter, expecting ";"`
	}
	return ld.statements(root, sts, lexErr)
}

// index makes the table of names from a fresh Conf of each module.
func (ld *Loader) index() {
	ld.rows = make(map[string][]rowRef)
	for i, m := range ld.modules {
		c := m.Conf()
		rows := c.Directives()
		ld.protos = append(ld.protos, levelConf{c, rows})
		for j := range rows {
			ld.rows[rows[j].Name] = append(ld.rows[rows[j].Name], rowRef{i, j, rows[j].In})
		}
	}
}

func (ld *Loader) level(ctx Context, parent *Level, st *Statement) *Level {
	lv := &Level{Context: ctx, Parent: parent, Stmt: st, loader: ld, confs: make([]*levelConf, len(ld.modules))}
	if parent != nil {
		parent.Inner = append(parent.Inner, lv)
	}
	return lv
}

// file reads one file at a level; at is the include statement, nil for the main file.
func (ld *Loader) file(lv *Level, name string, at *Statement) error {
	if err := ld.enter(name, at); err != nil {
		return err
	}
	defer ld.leave()
	sts, lexErr, err := ld.parse(name, at)
	if err != nil {
		return err
	}
	return ld.statements(lv, sts, lexErr)
}

func (ld *Loader) parse(name string, at *Statement) ([]*Statement, *Error, error) {
	text, err := ld.ReadFile(name)
	if err != nil {
		ld.Watch(name)
		return nil, nil, positioned(at, `open() "%s" failed %s`, name, errnoText(err))
	}
	ld.remember(name, text)
	sts, lexErr := Parse(name, text)
	return sts, lexErr, nil
}

func (ld *Loader) remember(name string, text []byte) {
	for _, f := range ld.config.Files {
		if f.Name == name {
			return
		}
	}
	ld.config.Files = append(ld.config.Files, File{name, text})
}

func (ld *Loader) enter(name string, at *Statement) error {
	for _, open := range ld.open {
		if open == name {
			return positioned(at, `include cycle: "%s" includes itself`, name)
		}
	}
	if len(ld.open) >= maxIncludeDepth {
		return positioned(at, `include of "%s" is nested too deeply`, name)
	}
	ld.open = append(ld.open, name)
	return nil
}

func (ld *Loader) leave() { ld.open = ld.open[:len(ld.open)-1] }

func positioned(at *Statement, format string, args ...any) *Error {
	if at == nil {
		return Errorf("", 0, format, args...)
	}
	return Errorf(at.File, at.Line, format, args...)
}

// statements checks and sets statements in reading order, then reports the
// lexical error that cut them short.
func (ld *Loader) statements(lv *Level, sts []*Statement, lexErr *Error) error {
	for _, st := range sts {
		if err := ld.statement(lv, st, lexErr); err != nil {
			return err
		}
	}
	if lexErr != nil {
		return lexErr
	}
	return nil
}

func (ld *Loader) statement(lv *Level, st *Statement, lexErr *Error) error {
	if st.Name == "include" {
		if st.HasBlock {
			return Errorf(st.File, st.Line, `directive "include" is not terminated by ";"`)
		}
		return ld.include(st, func(name string) error { return ld.file(lv, name, st) })
	}
	ref, err := ld.find(lv, st)
	if err != nil || ref == nil {
		return err
	}
	lc := lv.own(ref.module)
	row := &lc.rows[ref.row]
	if row.Value == nil {
		return ld.located(st, fmt.Errorf("BUG: row without a value"))
	}
	return ld.set(lv, row, st, lexErr)
}

// set sets one statement and reads its block.
func (ld *Loader) set(lv *Level, row *Directive, st *Statement, lexErr *Error) error {
	s := &Setting{Statement: st, Level: lv, Loader: ld}
	if inner := row.Body.inner(lv.Context); inner != 0 {
		s.Inner = ld.level(inner, lv, st)
	}
	if err := row.Value.Set(s); err != nil {
		return ld.located(st, err)
	}
	if row.Body == nil {
		return nil
	}
	if lv.Context == Main && row.Body.Inner == HTTP {
		ld.httpEnd = st
	}
	if s.Inner != nil {
		for _, in := range st.Block {
			if err := ld.statement(s.Inner, in, lexErr); err != nil {
				return err
			}
		}
	}
	if st.Cut && lexErr != nil {
		return lexErr
	}
	if row.Body.Close != nil {
		if err := row.Body.Close(s); err != nil {
			return ld.located(&Statement{Name: st.Name, File: st.File, Line: st.EndLine}, err)
		}
	}
	return nil
}

func (b *BlockBody) inner(outer Context) Context {
	if b == nil {
		return 0
	}
	if b.InnerIn != nil {
		return b.InnerIn(outer)
	}
	return b.Inner
}

// located gives an error of a row the statement's position.
func (ld *Loader) located(st *Statement, err error) error {
	var e *Error
	if errors.As(err, &e) {
		return err
	}
	var brief Brief
	if errors.As(err, &brief) {
		return Errorf(st.File, st.Line, `"%s" directive %s`, st.Name, string(brief))
	}
	return Errorf(st.File, st.Line, "%s", err.Error())
}

// endError gives an error found when all was read the position of the end of http, as nginx does.
func (ld *Loader) endError(err error) error {
	return ld.located(ld.end(), err)
}

// WarnAtEnd warns of what was found when all was read, at the position of the end of http, as nginx does.
func (ld *Loader) WarnAtEnd(format string, args ...any) {
	at := ld.end()
	ld.notice("warn", at.File, at.Line, format, args...)
}

// end is the end of http.
func (ld *Loader) end() *Statement {
	if ld.httpEnd == nil {
		return &Statement{Name: "http"}
	}
	return &Statement{Name: "http", File: ld.httpEnd.File, Line: ld.httpEnd.EndLine}
}

func (ld *Loader) setDefault(lv *Level, row *Directive) error {
	def, ok := ld.Defaults[row.Name]
	if !ok {
		def = row.Default
	}
	sts, lexErr := Parse("default", []byte(row.Name+" "+def+";"))
	if lexErr != nil || len(sts) != 1 {
		panic("BUG: default of " + row.Name + " is no statement")
	}
	s := &Setting{Statement: sts[0], Level: lv, Loader: ld, IsDefault: true}
	if err := row.Value.Set(s); err != nil {
		panic("BUG: default of " + row.Name + ": " + err.Error())
	}
	return nil
}

func (ld *Loader) notice(severity, file string, line int, format string, args ...any) {
	msg := fmt.Sprintf(format, args...)
	ld.config.Notices = append(ld.config.Notices, Notice{severity, (&Error{msg, file, line}).Error()})
}

// ConfPath makes a name relative to the configuration file's folder absolute, as nginx does for includes and keys.
func (ld *Loader) ConfPath(name string) string { return join(ld.ConfPrefix, name) }

// PrefixPath makes a name relative to the prefix absolute, as nginx does for logs, roots and Lua files.
func (ld *Loader) PrefixPath(name string) string { return join(ld.Prefix, name) }

func join(prefix, name string) string {
	if filepath.IsAbs(name) {
		return name
	}
	return prefix + name
}

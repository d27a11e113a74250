package nginxconf

// Settings is a module's configuration at one level: a struct that lists its own
// directives, bound to its own fields, in the manner of Go's flag package.
// The list must have the same rows in the same order each time.
type Settings interface {
	Directives() []Directive
}

// Checker is a Settings that looks at itself once its level is complete and has
// inherited. It runs for every level that holds a Conf of its own, outer levels
// first. An error without a position is reported at the end of the outermost
// block, as nginx does.
type Checker interface {
	Check(lv *Level) error
}

// Directive is one row: all that is known of a directive of one module.
type Directive struct {
	Name    string
	In      Context
	Arity   Arity
	Default string // in configuration syntax, parsed by Value; "" for none
	Doc     string // one sentence
	Value   Value  // the bound field
	Why     string // why the directive is accepted without effect; "" when it has one

	// Local rows aren't taken over by inner blocks.
	Local bool
	// Body, for a directive with a block, says what the block holds; nil for a directive that ends with `;`.
	Body *BlockBody
}

// NoInherit returns the row with a value that inner blocks don't take over.
func (d Directive) NoInherit() Directive {
	d.Local = true
	return d
}

// WithoutEffect returns the row as one whose value is checked and has no effect
// here, for the reason given.
func (d Directive) WithoutEffect(why string) Directive {
	d.Why = why
	return d
}

// Taking returns the row with another number of arguments.
func (d Directive) Taking(a Arity) Directive {
	d.Arity = a
	return d
}

// BlockBody says how the block of a directive is read.
type BlockBody struct {
	// Inner is the context of the statements inside; 0 for a raw block (map,
	// types), whose statements Value.Set reads through Setting.Entries.
	Inner Context
	// InnerIn overrides Inner by the context in which the block stands (if).
	InnerIn func(outer Context) Context
	// Close, when not nil, runs at the block's end, with the Setting that opened it.
	Close func(s *Setting) error
}

// Value is a field that directives set, the part that flag.Value plays in package flag.
type Value interface {
	// Set takes one statement. Its error is nginx's message without the
	// position, or an *Error with a position of its own.
	Set(s *Setting) error
	// IsSet reports whether Set was called on this level.
	IsSet() bool
	// Inherit takes over the value of the same row at the enclosing level.
	Inherit(outer Value)
}

// Setting is one statement being set.
type Setting struct {
	*Statement
	Level  *Level // where the statement stands
	Inner  *Level // the level that its block opens; nil where it has none
	Loader *Loader
	// IsDefault is true when the row's default is set, not a statement of a file.
	IsDefault bool
}

// Arg returns the value of argument i, counted from 0.
func (s *Setting) Arg(i int) string { return s.Args[i].Value }

// Warn notes a warning at the statement's position.
func (s *Setting) Warn(format string, args ...any) {
	s.Loader.notice("warn", s.File, s.Line, format, args...)
}

// Note notes in plain words what was recognised at the statement's position.
func (s *Setting) Note(format string, args ...any) {
	s.Loader.notice("notice", s.File, s.Line, format, args...)
}

// Say notes a message of a severity of its own at the statement's position; it
// stops nothing, whatever the severity.
func (s *Setting) Say(severity, format string, args ...any) {
	s.Loader.notice(severity, s.File, s.Line, format, args...)
}

// Entries calls fn for each statement of a raw block in reading order, following
// include. It stops at fn's first error and gives it the entry's position.
func (s *Setting) Entries(fn func(e *Statement) error) error {
	return s.Loader.entries(s.Block, fn)
}

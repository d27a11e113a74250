package nginxconf

import (
	"errors"
	"io/fs"
	"os"
	"syscall"
)

// find makes nginx's checks of a statement: known, allowed here, `;` or `{`,
// number of arguments. It returns nil without an error for a directive that is
// skipped with a warning.
func (ld *Loader) find(lv *Level, st *Statement) (*rowRef, error) {
	refs := ld.rows[st.Name]
	if len(refs) == 0 {
		return nil, ld.unknown(st)
	}
	var ref *rowRef
	for i := range refs {
		if refs[i].in&lv.Context != 0 {
			ref = &refs[i]
			break
		}
	}
	if ref == nil {
		return nil, Errorf(st.File, st.Line, `"%s" directive is not allowed here`, st.Name)
	}
	row := &ld.protos[ref.module].rows[ref.row]
	if row.Body == nil && st.HasBlock {
		return nil, Errorf(st.File, st.Line, `directive "%s" is not terminated by ";"`, st.Name)
	}
	if row.Body != nil && !st.HasBlock {
		return nil, Errorf(st.File, st.Line, `directive "%s" has no opening "{"`, st.Name)
	}
	if !row.Arity.Takes(len(st.Args)) {
		return nil, Errorf(st.File, st.Line, `invalid number of arguments in "%s" directive`, st.Name)
	}
	return ref, nil
}

// unknown refuses a name without a row: by name where nginx or a relative knows it.
func (ld *Loader) unknown(st *Statement) error {
	if ld.Known == nil || !ld.Known(st.Name) {
		return Errorf(st.File, st.Line, `unknown directive "%s"`, st.Name)
	}
	if ld.WarnUnsupported {
		ld.notice("warn", st.File, st.Line, `directive "%s" is known but not supported, skipped`, st.Name)
		return nil
	}
	return Errorf(st.File, st.Line, `directive "%s" is known but not supported`, st.Name)
}

// include calls open with each file that an include statement names.
func (ld *Loader) include(st *Statement, open func(name string) error) error {
	if len(st.Args) != 1 {
		return Errorf(st.File, st.Line, `invalid number of arguments in "include" directive`)
	}
	pattern := ld.ConfPath(st.Args[0].Value)
	names, err := Glob(pattern)
	if err != nil {
		return Errorf(st.File, st.Line, `glob() "%s" failed`, pattern)
	}
	ld.config.Globs = append(ld.config.Globs, pattern)
	for _, name := range names {
		if err := open(name); err != nil {
			return err
		}
	}
	return nil
}

// entries walks a raw block in reading order, following include.
func (ld *Loader) entries(block []*Statement, fn func(e *Statement) error) error {
	for _, e := range block {
		if e.HasBlock {
			return Errorf(e.File, e.Line, `unexpected "{"`)
		}
		if e.Name == "include" && len(e.Args) == 1 {
			if err := ld.include(e, func(name string) error { return ld.entryFile(name, e, fn) }); err != nil {
				return err
			}
			continue
		}
		if err := fn(e); err != nil {
			return ld.located(e, err)
		}
	}
	return nil
}

func (ld *Loader) entryFile(name string, at *Statement, fn func(e *Statement) error) error {
	if err := ld.enter(name, at); err != nil {
		return err
	}
	defer ld.leave()
	sts, lexErr, err := ld.parse(name, at)
	if err != nil {
		return err
	}
	if err := ld.entries(sts, fn); err != nil {
		return err
	}
	if lexErr != nil {
		return lexErr
	}
	return nil
}

// errnoText writes an error of opening a file as nginx does: (2: No such file or directory).
func errnoText(err error) string {
	var errno syscall.Errno
	switch {
	case errors.As(err, &errno) && errno == syscall.ENOENT:
		return "(2: No such file or directory)"
	case errors.As(err, &errno) && errno == syscall.EACCES:
		return "(13: Permission denied)"
	case errors.As(err, &errno) && errno == syscall.EISDIR:
		return "(21: Is a directory)"
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, os.ErrNotExist):
		return "(2: No such file or directory)"
	}
	return "(" + err.Error() + ")"
}

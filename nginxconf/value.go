package nginxconf

import (
	"fmt"
	"time"
)

// Brief is an error that nginx prints behind the directive's name:
// `"NAME" directive is duplicate`.
type Brief string

func (b Brief) Error() string { return string(b) }

// ErrDuplicate is nginx's answer to a directive that may stand once in a block.
const ErrDuplicate = Brief("is duplicate")

// Opt is an optional value. The zero Opt is unset.
type Opt[T any] struct {
	V   T
	set bool
	// Own is true when this level's file text set the value: it was not
	// inherited and is no default.
	Own bool
}

// Put sets the value as a statement of this level would.
func (o *Opt[T]) Put(v T) { o.V, o.set, o.Own = v, true, true }

// IsSet reports whether a statement, an enclosing level or a default set the value.
func (o *Opt[T]) IsSet() bool { return o.set }

// List is a list of values, one or more a statement; an inner level that has
// any hides the outer level's.
type List[T any] struct {
	V   []T
	set bool
	Own bool
}

// Add appends a value as a statement of this level would.
func (l *List[T]) Add(v T) { l.V, l.set, l.Own = append(l.V, v), true, true }

// IsSet reports whether a statement, an enclosing level or a default set the list.
func (l *List[T]) IsSet() bool { return l.set }

type optValue[T any] struct {
	field *Opt[T]
	parse func(s *Setting) (T, error)
}

func (v optValue[T]) IsSet() bool { return v.field.set }

func (v optValue[T]) Inherit(outer Value) {
	o := outer.(optValue[T]).field
	v.field.V, v.field.set = o.V, o.set
}

func (v optValue[T]) Set(s *Setting) error {
	if v.field.set && !s.IsDefault {
		return ErrDuplicate
	}
	t, err := v.parse(s)
	if err != nil {
		return err
	}
	v.field.V, v.field.set, v.field.Own = t, true, !s.IsDefault
	return nil
}

type listValue[T any] struct {
	field *List[T]
	parse func(s *Setting) ([]T, error)
}

func (v listValue[T]) IsSet() bool { return v.field.set }

func (v listValue[T]) Inherit(outer Value) {
	o := outer.(listValue[T]).field
	v.field.V, v.field.set = o.V, o.set
}

func (v listValue[T]) Set(s *Setting) error {
	ts, err := v.parse(s)
	if err != nil {
		return err
	}
	v.field.V, v.field.set, v.field.Own = append(v.field.V, ts...), true, !s.IsDefault
	return nil
}

// callValue runs a function: blocks, and directives whose effect isn't a field.
type callValue struct {
	set  func(s *Setting) error
	seen *bool
}

func (v callValue) IsSet() bool          { return *v.seen }
func (v callValue) Inherit(Value)        {}
func (v callValue) Set(s *Setting) error { *v.seen = true; return v.set(s) }

// Custom is a row whose parser makes the value of the field; a second statement
// in a block is nginx's "is duplicate".
func Custom[T any](name string, in Context, arity Arity, field *Opt[T], parse func(s *Setting) (T, error), def, doc string) Directive {
	return Directive{Name: name, In: in, Arity: arity, Default: def, Doc: doc, Value: optValue[T]{field, parse}}
}

// Each is a row whose statements add up to a list, one value each.
func Each[T any](name string, in Context, arity Arity, field *List[T], parse func(s *Setting) (T, error), doc string) Directive {
	return Many(name, in, arity, field, func(s *Setting) ([]T, error) {
		t, err := parse(s)
		if err != nil {
			return nil, err
		}
		return []T{t}, nil
	}, "", doc)
}

// Many is a row whose statements add up to a list, any number of values each.
func Many[T any](name string, in Context, arity Arity, field *List[T], parse func(s *Setting) ([]T, error), def, doc string) Directive {
	return Directive{Name: name, In: in, Arity: arity, Default: def, Doc: doc, Value: listValue[T]{field, parse}}
}

// Call is a row whose statements run a function each. Inner levels inherit nothing of it.
func Call(name string, in Context, arity Arity, set func(s *Setting) error, doc string) Directive {
	return Directive{Name: name, In: in, Arity: arity, Doc: doc, Value: callValue{set, new(bool)}, Local: true}
}

// Block is a row with a block of statements in the context inner. open runs
// before them with Setting.Inner in place, close (may be nil) after them.
func Block(name string, in, inner Context, arity Arity, open, close func(s *Setting) error, doc string) Directive {
	d := Call(name, in, arity, open, doc)
	d.Body = &BlockBody{Inner: inner, Close: close}
	return d
}

// Raw is a row with a block whose statements are entries, not directives; set reads them through Setting.Entries.
func Raw(name string, in Context, arity Arity, set func(s *Setting) error, doc string) Directive {
	d := Call(name, in, arity, set, doc)
	d.Body = &BlockBody{}
	return d
}

// Accepted is a row for a directive that is valid and has no effect here, for
// the reason given; its arguments are not looked at.
func Accepted(name string, in Context, arity Arity, why string) Directive {
	return Directive{Name: name, In: in, Arity: arity, Doc: "Accepted without effect.", Why: why, Local: true,
		Value: callValue{func(*Setting) error { return nil }, new(bool)}}
}

// Flag is a row that takes on or off.
func Flag(name string, in Context, field *Opt[bool], def, doc string) Directive {
	return Custom(name, in, Args1, field, func(s *Setting) (bool, error) {
		switch {
		case equalFold(s.Arg(0), "on"):
			return true, nil
		case equalFold(s.Arg(0), "off"):
			return false, nil
		}
		return false, fmt.Errorf(`invalid value "%s" in "%s" directive, it must be "on" or "off"`, s.Arg(0), s.Name)
	}, def, doc)
}

// Str is a row that takes a word as it is.
func Str(name string, in Context, field *Opt[string], def, doc string) Directive {
	return Custom(name, in, Args1, field, func(s *Setting) (string, error) { return s.Arg(0), nil }, def, doc)
}

// Num is a row that takes a decimal number without sign.
func Num(name string, in Context, field *Opt[int], def, doc string) Directive {
	return Custom(name, in, Args1, field, func(s *Setting) (int, error) {
		n, ok := ParseNum(s.Arg(0))
		if !ok {
			return 0, Brief("invalid number")
		}
		return n, nil
	}, def, doc)
}

// Size is a row that takes bytes with an optional suffix k or m.
func Size(name string, in Context, field *Opt[int64], def, doc string) Directive {
	return Custom(name, in, Args1, field, sizeParser(ParseSize), def, doc)
}

// Offset is a row that takes bytes with an optional suffix k, m or g.
func Offset(name string, in Context, field *Opt[int64], def, doc string) Directive {
	return Custom(name, in, Args1, field, sizeParser(ParseOffset), def, doc)
}

func sizeParser(parse func(string) (int64, bool)) func(s *Setting) (int64, error) {
	return func(s *Setting) (int64, error) {
		n, ok := parse(s.Arg(0))
		if !ok {
			return 0, Brief("invalid value")
		}
		return n, nil
	}
}

// Msec is a row that takes a time of millisecond resolution.
func Msec(name string, in Context, field *Opt[time.Duration], def, doc string) Directive {
	return Custom(name, in, Args1, field, timeParser(true), def, doc)
}

// Sec is a row that takes a time of second resolution.
func Sec(name string, in Context, field *Opt[time.Duration], def, doc string) Directive {
	return Custom(name, in, Args1, field, timeParser(false), def, doc)
}

func timeParser(msec bool) func(s *Setting) (time.Duration, error) {
	return func(s *Setting) (time.Duration, error) {
		d, ok := ParseTime(s.Arg(0), msec)
		if !ok {
			return 0, Brief("invalid value")
		}
		return d, nil
	}
}

// Word is a value of an enumeration and the word that stands for it.
type Word[T any] struct {
	Name  string
	Value T
}

// Enum is a row that takes one of some words.
func Enum[T any](name string, in Context, field *Opt[T], words []Word[T], def, doc string) Directive {
	return Custom(name, in, Args1, field, func(s *Setting) (T, error) {
		for _, w := range words {
			if equalFold(w.Name, s.Arg(0)) {
				return w.Value, nil
			}
		}
		var zero T
		return zero, fmt.Errorf(`invalid value "%s"`, s.Arg(0))
	}, def, doc)
}

// Mask is a row that takes several of some words, each a bit.
func Mask(name string, in Context, field *Opt[uint32], words []Word[uint32], def, doc string) Directive {
	parse := func(s *Setting) (uint32, error) {
		var m uint32
	args:
		for i := range s.Args {
			for _, w := range words {
				if equalFold(w.Name, s.Arg(i)) {
					if m&w.Value != 0 {
						s.Warn(`duplicate value "%s"`, s.Arg(i))
					}
					m |= w.Value
					continue args
				}
			}
			return 0, fmt.Errorf(`invalid value "%s"`, s.Arg(i))
		}
		return m, nil
	}
	d := Custom(name, in, Args1More, field, parse, def, doc)
	d.Value = maskValue{optValue[uint32]{field, parse}}
	return d
}

// maskValue adds the words of several statements up, as nginx does.
type maskValue struct{ optValue[uint32] }

func (v maskValue) Inherit(outer Value) { v.optValue.Inherit(outer.(maskValue).optValue) }

func (v maskValue) Set(s *Setting) error {
	m, err := v.parse(s)
	if err != nil {
		return err
	}
	v.field.V, v.field.set, v.field.Own = v.field.V|m, true, !s.IsDefault
	return nil
}

// Buffers is a number of buffers and the size of one.
type Buffers struct {
	Num  int
	Size int64 // bytes
}

// Bufs is a row that takes a number and a size.
func Bufs(name string, in Context, field *Opt[Buffers], def, doc string) Directive {
	return Custom(name, in, Args2, field, func(s *Setting) (Buffers, error) {
		n, ok := ParseNum(s.Arg(0))
		if !ok || n == 0 {
			return Buffers{}, Brief("invalid value")
		}
		size, ok := ParseSize(s.Arg(1))
		if !ok || size == 0 {
			return Buffers{}, Brief("invalid value")
		}
		return Buffers{n, size}, nil
	}, def, doc)
}

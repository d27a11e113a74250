package ngx

import (
	"strings"

	"limpet/nginxconf"
)

// Types maps extensions, in lower case, to MIME types: what types{} says.
type Types struct{ byExt map[string][]byte }

// typesValue is the field of types{}: blocks of one level add up, and hide the enclosing level's.
type typesValue struct{ c *Core }

func (v typesValue) IsSet() bool { return v.c.Types != nil }

func (v typesValue) Inherit(outer nginxconf.Value) { v.c.Types = outer.(typesValue).c.Types }

func (v typesValue) Set(s *nginxconf.Setting) error {
	if v.c.Types == nil {
		v.c.Types = &Types{make(map[string][]byte)}
	}
	return s.Entries(func(e *nginxconf.Statement) error {
		mime := []byte(e.Name)
		for _, arg := range e.Args {
			ext := strings.ToLower(arg.Value)
			if old, ok := v.c.Types.byExt[ext]; ok {
				at := &nginxconf.Setting{Statement: e, Level: s.Level, Loader: s.Loader}
				at.Warn(`duplicate extension "%s", content type: "%s", previous content type: "%s"`, ext, mime, old)
			}
			v.c.Types.byExt[ext] = mime
		}
		return nil
	})
}

// typesRow is the row of types{}.
func (c *Core) typesRow() nginxconf.Directive {
	return nginxconf.Directive{Name: "types", In: nginxconf.HTTPServerLocation, Arity: nginxconf.NoArgs, Value: typesValue{c},
		Body: &nginxconf.BlockBody{}, Doc: "Maps extensions to MIME types."}
}

// SetType sets the answer's type by MIMEType, unless X-Accel-Redirect brought one along.
func (r *Request) SetType() {
	if r.Out.ContentType == nil {
		r.Out.ContentType = r.MIMEType()
	}
}

// MIMEType returns the type of the request's path by its extension, else
// default_type; nil where that is empty. Without types{} nginx's three hold.
func (r *Request) MIMEType() []byte {
	core := r.Scope.Core
	if ext := extension(r.Path); len(ext) > 0 {
		if t := core.Types.find(ext); t != nil {
			return t
		}
	}
	if core.DefaultType.V == "" {
		return nil
	}
	return core.defaultType
}

// extension returns what follows the last dot of a path's last segment; a segment's first byte doesn't count as such a dot.
func extension(path []byte) []byte {
	for i := len(path) - 1; i > 1 && path[i] != '/'; i-- {
		if path[i] == '.' && path[i-1] != '/' {
			return path[i+1:]
		}
	}
	return nil
}

// maxExtension is more than any sensible extension has; longer ones have no type.
const maxExtension = 32

func (t *Types) find(ext []byte) []byte {
	var low [maxExtension]byte
	if len(ext) > len(low) {
		return nil
	}
	for i, c := range ext {
		low[i] = lower(c)
	}
	key := low[:len(ext)]
	if t != nil {
		return t.byExt[string(key)]
	}
	switch string(key) {
	case "html":
		return []byte("text/html")
	case "gif":
		return []byte("image/gif")
	case "jpg":
		return []byte("image/jpeg")
	}
	return nil
}

// TypeSet is a set of MIME types: what gzip_types and its kin say.
type TypeSet struct {
	all   bool
	names map[string]bool
}

// Has reports whether a Content-Type, parameters and case aside, is in the set.
func (s *TypeSet) Has(contentType []byte) bool {
	if s.all {
		return true // an answer without a type, too
	}
	if contentType == nil {
		return false
	}
	var low [128]byte
	n := 0
	for n < len(contentType) && n < len(low) && contentType[n] != ';' {
		low[n] = lower(contentType[n])
		n++
	}
	for n > 0 && low[n-1] == ' ' {
		n--
	}
	return s.names[string(low[:n])]
}

// TypesRow is a row that takes MIME types, or * for all, in addition to text/html. def lists the default types, text/html first.
func TypesRow(name string, in nginxconf.Context, field *nginxconf.Opt[TypeSet], def, doc string) nginxconf.Directive {
	add := func(s *nginxconf.Setting) error {
		set := &field.V
		if s.IsDefault || !field.Own {
			*set = TypeSet{names: map[string]bool{"text/html": true}}
		}
		for i := range s.Args {
			if s.Arg(i) == "*" {
				set.all = true
				continue
			}
			t := strings.ToLower(s.Arg(i))
			if set.names[t] && !s.IsDefault {
				s.Warn(`duplicate MIME type "%s"`, t)
			}
			set.names[t] = true
		}
		return nil
	}
	return nginxconf.Directive{Name: name, In: in, Arity: nginxconf.Args1More, Default: def, Doc: doc, Value: typeSetValue{field, add}}
}

// typeSetValue adds the words of several statements up, as nginx does.
type typeSetValue struct {
	field *nginxconf.Opt[TypeSet]
	add   func(s *nginxconf.Setting) error
}

func (v typeSetValue) IsSet() bool { return v.field.IsSet() }

func (v typeSetValue) Inherit(outer nginxconf.Value) {
	v.field.Put(outer.(typeSetValue).field.V)
	v.field.Own = false
}

func (v typeSetValue) Set(s *nginxconf.Setting) error {
	if err := v.add(s); err != nil {
		return err
	}
	v.field.Put(v.field.V)
	v.field.Own = !s.IsDefault
	return nil
}

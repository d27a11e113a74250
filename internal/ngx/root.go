package ngx

import (
	"errors"
	"fmt"
	"strings"

	"limpet/nginxconf"
)

// Root is what root or alias says.
type Root struct {
	Text  Text
	Alias bool
	// Cut is the length of the location's name that an alias replaces.
	Cut int
	// Rx says that the location is a regular expression: an alias is then the whole path.
	Rx bool
	// Prefix goes before a value that begins with a variable and isn't absolute.
	Prefix string
}

// Aliased is what a location's block (nginxconf.Level.Data) tells of itself to alias.
type Aliased interface {
	// AliasOf returns the length of the name that an alias replaces, whether the location is a
	// regular expression and whether it is a named one.
	AliasOf() (cut int, regex, named bool)
}

// rootValue is the field of root and of alias.
type rootValue struct{ field *nginxconf.Opt[Root] }

func (v rootValue) IsSet() bool { return v.field.IsSet() }

func (v rootValue) Inherit(outer nginxconf.Value) {
	v.field.Put(outer.(rootValue).field.V)
	v.field.Own = false
}

func (v rootValue) Set(s *nginxconf.Setting) error {
	root, err := parseRoot(s)
	if err == nil {
		v.field.Put(root)
		v.field.Own = !s.IsDefault
	}
	return err
}

// rootRow is the row of root or of alias.
func (c *Core) rootRow(name string, in nginxconf.Context, def, doc string) nginxconf.Directive {
	return nginxconf.Directive{Name: name, In: in, Arity: nginxconf.Args1, Default: def, Doc: doc, Value: rootValue{&c.Root}}
}

// parseRoot parses root and alias, which exclude each other.
func parseRoot(s *nginxconf.Setting) (Root, error) {
	alias := s.Name == "alias"
	c := nginxconf.Own[*Core](s.Level)
	if c.Root.Own && !s.IsDefault {
		if c.Root.V.Alias == alias {
			return Root{}, nginxconf.ErrDuplicate
		}
		return Root{}, fmt.Errorf(`"%s" directive is duplicate, "%s" directive was specified earlier`, s.Name, map[bool]string{true: "alias", false: "root"}[c.Root.V.Alias])
	}
	path := s.Arg(0)
	if strings.Contains(path, "$document_root") || strings.Contains(path, "${document_root}") {
		return Root{}, fmt.Errorf(`the $document_root variable cannot be used in the "%s" directive`, s.Name)
	}
	if strings.Contains(path, "$realpath_root") || strings.Contains(path, "${realpath_root}") {
		return Root{}, fmt.Errorf(`the $realpath_root variable cannot be used in the "%s" directive`, s.Name)
	}
	if !alias && strings.HasSuffix(path, "/") && len(path) > 1 {
		path = path[:len(path)-1]
	}
	if !strings.HasPrefix(path, "$") {
		path = s.Loader.PrefixPath(path)
	}
	text, err := ParseText(s, path)
	if err != nil {
		return Root{}, errors.New(err.Error())
	}
	root := Root{Text: text, Alias: alias, Prefix: s.Loader.Prefix}
	if loc, ok := s.Level.Data.(Aliased); ok && alias {
		var named bool
		if root.Cut, root.Rx, named = loc.AliasOf(); named {
			return root, errors.New(`the "alias" directive cannot be used inside the named location`)
		}
	}
	return root, nil
}

// MapPath returns the file name for a path under root or alias.
func (r *Request) MapPath(path []byte) []byte {
	root := &r.Scope.Core.Root.V
	base := root.Text.Bytes(r)
	if len(base) == 0 || base[0] != '/' {
		base = r.join([]byte(root.Prefix), base)
	}
	if !root.Alias {
		return r.join(base, path)
	}
	if root.Rx && r.BelowAlias {
		return r.join(base, path)
	}
	if root.Rx {
		return base
	}
	return r.join(base, path[min(len(path), root.Cut):])
}

func (r *Request) join(a, b []byte) []byte {
	c := r.Alloc(len(a) + len(b))
	copy(c[copy(c, a):], b)
	return c
}

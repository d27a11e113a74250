package arch

import (
	"go/ast"
	"go/build"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"sort"
	"strings"
	"testing"
)

// program is the packages that may have or read configuration, type-checked. It imports what isn't of the
// program from the build cache's export data, which takes a tenth of the time of their sources.
type program struct {
	fset    *token.FileSet
	dirs    map[string][]*ast.File // by import path
	done    map[string]*types.Package
	info    *types.Info
	foreign types.Importer
}

// load type-checks every package but those of tests and commands.
func load(t *testing.T) *program {
	t.Helper()
	p := &program{
		fset: token.NewFileSet(), dirs: make(map[string][]*ast.File), done: make(map[string]*types.Package),
		info: &types.Info{Uses: make(map[*ast.Ident]types.Object), Defs: make(map[*ast.Ident]types.Object)},
	}
	imports := make(map[string]bool)
	for _, s := range sources(t) {
		if strings.HasPrefix(s.name, "cmd/") || strings.HasPrefix(s.name, "testdata/") || s.name == "internal/demo" || testOnly(s.name) {
			continue
		}
		for im := range s.imports {
			if !strings.HasPrefix(im, module+"/") && im != "C" {
				imports[im] = true
			}
		}
		p.parse(t, s.name)
	}
	p.foreign = importer.ForCompiler(p.fset, "gc", exports(t, imports))
	for path := range p.dirs {
		if _, err := p.Import(path); err != nil {
			t.Fatal(err)
		}
	}
	return p
}

func (p *program) parse(t *testing.T, name string) {
	t.Helper()
	dir := filepath.Join("../..", name)
	pkg, err := build.Default.ImportDir(dir, 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range pkg.GoFiles {
		f, err := parser.ParseFile(p.fset, filepath.Join(dir, file), nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		p.dirs[module+"/"+name] = append(p.dirs[module+"/"+name], f)
	}
}

// exports returns how to open the export data of packages and of what they import.
func exports(t *testing.T, imports map[string]bool) func(path string) (io.ReadCloser, error) {
	t.Helper()
	args := []string{"list", "-export", "-deps", "-f", "{{with .Export}}{{$.ImportPath}} {{.}}{{end}}"}
	for im := range imports {
		args = append(args, im)
	}
	out, err := exec.Command("go", args...).Output()
	if err != nil {
		t.Fatal(err)
	}
	files := make(map[string]string)
	for line := range strings.Lines(string(out)) {
		path, file, _ := strings.Cut(strings.TrimSpace(line), " ")
		files[path] = file
	}
	return func(path string) (io.ReadCloser, error) { return os.Open(files[path]) }
}

// Import implements types.Importer.
func (p *program) Import(path string) (*types.Package, error) {
	files, own := p.dirs[path]
	if !own {
		return p.foreign.Import(path)
	}
	if pkg := p.done[path]; pkg != nil {
		return pkg, nil
	}
	pkg, err := (&types.Config{Importer: p}).Check(path, p.fset, files, p.info)
	p.done[path] = pkg
	return pkg, err
}

// field is a field that a row is bound to.
type field struct {
	at       token.Pos // in the row
	owner    string
	accepted bool // the row has no effect
	read     bool
}

// usedByCheck lists the fields that only a Conf's Check reads and that have an effect all the same, with the reason for each.
const usedByCheck = `
internal/headers HeaderInherit # Check puts the lists together
internal/headers TrailerInherit # Check puts the lists together
internal/tlsconf TicketKeys # Check reads the files into another field
`

// TestFieldsAreRead wants every field that a row is bound to read outside of rows and beyond being checked, unless the
// row says that it has no effect.
func TestFieldsAreRead(t *testing.T) {
	p := load(t)
	accepting := p.accepting()
	fields := make(map[types.Object]*field)
	for path, files := range p.dirs {
		for _, f := range files {
			p.eachFunc(f, func(fn *ast.FuncDecl) {
				if p.makesRows(fn) {
					p.bound(fn.Body, fields, accepting, strings.TrimPrefix(path, module+"/"))
				}
			})
		}
	}
	if len(fields) < 200 {
		t.Fatalf("only %d fields are bound to rows", len(fields))
	}
	for _, files := range p.dirs {
		for _, f := range files {
			p.eachFunc(f, func(fn *ast.FuncDecl) {
				if !p.makesRows(fn) && !p.isCheck(fn) {
					p.reads(fn.Body, fields)
				}
			})
		}
	}
	var list []string
	reasons := make(map[string]bool)
	for line := range strings.Lines(strings.TrimSpace(usedByCheck)) {
		name, _, _ := strings.Cut(line, " # ")
		reasons[name] = true
	}
	for o, f := range fields {
		name := f.owner + " " + o.Name()
		if reasons[name] && !f.read {
			delete(reasons, name)
			continue
		}
		if !f.read && !f.accepted {
			list = append(list, p.fset.Position(f.at).String()+": "+f.owner+"'s "+o.Name()+" is set by a row and read nowhere")
		}
		if f.read && f.accepted {
			list = append(list, p.fset.Position(f.at).String()+": "+f.owner+"'s "+o.Name()+" is read, and its row says that it has no effect")
		}
	}
	for name := range reasons {
		list = append(list, "there is no field "+name+" any more that only Check reads")
	}
	sort.Strings(list)
	for _, s := range list {
		t.Error(s)
	}
}

func (p *program) eachFunc(f *ast.File, do func(fn *ast.FuncDecl)) {
	for _, d := range f.Decls {
		if fn, ok := d.(*ast.FuncDecl); ok && fn.Body != nil {
			do(fn)
		}
	}
}

// isCheck reports the methods that look a configuration over when it was read.
func (p *program) isCheck(fn *ast.FuncDecl) bool {
	return fn.Recv != nil && (fn.Name.Name == "Check" || fn.Name.Name == "check") && p.returns(fn, "error")
}

// makesRows reports the functions that return rows, or one.
func (p *program) makesRows(fn *ast.FuncDecl) bool { return p.makesRow(fn) || p.returns(fn, "[]"+row) }

// makesRow reports the functions that return a row.
func (p *program) makesRow(fn *ast.FuncDecl) bool { return p.returns(fn, row) }

const row = module + "/nginxconf.Directive"

func (p *program) returns(fn *ast.FuncDecl, typ string) bool {
	results := p.info.Defs[fn.Name].Type().(*types.Signature).Results()
	return results.Len() > 0 && results.At(0).Type().String() == typ
}

// accepting returns the functions that make a row one without effect: those of a single row that set its Why, or call one that does.
func (p *program) accepting() map[types.Object]bool {
	set := make(map[types.Object]bool)
	for before := -1; len(set) > before; {
		before = len(set)
		for _, files := range p.dirs {
			for _, f := range files {
				p.eachFunc(f, func(fn *ast.FuncDecl) {
					if p.makesRow(fn) {
						p.accepts(fn, set)
					}
				})
			}
		}
	}
	return set
}

func (p *program) accepts(fn *ast.FuncDecl, set map[types.Object]bool) {
	ast.Inspect(fn.Body, func(n ast.Node) bool {
		if id, ok := n.(*ast.Ident); ok && (id.Name == "Why" && p.isField(id) || set[p.info.Uses[id]]) {
			set[p.info.Defs[fn.Name]] = true
		}
		return true
	})
}

func (p *program) isField(id *ast.Ident) bool {
	v, ok := p.info.Uses[id].(*types.Var)
	return ok && v.IsField()
}

// bound finds the fields whose address a function that makes rows takes.
func (p *program) bound(body ast.Node, fields map[types.Object]*field, accepting map[types.Object]bool, owner string) {
	var calls []ast.Node // around the node at hand
	ast.Inspect(body, func(n ast.Node) bool {
		if n == nil {
			calls = calls[:len(calls)-1]
			return true
		}
		calls = append(calls, n)
		u, ok := n.(*ast.UnaryExpr)
		if !ok || u.Op != token.AND {
			return true
		}
		sel, ok := u.X.(*ast.SelectorExpr)
		if !ok || !p.isField(sel.Sel) {
			return true
		}
		o := p.info.Uses[sel.Sel]
		f := fields[o]
		if f == nil {
			f = &field{at: sel.Pos(), owner: owner}
			fields[o] = f
		}
		for _, around := range calls {
			if c, ok := around.(*ast.CallExpr); ok && accepting[p.callee(c)] {
				f.accepted = true
			}
		}
		return true
	})
}

// callee returns the function that is called by its name, nil for another.
func (p *program) callee(c *ast.CallExpr) types.Object {
	switch fn := c.Fun.(type) {
	case *ast.Ident:
		return p.info.Uses[fn]
	case *ast.SelectorExpr:
		return p.info.Uses[fn.Sel]
	}
	return nil
}

// reads notes the fields that a function reads. What is only assigned to isn't.
func (p *program) reads(body ast.Node, fields map[types.Object]*field) {
	written := make(map[*ast.Ident]bool)
	ast.Inspect(body, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.AssignStmt:
			for _, l := range n.Lhs {
				for sel, ok := l.(*ast.SelectorExpr); ok; sel, ok = sel.X.(*ast.SelectorExpr) {
					written[sel.Sel] = true
				}
			}
		case *ast.Ident:
			if f := fields[p.info.Uses[n]]; f != nil && !written[n] {
				f.read = true
			}
		}
		return true
	})
}

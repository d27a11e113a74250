// Package arch holds the program to its design: which package may import which,
// one package comment each, no mutable package-level variables, no init().
package arch

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"path/filepath"
	"sort"
	"strconv"
	"strings"
	"testing"
)

// policy says which package of the program may import which, in the manner of
// go/build's deps_test.go: packages on a line may import all those on lines
// above it, and none on their own line or below, but for what extra allows.
const policy = `
nginxconf, internal/rx, internal/errlog, internal/tcp, internal/openssl
internal/resolver
internal/ngx
internal/certs, internal/ocsp
upstream
sticky, healthcheck
internal/http1, internal/location, internal/*
internal/server
internal/admin
internal/process
testdata/seed
internal/demo
internal/script, internal/bench, internal/arch
cmd/limpet
`

// extra lists imports within a line, each with its reason.
const extra = `
internal/relay: internal/http1, internal/cache # one reading of fields; what is kept of answers
internal/relaytest: internal/relay # tests of protocols
internal/proxy: internal/http1, internal/relay # one codec for both sides; what passing requests on has in common
internal/fastcgi: internal/relay
internal/uwsgi: internal/relay
internal/scgi: internal/relay
internal/memcached: internal/relay
internal/http2: internal/http1 # one reading of targets and fields
`

// engines says which package alone may import a library.
const engines = `
github.com/tufanbarisyildirim/gonginx: nginxconf
regexp: internal/rx, internal/script
regexp/syntax: internal/rx
github.com/yuin/gopher-lua: internal/lua
github.com/fsnotify/fsnotify: internal/process
github.com/spf13/pflag: cmd/limpet
github.com/VictoriaMetrics/metrics: internal/metrics, internal/admin
github.com/rogpeppe/go-internal: internal/script
net/http: internal/admin, internal/bench, internal/demo, internal/lua # the last for ParseTime alone
log:
log/slog:
expvar:
`

// variables lists the package-level variables that aren't errors, with the reason for each.
const variables = `
upstream bounds # a table, never written
nginxconf dropWrappers # takes types out of gonginx's global tables, once
internal/http2 staticTable # a table, never written
internal/http1 aborted # its address is a mark, never written
internal/http1 exchanges # a pool; holds no state between requests
internal/http2 streams # the memory of streams, which outlives their connections
internal/ngx clockCache # the time as text, for one second
internal/ngx fileBuffers # a pool; holds no state between writes
internal/ngx clockEpoch # when the process began, for a cheaper clock
internal/tcp epoch # likewise
internal/tcp joinedBuffers # a pool; holds no state between writes
internal/server knownText # embedded
testdata/seed Files # embedded
`

// source is one package of the program, its test files left out.
type source struct {
	name    string // of the folder, from the module's root
	files   []*ast.File
	imports map[string]bool
}

const module = "limpet"

// sources parses every package.
func sources(t *testing.T) []*source {
	t.Helper()
	const root = "../.."
	byName := make(map[string]*source)
	err := filepath.WalkDir(root, func(file string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(root, file)
		if d.IsDir() && (strings.HasPrefix(d.Name(), ".") && rel != "." || d.Name() == "bin") {
			return filepath.SkipDir
		}
		if d.IsDir() || !strings.HasSuffix(file, ".go") || strings.HasSuffix(file, "_test.go") {
			return nil
		}
		f, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ParseComments)
		if err != nil {
			return err
		}
		name := filepath.ToSlash(filepath.Dir(rel))
		s := byName[name]
		if s == nil {
			s = &source{name: name, imports: make(map[string]bool)}
			byName[name] = s
		}
		s.files = append(s.files, f)
		for _, im := range f.Imports {
			p, _ := strconv.Unquote(im.Path.Value)
			s.imports[p] = true
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	var list []*source
	for _, s := range byName {
		list = append(list, s)
	}
	sort.Slice(list, func(i, j int) bool { return list[i].name < list[j].name })
	if len(list) < 10 {
		t.Fatalf("only %d packages found", len(list))
	}
	return list
}

// layer returns the line of the policy that a package is on, -1 when it is on none.
func layer(name string) int {
	wildcard := -1
	for i, line := range strings.Split(strings.TrimSpace(policy), "\n") {
		for _, p := range strings.Split(line, ", ") {
			if p == name {
				return i
			}
			if ok, _ := path.Match(p, name); ok {
				wildcard = i
			}
		}
	}
	return wildcard
}

// entries reads a list of `key: values # reason`.
func entries(list string) map[string][]string {
	m := make(map[string][]string)
	for _, line := range strings.Split(strings.TrimSpace(list), "\n") {
		line, _, _ = strings.Cut(line, " #")
		key, values, _ := strings.Cut(line, ":")
		m[key] = append(m[key], strings.FieldsFunc(values, func(r rune) bool { return r == ',' || r == ' ' })...)
	}
	return m
}

func contains(list []string, s string) bool {
	for _, x := range list {
		if x == s {
			return true
		}
	}
	return false
}

func TestImports(t *testing.T) {
	allowed := entries(extra)
	used := make(map[string]bool)
	for _, s := range sources(t) {
		mine := layer(s.name)
		if mine < 0 {
			t.Errorf("%s is not in the policy", s.name)
			continue
		}
		for im := range s.imports {
			name, ok := strings.CutPrefix(im, module+"/")
			if !ok || layer(name) < mine {
				continue
			}
			if contains(allowed[s.name], name) {
				used[s.name+" "+name] = true
				continue
			}
			t.Errorf("%s imports %s, which the policy forbids", s.name, name)
		}
	}
	for name, list := range allowed {
		for _, im := range list {
			if !used[name+" "+im] {
				t.Errorf("%s is allowed to import %s and doesn't", name, im)
			}
		}
	}
}

func TestEnginesHaveOneUser(t *testing.T) {
	rules := entries(engines)
	for _, s := range sources(t) {
		for im := range s.imports {
			for lib, users := range rules {
				if (im == lib || strings.Contains(lib, ".") && strings.HasPrefix(im, lib+"/")) && !contains(users, s.name) {
					t.Errorf("%s imports %s, which is for %s", s.name, im, strings.Join(users, ", "))
				}
			}
		}
	}
}

func TestPackagesHaveOneComment(t *testing.T) {
	for _, s := range sources(t) {
		n := 0
		for _, f := range s.files {
			if f.Doc != nil {
				n++
				name := f.Name.Name
				if want := "Package " + name + " "; name != "main" && !strings.HasPrefix(f.Doc.Text(), want) {
					t.Errorf("the comment of %s doesn't begin with %q", s.name, want)
				}
			}
		}
		if n != 1 {
			t.Errorf("%s has %d package comments, want one", s.name, n)
		}
	}
}

// TestNoState allows package-level variables that are errors, and those with a reason.
func TestNoState(t *testing.T) {
	reasons := make(map[string]bool)
	for _, line := range strings.Split(strings.TrimSpace(variables), "\n") {
		name, reason, _ := strings.Cut(line, " # ")
		if reason == "" {
			t.Errorf("%s has no reason", name)
		}
		reasons[name] = false
	}
	for _, s := range sources(t) {
		if testOnly(s.name) {
			continue
		}
		for _, f := range s.files {
			for _, d := range f.Decls {
				switch d := d.(type) {
				case *ast.FuncDecl:
					if d.Recv == nil && d.Name.Name == "init" {
						t.Errorf("%s has an init function", s.name)
					}
				case *ast.GenDecl:
					if d.Tok == token.VAR {
						checkVariables(t, s.name, d, reasons)
					}
				}
			}
		}
	}
	for name, used := range reasons {
		if !used {
			t.Errorf("there is no variable %s any more", name)
		}
	}
}

func testOnly(name string) bool {
	return name == "internal/script" || name == "internal/bench" || name == "internal/relaytest"
}

func checkVariables(t *testing.T, pkg string, d *ast.GenDecl, reasons map[string]bool) {
	for _, spec := range d.Specs {
		v := spec.(*ast.ValueSpec)
		for _, n := range v.Names {
			name := pkg + " " + n.Name
			if n.Name == "_" || strings.HasPrefix(n.Name, "err") || strings.HasPrefix(n.Name, "Err") {
				continue
			}
			if _, ok := reasons[name]; !ok {
				t.Errorf("%s has the package-level variable %s", pkg, n.Name)
				continue
			}
			reasons[name] = true
		}
	}
}

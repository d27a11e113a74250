package lua

import (
	"os"
	"path/filepath"
	"strings"

	lua "github.com/yuin/gopher-lua"
	"github.com/yuin/gopher-lua/ast"
)

// packagePath returns the templates in which require looks for modules; ;; stands for the default ones.
func packagePath(path, prefix string) []string {
	const defaults = "/usr/local/openresty/site/lualib/?.lua;/usr/local/openresty/site/lualib/?/init.lua;" +
		"/usr/local/openresty/lualib/?.lua;/usr/local/openresty/lualib/?/init.lua;./?.lua;" +
		"/usr/local/share/luajit-2.1/?.lua;/usr/local/share/lua/5.1/?.lua;/usr/local/share/lua/5.1/?/init.lua;" +
		"/usr/share/lua/5.1/?.lua;/usr/share/lua/5.1/?/init.lua"
	if path == "" {
		path = ";;"
	}
	path = strings.ReplaceAll(path, "${prefix}", prefix)
	path = strings.ReplaceAll(path, "$prefix", prefix)
	path = strings.ReplaceAll(path, ";;", ";"+defaults+";")
	var list []string
	for _, p := range strings.Split(path, ";") {
		if p != "" {
			list = append(list, p)
		}
	}
	return list
}

// openPackages adds require and package.
func (m *machine) openPackages(g *lua.LTable) {
	pkg := m.L.NewTable()
	m.loaded = m.L.NewTable()
	preload := m.L.NewTable()
	pkg.RawSetString("loaded", m.loaded)
	pkg.RawSetString("preload", preload)
	pkg.RawSetString("path", lua.LString(strings.Join(m.rt.path, ";")))
	pkg.RawSetString("cpath", lua.LString(""))
	pkg.RawSetString("config", lua.LString("/\n;\n?\n!\n-\n"))
	g.RawSetString("package", pkg)
	m.loaded.RawSetString("_G", g)
	for _, name := range []string{"string", "table", "math", "coroutine", "os", "debug", "package"} {
		m.loaded.RawSetString(name, g.RawGetString(name))
	}
	m.set(g, "require", func(L *lua.LState) int {
		L.Push(m.require(L, pkg, m.checkString(L, 1)))
		return 1
	})
	bit := m.openBit()
	g.RawSetString("bit", bit)
	m.loaded.RawSetString("bit", bit)
}

// loading marks a module whose chunk runs.
type loading struct{}

func (m *machine) require(L *lua.LState, pkg *lua.LTable, name string) lua.LValue {
	if v := m.loaded.RawGetString(name); v != lua.LNil {
		if ud, ok := v.(*lua.LUserData); ok {
			if _, ok := ud.Value.(loading); ok {
				raise(L, "loop or previous error loading module '%s'", name)
			}
		}
		return v
	}
	if fn := pkg.RawGetString("preload").(*lua.LTable).RawGetString(name); fn != lua.LNil {
		return m.loadModule(L, name, fn)
	}
	if open := native(name); open != nil {
		v := open(m)
		m.loaded.RawSetString(name, v)
		return v
	}
	if reason := missingModule(name); reason != "" {
		raise(L, "module '%s' not found: %s", name, reason)
	}
	path, tried := m.rt.moduleFile(name)
	if path == "" {
		raise(L, "module '%s' not found:\n\tno field package.preload['%s']%s", name, name, tried)
	}
	c := m.rt.files.get(path)
	if c.err != nil {
		raise(L, "error loading module '%s' from file '%s':\n\t%s", name, path, c.err)
	}
	fn := L.NewFunctionFromProto(c.proto)
	fn.Env = L.G.Global
	return m.loadModule(L, name, fn)
}

// moduleFile finds a module's file, or says where it was looked for.
func (rt *runtime) moduleFile(name string) (path, tried string) {
	file := strings.ReplaceAll(name, ".", "/")
	for _, template := range rt.path {
		place := strings.ReplaceAll(template, "?", file)
		if path = place; !filepath.IsAbs(path) {
			path = filepath.Join(rt.prefix, path)
		}
		if _, err := os.Stat(path); err == nil {
			return path, ""
		}
		tried += "\n\tno file '" + place + "'"
	}
	return "", tried
}

// watchModules has the files of modules watched that the codes require, and those
// that these require in turn, as far as the names are written out.
func (rt *runtime) watchModules(codes []*code) {
	seen := make(map[string]bool)
	for len(codes) > 0 {
		c := codes[0]
		codes = codes[1:]
		for _, name := range required(c.tree) {
			if seen[name] || native(name) != nil || missingModule(name) != "" {
				continue
			}
			seen[name] = true
			if path, _ := rt.moduleFile(name); path != "" {
				rt.build.Watch(path)
				codes = append(codes, rt.files.get(path))
			}
		}
	}
}

// required lists the modules of `require "name"` and `pcall(require, "name")`.
func required(tree []ast.Stmt) (names []string) {
	walkStmts(tree, func(e ast.Expr) ast.Expr {
		x, ok := e.(*ast.FuncCallExpr)
		if !ok {
			return e
		}
		args := x.Args
		if len(args) == 2 && isName(x.Func, "pcall") && isName(args[0], "require") {
			args = args[1:]
		} else if !isName(x.Func, "require") {
			return e
		}
		if len(args) == 1 {
			if s, ok := args[0].(*ast.StringExpr); ok {
				names = append(names, s.Value)
			}
		}
		return e
	})
	return names
}

func isName(e ast.Expr, name string) bool {
	id, ok := e.(*ast.IdentExpr)
	return ok && id.Value == name
}

// loadModule runs a module's chunk and keeps what it returns.
func (m *machine) loadModule(L *lua.LState, name string, fn lua.LValue) lua.LValue {
	ud := L.NewUserData()
	ud.Value = loading{}
	m.loaded.RawSetString(name, ud)
	done := false
	defer func() {
		if !done {
			m.loaded.RawSetString(name, lua.LNil)
		}
	}()
	L.Push(fn)
	L.Push(lua.LString(name))
	L.Call(1, 1)
	v := L.Get(-1)
	L.Pop(1)
	done = true
	if v != lua.LNil {
		m.loaded.RawSetString(name, v)
	} else if have := m.loaded.RawGetString(name); have == ud {
		v = lua.LTrue
		m.loaded.RawSetString(name, v)
	} else {
		v = have
	}
	return v
}

// missingModule says why a module that OpenResty has isn't there; "" for others.
func missingModule(name string) string {
	switch name {
	case "ffi", "io", "jit.util", "ngx.pipe", "ngx.process", "ngx.semaphore", "ngx.ssl", "ngx.ocsp", "ngx.errlog", "thread":
		return "limpet doesn't have it"
	}
	return ""
}

// native returns what makes a module that is built in, nil when there is none of the name.
func native(name string) func(m *machine) lua.LValue {
	_, last, _ := strings.Cut(name, ".")
	switch name {
	case "ngx":
		return func(m *machine) lua.LValue { return m.ngx }
	case "ngx.balancer":
		return func(m *machine) lua.LValue { return m.openBalancer() }
	case "ngx.upstream":
		return func(m *machine) lua.LValue { return m.openUpstream() }
	case "ngx.re":
		return func(m *machine) lua.LValue { return m.openReModule() }
	case "ngx.base64":
		return func(m *machine) lua.LValue { return m.openBase64() }
	case "cjson", "cjson.safe":
		return func(m *machine) lua.LValue { return m.openJSON(last == "safe") }
	case "table.new", "table.clear", "table.nkeys", "table.isempty", "table.isarray", "table.clone":
		return func(m *machine) lua.LValue {
			return m.L.G.Global.RawGetString("table").(*lua.LTable).RawGetString(last)
		}
	case "resty.upstream.healthcheck":
		return func(m *machine) lua.LValue { return m.openHealthcheck() }
	case "resty.lrucache", "resty.lrucache.pureffi":
		return func(m *machine) lua.LValue { return m.openLRU() }
	case "resty.string":
		return func(m *machine) lua.LValue { return m.openRestyString() }
	case "resty.md5", "resty.sha1", "resty.sha256", "resty.sha512":
		return func(m *machine) lua.LValue { return m.openDigest(last) }
	}
	if name == "resty.core" || strings.HasPrefix(name, "resty.core.") {
		return func(m *machine) lua.LValue {
			t := m.L.NewTable()
			t.RawSetString("version", lua.LString("0.1.32"))
			return t
		}
	}
	return nil
}

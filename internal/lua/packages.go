package lua

import (
	"os"
	"path/filepath"
	"strings"

	lua "github.com/yuin/gopher-lua"
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
	if v := m.native(name); v != nil {
		m.loaded.RawSetString(name, v)
		return v
	}
	if reason := missingModule(name); reason != "" {
		raise(L, "module '%s' not found: %s", name, reason)
	}
	tried := "\n\tno field package.preload['" + name + "']"
	file := strings.ReplaceAll(name, ".", "/")
	for _, template := range m.rt.path {
		path := strings.ReplaceAll(template, "?", file)
		if !filepath.IsAbs(path) {
			path = filepath.Join(m.rt.prefix, path)
		}
		if _, err := os.Stat(path); err != nil {
			tried += "\n\tno file '" + strings.ReplaceAll(template, "?", file) + "'"
			continue
		}
		c := m.rt.files.get(path)
		if c.err != nil {
			raise(L, "error loading module '%s' from file '%s':\n\t%s", name, path, c.err)
		}
		fn := L.NewFunctionFromProto(c.proto)
		fn.Env = L.G.Global
		return m.loadModule(L, name, fn)
	}
	raise(L, "module '%s' not found:%s", name, tried)
	return nil
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

// native returns a module that is built in, nil when there is none of the name.
func (m *machine) native(name string) lua.LValue {
	L := m.L
	table := func(key string) *lua.LTable { return L.G.Global.RawGetString("table").(*lua.LTable) }
	switch name {
	case "ngx.balancer":
		return m.openBalancer()
	case "ngx.upstream":
		return m.openUpstream()
	case "resty.upstream.healthcheck":
		return m.openHealthcheck()
	case "cjson", "cjson.safe":
		return m.openJSON(name == "cjson.safe")
	case "table.new", "table.clear", "table.nkeys", "table.isempty", "table.isarray", "table.clone":
		return table(name).RawGetString(name[len("table."):])
	case "resty.lrucache", "resty.lrucache.pureffi":
		return m.openLRU()
	case "ngx.re":
		return m.openReModule()
	case "ngx.base64":
		return m.openBase64()
	case "resty.string":
		return m.openRestyString()
	case "resty.md5", "resty.sha1", "resty.sha256", "resty.sha512":
		return m.openDigest(name[len("resty."):])
	case "ngx":
		return m.ngx
	}
	if name == "resty.core" || strings.HasPrefix(name, "resty.core.") {
		t := L.NewTable()
		t.RawSetString("version", lua.LString("0.1.32"))
		return t
	}
	return nil
}

package lua

import (
	"strconv"
	"strings"

	lua "github.com/yuin/gopher-lua"

	"limpet/internal/ngx"
)

// openRequest adds ngx.req and ngx.location.
func (m *machine) openRequest(t *lua.LTable) {
	req := m.L.NewTable()
	t.RawSetString("req", req)
	m.set(req, "get_method", func(L *lua.LState) int { return str(L, string(m.request(L).Method)) })
	m.set(req, "set_method", func(L *lua.LState) int {
		r, id := m.request(L), L.CheckInt(1)
		for name, n := range constants() {
			if n == id && id >= 2 && strings.HasPrefix(name, "HTTP_") && !strings.Contains(name[5:], "_") && n != 100 {
				r.Method = r.CopyString(name[5:])
				return 0
			}
		}
		raise(L, "unsupported HTTP method: %d", id)
		return 0
	})
	m.set(req, "http_version", func(L *lua.LState) int {
		switch m.request(L).Proto {
		case ngx.HTTP20:
			L.Push(lua.LNumber(2))
		case ngx.HTTP11:
			L.Push(lua.LNumber(1.1))
		case ngx.HTTP10:
			L.Push(lua.LNumber(1))
		default:
			L.Push(lua.LNumber(0.9))
		}
		return 1
	})
	m.set(req, "start_time", func(L *lua.LState) int {
		L.Push(lua.LNumber(float64(m.request(L).Start.UnixMilli()) / 1000))
		return 1
	})
	m.set(req, "is_internal", func(L *lua.LState) int { L.Push(lua.LBool(m.request(L).Internal)); return 1 })
	m.set(req, "raw_header", func(L *lua.LState) int {
		r := m.request(L)
		var b strings.Builder
		if !L.ToBool(1) {
			b.Write(r.Line)
			b.WriteString("\r\n")
		}
		for i := range r.In.Fields {
			f := &r.In.Fields[i]
			b.Write(f.Name)
			b.WriteString(": ")
			b.Write(f.Value)
			b.WriteString("\r\n")
		}
		return str(L, b.String()+"\r\n")
	})
	m.openRequestURI(req)
	m.openRequestHeaders(req)
	m.openBody(req)
	loc := m.L.NewTable()
	m.set(loc, "capture", m.capture)
	m.set(loc, "capture_multi", func(L *lua.LState) int {
		list := L.CheckTable(1)
		n := 0
		for i := 1; i <= list.Len(); i++ {
			one, ok := list.RawGetInt(i).(*lua.LTable)
			if !ok {
				raise(L, "bad argument #1 to 'capture_multi' (table of tables expected)")
			}
			L.Push(m.subrequest(L, one.RawGetInt(1), one.RawGetInt(2)))
			n++
		}
		return n
	})
	t.RawSetString("location", loc)
}

func (m *machine) openRequestURI(req *lua.LTable) {
	m.set(req, "get_uri_args", func(L *lua.LState) int {
		r := m.request(L)
		args, cut := m.decodeArgs(string(r.Args), L.OptInt(1, 100))
		return listed(L, args, cut)
	})
	m.set(req, "set_uri_args", func(L *lua.LState) int {
		r := m.request(L)
		if t, ok := L.Get(1).(*lua.LTable); ok {
			r.Args = r.CopyString(m.encodeArgs(L, t))
		} else {
			r.Args = r.CopyString(m.checkString(L, 1))
		}
		r.PathChanged = true
		return 0
	})
	m.set(req, "set_uri", func(L *lua.LState) int {
		m.in(L, phaseSet|phaseServerRewrite|phaseRewrite|phaseAccess|phaseContent|phaseHeaderFilter)
		uri := m.checkString(L, 1)
		if uri == "" {
			raise(L, "attempt to use zero-length uri")
		}
		if L.ToBool(2) && m.phase&(phaseRewrite|phaseServerRewrite) == 0 {
			raise(L, "API disabled in the context of %s", m.phase)
		}
		checkURI(L, "uri", uri)
		r := m.r
		r.Path, r.PathChanged = r.CopyString(uri), true
		if L.ToBool(2) {
			m.exited, m.outcome = true, ngx.Redirect
			m.leave(L)
		}
		return 0
	})
}

func (m *machine) openRequestHeaders(req *lua.LTable) {
	m.set(req, "get_headers", func(L *lua.LState) int {
		r, limit, raw := m.request(L), L.OptInt(1, 100), L.ToBool(2)
		t := m.L.NewTable()
		n := 0
		cut := false
		for i := range r.In.Fields {
			f := &r.In.Fields[i]
			if f.Hidden {
				continue
			}
			if n++; limit > 0 && n > limit {
				cut = true
				break
			}
			name := string(f.Name)
			if !raw {
				name = strings.ToLower(name)
			}
			addValue(L, t, name, lua.LString(f.Value))
		}
		m.looseNames(t, raw)
		return listed(L, t, cut)
	})
	m.set(req, "set_header", func(L *lua.LState) int {
		m.setRequestHeader(L, m.checkString(L, 1), L.Get(2))
		return 0
	})
	m.set(req, "clear_header", func(L *lua.LState) int {
		m.setRequestHeader(L, m.checkString(L, 1), lua.LNil)
		return 0
	})
}

// addValue puts a value under a name, and makes an array of several.
func addValue(L *lua.LState, t *lua.LTable, name string, v lua.LValue) {
	switch have := t.RawGetString(name).(type) {
	case *lua.LNilType:
		t.RawSetString(name, v)
	case *lua.LTable:
		have.Append(v)
	default:
		list := L.NewTable()
		list.Append(have)
		list.Append(v)
		t.RawSetString(name, list)
	}
}

// setRequestHeader replaces a field of the request for what comes behind.
func (m *machine) setRequestHeader(L *lua.LState, name string, v lua.LValue) {
	r := m.request(L)
	name = strings.ReplaceAll(name, "_", "-")
	h := &r.In
	for i := range h.Fields {
		if ngx.EqualFold(h.Fields[i].Name, name) {
			h.Fields[i].Hidden = true
		}
	}
	for _, v := range m.headerValues(L, r, v) {
		h.Add(r.CopyString(headerEscape(name)), v)
	}
	if strings.EqualFold(name, "Host") {
		if s, ok := text(v); ok {
			host := strings.ToLower(s)
			if i := strings.LastIndexByte(host, ':'); i > strings.IndexByte(host, ']') {
				host = host[:i]
			}
			r.Host = r.CopyString(host)
		}
	}
}

func (m *machine) openBody(req *lua.LTable) {
	m.set(req, "read_body", func(L *lua.LState) int {
		m.in(L, answering)
		m.readBody(L)
		return 0
	})
	m.set(req, "discard_body", func(L *lua.LState) int { m.in(L, answering); return 0 })
	m.set(req, "get_body_data", func(L *lua.LState) int {
		r := m.request(L).Main
		if !r.Body.Read || r.Body.File != nil || len(r.Body.Mem) == 0 {
			L.Push(lua.LNil)
			return 1
		}
		return str(L, string(r.Body.Mem))
	})
	m.set(req, "get_body_file", func(L *lua.LState) int {
		r := m.request(L).Main
		if r.Body.File == nil {
			L.Push(lua.LNil)
			return 1
		}
		return str(L, r.Body.Name)
	})
	m.set(req, "get_post_args", func(L *lua.LState) int {
		r := m.request(L).Main
		if r.HasBody() && !r.Body.Read {
			raise(L, "no request body found; maybe you should turn on lua_need_request_body?")
		}
		if r.Body.File != nil {
			return fail(L, "request body in temp file not supported")
		}
		args, cut := m.decodeArgs(string(r.Body.Mem), L.OptInt(1, 100))
		return listed(L, args, cut)
	})
	m.set(req, "set_body_data", func(L *lua.LState) int {
		r := m.request(L).Main
		b := []byte(m.checkString(L, 1))
		r.Body.Close()
		r.Body = ngx.Body{Read: true, Mem: b, Size: int64(len(b))}
		r.Length, r.Chunked = int64(len(b)), false
		r.In.Set(ngx.HeaderContentLength, r.CopyString(strconv.Itoa(len(b))))
		r.In.Hide(ngx.HeaderTransferEncoding)
		return 0
	})
	for _, name := range []string{"socket", "init_body", "append_body", "finish_body"} {
		m.set(req, name, func(L *lua.LState) int {
			raise(L, "ngx.req.%s is not supported by limpet", name)
			return 0
		})
	}
}

// readBody reads the request's body; a body that can't be read ends the script.
func (m *machine) readBody(L *lua.LState) {
	if out := m.r.ReadAll(); out != ngx.Next {
		m.exited, m.outcome = true, out
		m.leave(L)
	}
}

// capture is ngx.location.capture.
func (m *machine) capture(L *lua.LState) int {
	L.Push(m.subrequest(L, L.Get(1), L.Get(2)))
	return 1
}

// captured takes a subrequest's body.
type captured struct{ body []byte }

func (c *captured) Write(_ *ngx.Request, p []byte) error { c.body = append(c.body, p...); return nil }
func (c *captured) Flush(*ngx.Request) error             { return nil }
func (c *captured) Finish(*ngx.Request) error            { return nil }

// subrequest asks a location for a URI and returns its answer as a table.
func (m *machine) subrequest(L *lua.LState, target, options lua.LValue) lua.LValue {
	m.in(L, answering)
	uri, ok := text(target)
	if !ok || uri == "" {
		raise(L, "bad argument #1 to 'capture' (string expected, got %s)", target.Type())
	}
	r := m.r
	path, args, _ := strings.Cut(uri, "?")
	sub := r.Sub(r.CopyString(path), nil)
	if o, ok := options.(*lua.LTable); ok {
		args = m.subOptions(L, sub, o, args)
	}
	sub.Args = r.CopyString(args)
	var sink captured
	status := r.Engine.Subrequest(sub, &sink)
	t := L.NewTable()
	t.RawSetString("status", lua.LNumber(status))
	t.RawSetString("body", lua.LString(sink.body))
	t.RawSetString("truncated", lua.LFalse)
	h := m.responseHeaders(sub, 0, true)
	h.RawSetString("Connection", lua.LNil)
	m.looseCase(h)
	t.RawSetString("header", h)
	return t
}

// subOptions applies the options of ngx.location.capture and returns the arguments.
func (m *machine) subOptions(L *lua.LState, sub *ngx.Request, o *lua.LTable, args string) string {
	if n, ok := o.RawGetString("method").(lua.LNumber); ok {
		for name, id := range constants() {
			if id == int(n) && strings.HasPrefix(name, "HTTP_") && id != 100 {
				sub.Method = []byte(name[5:])
			}
		}
	}
	switch a := o.RawGetString("args").(type) {
	case *lua.LTable:
		args = joinArgs(args, m.encodeArgs(L, a))
	case lua.LString:
		args = joinArgs(args, string(a))
	}
	if b, ok := text(o.RawGetString("body")); ok {
		raise(L, "the option body of ngx.location.capture is not supported by limpet (%d bytes)", len(b))
	}
	if vars, ok := o.RawGetString("vars").(*lua.LTable); ok {
		vars.ForEach(func(k, v lua.LValue) {
			if s, ok := text(v); ok {
				m.assign(L, sub, k.String(), s)
			}
		})
	}
	return args
}

func joinArgs(a, b string) string {
	if a == "" || b == "" {
		return a + b
	}
	return a + "&" + b
}

// looseCase lets a table of headers in their own case be asked with any.
func (m *machine) looseCase(t *lua.LTable) {
	mt := m.L.NewTable()
	m.set(mt, "__index", func(L *lua.LState) int {
		want := strings.ReplaceAll(L.Get(2).String(), "_", "-")
		var found lua.LValue = lua.LNil
		t.ForEach(func(k, v lua.LValue) {
			if strings.EqualFold(k.String(), want) {
				found = v
			}
		})
		L.Push(found)
		return 1
	})
	t.Metatable = mt
}

// openVars adds ngx.var.
func (m *machine) openVars(t *lua.LTable) {
	v, mt := m.L.NewTable(), m.L.NewTable()
	m.set(mt, "__index", func(L *lua.LState) int {
		r := m.request(L)
		if n, ok := L.Get(2).(lua.LNumber); ok {
			if c := r.Capture(int(n)); c != nil {
				return str(L, string(c))
			}
			L.Push(lua.LNil)
			return 1
		}
		name, ok := L.Get(2).(lua.LString)
		if !ok {
			raise(L, "bad variable name")
		}
		v := m.variable(string(name))
		if v == nil {
			L.Push(lua.LNil)
			return 1
		}
		b, ok := v.Append(r, m.scratch[:0])
		m.scratch = b[:0]
		if !ok {
			L.Push(lua.LNil)
			return 1
		}
		return str(L, string(b))
	})
	m.set(mt, "__newindex", func(L *lua.LState) int {
		r := m.request(L)
		name := m.checkString(L, 2)
		switch v := L.Get(3).(type) {
		case *lua.LNilType:
			m.assign(L, r, name, "")
		default:
			s, ok := text(v)
			if !ok {
				s = m.tostring(L, v)
			}
			m.assign(L, r, name, s)
		}
		return 0
	})
	v.Metatable = mt
	t.RawSetString("var", v)
}

// variable finds a variable by its name at run time. What was found is kept with the state.
func (m *machine) variable(name string) *ngx.Var {
	if v, ok := m.vars[name]; ok {
		return v
	}
	v := m.rt.build.Vars.Lookup(strings.ToLower(name))
	if m.vars == nil || len(m.vars) > 1000 {
		m.vars = make(map[string]*ngx.Var)
	}
	m.vars[name] = v
	return v
}

// assign sets a variable of a request.
func (m *machine) assign(L *lua.LState, r *ngx.Request, name, value string) {
	v := m.variable(name)
	if v == nil {
		raise(L, `variable "%s" not found for writing; maybe it is a built-in variable that is not changeable or you forgot to use "set $%s '';" in the config file to define it first`, name, name)
	}
	if !v.CanAssign() {
		raise(L, `variable "%s" not changeable`, name)
	}
	v.Assign(r, r.CopyString(value))
}

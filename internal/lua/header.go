package lua

import (
	"net/http"
	"strconv"
	"strings"

	lua "github.com/yuin/gopher-lua"

	"limpet/internal/errlog"
	"limpet/internal/ngx"
)

func (m *machine) openHeaders(t *lua.LTable) {
	L := m.L
	header, mt := L.NewTable(), L.NewTable()
	m.set(mt, "__index", func(L *lua.LState) int {
		r := m.request(L)
		L.Push(m.getHeader(r, m.headerName(L, r, 2)))
		return 1
	})
	m.set(mt, "__newindex", func(L *lua.LState) int {
		r := m.request(L)
		if r.HeadSent && m.phase&filtering == 0 {
			m.logMsg(errlog.Error, "attempt to set ngx.header.HEADER after sending out response headers")
			return 0
		}
		m.setHeader(L, r, m.headerName(L, r, 2), L.Get(3))
		return 0
	})
	header.Metatable = mt
	t.RawSetString("header", header)
	outer := L.NewTable()
	m.set(outer, "__index", m.ngxIndex)
	m.set(outer, "__newindex", m.ngxNewIndex)
	t.Metatable = outer
	resp := L.NewTable()
	m.set(resp, "get_headers", func(L *lua.LState) int {
		r := m.request(L)
		L.Push(m.responseHeaders(r, L.OptInt(1, 100), L.ToBool(2)))
		return 1
	})
	t.RawSetString("resp", resp)
}

// headerName returns the field name of an index: underscores are hyphens.
func (m *machine) headerName(L *lua.LState, r *ngx.Request, i int) string {
	name := m.checkString(L, i)
	if strings.IndexByte(name, '_') >= 0 && m.rt.confOf(r.Scope).underscores {
		name = strings.ReplaceAll(name, "_", "-")
	}
	return name
}

// getHeader returns a response field: a string, a table of several, or nil.
func (m *machine) getHeader(r *ngx.Request, name string) lua.LValue {
	o := &r.Out
	switch ngx.HeaderIDOf([]byte(name)) {
	case ngx.HeaderContentType:
		if o.ContentType == nil {
			return lua.LNil
		}
		v := string(o.ContentType)
		if len(o.Charset) > 0 {
			v += "; charset=" + string(o.Charset)
		}
		return lua.LString(v)
	case ngx.HeaderContentLength:
		if o.Length < 0 {
			return lua.LNil
		}
		return lua.LString(strconv.FormatInt(o.Length, 10))
	case ngx.HeaderLocation:
		if o.Location != nil {
			return lua.LString(o.Location)
		}
	case ngx.HeaderLastModified:
		if !o.LastModified.IsZero() {
			return lua.LString(o.LastModified.UTC().Format(ngx.TimeFormat))
		}
		return lua.LNil
	}
	var first lua.LValue = lua.LNil
	var all *lua.LTable
	for i := range o.Header.Fields {
		f := &o.Header.Fields[i]
		if f.Hidden || !ngx.EqualFold(f.Name, name) {
			continue
		}
		switch {
		case first == lua.LNil:
			first = lua.LString(f.Value)
		case all == nil:
			all = m.L.NewTable()
			all.Append(first)
			fallthrough
		default:
			all.Append(lua.LString(f.Value))
		}
	}
	if all != nil {
		return all
	}
	return first
}

// setHeader replaces a response field by a value, the values of a table, or nothing.
func (m *machine) setHeader(L *lua.LState, r *ngx.Request, name string, v lua.LValue) {
	values := m.headerValues(L, r, v)
	if m.setKnown(r, name, values) {
		return
	}
	h := &r.Out.Header
	at := -1
	for i := range h.Fields {
		if f := &h.Fields[i]; !f.Hidden && ngx.EqualFold(f.Name, name) {
			f.Hidden = true
			if at < 0 {
				at = i
			}
		}
	}
	if len(values) > 0 && at >= 0 {
		h.Fields[at].Value, h.Fields[at].Hidden = values[0], false
		values = values[1:]
	}
	for _, v := range values {
		h.Add(r.CopyString(headerEscape(name)), v)
	}
}

// headerValues returns the values of a field: none for nil, those of a table, or one.
func (m *machine) headerValues(L *lua.LState, r *ngx.Request, v lua.LValue) (values [][]byte) {
	one := func(v lua.LValue) []byte { return r.CopyString(headerEscape(m.tostring(L, v))) }
	switch v := v.(type) {
	case *lua.LNilType:
	case *lua.LTable:
		for i := 1; i <= v.Len(); i++ {
			values = append(values, one(v.RawGetInt(i)))
		}
	default:
		values = append(values, one(v))
	}
	return values
}

// headerEscape escapes control bytes, which would end the field.
func headerEscape(s string) string {
	for i := range len(s) {
		if s[i] < 0x20 && s[i] != '\t' || s[i] == 0x7f {
			var b strings.Builder
			for j := range len(s) {
				if c := s[j]; c < 0x20 && c != '\t' || c == 0x7f {
					const hex = "0123456789ABCDEF"
					b.WriteString("%" + string(hex[c>>4]) + string(hex[c&15]))
				} else {
					b.WriteByte(c)
				}
			}
			return b.String()
		}
	}
	return s
}

// setKnown sets a field that has a place of its own in the response.
func (m *machine) setKnown(r *ngx.Request, name string, values [][]byte) bool {
	o := &r.Out
	var v []byte
	if len(values) > 0 {
		v = values[len(values)-1]
	}
	switch ngx.HeaderIDOf([]byte(name)) {
	case ngx.HeaderContentType:
		o.ContentType, o.Charset = v, nil
	case ngx.HeaderContentLength:
		o.Length = -1
		if n, err := strconv.ParseInt(string(v), 10, 64); v != nil && err == nil {
			o.Length = n
		}
	case ngx.HeaderLocation:
		m.setLocation(r, name, v)
	case ngx.HeaderServer:
		o.Server = v
	case ngx.HeaderDate:
		o.Date = v
	case ngx.HeaderLastModified:
		o.LastModified, _ = http.ParseTime(string(v))
	case ngx.HeaderConnection, ngx.HeaderTransferEncoding, ngx.HeaderKeepAlive:
		if ngx.EqualFold(v, "close") {
			o.Close = true
		}
	default:
		return false
	}
	return true
}

// setLocation sets the field as it is given: what begins with a slash isn't made absolute.
func (m *machine) setLocation(r *ngx.Request, name string, v []byte) {
	r.Out.Header.Hide(ngx.HeaderLocation)
	r.Out.Location = nil
	if len(v) > 0 && v[0] == '/' {
		r.Out.Header.Add(r.CopyString(name), v)
	} else {
		r.Out.Location = v
	}
}

func (m *machine) responseHeaders(r *ngx.Request, limit int, raw bool) *lua.LTable {
	t := m.L.NewTable()
	set := func(name string, v lua.LValue) {
		if !raw {
			name = strings.ToLower(name)
		}
		if v != lua.LNil {
			t.RawSetString(name, v)
		}
	}
	for _, name := range []string{"Content-Type", "Content-Length", "Last-Modified", "Location"} {
		set(name, m.getHeader(r, name))
	}
	if r.KeepAlive {
		set("Connection", lua.LString("keep-alive"))
	} else {
		set("Connection", lua.LString("close"))
	}
	n := 0
	for i := range r.Out.Header.Fields {
		f := &r.Out.Header.Fields[i]
		if n++; f.Hidden || limit > 0 && n > limit {
			continue
		}
		set(string(f.Name), m.getHeader(r, string(f.Name)))
	}
	m.looseNames(t, raw)
	return t
}

// looseNames lets a table of headers be asked with any case and with underscores.
func (m *machine) looseNames(t *lua.LTable, raw bool) {
	if raw {
		return
	}
	mt := m.L.NewTable()
	m.set(mt, "__index", func(L *lua.LState) int {
		k, ok := L.Get(2).(lua.LString)
		if !ok {
			L.Push(lua.LNil)
			return 1
		}
		L.Push(t.RawGetString(strings.ToLower(strings.ReplaceAll(string(k), "_", "-"))))
		return 1
	})
	t.Metatable = mt
}

// ngxIndex gives what of the table ngx is the request's: status, ctx, headers_sent, is_subrequest, arg.
func (m *machine) ngxIndex(L *lua.LState) int {
	key, _ := L.Get(2).(lua.LString)
	switch key {
	case "status":
		r := m.request(L)
		status := r.Out.Status
		if r.ErrorStatus != 0 {
			status = r.ErrorStatus
		}
		if status == 0 {
			status = r.Status
		}
		L.Push(lua.LNumber(status))
	case "ctx":
		L.Push(m.context(L))
	case "headers_sent":
		L.Push(lua.LBool(m.request(L).HeadSent && m.phase&filtering == 0))
	case "is_subrequest":
		L.Push(lua.LBool(!m.request(L).IsMain()))
	case "arg":
		L.Push(m.arguments(L))
	default:
		L.Push(lua.LNil)
	}
	return 1
}

func (m *machine) ngxNewIndex(L *lua.LState) int {
	key, _ := L.Get(2).(lua.LString)
	switch key {
	case "status":
		r := m.request(L)
		if r.HeadSent && m.phase&filtering == 0 {
			m.logMsg(errlog.Error, "attempt to set ngx.status after sending out response headers")
			return 0
		}
		r.Out.Status, r.Out.Reason = L.CheckInt(3), nil
		if r.ErrorStatus != 0 {
			r.ErrorStatus = r.Out.Status
		}
	case "ctx":
		m.request(L)
		m.state().ctx = L.CheckTable(3)
	default:
		L.CheckTable(1).RawSet(L.Get(2), L.Get(3))
	}
	return 0
}

// context returns ngx.ctx; without a request it is a table of the run.
func (m *machine) context(L *lua.LState) *lua.LTable {
	if m.call == nil {
		raise(L, "no request ctx found")
	}
	if m.r == nil {
		if m.own == nil {
			m.own = L.NewTable()
		}
		return m.own
	}
	st := m.state()
	if st.ctx == nil {
		st.ctx = L.NewTable()
	}
	return st.ctx
}

// state returns what Lua keeps with the request.
func (m *machine) state() *requestState {
	st := m.rt.slot.Get(m.r)
	if st == nil {
		st = &requestState{}
		m.rt.slot.Put(m.r, st)
	}
	return st
}

// arguments returns ngx.arg: those of set_by_lua, or the piece of body_filter_by_lua.
func (m *machine) arguments(L *lua.LState) lua.LValue {
	switch m.phase {
	case phaseSet:
		t := L.NewTable()
		for i := range m.args {
			if v := m.args[i].Bytes(m.r); len(v) > 0 { // an empty one is nil, as in lua-resty-core
				t.RawSetInt(i+1, lua.LString(v))
			}
		}
		return t
	case phaseBodyFilter:
		t, mt := L.NewTable(), L.NewTable()
		m.set(mt, "__index", func(L *lua.LState) int {
			switch L.CheckInt(2) {
			case 1:
				L.Push(lua.LString(m.chunk.data))
			case 2:
				L.Push(lua.LBool(m.chunk.last))
			default:
				L.Push(lua.LNil)
			}
			return 1
		})
		m.set(mt, "__newindex", func(L *lua.LState) int {
			m.setChunk(L, L.CheckInt(2), L.Get(3))
			return 0
		})
		t.Metatable = mt
		return t
	}
	raise(L, "API disabled in the context of %s", m.phase)
	return lua.LNil
}

package lua

import (
	"strings"
	"time"

	lua "github.com/yuin/gopher-lua"

	"limpet/internal/ngx"
)

func (m *machine) openOutput(t *lua.LTable) {
	m.set(t, "print", func(L *lua.LState) int { return m.write(L, "print", "") })
	m.set(t, "say", func(L *lua.LState) int { return m.write(L, "say", "\n") })
	m.set(t, "flush", func(L *lua.LState) int {
		m.in(L, answering)
		r := m.r
		if m.state().set {
			return fail(L, "buffering")
		}
		if !r.HeadSent {
			return fail(L, "nothing to flush")
		}
		if err := r.Flush(); err != nil {
			return m.lost(L, err)
		}
		L.Push(lua.LNumber(1))
		return 1
	})
	m.set(t, "eof", func(L *lua.LState) int {
		m.in(L, answering)
		if m.state().eof {
			return fail(L, "seen eof")
		}
		if err := m.finish(); err != nil {
			return m.lost(L, err)
		}
		L.Push(lua.LNumber(1))
		return 1
	})
	m.set(t, "send_headers", func(L *lua.LState) int {
		m.in(L, answering)
		if err := m.sendHead(); err != nil {
			return m.lost(L, err)
		}
		L.Push(lua.LNumber(1))
		return 1
	})
	m.set(t, "exit", m.exit)
	m.set(t, "redirect", m.redirect)
	m.set(t, "exec", m.exec)
	m.set(t, "sleep", m.sleep)
	m.set(t, "on_abort", func(L *lua.LState) int {
		m.in(L, answering)
		return fail(L, "lua_check_client_abort is off")
	})
}

// lost notes that the client can't be answered any more.
func (m *machine) lost(L *lua.LState, err error) int {
	m.gone = err
	return fail(L, "nginx output filter error")
}

// write is ngx.print and ngx.say.
func (m *machine) write(L *lua.LState, name, end string) int {
	m.in(L, answering)
	st := m.state()
	if st.eof {
		return fail(L, "seen eof")
	}
	var b strings.Builder
	for i := 1; i <= L.GetTop(); i++ {
		m.appendArg(L, &b, name, i, L.Get(i))
	}
	b.WriteString(end)
	if m.r.HeadSent && m.r.HeaderOnly {
		return fail(L, "header only")
	}
	if b.Len() > 0 || !m.r.HeadSent {
		if err := m.send([]byte(b.String())); err != nil {
			return m.lost(L, err)
		}
	}
	L.Push(lua.LNumber(1))
	return 1
}

func (m *machine) appendArg(L *lua.LState, b *strings.Builder, name string, i int, v lua.LValue) {
	switch v := v.(type) {
	case lua.LString, lua.LNumber, lua.LBool, *lua.LNilType:
		b.WriteString(m.tostring(L, v))
		return
	case *lua.LUserData:
		if v == m.null {
			b.WriteString("null")
			return
		}
	case *lua.LTable:
		m.appendArray(L, b, name, i, v)
		return
	}
	raise(L, "bad argument #%d to '%s' (string, number, boolean, nil, ngx.null, or array table expected, but got %s)", i, name, v.Type())
}

func (m *machine) appendArray(L *lua.LState, b *strings.Builder, name string, i int, t *lua.LTable) {
	n := 0
	m.whole(t).ForEach(func(k, v lua.LValue) {
		if k.Type() != lua.LTNumber {
			raise(L, "bad argument #%d to '%s' (non-array table found)", i, name)
		}
		n++
	})
	for j := 1; j <= n; j++ {
		m.appendArg(L, b, name, i, t.RawGetInt(j))
	}
}

// conf returns the Lua directives in force where the request is.
func (m *machine) conf() *scopeConf { return m.rt.confOf(m.r.Scope) }

// sendHead sends the answer's head, status 200 and default_type where the script didn't say otherwise.
func (m *machine) sendHead() error {
	r := m.r
	if r.HeadSent {
		return nil
	}
	o := &r.Out
	if o.Status == 0 {
		o.Status = 200
	}
	if o.ContentType == nil && m.conf().defaultType {
		o.ContentType = r.MIMEType()
	}
	return r.SendHead()
}

// send writes a piece of the body; for an HTTP/1.0 client it is kept until all is there.
func (m *machine) send(p []byte) error {
	r, st := m.r, m.state()
	if !r.HeadSent && r.Proto < ngx.HTTP11 && r.Out.Length < 0 && m.conf().buffer10 {
		st.buf, st.set = append(st.buf, p...), true
		return nil
	}
	if err := m.sendHead(); err != nil {
		return err
	}
	if r.HeaderOnly || len(p) == 0 {
		return nil
	}
	return r.Write(p)
}

// finish ends the answer.
func (m *machine) finish() error {
	r, st := m.r, m.state()
	if st.eof {
		return nil
	}
	st.eof = true
	if st.set {
		r.Out.Length = int64(len(st.buf))
		st.set = false
		if err := m.sendHead(); err != nil {
			return err
		}
		if !r.HeaderOnly && len(st.buf) > 0 {
			if err := r.Write(st.buf); err != nil {
				return err
			}
		}
	}
	if err := m.sendHead(); err != nil {
		return err
	}
	return r.Finish()
}

// exit is ngx.exit.
// https://github.com/openresty/lua-nginx-module#ngxexit
func (m *machine) exit(L *lua.LState) int {
	m.in(L, answering|phaseTimer|phaseHeaderFilter|phaseBalancer)
	code := L.CheckInt(1)
	if m.phase&answering != 0 && code >= 300 && m.r.HeadSent && code != 444 && code != 408 && code != 499 {
		m.r.Errorf("attempt to set status %d via ngx.exit after sending out the response status %d", code, m.r.Out.Status)
		code = m.r.Out.Status
	}
	m.exited, m.call.code = true, code
	if m.phase&(phaseHeaderFilter|phaseBalancer) != 0 {
		return 0
	}
	m.leave(L)
	return 0
}

func (m *machine) redirect(L *lua.LState) int {
	m.in(L, answering)
	uri, status := m.checkString(L, 1), L.OptInt(2, 302)
	switch status {
	case 301, 302, 303, 307, 308:
	default:
		raise(L, "only ngx.HTTP_MOVED_TEMPORARILY, ngx.HTTP_MOVED_PERMANENTLY, ngx.HTTP_PERMANENT_REDIRECT, ngx.HTTP_SEE_OTHER, and ngx.HTTP_TEMPORARY_REDIRECT are allowed")
	}
	if m.r.HeadSent {
		raise(L, "attempt to call ngx.redirect after sending out the headers")
	}
	checkURI(L, "redirect uri", uri)
	m.setLocation(m.r, "Location", m.r.CopyString(uri))
	m.exited, m.call.code = true, status
	m.leave(L)
	return 0
}

// exec is ngx.exec: an internal redirect.
func (m *machine) exec(L *lua.LState) int {
	m.in(L, answering)
	uri := m.checkString(L, 1)
	if uri == "" {
		raise(L, "The uri argument is empty")
	}
	r := m.r
	if r.HeadSent {
		raise(L, "attempt to call ngx.exec after sending out response headers")
	}
	args := ""
	switch v := L.Get(2).(type) {
	case *lua.LTable:
		args = m.encodeArgs(L, v)
	case *lua.LNilType:
	default:
		args = m.checkString(L, 2)
	}
	if strings.HasPrefix(uri, "@") {
		r.Named = uri
	} else {
		r.SetTarget(r.CopyString(uri))
		if args != "" && len(r.Args) > 0 {
			args = string(r.Args) + "&" + args
		}
		if args != "" {
			r.Args = r.CopyString(args)
		}
	}
	m.exited, m.outcome = true, ngx.Redirect
	m.leave(L)
	return 0
}

// sleep waits through the connection.
func (m *machine) sleep(L *lua.LState) int {
	m.in(L, answering|phaseTimer)
	d := time.Duration(float64(L.CheckNumber(1)) * float64(time.Second))
	if d < 0 {
		raise(L, "invalid sleep duration \"%s\"", numText(L.CheckNumber(1)*1000))
	}
	began := time.Now()
	if m.r == nil {
		t := time.NewTimer(d)
		defer t.Stop()
		select {
		case <-t.C:
		case <-m.rt.done:
		}
	} else if err := m.r.Client.Conn.Sleep(d); err != nil {
		m.exited, m.outcome = true, ngx.Close
		m.r.Infof("client prematurely closed connection")
		m.leave(L)
	}
	m.guard.slept(time.Since(began))
	return 0
}

// checkURI raises an error for a control byte.
func checkURI(L *lua.LState, what, uri string) {
	for i := range len(uri) {
		if c := uri[i]; c < 0x20 || c == 0x7f {
			raise(L, `unsafe byte "0x%02x" in %s "%s"`, c, what, escapeControls(uri))
		}
	}
}

func escapeControls(s string) string {
	var b strings.Builder
	for i := range len(s) {
		if c := s[i]; c < 0x20 || c == 0x7f {
			const hex = "0123456789ABCDEF"
			b.WriteString(`\x` + string(hex[c>>4]) + string(hex[c&15]))
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}

package lua

import (
	"fmt"
	"os"
	"strings"

	lua "github.com/yuin/gopher-lua"

	"limpet/internal/errlog"
	"limpet/internal/ngx"
)

// Levels of ngx.log, which are nginx's own numbers.
const (
	levelNotice = 6
	levelErr    = 4
)

// openAPI adds the table ngx.
func (m *machine) openAPI(g *lua.LTable) {
	t := m.L.NewTable()
	m.ngx = t
	g.RawSetString("ngx", t)
	for name, n := range constants() {
		t.RawSetString(name, lua.LNumber(n))
	}
	t.RawSetString("null", m.null)
	m.openLog(t)
	m.openOutput(t)
	m.openHeaders(t)
	m.openRequest(t)
	m.openVars(t)
	m.openEncode(t)
	m.openTime(t)
	m.openRegex(t)
	m.openShared(t)
	m.openTimers(t)
	m.openWorker(t)
	m.openMissing(t)
}

func constants() map[string]int {
	c := map[string]int{
		"OK": 0, "ERROR": -1, "AGAIN": -2, "DONE": -4, "DECLINED": -5,
		"STDERR": 0, "EMERG": 1, "ALERT": 2, "CRIT": 3, "ERR": levelErr, "WARN": 5, "NOTICE": levelNotice, "INFO": 7, "DEBUG": 8,
		"HTTP_GET": 2, "HTTP_HEAD": 4, "HTTP_POST": 8, "HTTP_PUT": 16, "HTTP_DELETE": 32, "HTTP_MKCOL": 64, "HTTP_COPY": 128, "HTTP_MOVE": 256,
		"HTTP_OPTIONS": 512, "HTTP_PROPFIND": 1024, "HTTP_PROPPATCH": 2048, "HTTP_LOCK": 4096, "HTTP_UNLOCK": 8192, "HTTP_PATCH": 16384, "HTTP_TRACE": 32768,
	}
	for name, status := range map[string]int{
		"CONTINUE": 100, "SWITCHING_PROTOCOLS": 101, "OK": 200, "CREATED": 201, "ACCEPTED": 202, "NO_CONTENT": 204, "PARTIAL_CONTENT": 206,
		"SPECIAL_RESPONSE": 300, "MOVED_PERMANENTLY": 301, "MOVED_TEMPORARILY": 302, "SEE_OTHER": 303, "NOT_MODIFIED": 304, "TEMPORARY_REDIRECT": 307,
		"PERMANENT_REDIRECT": 308, "BAD_REQUEST": 400, "UNAUTHORIZED": 401, "PAYMENT_REQUIRED": 402, "FORBIDDEN": 403, "NOT_FOUND": 404, "NOT_ALLOWED": 405,
		"NOT_ACCEPTABLE": 406, "REQUEST_TIMEOUT": 408, "CONFLICT": 409, "GONE": 410, "UPGRADE_REQUIRED": 426, "TOO_MANY_REQUESTS": 429, "CLOSE": 444,
		"ILLEGAL": 451, "INTERNAL_SERVER_ERROR": 500, "METHOD_NOT_IMPLEMENTED": 501, "BAD_GATEWAY": 502, "SERVICE_UNAVAILABLE": 503, "GATEWAY_TIMEOUT": 504,
		"VERSION_NOT_SUPPORTED": 505, "INSUFFICIENT_STORAGE": 507,
	} {
		c["HTTP_"+name] = status
	}
	return c
}

// in raises OpenResty's error unless the phase is one of allowed.
func (m *machine) in(L *lua.LState, allowed phase) {
	if m.call == nil || m.phase&allowed == 0 {
		name := "?"
		if m.call != nil {
			name = m.phase.String()
		}
		raise(L, "API disabled in the context of %s", name)
	}
}

// raise raises an error of the API. As in Lua, it has the caller's place only when
// a script called the function, not when pcall did.
func raise(L *lua.LState, format string, args ...any) {
	if d, ok := L.GetStack(1); ok {
		L.GetInfo("S", d, lua.LNil)
		if d.What == "G" {
			msg := format
			if len(args) > 0 {
				msg = fmt.Sprintf(format, args...)
			}
			L.Error(lua.LString(msg), 0)
		}
	}
	L.RaiseError(format, args...)
}

// argError is raise for what is wrong with argument i of the running function.
func argError(L *lua.LState, i int, msg string) {
	name := "?"
	if d, ok := L.GetStack(0); ok {
		L.GetInfo("n", d, lua.LNil)
		if j := strings.LastIndexAny(d.Name, ".:"); j >= 0 {
			d.Name = d.Name[j+1:]
		}
		if d.Name != "" && d.Name[0] != '(' && d.Name[0] != '<' && d.Name != "pcall" {
			name = d.Name
		}
	}
	raise(L, "bad argument #%d to '%s' (%s)", i, name, msg)
}

// request returns the request at hand or raises an error.
func (m *machine) request(L *lua.LState) *ngx.Request {
	if m.call == nil || m.r == nil {
		raise(L, "no request found")
	}
	return m.r
}

// fail returns nil and a message, the way in which the API reports errors.
func fail(L *lua.LState, msg string) int {
	L.Push(lua.LNil)
	L.Push(lua.LString(msg))
	return 2
}

// listed returns a table, and that it was cut at the limit where it was.
func listed(L *lua.LState, t *lua.LTable, cut bool) int {
	L.Push(t)
	if !cut {
		return 1
	}
	L.Push(lua.LString("truncated"))
	return 2
}

// str pushes one string.
func str(L *lua.LState, s string) int {
	L.Push(lua.LString(s))
	return 1
}

func (m *machine) openLog(t *lua.LTable) {
	m.set(t, "log", func(L *lua.LState) int {
		level := L.CheckInt(1)
		if level < 0 || level > 8 {
			argError(L, 1, "bad log level: "+numText(lua.LNumber(level)))
		}
		return m.logAt(L, level, 2)
	})
}

// logAt writes the arguments from first on to the error log, with the place of the caller.
func (m *machine) logAt(L *lua.LState, level, first int) int {
	lv := errlog.Level(level)
	if !m.logs(lv) {
		return 0
	}
	var b strings.Builder
	b.WriteString("[lua] ")
	b.WriteString(where(L))
	for i := first; i <= L.GetTop(); i++ {
		switch v := L.Get(i).(type) {
		case lua.LString, lua.LNumber, lua.LBool, *lua.LNilType:
			b.WriteString(m.tostring(L, v))
		case *lua.LTable:
			if L.GetMetaField(v, "__tostring") == lua.LNil {
				argError(L, i, "expected table to have __tostring metamethod")
			}
			b.WriteString(m.tostring(L, v))
		case *lua.LUserData:
			if v == m.null {
				b.WriteString("null")
			} else {
				b.WriteString(m.tostring(L, v))
			}
		default:
			argError(L, i, "string, number, boolean, or nil expected, got "+v.Type().String())
		}
	}
	m.logMsg(lv, b.String())
	return 0
}

// logs reports whether lines of the level are written at all.
func (m *machine) logs(lv errlog.Level) bool {
	switch {
	case m.call != nil && m.r != nil:
		return m.r.Scope.Core.ErrorLog.Enabled(lv)
	case m.muted:
		return false
	}
	return m.rt.testing || m.rt.log.Enabled(lv)
}

// logMsg writes a line with the tail of the phase.
func (m *machine) logMsg(lv errlog.Level, msg string) {
	switch {
	case m.call == nil:
		m.rt.logLine(lv, 0, msg)
	case m.r != nil:
		m.r.Logf(lv, "%s%s", msg, m.phase.doing())
	case m.phase == phaseInit:
		m.rt.logLine(lv, 0, msg)
	default:
		m.rt.logLine(lv, m.conn, msg+", context: "+m.phase.String())
	}
}

// where returns the caller's place as ngx.log shows it: file:line: function():
func where(L *lua.LState) string {
	d, ok := L.GetStack(1)
	if !ok {
		return ""
	}
	L.GetInfo("nSl", d, lua.LNil)
	src := d.Source
	if i := strings.LastIndexByte(src, '/'); i >= 0 {
		src = src[i+1:]
	}
	name := d.Name
	s := src + ":" + numText(lua.LNumber(d.CurrentLine)) + ": "
	if name == "" || name[0] == '<' || name[0] == '(' || name == "main chunk" || name == "corountine" || name == "?" {
		return s
	}
	if i := strings.LastIndexAny(name, ".:"); i >= 0 {
		name = name[i+1:]
	}
	return s + name + "(): "
}

func (m *machine) openWorker(t *lua.LTable) {
	w := m.L.NewTable()
	num := func(name string, f func() int) {
		m.set(w, name, func(L *lua.LState) int { L.Push(lua.LNumber(f())); return 1 })
	}
	num("pid", os.Getpid)
	num("id", func() int { return m.id })
	num("count", func() int { return m.rt.workers })
	m.set(w, "pids", func(L *lua.LState) int {
		pids := L.NewTable()
		pids.RawSetInt(1, lua.LNumber(os.Getpid()))
		L.Push(pids)
		return 1
	})
	m.set(w, "exiting", func(L *lua.LState) int {
		select {
		case <-m.rt.done:
			L.Push(lua.LTrue)
		default:
			L.Push(lua.LFalse)
		}
		return 1
	})
	t.RawSetString("worker", w)
	c := m.L.NewTable()
	c.RawSetString("subsystem", lua.LString("http"))
	c.RawSetString("debug", lua.LFalse)
	c.RawSetString("nginx_version", lua.LNumber(1031004))
	c.RawSetString("ngx_lua_version", lua.LNumber(10028))
	m.set(c, "prefix", func(L *lua.LState) int { return str(L, m.rt.prefix) })
	m.set(c, "nginx_configure", func(L *lua.LState) int { return str(L, "") })
	t.RawSetString("config", c)
	m.set(t, "get_phase", func(L *lua.LState) int {
		if m.call == nil {
			raise(L, "no request found")
		}
		return str(L, m.phase.short())
	})
}

// openMissing makes what isn't there an error that says so.
func (m *machine) openMissing(t *lua.LTable) {
	socket := m.L.NewTable()
	for _, name := range []string{"tcp", "udp", "stream", "connect"} {
		m.set(socket, name, func(L *lua.LState) int {
			raise(L, "ngx.socket.%s is not supported by limpet", name)
			return 0
		})
	}
	t.RawSetString("socket", socket)
	thread := m.L.NewTable()
	for _, name := range []string{"spawn", "wait", "kill"} {
		m.set(thread, name, func(L *lua.LState) int {
			raise(L, "ngx.thread.%s is not supported by limpet", name)
			return 0
		})
	}
	t.RawSetString("thread", thread)
	m.set(t, "run_worker_thread", func(L *lua.LState) int {
		raise(L, "ngx.run_worker_thread is not supported by limpet")
		return 0
	})
}

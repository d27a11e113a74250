package lua

import (
	"errors"
	"fmt"
	"strings"

	lua "github.com/yuin/gopher-lua"

	"limpet/internal/errlog"
	"limpet/internal/ngx"
	"limpet/upstream"
)

// machine is one Lua state, what a worker process has in OpenResty: modules and
// globals keep their values from run to run. One script runs in it at a time.
type machine struct {
	*call           // what runs; nil between runs
	rt              *runtime
	L               *lua.LState
	id              int // 0 for the one that runs init_worker_by_lua first
	guard           guard
	chunks          map[*code]*lua.LFunction
	loaded          *lua.LTable     // package.loaded
	timers          int             // pending, guarded by rt.mu
	waiters         []chan struct{} // timers that want the state, guarded by rt.mu
	null            *lua.LUserData
	arrays, empties *lua.LTable // cjson's metatables
	emptyArray      *lua.LUserData
	ngx             *lua.LTable
	patterns        map[string]*pattern
	vars            map[string]*ngx.Var   // by name, nil for none
	groups          map[string]*groupView // by the name that scripts use
	fill            *lua.LFunction        // __newindex of lazy tables
	scratch         []byte                // of ngx.var
	digests         map[string]lua.LValue // of ngx.md5
	muted           bool                  // lines of init phases were logged by machine 0
}

// call is one run of a script.
type call struct {
	phase   phase
	r       *ngx.Request      // nil without a request
	s       *upstream.Session // in balancer_by_lua
	b       *balancer
	conn    uint64      // number in log lines of a run without a request
	outcome ngx.Outcome // what ngx.exit and its kin decided
	exited  bool
	code    int // of ngx.exit
	args    []ngx.Text
	peer    *upstream.Peer // set_current_peer's
	chunk   *bodyChunk     // in body_filter_by_lua
	gone    error          // the client's going
	own     *lua.LTable    // ngx.ctx of a run without a request
}

// newMachine makes a state and runs init_by_lua in it.
func (rt *runtime) newMachine(id int) (*machine, error) {
	m := &machine{rt: rt, id: id, chunks: make(map[*code]*lua.LFunction), muted: id > 0}
	m.L = lua.NewState(lua.Options{SkipOpenLibs: true, RegistrySize: 1024, RegistryMaxSize: 1 << 20, CallStackSize: 1 << 13, MinimizeStackMemory: true})
	m.L.SetContext(&m.guard)
	m.openLibs()
	if rt.init == nil {
		return m, nil
	}
	c := &call{phase: phaseInit}
	if err := m.runCode(rt.init.code, c); err != nil {
		m.L.Close()
		return nil, fmt.Errorf("init_by_lua error: %s", err)
	}
	return m, nil
}

// guardGlobals makes a new global variable of a script worth a warning, as OpenResty does.
func (m *machine) guardGlobals() {
	mt := m.L.NewTable()
	m.set(mt, "__newindex", func(L *lua.LState) int {
		L.CheckTable(1).RawSet(L.Get(2), L.Get(3))
		if m.call == nil || !m.logs(errlog.Warn) {
			return 0
		}
		m.logMsg(errlog.Warn, fmt.Sprintf("[lua] _G write guard:12: __newindex(): writing a global Lua variable ('%s') which may lead to "+
			"race conditions between concurrent requests, so prefer the use of 'local' variables\nstack traceback:%s", m.tostring(L, L.Get(2)), here(L)))
		return 0
	})
	m.L.G.Global.Metatable = mt
}

// here returns the stack of the calling script.
func here(L *lua.LState) string {
	var b strings.Builder
	for i := 1; ; i++ {
		d, ok := L.GetStack(i)
		if !ok {
			return b.String()
		}
		L.GetInfo("nSl", d, lua.LNil)
		switch {
		case d.What == "G":
			b.WriteString("\n\t[C]: in function '" + d.Name + "'")
		case d.Name == "main chunk" || d.What == "main":
			fmt.Fprintf(&b, "\n\t%s:%d: in main chunk", d.Source, d.CurrentLine)
		case strings.HasPrefix(d.Name, "<"):
			fmt.Fprintf(&b, "\n\t%s:%d: in function %s", d.Source, d.CurrentLine, d.Name)
		default:
			fmt.Fprintf(&b, "\n\t%s:%d: in function '%s'", d.Source, d.CurrentLine, d.Name)
		}
	}
}

// function returns the code as a function of this state.
func (m *machine) function(c *code) *lua.LFunction {
	fn := m.chunks[c]
	if fn == nil {
		fn = m.L.NewFunctionFromProto(c.proto)
		if len(m.chunks) > maxFiles {
			clear(m.chunks)
		}
		m.chunks[c] = fn
	}
	return fn
}

// runCode runs a chunk. Globals are the state's, as they are in OpenResty with LuaJIT.
func (m *machine) runCode(c *code, what *call) error {
	_, err := m.runValue(c, what, 0)
	return err
}

// runValue is runCode for a chunk that returns nret values (0 or 1).
func (m *machine) runValue(c *code, what *call, nret int) (lua.LValue, error) {
	if c.err != nil {
		return lua.LNil, c.err
	}
	return m.invoke(m.function(c), what, nret)
}

// invoke runs a function of the state under the bounds of its phase.
func (m *machine) invoke(fn *lua.LFunction, what *call, nret int, args ...lua.LValue) (ret lua.LValue, err error) {
	outer := m.call
	m.call = what
	defer func() { m.call = outer }()
	if what.phase&(phaseInit|phaseInitWorker|phaseExitWorker) != 0 {
		m.guard.begin(initBudget, initTime, maxHeap)
	} else {
		m.guard.begin(requestBudget, requestTime, maxHeap)
	}
	m.rt.stats.Runs.Add(1)
	m.L.Push(fn)
	for _, a := range args {
		m.L.Push(a)
	}
	err = m.L.PCall(len(args), nret, nil)
	if err != nil {
		return lua.LNil, m.failed(err, fn)
	}
	if nret == 1 {
		ret = m.L.Get(-1)
		m.L.Pop(1)
	}
	return ret, nil
}

// failed makes of an error what OpenResty logs, nil where the script ended itself by ngx.exit and its kin.
func (m *machine) failed(err error, fn *lua.LFunction) error {
	if m.guard.stopped != nil {
		m.rt.stats.Stopped.Add(1)
	} else if m.exiting(err) {
		return nil
	}
	m.rt.stats.Errors.Add(1)
	var ae *lua.ApiError
	if !errors.As(err, &ae) {
		return err
	}
	msg := ""
	switch v := ae.Object.(type) {
	case lua.LString:
		msg = plain(string(v))
	case lua.LNumber:
		msg = numText(v)
	default:
		if m.L.GetMetaField(v, "__tostring") != lua.LNil {
			msg = m.tostring(m.L, v)
		} else {
			msg = "unknown reason"
		}
	}
	trace := traceback(ae.StackTrace)
	if p := fn.Proto; p != nil && p.LineDefined > 0 {
		trace = strings.Replace(trace, "in main chunk", fmt.Sprintf("in function <%s:%d>", p.SourceName, p.LineDefined), 1)
	}
	if m.phase.entry() {
		return fmt.Errorf("runtime error: %s\nstack traceback:\ncoroutine 0:%s", msg, trace)
	}
	return fmt.Errorf("%s\nstack traceback:%s", msg, trace)
}

// traceback puts the interpreter's stack into Lua's form, each line behind a newline.
func traceback(t string) string {
	_, t, ok := strings.Cut(t, "\n")
	if !ok {
		return ""
	}
	t = strings.TrimSuffix(t, "\n\t[G]: ?")
	var b strings.Builder
	for _, line := range strings.Split(t, "\n") {
		if strings.Contains(line, concatName) {
			continue
		}
		b.WriteByte('\n')
		line = strings.Replace(line, "function (anonymous)", "function '?'", 1)
		b.WriteString(strings.Replace(strings.Replace(line, "[G]:", "[C]:", 1), "[G] in", "[C]: in", 1))
	}
	return b.String()
}

// exitMark is the value of the error that ends a script by ngx.exit and its kin; no pcall catches it.
type exitMark struct{}

func (m *machine) exiting(err error) bool {
	var ae *lua.ApiError
	if !errors.As(err, &ae) {
		return false
	}
	ud, ok := ae.Object.(*lua.LUserData)
	if !ok {
		return false
	}
	_, ok = ud.Value.(exitMark)
	return ok
}

// leave ends the script with an outcome.
func (m *machine) leave(L *lua.LState) {
	ud := L.NewUserData()
	ud.Value = exitMark{}
	L.Error(ud, 0)
}

package lua

import (
	"time"

	lua "github.com/yuin/gopher-lua"

	"limpet/internal/errlog"
)

// openTimers adds ngx.timer.
// https://github.com/openresty/lua-nginx-module#ngxtimerat
func (m *machine) openTimers(t *lua.LTable) {
	timer := m.L.NewTable()
	m.set(timer, "at", func(L *lua.LState) int { return m.timer(L, false) })
	m.set(timer, "every", func(L *lua.LState) int { return m.timer(L, true) })
	for name, count := range map[string]*int{"running_count": &m.rt.running, "pending_count": &m.rt.pending} {
		m.set(timer, name, func(L *lua.LState) int {
			m.rt.mu.Lock()
			n := *count
			m.rt.mu.Unlock()
			L.Push(lua.LNumber(n))
			return 1
		})
	}
	t.RawSetString("timer", timer)
}

// timer starts a timer of this state. It waits until the configuration is in
// force and ends when that retires; a timer of a configuration that is only tested is dropped.
func (m *machine) timer(L *lua.LState, every bool) int {
	delay := float64(L.CheckNumber(1))
	fn := L.CheckFunction(2)
	if fn.IsG {
		argError(L, 2, "Lua function expected")
	}
	if every && delay <= 0 {
		argError(L, 1, "delay cannot be negative or zero")
	}
	delay = max(delay, 0)
	var args []lua.LValue
	for i := 3; i <= L.GetTop(); i++ {
		args = append(args, L.Get(i))
	}
	rt := m.rt
	if rt.ending() && delay > 0 {
		return fail(L, "process exiting")
	}
	rt.mu.Lock()
	if rt.pending >= rt.maxPending {
		rt.mu.Unlock()
		return fail(L, "too many pending timers")
	}
	rt.pending++
	m.timers++
	rt.mu.Unlock()
	if !rt.testing {
		rt.work.Add(1)
		go m.runTimer(time.Duration(delay*float64(time.Second)), every, fn, args)
	}
	L.Push(lua.LNumber(1))
	return 1
}

// ending reports whether the configuration has retired.
func (rt *runtime) ending() bool {
	select {
	case <-rt.done:
		return true
	default:
		return false
	}
}

// runTimer is a timer's goroutine; the runtime waits for it.
func (m *machine) runTimer(d time.Duration, every bool, fn *lua.LFunction, args []lua.LValue) {
	rt := m.rt
	defer rt.work.Done()
	defer func() {
		rt.mu.Lock()
		rt.pending--
		m.timers--
		rt.mu.Unlock()
	}()
	select {
	case <-rt.begun:
	case <-rt.done:
		return
	}
	for {
		t := time.NewTimer(d)
		premature := false
		select {
		case <-t.C:
		case <-rt.done:
			t.Stop()
			premature = true
		}
		m.fire(fn, premature, args)
		if !every || premature {
			return
		}
	}
}

// fire runs a timer's function.
func (m *machine) fire(fn *lua.LFunction, premature bool, args []lua.LValue) {
	rt := m.rt
	rt.mu.Lock()
	full := rt.running >= rt.maxRunning
	if !full {
		rt.running++
	}
	rt.mu.Unlock()
	if full {
		rt.log.Printf(errlog.Alert, 0, "%d lua_max_running_timers are not enough", rt.maxRunning)
		return
	}
	rt.take(m)
	what := &call{phase: phaseTimer, conn: rt.serial.Add(1)}
	_, err := m.invoke(fn, what, 0, append([]lua.LValue{lua.LBool(premature)}, args...)...)
	if err != nil {
		rt.log.Write(errlog.Error, what.conn, "lua entry thread aborted: "+err.Error()+", context: ngx.timer")
	}
	rt.release(m)
	rt.mu.Lock()
	rt.running--
	rt.mu.Unlock()
}

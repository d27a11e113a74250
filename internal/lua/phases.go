package lua

import (
	"bytes"

	lua "github.com/yuin/gopher-lua"

	"limpet/internal/errlog"
	"limpet/internal/ngx"
	"limpet/nginxconf"
)

// scopeConf is what running scripts look up of the directives in force at their place.
type scopeConf struct {
	buffer10, defaultType, underscores, needBody bool
}

// confOf returns what holds in a scope.
func (rt *runtime) confOf(s *ngx.Scope) *scopeConf {
	if c := rt.confs[s]; c != nil {
		return c
	}
	return &scopeConf{buffer10: true, defaultType: true, underscores: true}
}

// addSteps adds the steps of one scope.
func addSteps(b *ngx.Build, s *ngx.Scope) error {
	c := nginxconf.Of[*Conf](s.Level)
	rt := runtimeOf(b)
	if rt.confs == nil {
		rt.confs = make(map[*ngx.Scope]*scopeConf)
	}
	rt.confs[s] = &scopeConf{c.HTTP10Buffer.V, c.UseDefaultType.V, c.Underscores.V, c.NeedBody.V}
	fresh := !c.CodeCache.V
	mark := func(sc *script) *script {
		if sc != nil && fresh && !sc.fresh {
			copied := *sc
			copied.fresh = true
			return &copied
		}
		return sc
	}
	if s == s.Server {
		s.Add(ngx.ServerRewrite, rt.step(mark(c.ServerRewrite.V)))
	}
	s.Add(ngx.Rewrite, rt.step(mark(c.Rewrite.V)))
	s.Add(ngx.Access, rt.step(mark(c.Access.V)))
	s.Add(ngx.HeaderFilter, rt.filterStep(mark(c.HeaderFilter.V), mark(c.BodyFilter.V)))
	if c.Content.Own {
		s.Handler = rt.step(mark(c.Content.V))
	}
	if sc := mark(c.Log.V); sc != nil {
		s.Add(ngx.Log, func(r *ngx.Request) ngx.Outcome {
			rt.quick(sc, &call{phase: phaseLog, r: r})
			return ngx.Next
		})
	}
	s.Add(ngx.Log, rt.unpin)
	return nil
}

// machineFor returns a state for a request: the one that holds its ngx.ctx, or any.
func (rt *runtime) machineFor(r *ngx.Request, fresh bool) (*machine, error) {
	if r != nil {
		if st := rt.slot.Get(r); st != nil && st.pinned != nil {
			return st.pinned, nil
		}
	}
	if fresh {
		return rt.worker()
	}
	return rt.acquire()
}

// giveBack gives a state back after a run. One whose objects are in the request's ngx.ctx stays with the request.
func (rt *runtime) giveBack(m *machine, r *ngx.Request, fresh bool) {
	if r != nil {
		if st := rt.slot.Get(r); st != nil {
			if st.pinned == m {
				return
			}
			if st.ctx != nil && !m.isData(st.ctx, 0) {
				st.pinned = m
				return
			}
		}
	}
	if fresh {
		m.L.Close()
		return
	}
	rt.release(m)
}

// unpin lets the state go that a request held.
func (rt *runtime) unpin(r *ngx.Request) ngx.Outcome {
	if st := rt.slot.Get(r); st != nil && st.pinned != nil {
		m := st.pinned
		st.pinned, st.ctx = nil, nil
		rt.release(m)
	}
	return ngx.Next
}

// isData reports whether a table holds nothing that belongs to a state: no functions, no metatables.
func (m *machine) isData(t *lua.LTable, depth int) bool {
	if depth > 20 || m.whole(t).Metatable != lua.LNil {
		return false
	}
	ok := true
	t.ForEach(func(k, v lua.LValue) {
		for _, x := range [2]lua.LValue{k, v} {
			switch x := x.(type) {
			case lua.LString, lua.LNumber, lua.LBool:
			case *lua.LTable:
				ok = ok && m.isData(x, depth+1)
			default:
				ok = false
			}
		}
	})
	return ok
}

// step returns the step of a script that may wait and answer; nil without a script.
func (rt *runtime) step(sc *script) ngx.Step {
	if sc == nil {
		return nil
	}
	return func(r *ngx.Request) ngx.Outcome {
		m, err := rt.machineFor(r, sc.fresh)
		if err != nil {
			r.Errorf("%s", err)
			return ngx.Status(500)
		}
		defer func() { rt.giveBack(m, r, sc.fresh) }()
		what := &call{phase: sc.phase, r: r}
		c := sc.codeFor(rt, r)
		if c.err != nil {
			r.Errorf("%s", c.err)
			if c.err.missing {
				return ngx.Status(404)
			}
			return ngx.Status(500)
		}
		if rt.confOf(r.Scope).needBody {
			if out := r.ReadAll(); out != ngx.Next {
				return out
			}
		}
		err = m.runCode(c, what)
		return m.ended(what, err)
	}
}

// ended turns the end of a script into the step's outcome.
func (m *machine) ended(what *call, err error) ngx.Outcome {
	outer := m.call
	m.call = what
	defer func() { m.call = outer }()
	r := what.r
	switch {
	case err != nil:
		r.Errorf("lua entry thread aborted: %s", err)
		return ngx.Status(500)
	case what.outcome != ngx.Next:
		return what.outcome
	case what.gone != nil:
		return ngx.Close
	case what.exited:
		return m.exitOutcome(what.code)
	}
	if what.phase == phaseContent || r.HeadSent || m.state().set || m.state().eof {
		return m.complete()
	}
	if what.phase == phaseAccess {
		return ngx.OK
	}
	return ngx.Next
}

// exitOutcome is what ngx.exit's code means for a step.
func (m *machine) exitOutcome(code int) ngx.Outcome {
	r := m.r
	content := m.phase == phaseContent
	switch {
	case code == 0 && content, code >= 200 && code < 300 && code != 204:
		return m.complete()
	case r.HeadSent && code > 0 && code != 408 && code != 499 && code != 444:
		return m.complete()
	case code >= 100:
		return ngx.Status(code)
	case code == 0:
		if r.HeadSent || m.state().set {
			return m.complete()
		}
		if m.phase == phaseAccess {
			return ngx.OK
		}
		return ngx.Next
	case code == -5: // ngx.DECLINED
		return ngx.Next
	}
	return ngx.Close // ngx.ERROR
}

// complete ends the answer.
func (m *machine) complete() ngx.Outcome {
	if err := m.finish(); err != nil {
		return ngx.Close
	}
	return ngx.OK
}

// quick runs a script that neither waits nor answers; its error is logged.
func (rt *runtime) quick(sc *script, what *call) (ok bool) {
	r := what.r
	m, err := rt.machineFor(r, sc.fresh)
	if err != nil {
		r.Errorf("%s", err)
		return false
	}
	defer rt.giveBack(m, r, sc.fresh)
	c := sc.codeFor(rt, r)
	if c.err == nil {
		if err = m.runCode(c, what); err == nil {
			return true
		}
		r.Logf(errlog.Error, "failed to run %s: %s%s", what.phase, err, what.phase.doing())
		return false
	}
	r.Logf(errlog.Error, "%s%s", c.err, what.phase.doing())
	return false
}

// setStep returns the step of a set_by_lua.
func (rt *runtime) setStep(set *setScript) ngx.Step {
	return func(r *ngx.Request) ngx.Outcome {
		m, err := rt.machineFor(r, set.fresh)
		if err != nil {
			r.Errorf("%s", err)
			return ngx.Status(500)
		}
		defer rt.giveBack(m, r, set.fresh)
		c := set.codeFor(rt, r)
		if c.err != nil {
			r.Errorf("%s", c.err)
			return ngx.Status(500)
		}
		v, err := m.runValue(c, &call{phase: phaseSet, r: r, args: set.args}, 1)
		if err != nil {
			r.Errorf("failed to run set_by_lua*: %s", err)
			return ngx.Status(500)
		}
		s, ok := text(v)
		if !ok && v != lua.LNil {
			s = m.tostring(m.L, v)
		}
		set.v.Assign(r, r.CopyString(s))
		return ngx.Next
	}
}

// filterStep returns the step that runs header_filter_by_lua and puts body_filter_by_lua in the body's way.
func (rt *runtime) filterStep(header, body *script) ngx.Step {
	if header == nil && body == nil {
		return nil
	}
	return func(r *ngx.Request) ngx.Outcome {
		if header != nil {
			what := &call{phase: phaseHeaderFilter, r: r}
			if !rt.quick(header, what) {
				return ngx.Close
			}
			switch {
			case what.exited && what.code >= 300 && r.Replaced == 0 && !rt.replaced(r):
				return ngx.Status(what.code)
			case what.exited && what.code < 0:
				return ngx.Close
			}
		}
		if body != nil {
			r.AddFilter(&bodyFilter{rt: rt, script: body})
		}
		return ngx.Next
	}
}

// replaced reports whether header_filter_by_lua has replaced the request's answer
// before: what it says of the error's own head then doesn't count.
func (rt *runtime) replaced(r *ngx.Request) bool {
	st := rt.slot.Get(r)
	if st == nil {
		st = &requestState{}
		rt.slot.Put(r, st)
	}
	was := st.replaced
	st.replaced = true
	return was
}

// bodyChunk is ngx.arg in body_filter_by_lua.
type bodyChunk struct {
	data []byte
	last bool
}

// setChunk assigns to ngx.arg.
func (m *machine) setChunk(L *lua.LState, i int, v lua.LValue) {
	switch i {
	case 1:
		switch v := v.(type) {
		case *lua.LNilType:
			m.chunk.data = nil
		case *lua.LTable:
			var b bytes.Buffer
			for j := 1; j <= v.Len(); j++ {
				b.WriteString(m.tostring(L, v.RawGetInt(j)))
			}
			m.chunk.data = b.Bytes()
		default:
			m.chunk.data = []byte(m.tostring(L, v))
		}
	case 2:
		m.chunk.last = lua.LVAsBool(v)
	default:
		raise(L, "bad argument #-1 to '?' (not a writable index)")
	}
}

// bodyFilter runs body_filter_by_lua on each piece of a body, and once at its end.
type bodyFilter struct {
	rt     *runtime
	script *script
	next   ngx.Sink
	ended  bool
	broken error
}

// Chain implements ngx.BodyFilter.
func (f *bodyFilter) Chain(next ngx.Sink) { f.next = next }

// Write implements ngx.Sink.
func (f *bodyFilter) Write(r *ngx.Request, p []byte) error { return f.pass(r, &bodyChunk{data: p}) }

// Flush implements ngx.Sink.
func (f *bodyFilter) Flush(r *ngx.Request) error { return f.next.Flush(r) }

// Finish implements ngx.Sink.
func (f *bodyFilter) Finish(r *ngx.Request) error {
	if err := f.pass(r, &bodyChunk{last: true}); err != nil {
		return err
	}
	return f.next.Finish(r)
}

func (f *bodyFilter) pass(r *ngx.Request, c *bodyChunk) error {
	if f.broken != nil || f.ended {
		return f.broken
	}
	if !f.rt.quick(f.script, &call{phase: phaseBodyFilter, r: r, chunk: c}) {
		f.broken = &ngx.StatusError{Status: 500}
		return f.broken
	}
	f.ended = c.last
	if len(c.data) == 0 {
		return nil
	}
	return f.next.Write(r, c.data)
}

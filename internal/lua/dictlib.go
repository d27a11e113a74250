package lua

import (
	lua "github.com/yuin/gopher-lua"
)

func float(n int64) lua.LNumber { return lua.LNumber(n) }

// openShared adds ngx.shared: a table of the dictionaries, with one metatable for all.
func (m *machine) openShared(t *lua.LTable) {
	all := m.L.NewTable()
	methods := m.dictMethods()
	mt := m.L.NewTable()
	mt.RawSetString("__index", methods)
	for name, d := range m.rt.dicts {
		ud := m.L.NewUserData()
		ud.Value = d
		one := m.L.NewTable()
		one.RawSetInt(1, ud)
		one.Metatable = mt
		all.RawSetString(name, one)
	}
	t.RawSetString("shared", all)
}

// dictOf returns the dictionary that is a method's receiver.
func dictOf(L *lua.LState) *dict {
	if t, ok := L.Get(1).(*lua.LTable); ok {
		if ud, ok := t.RawGetInt(1).(*lua.LUserData); ok {
			if d, ok := ud.Value.(*dict); ok {
				return d
			}
		}
	}
	raise(L, `bad "zone" argument`)
	return nil
}

// key reads argument 2; msg says what is wrong with it.
func (m *machine) key(L *lua.LState) (key, msg string) {
	v := L.Get(2)
	if v == lua.LNil {
		return "", "nil key"
	}
	key, ok := text(v)
	if !ok {
		key = m.tostring(L, v)
	}
	switch {
	case key == "":
		return "", "empty key"
	case len(key) > 65535:
		return "", "key too long"
	}
	return key, ""
}

// stored converts a Lua value for a dictionary; false for a type that can't be kept.
func stored(v lua.LValue) (any, bool) {
	switch v := v.(type) {
	case lua.LString:
		return string(v), true
	case lua.LNumber:
		return float64(v), true
	case lua.LBool:
		return bool(v), true
	case *lua.LNilType:
		return nil, true
	}
	return nil, false
}

func loaded(v any) lua.LValue {
	switch v := v.(type) {
	case string:
		return lua.LString(v)
	case float64:
		return lua.LNumber(v)
	case bool:
		return lua.LBool(v)
	}
	return lua.LNil
}

func (m *machine) dictMethods() *lua.LTable {
	t := m.L.NewTable()
	m.set(t, "get", func(L *lua.LState) int { return m.dictGet(L, false) })
	m.set(t, "get_stale", func(L *lua.LState) int { return m.dictGet(L, true) })
	m.set(t, "set", func(L *lua.LState) int { return m.dictSet(L, setAny, false) })
	m.set(t, "safe_set", func(L *lua.LState) int { return m.dictSet(L, setAny, true) })
	m.set(t, "add", func(L *lua.LState) int { return m.dictSet(L, setNew, false) })
	m.set(t, "safe_add", func(L *lua.LState) int { return m.dictSet(L, setNew, true) })
	m.set(t, "replace", func(L *lua.LState) int { return m.dictSet(L, setOnly, false) })
	m.set(t, "incr", m.dictIncr)
	m.set(t, "delete", func(L *lua.LState) int {
		d := dictOf(L)
		key, msg := m.key(L)
		if msg != "" {
			return fail(L, msg)
		}
		d.delete(key)
		L.Push(lua.LTrue)
		return 1
	})
	m.dictTimes(t)
	m.dictLists(t)
	m.set(t, "get_keys", func(L *lua.LState) int {
		keys := L.NewTable()
		for _, k := range dictOf(L).keys(L.OptInt(2, 1024)) {
			keys.Append(lua.LString(k))
		}
		L.Push(keys)
		return 1
	})
	m.set(t, "capacity", func(L *lua.LState) int { L.Push(float(dictOf(L).size)); return 1 })
	m.set(t, "free_space", func(L *lua.LState) int { L.Push(float(dictOf(L).freeSpace())); return 1 })
	return t
}

func (m *machine) dictGet(L *lua.LState, stale bool) int {
	d := dictOf(L)
	key, msg := m.key(L)
	if msg != "" {
		return fail(L, msg)
	}
	v, flags, expired, msg := d.load(key, stale)
	if msg != "" {
		return fail(L, msg)
	}
	L.Push(loaded(v))
	if !stale {
		if v == nil || flags == 0 {
			return 1
		}
		L.Push(lua.LNumber(flags))
		return 2
	}
	if flags == 0 {
		L.Push(lua.LNil)
	} else {
		L.Push(lua.LNumber(flags))
	}
	L.Push(lua.LBool(expired))
	return 3
}

func (m *machine) dictSet(L *lua.LState, how mode, safe bool) int {
	d := dictOf(L)
	key, msg := m.key(L)
	if msg != "" {
		return fail(L, msg)
	}
	v, ok := stored(L.Get(3))
	if !ok {
		return fail(L, "bad value type")
	}
	if v == nil {
		if how != setAny {
			return fail(L, "attempt to "+map[mode]string{setNew: "add", setOnly: "replace"}[how]+" nil values")
		}
		d.delete(key)
		L.Push(lua.LTrue)
		L.Push(lua.LNil)
		L.Push(lua.LFalse)
		return 3
	}
	ttl := float64(L.OptNumber(4, 0))
	if ttl < 0 {
		raise(L, `bad "exptime" argument`)
	}
	msg, forcible := d.store(key, v, ttl, uint32(L.OptInt(5, 0)), how, safe)
	L.Push(lua.LBool(msg == ""))
	if msg == "" {
		L.Push(lua.LNil)
	} else {
		L.Push(lua.LString(msg))
	}
	L.Push(lua.LBool(forcible))
	return 3
}

func (m *machine) dictIncr(L *lua.LState) int {
	d := dictOf(L)
	key, msg := m.key(L)
	if msg != "" {
		return fail(L, msg)
	}
	by := L.CheckNumber(3)
	var init *float64
	if v := L.Get(4); v != lua.LNil {
		n, ok := v.(lua.LNumber)
		if !ok {
			raise(L, "bad init arg: number expected, got %s", v.Type())
		}
		f := float64(n)
		init = &f
	}
	n, msg, forcible := d.incr(key, float64(by), init, float64(L.OptNumber(5, 0)))
	if msg != "" {
		return fail(L, msg)
	}
	L.Push(lua.LNumber(n))
	if init == nil {
		return 1
	}
	L.Push(lua.LNil)
	L.Push(lua.LBool(forcible))
	return 3
}

func (m *machine) dictTimes(t *lua.LTable) {
	m.set(t, "ttl", func(L *lua.LState) int {
		d := dictOf(L)
		key, msg := m.key(L)
		if msg != "" {
			return fail(L, msg)
		}
		ttl, ok := d.ttl(key)
		if !ok {
			return fail(L, "not found")
		}
		L.Push(lua.LNumber(ttl))
		return 1
	})
	m.set(t, "expire", func(L *lua.LState) int {
		d := dictOf(L)
		key, msg := m.key(L)
		if msg != "" {
			return fail(L, msg)
		}
		ttl := float64(L.CheckNumber(3))
		if ttl < 0 {
			raise(L, `bad "exptime" argument`)
		}
		if !d.setTTL(key, ttl) {
			return fail(L, "not found")
		}
		L.Push(lua.LTrue)
		return 1
	})
	m.set(t, "flush_all", func(L *lua.LState) int { dictOf(L).flushAll(); return 0 })
	m.set(t, "flush_expired", func(L *lua.LState) int {
		L.Push(lua.LNumber(dictOf(L).flushExpired(L.OptInt(2, 0))))
		return 1
	})
}

func (m *machine) dictLists(t *lua.LTable) {
	push := func(left bool) lua.LGFunction {
		return func(L *lua.LState) int {
			d := dictOf(L)
			key, msg := m.key(L)
			if msg != "" {
				return fail(L, msg)
			}
			v, ok := stored(L.Get(3))
			if _, isBool := v.(bool); !ok || v == nil || isBool {
				return fail(L, "bad value type")
			}
			n, msg := d.push(key, v, left)
			if msg != "" {
				return fail(L, msg)
			}
			L.Push(lua.LNumber(n))
			return 1
		}
	}
	pop := func(left bool) lua.LGFunction {
		return func(L *lua.LState) int {
			d := dictOf(L)
			key, msg := m.key(L)
			if msg == "" {
				var v any
				if v, msg = d.pop(key, left); msg == "" {
					L.Push(loaded(v))
					return 1
				}
			}
			return fail(L, msg)
		}
	}
	m.set(t, "lpush", push(true))
	m.set(t, "rpush", push(false))
	m.set(t, "lpop", pop(true))
	m.set(t, "rpop", pop(false))
	m.set(t, "llen", func(L *lua.LState) int {
		d := dictOf(L)
		key, msg := m.key(L)
		if msg == "" {
			var n int
			if n, msg = d.length(key); msg == "" {
				L.Push(lua.LNumber(n))
				return 1
			}
		}
		return fail(L, msg)
	})
}

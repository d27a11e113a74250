package lua

import lua "github.com/yuin/gopher-lua"

// A lazy table is an empty one whose fields are those of another, a model that
// nobody changes, by its metatable's __index: making one costs next to nothing. Its fields
// become its own when a script first assigns to one, walks over them or asks for the
// metatable, so that a script can't tell it from a table of its own.

// lazyMeta returns the metatable of tables that look like the model.
func (m *machine) lazyMeta(model *lua.LTable) *lua.LTable {
	if m.fill == nil {
		m.fill = m.L.NewFunction(func(L *lua.LState) int {
			t := L.CheckTable(1)
			m.whole(t)
			L.RawSet(t, L.Get(2), L.Get(3))
			return 0
		})
	}
	mt := m.L.CreateTable(0, 2)
	mt.RawSetString("__index", model)
	mt.RawSetString("__newindex", m.fill)
	return mt
}

// lazyList returns a list of n new lazy tables.
func (m *machine) lazyList(n int, meta func(i int) *lua.LTable) *lua.LTable {
	list := m.L.CreateTable(n, 0)
	tables := make([]lua.LTable, n)
	for i := range tables {
		tables[i].Metatable = meta(i)
		list.Append(&tables[i])
	}
	return list
}

// whole gives a lazy table its fields. Any other it returns as it is.
func (m *machine) whole(t *lua.LTable) *lua.LTable {
	mt, ok := t.Metatable.(*lua.LTable)
	if !ok || m.fill == nil || mt.RawGetString("__newindex") != m.fill {
		return t
	}
	t.Metatable = lua.LNil
	model := mt.RawGetString("__index").(*lua.LTable)
	for k, v := model.Next(lua.LNil); k != lua.LNil; k, v = model.Next(k) {
		if t.RawGet(k) == lua.LNil {
			t.RawSet(k, v)
		}
	}
	return t
}

// seesWhole makes functions that look into a table itself, past its metatable, see all of it.
func (m *machine) seesWhole(t *lua.LTable, names ...string) {
	for _, name := range names {
		fn := t.RawGetString(name).(*lua.LFunction)
		raw := fn.GFunction
		fn.GFunction = func(L *lua.LState) int {
			if t, ok := L.Get(1).(*lua.LTable); ok && t.Metatable != lua.LNil {
				m.whole(t)
			}
			return raw(L)
		}
	}
}

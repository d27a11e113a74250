package lua

import (
	"container/list"
	"crypto/md5"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/hex"
	"hash"
	"time"

	lua "github.com/yuin/gopher-lua"
)

// lru is resty.lrucache: a cache of a state's own values.
// https://github.com/openresty/lua-resty-lrucache
type lru struct {
	size  int
	items map[lua.LValue]*list.Element
	order *list.List
}

type lruItem struct {
	key, value lua.LValue
	flags      lua.LValue
	expires    time.Time // zero: never
}

func (c *lru) set(key, value, flags lua.LValue, ttl float64) {
	it := &lruItem{key: key, value: value, flags: flags}
	if ttl > 0 {
		it.expires = time.Now().Add(time.Duration(ttl * float64(time.Second)))
	}
	if e := c.items[key]; e != nil {
		e.Value = it
		c.order.MoveToFront(e)
		return
	}
	if c.order.Len() >= c.size {
		last := c.order.Back()
		delete(c.items, last.Value.(*lruItem).key)
		c.order.Remove(last)
	}
	c.items[key] = c.order.PushFront(it)
}

func (c *lru) delete(key lua.LValue) {
	if e := c.items[key]; e != nil {
		c.order.Remove(e)
		delete(c.items, key)
	}
}

func (m *machine) openLRU() *lua.LTable {
	t, methods, mt := m.L.NewTable(), m.L.NewTable(), m.L.NewTable()
	mt.RawSetString("__index", methods)
	of := func(L *lua.LState) *lru {
		if ud, ok := L.CheckTable(1).RawGetInt(1).(*lua.LUserData); ok {
			if c, ok := ud.Value.(*lru); ok {
				return c
			}
		}
		raise(L, "not an lrucache")
		return nil
	}
	m.set(t, "new", func(L *lua.LState) int {
		n := L.CheckInt(1)
		if n < 1 {
			return fail(L, "size too small")
		}
		ud, self := L.NewUserData(), L.NewTable()
		ud.Value = &lru{n, make(map[lua.LValue]*list.Element), list.New()}
		self.RawSetInt(1, ud)
		self.Metatable = mt
		L.Push(self)
		return 1
	})
	m.set(methods, "get", func(L *lua.LState) int {
		c := of(L)
		e := c.items[L.Get(2)]
		if e == nil {
			L.Push(lua.LNil)
			return 1
		}
		it := e.Value.(*lruItem)
		c.order.MoveToFront(e)
		if !it.expires.IsZero() && time.Now().After(it.expires) {
			L.Push(lua.LNil)
			L.Push(it.value)
		} else {
			L.Push(it.value)
			L.Push(lua.LNil)
		}
		L.Push(it.flags)
		return 3
	})
	m.set(methods, "set", func(L *lua.LState) int {
		flags := L.Get(5)
		if flags == lua.LNil {
			flags = lua.LNumber(0)
		}
		of(L).set(L.Get(2), L.Get(3), flags, float64(L.OptNumber(4, 0)))
		return 0
	})
	m.set(methods, "delete", func(L *lua.LState) int { of(L).delete(L.Get(2)); return 0 })
	m.set(methods, "count", func(L *lua.LState) int { L.Push(lua.LNumber(of(L).order.Len())); return 1 })
	m.set(methods, "capacity", func(L *lua.LState) int { L.Push(lua.LNumber(of(L).size)); return 1 })
	m.set(methods, "flush_all", func(L *lua.LState) int {
		c := of(L)
		clear(c.items)
		c.order.Init()
		return 0
	})
	m.set(methods, "get_keys", func(L *lua.LState) int {
		c, limit := of(L), L.OptInt(2, 0)
		keys := L.NewTable()
		for e := c.order.Front(); e != nil && (limit == 0 || keys.Len() < limit); e = e.Next() {
			keys.Append(e.Value.(*lruItem).key)
		}
		L.Push(keys)
		return 1
	})
	return t
}

// openBase64 returns ngx.base64.
func (m *machine) openBase64() *lua.LTable {
	t := m.L.NewTable()
	m.set(t, "encode_base64url", func(L *lua.LState) int {
		return str(L, base64.RawURLEncoding.EncodeToString([]byte(m.checkString(L, 1))))
	})
	m.set(t, "decode_base64url", func(L *lua.LState) int {
		b, err := base64.RawURLEncoding.DecodeString(m.checkString(L, 1))
		if err != nil {
			return fail(L, "invalid input")
		}
		return str(L, string(b))
	})
	return t
}

// openRestyString returns resty.string.
func (m *machine) openRestyString() *lua.LTable {
	t := m.L.NewTable()
	m.set(t, "to_hex", func(L *lua.LState) int { return str(L, hex.EncodeToString([]byte(m.checkString(L, 1)))) })
	m.set(t, "atoi", func(L *lua.LState) int {
		n := 0
		for _, c := range []byte(m.checkString(L, 1)) {
			if c < '0' || c > '9' {
				break
			}
			n = n*10 + int(c-'0')
		}
		L.Push(lua.LNumber(n))
		return 1
	})
	return t
}

// openDigest returns resty.md5 and its kin.
func (m *machine) openDigest(name string) *lua.LTable {
	fresh := map[string]func() hash.Hash{"md5": md5.New, "sha1": sha1.New, "sha256": sha256.New, "sha512": sha512.New}[name]
	t, mt := m.L.NewTable(), m.L.NewTable()
	mt.RawSetString("__index", t)
	of := func(L *lua.LState) hash.Hash {
		ud, _ := L.CheckTable(1).RawGetInt(1).(*lua.LUserData)
		if ud == nil {
			raise(L, "not a digest")
		}
		return ud.Value.(hash.Hash)
	}
	m.set(t, "new", func(L *lua.LState) int {
		ud, self := L.NewUserData(), L.NewTable()
		ud.Value = fresh()
		self.RawSetInt(1, ud)
		self.Metatable = mt
		L.Push(self)
		return 1
	})
	m.set(t, "update", func(L *lua.LState) int {
		of(L).Write([]byte(m.checkString(L, 2)))
		L.Push(lua.LTrue)
		return 1
	})
	m.set(t, "final", func(L *lua.LState) int { return str(L, string(of(L).Sum(nil))) })
	m.set(t, "reset", func(L *lua.LState) int {
		of(L).Reset()
		L.Push(lua.LTrue)
		return 1
	})
	return t
}

// openReModule returns ngx.re: split.
func (m *machine) openReModule() *lua.LTable {
	t := m.L.NewTable()
	m.set(t, "split", func(L *lua.LState) int {
		s := m.checkString(L, 1)
		p, msg := m.pattern(L, 3)
		if p == nil {
			return fail(L, msg)
		}
		limit := L.OptInt(5, 0)
		out := L.NewTable()
		pos, from := 0, 0
		for pos <= len(s) && (limit <= 0 || out.Len() < limit-1) {
			caps, ok := p.match(s, pos)
			if !ok || caps[0] >= len(s) {
				break
			}
			if caps[0] == caps[1] { // an empty match parts single bytes
				if caps[0] == from {
					pos = caps[0] + 1
					if caps[0] != 0 || from != 0 || pos > len(s)-1 {
						continue
					}
					caps[0], caps[1] = pos, pos
				}
			}
			out.Append(lua.LString(s[from:caps[0]]))
			for i := 1; i <= p.re.NumCaptures(); i++ {
				if 2*i+1 < len(caps) && caps[2*i] >= 0 {
					out.Append(lua.LString(s[caps[2*i]:caps[2*i+1]]))
				}
			}
			from, pos = caps[1], max(caps[1], pos)
			if caps[0] == caps[1] {
				pos = caps[1] + 1
			}
		}
		out.Append(lua.LString(s[from:]))
		L.Push(out)
		return 1
	})
	t.RawSetString("opt", m.L.NewFunction(func(*lua.LState) int { return 0 }))
	return t
}

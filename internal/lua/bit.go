package lua

import (
	"fmt"
	"math"

	lua "github.com/yuin/gopher-lua"
)

// tobit makes a number one of 32 bits, as LuaJIT's bit library does.
// https://bitop.luajit.org/semantics.html
func tobit(n float64) int32 {
	if n != n || math.IsInf(n, 0) {
		return 0
	}
	r := math.RoundToEven(math.Mod(n, 1<<32))
	return int32(uint32(int64(r)))
}

// openBit returns the bit library.
func (m *machine) openBit() *lua.LTable {
	t := m.L.NewTable()
	num := func(L *lua.LState, i int) int32 { return tobit(float64(L.CheckNumber(i))) }
	ret := func(L *lua.LState, v int32) int { L.Push(lua.LNumber(v)); return 1 }
	fold := func(op func(a, b int32) int32) lua.LGFunction {
		return func(L *lua.LState) int {
			acc := num(L, 1)
			for i := 2; i <= L.GetTop(); i++ {
				acc = op(acc, num(L, i))
			}
			return ret(L, acc)
		}
	}
	shift := func(op func(a int32, n uint) int32) lua.LGFunction {
		return func(L *lua.LState) int { return ret(L, op(num(L, 1), uint(num(L, 2))&31)) }
	}
	m.set(t, "tobit", func(L *lua.LState) int { return ret(L, num(L, 1)) })
	m.set(t, "bnot", func(L *lua.LState) int { return ret(L, ^num(L, 1)) })
	m.set(t, "band", fold(func(a, b int32) int32 { return a & b }))
	m.set(t, "bor", fold(func(a, b int32) int32 { return a | b }))
	m.set(t, "bxor", fold(func(a, b int32) int32 { return a ^ b }))
	m.set(t, "lshift", shift(func(a int32, n uint) int32 { return a << n }))
	m.set(t, "rshift", shift(func(a int32, n uint) int32 { return int32(uint32(a) >> n) }))
	m.set(t, "arshift", shift(func(a int32, n uint) int32 { return a >> n }))
	m.set(t, "rol", shift(func(a int32, n uint) int32 { return int32(uint32(a)<<n | uint32(a)>>(32-n)) }))
	m.set(t, "ror", shift(func(a int32, n uint) int32 { return int32(uint32(a)>>n | uint32(a)<<(32-n)) }))
	m.set(t, "bswap", func(L *lua.LState) int {
		u := uint32(num(L, 1))
		return ret(L, int32(u<<24|u>>24|u<<8&0xff0000|u>>8&0xff00))
	})
	m.set(t, "tohex", func(L *lua.LState) int {
		v, n := uint32(num(L, 1)), L.OptInt(2, 8)
		verb := "x"
		if n < 0 {
			n, verb = -n, "X"
		}
		n = min(n, 8)
		s := fmt.Sprintf("%08"+verb, v)
		L.Push(lua.LString(s[8-n:]))
		return 1
	})
	return t
}

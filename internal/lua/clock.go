package lua

import (
	"net/http"
	"time"

	lua "github.com/yuin/gopher-lua"

	"limpet/internal/ngx"
)

// openTime adds the functions about the time, which isn't cached here.
func (m *machine) openTime(t *lua.LTable) {
	m.set(t, "now", func(L *lua.LState) int {
		L.Push(lua.LNumber(float64(time.Now().UnixMilli()) / 1000))
		return 1
	})
	m.set(t, "time", func(L *lua.LState) int { L.Push(lua.LNumber(time.Now().Unix())); return 1 })
	m.set(t, "update_time", func(L *lua.LState) int { return 0 })
	m.set(t, "localtime", func(L *lua.LState) int { return str(L, time.Now().Format(time.DateTime)) })
	m.set(t, "utctime", func(L *lua.LState) int { return str(L, time.Now().UTC().Format(time.DateTime)) })
	m.set(t, "today", func(L *lua.LState) int { return str(L, time.Now().Format(time.DateOnly)) })
	m.set(t, "http_time", func(L *lua.LState) int {
		return str(L, time.Unix(L.CheckInt64(1), 0).UTC().Format(ngx.TimeFormat))
	})
	m.set(t, "cookie_time", func(L *lua.LState) int {
		at := time.Unix(L.CheckInt64(1), 0).UTC()
		layout := "Mon, 02-Jan-06 15:04:05 GMT"
		if at.Year() > 2037 { // as nginx, whose readers may take two digits wrong
			layout = "Mon, 02-Jan-2006 15:04:05 GMT"
		}
		return str(L, at.Format(layout))
	})
	m.set(t, "parse_http_time", func(L *lua.LState) int {
		at, err := http.ParseTime(m.checkString(L, 1))
		if err != nil {
			L.Push(lua.LNil)
			return 1
		}
		L.Push(lua.LNumber(at.Unix()))
		return 1
	})
}

package lua

import (
	"math"
	"strconv"
	"strings"
	"time"

	lua "github.com/yuin/gopher-lua"

	"limpet/healthcheck"
	"limpet/internal/ngx"
	"limpet/upstream"
)

// openHealthcheck returns resty.upstream.healthcheck, whose checker is package healthcheck's.
// https://github.com/openresty/lua-resty-upstream-healthcheck
func (m *machine) openHealthcheck() *lua.LTable {
	t := m.L.NewTable()
	t.RawSetString("_VERSION", lua.LString("0.08"))
	m.set(t, "spawn_checker", m.spawnChecker)
	m.set(t, "status_page", func(L *lua.LState) int { return str(L, healthcheck.StatusPage(m.rt.build)) })
	m.set(t, "prometheus_status_page", func(L *lua.LState) int { return str(L, healthcheck.PrometheusPage(m.rt.build)) })
	return t
}

// spawnChecker looks at the options in the original's order and with its words. A
// checker can only be added while the configuration is built. Where the original would
// fail in every cycle (a word for a number), the checker is refused at once.
func (m *machine) spawnChecker(L *lua.LState) int {
	const file = "resty/upstream/healthcheck.lua: "
	opts, ok := L.Get(1).(*lua.LTable)
	if !ok {
		L.Error(lua.LString(file+"attempt to index local 'opts' (a "+L.Get(1).Type().String()+" value)"), 0)
	}
	o := options{m: m, L: L, t: opts}
	r, msg := o.read()
	if o.thrown != "" {
		L.Error(lua.LString(file+o.thrown), 0)
	}
	if msg != "" {
		return fail(L, msg)
	}
	if m.id == 0 || m.phase != phaseInitWorker {
		if m.inForce() {
			return fail(L, "a checker can only be spawned in init_worker_by_lua*")
		}
		if err := healthcheck.SpawnResty(m.rt.build, *r); err != nil {
			return fail(L, err.Error())
		}
	}
	L.Push(lua.LTrue)
	return 1
}

// inForce reports whether the configuration is built and serves.
func (m *machine) inForce() bool {
	select {
	case <-m.rt.begun:
		return true
	default:
		return false
	}
}

// options reads the argument of spawn_checker.
type options struct {
	m      *machine
	L      *lua.LState
	t      *lua.LTable
	thrown string // the original raises an error rather than return it
}

func (o *options) get(name string) lua.LValue { return o.L.GetField(o.t, name) }

// read returns the options, or what is wrong with the first that is.
func (o *options) read() (*healthcheck.Resty, string) {
	r := &healthcheck.Resty{Trusted: o.m.rt.trusted}
	switch v := o.get("type"); {
	case !lua.LVAsBool(v):
		return nil, `"type" option required`
	case v == lua.LString("https"):
		r.HTTPS = true
	case v != lua.LString("http"):
		return nil, `only "http" and "https" type are supported right now`
	}
	verify := o.get("ssl_verify")
	r.SSLVerify = verify == lua.LNil || lua.LVAsBool(verify)
	req := o.get("http_req")
	if !lua.LVAsBool(req) {
		return nil, `"http_req" option required`
	}
	if r.Request, o.thrown = o.request(req); o.thrown != "" {
		return nil, ""
	}
	msg := o.times(r)
	if o.thrown != "" || msg != "" {
		return nil, msg
	}
	if msg := o.counts(r); o.thrown != "" || msg != "" {
		return nil, msg
	}
	return o.place(r)
}

// request returns the bytes of a probe: a string, or a table of strings.
func (o *options) request(v lua.LValue) ([]byte, string) {
	if s, ok := text(v); ok {
		return []byte(s), ""
	}
	t, ok := v.(*lua.LTable)
	if !ok {
		return nil, "bad argument #1 to 'send' (string or array table expected, got " + v.Type().String() + ")"
	}
	var b strings.Builder
	for i := 1; i <= t.Len(); i++ {
		switch e := t.RawGetInt(i).(type) {
		case *lua.LTable:
			part, msg := o.request(e)
			if msg != "" {
				return nil, msg
			}
			b.Write(part)
		default:
			s, ok := text(e)
			if !ok {
				return nil, "bad argument #1 to 'send' (bad data type " + e.Type().String() + " found)"
			}
			b.WriteString(s)
		}
	}
	return []byte(b.String()), ""
}

// number reads a number or numeric string.
func number(v lua.LValue) (float64, bool) {
	switch v := v.(type) {
	case lua.LNumber:
		return float64(v), true
	case lua.LString:
		f, err := strconv.ParseFloat(strings.TrimSpace(string(v)), 64)
		return f, err == nil
	}
	return 0, false
}

func msec(ms float64) time.Duration { return time.Duration(ms * float64(time.Millisecond)) }

// times reads timeout and interval, in milliseconds; the original's interval without the option is 1 s.
func (o *options) times(r *healthcheck.Resty) string {
	r.Timeout, r.Interval = time.Second, time.Second
	if v := o.get("timeout"); lua.LVAsBool(v) {
		f, ok := number(v)
		if !ok || f < 0 {
			return "bad timeout value"
		}
		r.Timeout = msec(f)
	}
	if v := o.get("interval"); lua.LVAsBool(v) {
		f, ok := number(v)
		if !ok {
			o.thrown = "attempt to perform arithmetic on local 'interval' (a " + v.Type().String() + " value)"
			return ""
		}
		r.Interval = max(msec(f), 2*time.Millisecond)
	}
	return ""
}

func (o *options) counts(r *healthcheck.Resty) string {
	if v := o.get("valid_statuses"); lua.LVAsBool(v) {
		t, ok := v.(*lua.LTable)
		if !ok {
			o.thrown = "attempt to get length of local 'valid_statuses' (a " + v.Type().String() + " value)"
			if v.Type() == lua.LTString {
				o.thrown = "bad argument #1 to 'ipairs' (table expected, got string)"
			}
			return ""
		}
		r.ValidStatuses = []int{}
		for i := 1; t.RawGetInt(i) != lua.LNil; i++ {
			if n, ok := t.RawGetInt(i).(lua.LNumber); ok && float64(n) == math.Trunc(float64(n)) {
				r.ValidStatuses = append(r.ValidStatuses, int(n))
			}
		}
	}
	r.Concurrency, r.Fall, r.Rise = 1, 5, 2
	for _, c := range []struct {
		name string
		to   *int
	}{{"concurrency", &r.Concurrency}, {"fall", &r.Fall}, {"rise", &r.Rise}} {
		v := o.get(c.name)
		if !lua.LVAsBool(v) {
			continue
		}
		n, ok := v.(lua.LNumber)
		if !ok {
			return `"` + c.name + `" option must be a number`
		}
		*c.to = max(int(math.Ceil(float64(n))), 1)
	}
	return ""
}

// place reads where the checker keeps its state and whom it checks.
func (o *options) place(r *healthcheck.Resty) (*healthcheck.Resty, string) {
	shm := o.get("shm")
	if !lua.LVAsBool(shm) {
		return nil, `"shm" option required`
	}
	if name, ok := shm.(lua.LString); !ok || o.m.rt.dicts[string(name)] == nil {
		return nil, `shm "` + o.m.tostring(o.L, shm) + `" not found`
	}
	up := o.get("upstream")
	if !lua.LVAsBool(up) {
		return nil, "no upstream specified"
	}
	name, ok := text(up)
	if !ok {
		o.thrown = "bad argument #1 to 'get_primary_peers' (string expected, got " + up.Type().String() + ")"
		return nil, ""
	}
	if ngx.Shared[upstream.Groups](o.m.rt.build).Find([]byte(name)) == nil {
		return nil, "failed to get primary peers: upstream not found"
	}
	r.Upstream = name
	if v := o.get("port"); lua.LVAsBool(v) {
		f, ok := number(v)
		if !ok || f < 1 || f > 65535 {
			return nil, "bad port number"
		}
		r.Port = int(f)
	}
	if v := o.get("host"); lua.LVAsBool(v) {
		r.Host, _ = text(v)
	}
	return r, ""
}

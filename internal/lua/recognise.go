package lua

import (
	"strings"

	"github.com/yuin/gopher-lua/parse"

	"limpet/nginxconf"
	"limpet/sticky"
	"limpet/upstream"
)

// found is what a recognised route-cookie balancer says.
type found struct {
	cookie, tail   string
	dict, key      string
	upstream, read string // read is the variable's name
}

// templates are the forms of the route-cookie balancer that mean what package sticky
// does. A word that begins with @ stands for any string. The original's own behaviour for values
// of no server (an error for ever) is mended natively, so that forms with and without that fault are one.
func templates() []string {
	const head = `
local upstream = require "ngx.upstream"
local balancer = require "ngx.balancer"
local S = upstream.get_servers("@upstream")
local function next_index()
  local i = ngx.shared["@dict"]:get("@key")
  if i == nil or i > #S then
    i = 1
    ngx.shared["@dict"]:set("@key", i)
  end
  ngx.shared["@dict"]:incr("@key", 1)
  return i
end
local function down(addr)
  for _, p in ipairs(upstream.get_primary_peers("@upstream")) do
    if addr == p.name and p.down then return true end
  end
  return false
end
local route, server = ngx.var["@read"], nil
if HAVE then
  for _, s in ipairs(S) do
    if ngx.md5(s.name) == route then server = s.addr end
  end
  if LOST then route = nil end
end
if not route then
  for _ = 1, #S do
    if not server or down(server) then server = S[next_index()].addr end
  end
  ngx.header["Set-Cookie"] = "@prefix" .. ngx.md5(server) .. "@tail"
end
local at = string.find(server, ":")
balancer.set_current_peer(string.sub(server, 1, at - 1), tonumber(string.sub(server, at + 1)))
`
	var list []string
	for _, have := range []string{`route`, `route and route ~= ""`} {
		for _, lost := range []string{`down(server)`, `not server or down(server)`} {
			list = append(list, strings.NewReplacer("HAVE", have, "LOST", lost).Replace(head))
		}
	}
	return list
}

// recognise reports what the code says when it is the route-cookie balancer of the upstream; nil when it isn't.
func recognise(text, upstreamName string) *found {
	got := normal(text, upstreamName)
	if got == nil {
		return nil
	}
	for _, t := range templates() {
		want := normal(t, "@upstream")
		if want == nil {
			panic("BUG: a template of the route-cookie balancer isn't understood")
		}
		if holes, ok := unify(want, got); ok {
			f := &found{cookie: holes["@prefix"], tail: holes["@tail"], dict: holes["@dict"], key: holes["@key"], upstream: holes["@upstream"], read: holes["@read"]}
			if f.valid(upstreamName) {
				return f
			}
		}
	}
	return nil
}

// valid reports whether the words fit each other, and takes the = off the cookie's name.
func (f *found) valid(upstreamName string) bool {
	name, ok := strings.CutSuffix(f.cookie, "=")
	if !ok || name == "" || strings.ContainsAny(name, " \t\r\n;,=\"") || f.upstream != upstreamName {
		return false
	}
	for i := range len(name) {
		if name[i] <= ' ' || name[i] >= 0x7f {
			return false
		}
	}
	if !strings.EqualFold(f.read, "cookie_"+name) || f.tail != "" && f.tail[0] != ';' || strings.ContainsAny(f.tail, "\r\n") {
		return false
	}
	f.cookie = name
	return f.dict != "" && f.key != ""
}

// unify compares words and returns what the holes of the template stand for.
func unify(want, got []string) (map[string]string, bool) {
	if len(want) != len(got) {
		return nil, false
	}
	holes := make(map[string]string)
	for i, w := range want {
		if !strings.HasPrefix(w, `"@`) {
			if w != got[i] {
				return nil, false
			}
			continue
		}
		g := got[i]
		if !strings.HasPrefix(g, `"`) {
			return nil, false
		}
		hole := w[1:]
		if have, ok := holes[hole]; ok && have != g[1:] {
			return nil, false
		}
		holes[hole] = g[1:]
	}
	return holes, true
}

// normal returns the words of a script's normal form; nil for a script that isn't understood.
func normal(text, upstreamName string) (words []string) {
	tree, err := parse.Parse(strings.NewReader(text), "balancer")
	if err != nil {
		return nil
	}
	defer func() {
		if p := recover(); p != nil {
			if _, ok := p.(unknown); !ok {
				panic(p)
			}
			words = nil
		}
	}()
	l := newLowering(tree, upstreamName)
	list := l.stmts(tree)
	if n := len(list); n > 0 && list[n-1].op == "return" && len(list[n-1].args) == 0 {
		list = list[:n-1]
	}
	p := printer{}
	p.list(list)
	return p.words
}

// recognised makes a route-cookie balancer the native policy of its upstream.
func recognised(s *nginxconf.Setting, sc *script) (bool, error) {
	if sc.code == nil || sc.err != nil || sc.source == "" {
		return false, nil
	}
	f := recognise(sc.source, upstream.NameOf(s))
	if f == nil {
		return false, nil
	}
	s.Note(`recognised the route-cookie balancer: upstream "%s" sticks by the cookie "%s" natively, its Lua isn't run`, f.upstream, f.cookie)
	return true, sticky.SetRouteCookie(s, sticky.RouteCookie{Name: f.cookie, Tail: f.tail, Dialect: "OpenResty's route-cookie balancer"})
}

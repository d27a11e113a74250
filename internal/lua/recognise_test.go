package lua

import (
	"os"
	"strconv"
	"strings"
	"testing"
)

func seed(t testing.TB) string {
	b, err := os.ReadFile("../../testdata/seed/lua/balancer.lua")
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestSeedIsRecognised(t *testing.T) {
	f := recognise(seed(t), "backend")
	if f == nil {
		t.Fatalf("not recognised; its normal form:\n%s", strings.Join(normal(seed(t), "backend"), " "))
	}
	want := found{cookie: "route", tail: "; path=/;", dict: "cache", key: "req_index", upstream: "backend", read: "cookie_route"}
	if *f != want {
		t.Errorf("got %+v, want %+v", *f, want)
	}
	if recognise(seed(t), "other") != nil {
		t.Error("recognised for an upstream that isn't the script's")
	}
}

// edit replaces a piece of the seed's text that must be there.
func edit(t *testing.T, text, from, to string) string {
	t.Helper()
	if !strings.Contains(text, from) {
		t.Fatalf("the seed has no %q", from)
	}
	return strings.ReplaceAll(text, from, to)
}

func TestHarmlessEditsAreRecognised(t *testing.T) {
	for _, c := range []struct{ name, from, to string }{
		{"comment and blanks", "local server\n", "-- the peer\n  local   server ;\n"},
		{"helper renamed", "is_down", "dead"},
		{"variables renamed", "perrs", "list"},
		{"== true dropped", " and peer.down == true", " and peer.down"},
		{"order of and", "server == peer.name and peer.down == true", "peer.down and peer.name == server"},
		{"nested if", "if server == peer.name and peer.down == true then\n            down = true\n        end", "if server == peer.name then\n if peer.down then down = true end\n end"},
		{"ipairs", "for i = 1, #perrs do\n        local peer = perrs[i]", "for _, peer in ipairs(perrs) do"},
		{"pairs", "for i = 1, #perrs do\n        local peer = perrs[i]", "for k, peer in pairs(perrs) do"},
		{"ipairs over servers", "for k, v in pairs(srvs)", "for _, v in ipairs(srvs)"},
		{"index over servers", "for k, v in pairs(srvs) do", "for n = 1, #srvs do local v = srvs[n]"},
		{"early return", "            down = true\n", "            return true\n"},
		{"break behind the flag", "            down = true\n", "            down = true\n            break\n"},
		{"local functions", "function ", "local function "},
		{"functions as values", "function is_down(server)", "local is_down = function(server)"},
		{"not for nil", "index == nil or", "not index or"},
		{"turned comparison", "index > #srvs", "#srvs < index"},
		{"constant in place", "cache:set(key, index)", "cache:set(key, 1)"},
		{"constants inlined", "local key = \"req_index\"\n", ""},
		{"dictionary's name by index", "ngx.shared.cache", `ngx.shared["cache"]`},
		{"other dictionary", "ngx.shared.cache", "ngx.shared.lb"},
		{"other key", "req_index", "n"},
		{"variable by index", "ngx.var.cookie_route", `ngx.var["cookie_route"]`},
		{"md5 as local", "local server\n", "local md5 = ngx.md5\nlocal server\n"},
		{"attributes", "; path=/;", "; Path=/; HttpOnly; Secure"},
		{"underscore in the field's name", `ngx.header["Set-Cookie"]`, "ngx.header.Set_Cookie"},
		{"string.format", `'route=' .. ngx.md5(server) .. '; path=/;'`, `string.format("route=%s; path=/;", ngx.md5(server))`},
		{"string methods", "string.find(server, ':')", "server:find(':')"},
		{"plain find", "string.find(server, ':')", "string.find(server, ':', 1, true)"},
		{"port as it is", "tonumber(port)", "port"},
		{"match", "local index = string.find(server, ':')\nlocal host = string.sub(server, 1, index - 1)\nlocal port = string.sub(server, index + 1)", `local host, port = server:match("^([^:]+):(%d+)$")`},
		{"one declaration", "local route = ngx.var.cookie_route\n\nlocal server\n", "local server, route = nil, ngx.var.cookie_route\n"},
		{"result checked", "balancer.set_current_peer(host, tonumber(port))", "local ok, err = balancer.set_current_peer(host, tonumber(port))\nif not ok then ngx.log(ngx.ERR, \"failed: \", err) return ngx.exit(500) end"},
		{"name of the current upstream", "upstream.get_servers(upstream_name)", "upstream.get_servers(upstream.current_upstream_name())"},
		{"break at the first name", "server = v.addr\n", "server = v.addr\n            break\n"},
		{"unknown cookie mended", "    if is_down(server) then\n        route", "    if not server or is_down(server) then\n        route"},
		{"empty cookie mended", "if route then\n    for", "if route and route ~= '' then\n    for"},
		{"address from the helper", "return index\n", "return srvs[index].addr\n"},
		{"unused helper", "local server\n", "local function unused(a) return a.b end\nlocal server\n"},
		{"return at the end", "tonumber(port))", "tonumber(port))\nreturn"},
	} {
		text := edit(t, seed(t), c.from, c.to)
		switch c.name {
		case "constants inlined":
			text = edit(t, edit(t, text, "cache:get(key)", `cache:get("req_index")`), "(key, ", `("req_index", `)
		case "address from the helper":
			text = edit(t, text, "srvs[get_server()].addr", "get_server()")
		case "functions as values":
			text = text + "\n"
		}
		if recognise(text, "backend") == nil {
			t.Errorf("%s: not recognised\n%s", c.name, strings.Join(normal(text, "backend"), " "))
		}
	}
	moved := seed(t)
	at, to := strings.Index(moved, "function get_server"), strings.Index(moved, "function is_down")
	end := strings.Index(moved, "-----")
	if recognise(moved[:at]+moved[to:end]+moved[at:to]+moved[end:], "backend") == nil {
		t.Error("helpers in another order: not recognised")
	}
	if f := recognise(edit(t, edit(t, seed(t), "cookie_route", "cookie_SRV"), "'route='", "'SRV='"), "backend"); f == nil || f.cookie != "SRV" {
		t.Error("another cookie's name: not recognised")
	}
}

func TestMutationsAreNotRecognised(t *testing.T) {
	for _, c := range []struct{ name, from, to string }{
		{"other upstream", "'backend'", "'backend2'"},
		{"cookie read isn't the one written", "cookie_route", "cookie_r"},
		{"cookie written isn't the one read", "'route='", "'route2='"},
		{"no cookie name", "'route='", "'='"},
		{"value behind the hash", "'; path=/;'", "'x; path=/;'"},
		{"value before the hash", "'route='", "'route=v1.'"},
		{"header", `"Set-Cookie"`, `"X-Cookie"`},
		{"header in lower case", `ngx.header["Set-Cookie"]`, "ngx.header.set_cookie"},
		{"hash of the name", "ngx.md5(server) ..", "ngx.md5(upstream_name) .."},
		{"other hash", "ngx.md5(server) ..", "ngx.sha1_bin(server) .."},
		{"looks at addresses", "ngx.md5(v.name)", "ngx.md5(v.addr)"},
		{"compares plain", "ngx.md5(v.name) == route", "v.name == route"},
		{"compares otherwise", "ngx.md5(v.name) == route", "ngx.md5(v.name) ~= route"},
		{"takes the name", "server = v.addr", "server = v.name"},
		{"up is down", "peer.down == true", "peer.down == false"},
		{"up is down, short", "peer.down == true", "not peer.down"},
		{"or for and", "and peer.down == true", "or peer.down == true"},
		{"backup peers", "get_primary_peers", "get_backup_peers"},
		{"flag begins set", "local down = false", "local down = true"},
		{"flag never set", "            down = true\n", "            down = false\n"},
		{"last peer decides", "            down = true\n        end", "            down = true\n        else down = false\n        end"},
		{"first is skipped", "for i = 1, #perrs", "for i = 2, #perrs"},
		{"last is skipped", "for i = 1, #perrs", "for i = 1, #perrs - 1"},
		{"stride", "for i = 1, #perrs", "for i = 1, #perrs, 2"},
		{"wrong bound", "index > #srvs", "index >= #srvs"},
		{"other bound", "index > #srvs", "index < #srvs"},
		{"and for or", "index == nil or", "index == nil and"},
		{"begins elsewhere", "index = 1\n", "index = 2\n"},
		{"stored otherwise", "cache:set(key, index)", "cache:set(key, 2)"},
		{"step of two", "cache:incr(key, 1)", "cache:incr(key, 2)"},
		{"no step", "    cache:incr(key, 1)\n", ""},
		{"expires", "cache:set(key, index)", "cache:set(key, index, 5)"},
		{"another dictionary", "cache:incr(key, 1)", "ngx.shared.other:incr(key, 1)"},
		{"another key", "cache:incr(key, 1)", "cache:incr('k2', 1)"},
		{"index returned otherwise", "return index\n", "return index - 1\n"},
		{"route kept", "        route = nil\n", "        server = nil\n"},
		{"route lost always", "    if is_down(server) then\n        route = nil\n    end", "    route = nil"},
		{"lost when up", "    if is_down(server) then\n        route", "    if not is_down(server) then\n        route"},
		{"draws once", "for i = 1, #srvs do\n        if not server", "for i = 1, 1 do\n        if not server"},
		{"draws always", "if not server or is_down(server) then\n            server", "if true then\n            server"},
		{"never draws for down", "if not server or is_down(server) then\n            server", "if not server then\n            server"},
		{"fixed server", "srvs[get_server()].addr", "srvs[1].addr"},
		{"draws by name", "srvs[get_server()].addr", "srvs[get_server()].name"},
		{"cookie each time", "    ngx.header[\"Set-Cookie\"] = 'route=' .. ngx.md5(server) .. '; path=/;'\nend", "end\nngx.header[\"Set-Cookie\"] = 'route=' .. ngx.md5(server) .. '; path=/;'"},
		{"other port", "index + 1)", "index + 2)"},
		{"fixed port", "tonumber(port)", "8080"},
		{"host of another", "string.sub(server, 1, index - 1)", "string.sub(server, 1, index)"},
		{"other separator", "string.find(server, ':')", "string.find(server, '%.')"},
		{"log line", "local server\n", "local server\nngx.log(ngx.ERR, 'x')\n"},
		{"more tries", "balancer.set_current_peer", "balancer.set_more_tries(1)\nbalancer.set_current_peer"},
		{"timeouts", "balancer.set_current_peer", "balancer.set_timeouts(1, 1, 1)\nbalancer.set_current_peer"},
		{"sets a peer down", "local server\n", "local server\nupstream.set_peer_down(upstream_name, false, 0, true)\n"},
		{"sets a variable", "local server\n", "local server\nngx.var.x = 1\n"},
		{"sets another field", "local server\n", "local server\nngx.header['X-A'] = 'b'\n"},
		{"keeps it in ctx", "local server\n", "local server\nngx.ctx.a = 1\n"},
		{"global", "local server\n", "server = nil\n"},
		{"by client address", "if not route then\n", "if not route or ngx.var.remote_addr == '127.0.0.1' then\n"},
		{"exit", "tonumber(port))", "tonumber(port))\nngx.exit(500)"},
		{"second cookie", "; path=/;'", "; path=/;' .. ngx.var.host"},
		{"attribute by request", "'; path=/;'", "'; domain=' .. ngx.var.host"},
		{"line break in the tail", "; path=/;", "; path=/;\\r\\nX: y"},
		{"helper used before it is there", "----------------------------", "is_down(nil)\n----------------------------\nlocal function later() end later()"},
		{"ngx replaced", "local server\n", "local server\nlocal ngx = { md5 = ngx.md5 }\n"},
		{"md5 replaced", "local upstream_name", "ngx.md5 = function(s) return s end\nlocal upstream_name"},
		{"metatable", "local server\n", "local server\nsetmetatable(srvs, {})\n"},
		{"servers changed", "local server\n", "local server\nsrvs[1] = nil\n"},
		{"break too early", "        if ngx.md5(v.name) == route then\n            server = v.addr\n        end\n", "        if ngx.md5(v.name) == route then\n            server = v.addr\n        end\n        break\n"},
		{"peer's flag returned", "            down = true\n", "            return peer.down\n"},
		{"loop in the helper", "    return index\n", "    while false do end\n    return index\n"},
		{"pcall", "balancer.set_current_peer(host, tonumber(port))", "pcall(balancer.set_current_peer, host, tonumber(port))"},
		{"another failure path", "balancer.set_current_peer(host, tonumber(port))", "local ok = balancer.set_current_peer(host, tonumber(port))\nif not ok then balancer.set_current_peer('127.0.0.1', 80) end"},
	} {
		text := edit(t, seed(t), c.from, c.to)
		if f := recognise(text, "backend"); f != nil {
			t.Errorf("%s: recognised as %+v", c.name, *f)
		}
	}
}

// Every statement of the seed matters: without it the script is another one.
func TestNoLineCanGo(t *testing.T) {
	lines := strings.Split(seed(t), "\n")
	for i, line := range lines {
		word := strings.TrimSpace(line)
		if word == "" || strings.HasPrefix(word, "--") {
			continue
		}
		text := strings.Join(append(append([]string(nil), lines[:i]...), lines[i+1:]...), "\n")
		if recognise(text, "backend") != nil {
			t.Errorf("recognised without line %d: %s", i+1, line)
		}
	}
}

func FuzzRecognise(f *testing.F) {
	text := seed(f)
	f.Add(text)
	for _, t := range templates() {
		f.Add(t)
	}
	f.Add("local a = a")
	f.Add("local function f() return f() end f()")
	f.Fuzz(func(t *testing.T, text string) {
		got := recognise(text, "backend")
		if got != nil && !strings.Contains(text, "backend") && !strings.Contains(text, "current_upstream_name") {
			t.Errorf("recognised %+v without the upstream's name", got)
		}
	})
}

func TestDoublingValuesEndTheReading(t *testing.T) {
	text := "local a0 = ngx.var.cookie_route\n"
	for i := range 60 {
		text += strings.NewReplacer("N", strconv.Itoa(i+1), "M", strconv.Itoa(i)).Replace("local aN = aM .. aM\n")
	}
	if recognise(text+"ngx.header['Set-Cookie'] = a60", "backend") != nil {
		t.Error("recognised")
	}
}

package healthcheck

import (
	"limpet/internal/ngx"
	"limpet/nginxconf"
)

// Conf holds the directives of checks at one level.
type Conf struct {
	check   checkSpec         // of an upstream block
	matches map[string]*match // of http, by name
	probes  []*probeSpec      // of a location

	Status  nginxconf.Opt[format]
	ShmSize nginxconf.Opt[int64]
}

// Directives lists the directives of checks, of all dialects.
func (c *Conf) Directives() []nginxconf.Directive {
	return []nginxconf.Directive{
		nginxconf.Call("check", nginxconf.Upstream, nginxconf.Args1More, c.check.parse, "Checks the servers of the group."),
		nginxconf.Call("check_http_send", nginxconf.Upstream, nginxconf.Args1, c.check.parseSend, "Sets what is sent to the server in a check of type http."),
		nginxconf.Call("check_http_expect_alive", nginxconf.Upstream, nginxconf.Args1More, c.check.parseAlive, "Sets the classes of status that a check of type http takes for alive."),
		nginxconf.Call("check_keepalive_requests", nginxconf.Upstream, nginxconf.Args1, c.check.parseRequests, "Sets how many checks a connection serves."),
		nginxconf.Call("check_fastcgi_param", nginxconf.Upstream, nginxconf.Args2, c.check.parseParam, "Sets a parameter of a check of type fastcgi."),
		nginxconf.Size("check_shm_size", nginxconf.HTTP, &c.ShmSize, "1m", "Sets the size of the memory for the state of checks.").WithoutEffect("the state of checks takes the memory that it needs"),
		nginxconf.Custom("check_status", nginxconf.ServerLocation, nginxconf.Args01, &c.Status, parseStatus, "", "Shows the state of the checked servers.").NoInherit(),
		nginxconf.Call("health_check", nginxconf.Location, nginxconf.AnyArgs, c.parseHealthCheck, "Checks the servers of the group that the location proxies to."),
		nginxconf.Block("match", nginxconf.HTTP, nginxconf.Match, nginxconf.Args1, c.openMatch, nil, "Defines what the answer to a health check must be like."),
		nginxconf.Call("status", nginxconf.Match, nginxconf.Args1More, parseMatchStatus, "Tests the answer's status."),
		nginxconf.Call("header", nginxconf.Match, nginxconf.Args1More, parseMatchHeader, "Tests a field of the answer's header."),
		nginxconf.Call("body", nginxconf.Match, nginxconf.Args2, parseMatchBody, "Tests the answer's body."),
		nginxconf.Call("require", nginxconf.Match, nginxconf.Args1More, parseMatchRequire, "Tests variables for being neither empty nor 0."),
		nginxconf.Call("upstream_probe", nginxconf.Location, nginxconf.Args1More, c.parseProbe, "Probes the servers of the group that the location proxies to."),
	}
}

// vars lists the variables of upstream_probe.
func vars() []ngx.Variable {
	show := func(name string, get func(p *probing) []byte, doc string) ngx.Variable {
		return ngx.Variable{Name: name, Doc: doc, Get: func(r *ngx.Request, dst []byte) ([]byte, bool) {
			p, ok := r.Passed.(*probing)
			if !ok {
				return dst, false
			}
			return append(dst, get(p)...), true
		}}
	}
	return []ngx.Variable{
		show("upstream_probe", func(p *probing) []byte { return []byte(p.name) }, "Name of the running upstream_probe."),
		show("upstream_probe_response", func(p *probing) []byte { return p.body }, "Body of the answer to the upstream_probe."),
	}
}

package lua

import (
	"testing"

	"limpet/internal/errlog"
	"limpet/internal/ngx"
	"limpet/upstream"
)

// seedBalancer returns the seed's balancer over a group of two.
func seedBalancer(tb testing.TB) *balancer {
	rt := testRuntime()
	rt.build.Vars = ngx.NewVars([]ngx.Variable{{Name: "cookie_", Make: func(string) ngx.Getter {
		return func(*ngx.Request, []byte) ([]byte, bool) { return nil, false }
	}}})
	rt.build.Vars.Use("cookie_route")
	rt.slot = ngx.NewSlot[*requestState](rt.build)
	rt.dicts["cache"] = newDict("cache", 1<<20)
	g := upstream.Single("backend", "127.0.0.1:80", "127.0.0.2:80")
	for _, p := range g.Peers().Primary {
		g.Servers = append(g.Servers, upstream.Server{Text: string(p.Name), Addrs: []string{string(p.Name)}, Weight: 1})
	}
	groups := ngx.Shared[upstream.Groups](rt.build)
	groups.List = append(groups.List, g)
	c := &code{chunk: "balancer.lua"}
	c.compile(seed(tb))
	return &balancer{rt: rt, script: &script{phase: phaseBalancer, code: c}, group: g}
}

// BenchmarkChoose is one try of a client without a cookie under the seed's balancer.
func BenchmarkChoose(b *testing.B) {
	bal := seedBalancer(b)
	scope := &ngx.Scope{Core: &ngx.Core{ErrorLog: new(errlog.Log)}}
	r := new(ngx.Request)
	var s upstream.Session
	b.ReportAllocs()
	for b.Loop() {
		r.Reset()
		r.Scope = scope
		bal.group.Begin(&s, r)
		s.Number = 1
		if p, status := bal.Choose(&s); p == nil || status != 0 {
			b.Fatal(p, status)
		}
	}
}

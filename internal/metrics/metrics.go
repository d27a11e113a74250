// Package metrics counts requests by virtual server, for --admin. It stands where
// NGINX Plus has the server zones of ngx_http_api_module; nginx itself has
// ngx_http_stub_status_module alone, whose counters are internal/http1's.
// https://nginx.org/en/docs/http/ngx_http_api_module.html
//
// Peers are counted in upstream.Stats. What the counters are called outside is
// internal/admin's.
package metrics

import (
	"sync/atomic"

	"limpet/internal/ngx"
	"limpet/nginxconf"
)

// Server counts the requests of the virtual servers of one name. It lives as long
// as a configuration has the name. All methods may be called at once.
type Server struct {
	Name    string          // the first of server_name; "" for none
	Classes [6]atomic.Int64 // requests by first digit of the status; 0 for those without one
	Sent    atomic.Int64    // bytes to clients, heads included
}

// Servers are the counters of a configuration, in the order of its file.
type Servers struct{ List []*Server }

// slot is where the requests of one server block are counted, known once the
// servers have their names.
type slot struct {
	scope  *ngx.Scope
	server *Server
}

// slots are the slots of a configuration by the level of their block.
type slots map[*nginxconf.Level]*slot

// Conf is the module's configuration at one level: nothing.
type Conf struct{}

// Directives lists the directive that names what NGINX Plus and Angie count by.
func (*Conf) Directives() []nginxconf.Directive {
	return []nginxconf.Directive{
		nginxconf.Accepted("status_zone", nginxconf.Server|nginxconf.Location|nginxconf.LocationIf, nginxconf.Args12,
			"requests are counted by server and by upstream, see --admin"),
	}
}

// Module returns the module; it counts only where that is asked for.
func Module(on bool) ngx.Module {
	m := ngx.Module{Name: "metrics", Conf: func() nginxconf.Settings { return new(Conf) }}
	if !on {
		return m
	}
	m.Config = func(b *ngx.Build) error {
		b.OnStart(func() { name(b) })
		return nil
	}
	m.Scope = scope
	return m
}

// scope adds the counting step to every place where a request can end.
func scope(b *ngx.Build, s *ngx.Scope) error {
	lv := s.Level.Up(nginxconf.Server)
	if lv == nil {
		return nil
	}
	all := ngx.Shared[slots](b)
	if *all == nil {
		*all = make(slots)
	}
	sl := (*all)[lv]
	if sl == nil {
		sl = new(slot)
		(*all)[lv] = sl
	}
	if s.Level == lv {
		sl.scope = s
	}
	s.Add(ngx.Log, sl.count)
	return nil
}

// name gives every server block the counters of its name, those of the
// configuration before where it had the name.
func name(b *ngx.Build) {
	list := ngx.Shared[Servers](b)
	seen := make(map[*Server]bool)
	for _, http := range b.Config.Root.Inner {
		for _, lv := range http.Inner {
			sl := (*ngx.Shared[slots](b))[lv]
			if sl == nil || sl.scope == nil {
				continue
			}
			text := string(sl.scope.ServerName)
			sl.server = ngx.Keep(b, "metrics server "+text, func() *Server { return &Server{Name: text} })
			if !seen[sl.server] {
				seen[sl.server] = true
				list.List = append(list.List, sl.server)
			}
		}
	}
}

// count is the Log step. It allocates nothing and takes no lock.
func (sl *slot) count(r *ngx.Request) ngx.Outcome {
	if !r.IsMain() {
		return ngx.Next
	}
	c := sl.server
	class := r.Status / 100
	if class < 0 || class >= len(c.Classes) {
		class = 0
	}
	c.Classes[class].Add(1)
	c.Sent.Add(r.BytesSent)
	return ngx.Next
}

package location

import (
	"os"
	"strings"

	"limpet/internal/ngx"
	"limpet/nginxconf"
)

// Site is a configuration's servers, built, by the address they listen on.
type Site struct {
	Addresses []*Address
	Servers   []*ngx.Scope
}

// Address is one listening address with its virtual servers.
type Address struct {
	Listen Listen
	// Default serves requests without a known name.
	Default *ngx.Scope
	names   nameTable
	// explicit says that a listen directive asked for Default by default_server.
	explicit bool
	scopes   []*ngx.Scope
	bad      []string // names that are none
}

// Find returns the virtual server for a host, the default one when none has the name.
func (a *Address) Find(r *ngx.Request, host []byte) *ngx.Scope {
	if s := a.names.find(r, host); s != nil {
		return s
	}
	return a.Default
}

// Scopes returns the servers of the address.
func (a *Address) Scopes() []*ngx.Scope { return a.scopes }

type builder struct {
	b       *ngx.Build
	modules []ngx.Module
}

// Build builds the servers of a configuration with the modules' steps.
func Build(b *ngx.Build, modules []ngx.Module) (*Site, error) {
	t := &builder{b, modules}
	site := &Site{}
	for _, m := range modules {
		if m.Config == nil {
			continue
		}
		if err := m.Config(b); err != nil {
			return nil, err
		}
	}
	for _, http := range b.Config.Root.Inner {
		if http.Context != nginxconf.HTTP {
			continue
		}
		for _, lv := range http.Inner {
			if srv, ok := lv.Data.(*Server); ok {
				if err := t.server(site, lv, srv); err != nil {
					return nil, err
				}
			}
		}
	}
	return site, site.checkNames()
}

// checkNames refuses names that no host can have where they would be looked for.
func (site *Site) checkNames() error {
	for _, a := range site.Addresses {
		for i := range a.bad {
			if len(a.scopes) > 1 {
				return nginxconf.Errorf("", 0, `invalid server name or wildcard "%s" on %s`, a.bad[i], a.Listen.Addr)
			}
		}
	}
	return nil
}

func (t *builder) server(site *Site, lv *nginxconf.Level, srv *Server) error {
	scope, err := t.scope(lv, nil)
	if err != nil {
		return err
	}
	site.Servers = append(site.Servers, scope)
	conf := nginxconf.Of[*Conf](lv)
	names := conf.Names.V
	if !conf.Names.Own {
		names = []Name{{}}
	}
	scope.ServerName = []byte(strings.TrimPrefix(names[0].Text, "."))
	renameServer(scope)
	for _, l := range serverListens(conf) {
		site.add(t.b, l, scope, names, lv)
	}
	return nil
}

// renameServer gives the server's name to the scopes inside, which were built before it was known.
func renameServer(s *ngx.Scope) {
	n := nodeOf(s)
	set := func(in *ngx.Scope) {
		in.ServerName = s.ServerName
		renameServer(in)
	}
	for _, p := range n.prefix {
		set(p.scope)
	}
	for _, in := range n.exact {
		set(in)
	}
	for _, in := range n.regex {
		set(in)
	}
	for _, in := range n.named {
		set(in)
	}
	for _, in := range n.ifs {
		set(in)
	}
	if n.limit != nil {
		set(n.limit.scope)
	}
}

// serverListens returns the addresses of a server: *:80, or *:8000 for those who may not bind it, when it names none.
func serverListens(conf *Conf) []Listen {
	if len(conf.Listens.V) > 0 && conf.Listens.Own {
		return conf.Listens.V
	}
	addr := "0.0.0.0:80"
	if os.Geteuid() != 0 {
		addr = "0.0.0.0:8000"
	}
	if conf.remap != nil {
		addr = conf.remap(addr)
	}
	return []Listen{{Addr: addr, Sock: addr, Network: "tcp"}}
}

// add files a server under an address.
func (site *Site) add(b *ngx.Build, l Listen, scope *ngx.Scope, names []Name, lv *nginxconf.Level) {
	var a *Address
	for _, have := range site.Addresses {
		if have.Listen.Addr == l.Addr {
			a = have
		}
	}
	if a == nil {
		a = &Address{Listen: l, Default: scope, explicit: l.Default}
		site.Addresses = append(site.Addresses, a)
	}
	if l.Set {
		a.Listen.Options, a.Listen.Bind = l.Options, true
	}
	a.Listen.SSL = a.Listen.SSL || l.SSL
	a.Listen.HTTP2 = a.Listen.HTTP2 || l.HTTP2
	a.Listen.Proxy = a.Listen.Proxy || l.Proxy
	if l.Default && !a.explicit {
		a.Default, a.explicit = scope, true
	}
	a.scopes = append(a.scopes, scope)
	for _, n := range names {
		if n.bad {
			a.bad = append(a.bad, n.Text)
		}
		if !a.names.add(n, scope) {
			b.Notice("warn", `conflicting server name "%s" on %s, ignored`, n.Text, l.Addr)
		}
	}
}

// Module returns the module of the tree's directives; remap may be nil.
func Module(remap Remap) ngx.Module {
	return ngx.Module{
		Name: "location",
		Conf: func() nginxconf.Settings { return &Conf{remap: remap} },
	}
}

func hostname() string {
	h, _ := os.Hostname()
	return strings.ToLower(h)
}

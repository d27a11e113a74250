package server

import (
	"errors"
	"os"
	"sync/atomic"
	"syscall"

	"limpet/internal/errlog"
	"limpet/internal/location"
	"limpet/internal/ngx"
	"limpet/internal/tcp"
	"limpet/internal/tlsconf"
	"limpet/nginxconf"
)

// Snapshot is one configuration, built: what requests run under.
type Snapshot struct {
	config *nginxconf.Config
	build  *ngx.Build
	site   *location.Site
	log    *errlog.Log // of the main level
	points map[string]*ngx.Endpoint

	users  atomic.Int64 // requests, and one while it is in force
	onIdle func()       // runs when users comes to 0
}

// shared is what every configuration of a process has a part in.
type shared struct {
	files *errlog.Files
	stats *ngx.Stats
	// poller is nil where nothing is served.
	poller *tcp.Poller
}

// build builds a configuration; old is the one in force, whose state is taken over, or nil.
// On an error everything that was opened is closed again.
func build(opt Options, config *nginxconf.Config, sh shared, old *Snapshot) (*Snapshot, error) {
	var oldBuild *ngx.Build
	if old != nil {
		oldBuild = old.build
	}
	b := ngx.NewBuild(config, oldBuild)
	b.Files, b.Stats, b.Poller, b.Test, b.Offline = sh.files, sh.stats, sh.poller, opt.Test, opt.Offline
	b.Workers = max(MainOf(config).Workers.V, 1)
	s := &Snapshot{config: config, build: b, points: make(map[string]*ngx.Endpoint)}
	s.users.Store(1)
	if err := s.assemble(opt); err != nil {
		b.Undo()
		return nil, err
	}
	return s, nil
}

func (s *Snapshot) assemble(opt Options) error {
	core := nginxconf.Of[*ngx.Core](s.config.Root)
	if !core.ErrorLogs.Own {
		core.ErrorLogs.V = []errlog.Target{{Level: errlog.Error, Path: opt.errorLogPath()}}
	}
	if err := core.Open(s.build); err != nil {
		return err
	}
	s.log, s.build.Log = core.ErrorLog, core.ErrorLog
	site, err := location.Build(s.build, nginxconf.Of[*ngx.VarConf](s.config.Root).Modules)
	if err != nil {
		return err
	}
	s.site = site
	engine := &location.Engine{}
	debugs := debugsOf(s.config)
	for _, a := range site.Addresses {
		ep := &ngx.Endpoint{
			Default: a.Default, Find: a.Find, Engine: engine, Release: s.release, HTTP2: a.Listen.HTTP2, Proxy: a.Listen.Proxy,
			Debugs: debugs,
		}
		if a.Listen.SSL {
			ep.TLS, err = tlsconf.Accept(s.build, tlsconf.Address{Default: a.Default, Scopes: a.Scopes(), Find: a.Find, HTTP2: a.Listen.HTTP2})
			if err != nil {
				return err
			}
		}
		s.points[a.Listen.Addr] = ep
	}
	if n, sockets := connectionsOf(s.config), len(s.sockets()); n <= sockets {
		return nginxconf.Errorf("", 0, "%d worker_connections are not enough for %d listening sockets", n, sockets)
	}
	return nil
}

// errorLogPath returns where errors go when the file doesn't say.
func (opt *Options) errorLogPath() string {
	switch {
	case opt.ErrorLog == "stderr":
		return ""
	case opt.ErrorLog == "":
		return opt.Prefix + "logs/error.log"
	case opt.ErrorLog[0] != '/':
		return opt.Prefix + opt.ErrorLog
	}
	return opt.ErrorLog
}

func (s *Snapshot) release() {
	if s.users.Add(-1) == 0 && s.onIdle != nil {
		s.onIdle()
	}
}

// has reports whether the endpoint is one of the snapshot's.
func (s *Snapshot) has(ep *ngx.Endpoint) bool {
	for _, own := range s.points {
		if own == ep {
			return true
		}
	}
	return false
}

// sockets returns the addresses that need a socket of their own: those of a port
// whose family's wildcard address is listened on, too, share its socket.
func (s *Snapshot) sockets() []*location.Address {
	wild := make(map[string]bool)
	for _, a := range s.site.Addresses {
		if a.Listen.Wildcard() {
			wild[family(a.Listen.Addr)] = true
		}
	}
	var own []*location.Address
	for _, a := range s.site.Addresses {
		if a.Listen.Network == "unix" || a.Listen.Wildcard() || a.Listen.Bind || !wild[family(a.Listen.Addr)] {
			own = append(own, a)
		}
	}
	return own
}

// family returns an address's IP version and port: 4:80 or 6:80.
func family(addr string) string {
	_, port := splitPort(addr)
	if addr[0] == '[' {
		return "6:" + port
	}
	return "4:" + port
}

// tryBind binds every address for a moment, as nginx -t does; one in use is no error.
func (s *Snapshot) tryBind() error {
	for _, a := range s.sockets() {
		if a.Listen.Network == "unix" {
			continue
		}
		ln, err := tcp.Listen(a.Listen.Network, a.Listen.Sock, a.Listen.Options)
		switch {
		case err == nil:
			ln.Close()
		case !errors.Is(err, syscall.EADDRINUSE):
			return bindError(a, err)
		}
	}
	return nil
}

// bindError puts an error of listening into nginx's words.
func bindError(a *location.Address, err error) error {
	call := "bind"
	var se *os.SyscallError
	if errors.As(err, &se) {
		call = se.Syscall
	}
	return nginxconf.Errorf("", 0, "%s() to %s failed %s", call, a.Listen.Addr, errlog.Errno(err))
}

// Package server composes limpet: the one list of modules, the building of a
// configuration, the listening sockets, and the exchange of one configuration
// for the next without closing a connection.
//
// A configuration in force is a Snapshot. A request holds it from its first
// byte to its log line; a reload stores the next one, and the old one retires
// when its last request has ended.
package server

import (
	_ "embed"
	"errors"
	"os"
	"sort"
	"strings"

	"limpet/healthcheck"
	"limpet/internal/drain"
	"limpet/internal/errlog"
	"limpet/internal/location"
	"limpet/internal/ngx"
	"limpet/nginxconf"
)

// Options are what the command line says of a configuration.
type Options struct {
	ConfFile string // absolute, or relative to the working folder
	Prefix   string // with a final slash
	// Defaults are those of the installation at hand by directive; see nginxconf.Options.
	Defaults map[string]string
	ErrorLog string // -e: the log until the configuration names one; "" for the default
	Globals  string // -g
	// Test builds without binding for good (-t).
	Test bool
	// Offline neither resolves names nor opens keys and logs nor binds.
	Offline bool
	// WarnUnsupported turns known but unsupported directives into warnings.
	WarnUnsupported bool
	Listen          []Remap // --listen FROM=TO
	Admin           string  // --admin ADDR
	Pid             string  // --pid FILE, in place of the file's pid; "" for that
	Drains          *drain.Set
	StickyLegacy    []string
	// RunLua runs balancer scripts that limpet could do natively (--lua=run).
	RunLua bool
	Checks healthcheck.Options // --fail-open, --expect-alive
	// Report takes what New has to say besides its error; nil drops it.
	Report func(level errlog.Level, msg string)
}

// Remap sends a listen address or port of the file to another.
type Remap struct{ From, To string }

// remap returns the function that applies --listen; nil when there is nothing to change.
func (opt *Options) remap() location.Remap {
	if len(opt.Listen) == 0 {
		return nil
	}
	return func(addr string) string {
		for _, m := range opt.Listen {
			if addr == m.From {
				return m.To
			}
			host, port := splitPort(addr)
			if port != "" && port == m.From {
				if strings.Contains(m.To, ":") {
					return m.To
				}
				return host + ":" + m.To
			}
		}
		return addr
	}
}

func splitPort(addr string) (host, port string) {
	i := strings.LastIndexByte(addr, ':')
	if i < 0 || strings.HasPrefix(addr, "unix:") {
		return addr, ""
	}
	return addr[:i], addr[i+1:]
}

//go:embed known.txt
var knownText string

// knownNames tells the names of directives that nginx and its relatives know.
func knownNames() func(name string) bool {
	names := strings.Fields(knownText)
	return func(name string) bool {
		i := sort.SearchStrings(names, name)
		return i < len(names) && names[i] == name
	}
}

// Load reads a configuration: the language alone. The Config comes back with an
// error, too, for its notices.
func Load(opt Options) (*nginxconf.Config, error) {
	ms := opt.modules()
	var mods []nginxconf.Module
	for _, m := range ms {
		if m.Conf != nil {
			mods = append(mods, nginxconf.Module{Name: m.Name, Conf: m.Conf})
		}
	}
	config, err := nginxconf.Load(opt.ConfFile, nginxconf.Options{
		Modules: mods, Prefix: opt.Prefix, Globals: opt.Globals, Defaults: opt.Defaults, Offline: opt.Offline,
		Known: knownNames(), WarnUnsupported: opt.WarnUnsupported,
	})
	if err == nil && opt.Pid != "" {
		MainOf(config).Pid.V = opt.Pid
	}
	return config, err
}

// Test reads and builds a configuration and undoes all that building did. syntax
// says that only what nginx does behind its "syntax is ok" failed, if anything:
// opening logs and the pid file, binding.
func Test(opt Options) (config *nginxconf.Config, syntax bool, err error) {
	opt.Test = true
	config, err = Load(opt)
	if err != nil {
		return config, false, err
	}
	snap, err := build(opt, config, shared{new(errlog.Files), new(ngx.Stats), nil}, nil)
	var open *errlog.OpenError
	if syntax = err == nil || errors.As(err, &open); !syntax {
		return config, false, err
	}
	if err == nil {
		defer snap.build.Undo()
	}
	if main := MainOf(config); !main.hasEvents {
		return config, true, errNoEvents
	}
	if opt.Offline {
		return config, true, err
	}
	if e := testPid(MainOf(config).Pid.V); e != nil {
		return config, true, e
	}
	if err == nil {
		err = snap.tryBind()
	}
	return config, true, err
}

// Look builds a configuration as Test does, to be looked at: what modules share is
// there, logs and the like are closed again.
func Look(opt Options) (*ngx.Build, *nginxconf.Config, error) {
	opt.Test = true
	config, err := Load(opt)
	if err != nil {
		return nil, config, err
	}
	snap, err := build(opt, config, shared{new(errlog.Files), new(ngx.Stats), nil}, nil)
	if err != nil {
		return nil, config, err
	}
	snap.build.Undo()
	return snap.build, config, nil
}

var errNoEvents = nginxconf.Errorf("", 0, `no "events" section in configuration`)

// testPid says whether the pid file can be written; nginx leaves an empty one behind, limpet none.
func testPid(name string) error {
	_, statErr := os.Lstat(name)
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nginxconf.Errorf("", 0, `open() "%s" failed %s`, name, errlog.Errno(err))
	}
	f.Close()
	if statErr != nil {
		os.Remove(name)
	}
	return nil
}

// MainOf returns the directives of the process of a configuration.
func MainOf(config *nginxconf.Config) *Main { return nginxconf.Of[*Main](config.Root) }

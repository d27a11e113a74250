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
	"sort"
	"strings"

	"limpet/internal/errlog"
	"limpet/internal/location"
	"limpet/nginxconf"
)

// Options are what the command line says of a configuration.
type Options struct {
	ConfFile string // absolute, or relative to the working folder
	Prefix   string // with a final slash
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
	StickyLegacy    []string
	// RunLua runs balancer scripts that limpet could do natively (--lua=run).
	RunLua bool
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
	return nginxconf.Load(opt.ConfFile, nginxconf.Options{
		Modules: mods, Prefix: opt.Prefix, Globals: opt.Globals, Offline: opt.Offline,
		Known: knownNames(), WarnUnsupported: opt.WarnUnsupported,
	})
}

// Test reads and builds a configuration and undoes all that building did.
func Test(opt Options) (*nginxconf.Config, error) {
	opt.Test = true
	config, err := Load(opt)
	if err != nil {
		return config, err
	}
	snap, err := build(opt, config, new(errlog.Files), nil)
	if err != nil {
		return config, err
	}
	defer snap.build.Undo()
	if !opt.Offline {
		err = snap.tryBind()
	}
	return config, err
}

// MainOf returns the directives of the process of a configuration.
func MainOf(config *nginxconf.Config) *Main { return nginxconf.Of[*Main](config.Root) }

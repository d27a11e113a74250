package sticky

import (
	"limpet/internal/ngx"
	"limpet/nginxconf"
)

// Options are what the command line says of stickiness.
type Options struct {
	// Legacy is --sticky-legacy: names of cookies that are looked for beside the
	// configured one, and keys of other dialects as DIALECT=KEY.
	Legacy []string
}

// Conf holds the directives of stickiness.
type Conf struct{}

// Directives lists the directives of all dialects.
func (c *Conf) Directives() []nginxconf.Directive { return nil }

// Module returns the sticky module. It stands before upstream's in the list of modules.
func Module(opt Options) ngx.Module {
	return ngx.Module{Name: "sticky", Conf: func() nginxconf.Settings { return new(Conf) }, Vars: Vars, Config: func(b *ngx.Build) error {
		shared(b).legacy = opt.Legacy
		return nil
	}}
}

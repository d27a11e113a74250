package server

import (
	"limpet/internal/location"
	"limpet/internal/metrics"
	"limpet/internal/ngx"
	"limpet/upstream"
)

// modules returns the modules in the order in which their steps run within a
// phase. Header filters run in this order, too: the first to run is outermost
// on the body. It is the one list of what limpet does.
func (opt *Options) modules() []ngx.Module {
	ms := []ngx.Module{
		mainModule(),
		ngx.CoreModule(),
		location.Module(opt.remap()),
		upstream.Module(),
		metrics.Module(opt.Admin != ""),
	}
	return append(ms, ngx.VarModule(ms))
}

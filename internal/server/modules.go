package server

import (
	"limpet/healthcheck"
	"limpet/internal/accesslog"
	"limpet/internal/addition"
	"limpet/internal/charset"
	"limpet/internal/corevars"
	"limpet/internal/gunzip"
	"limpet/internal/gzip"
	"limpet/internal/location"
	"limpet/internal/mirror"
	"limpet/internal/ngx"
	"limpet/internal/proxy"
	"limpet/internal/rewrite"
	"limpet/internal/ssi"
	"limpet/internal/static"
	"limpet/internal/subfilter"
	"limpet/sticky"
	"limpet/upstream"
)

// modules returns the modules in the order in which their steps run within a
// phase. Header filters run in this order, too: the first to run is outermost
// on the body. It is the one list of what limpet does.
func (opt *Options) modules() []ngx.Module {
	ms := []ngx.Module{
		mainModule(),
		ngx.CoreModule(),
		corevars.Module(),
		location.Module(opt.remap()),
		rewrite.Module(),
		sticky.Module(sticky.Options{Legacy: opt.StickyLegacy}),
		upstream.Module(),
		proxy.Module(),
		accesslog.Module(),
		healthcheck.Module(healthcheck.Options{}),
	}
	ms = append(ms, static.Modules()...)
	ms = append(ms,
		mirror.Module(),
		static.NotModified(),
		gunzip.Module(),
		addition.Module(),
		subfilter.Module(),
		charset.Module(),
		ssi.Module(),
		ngx.PostponeModule(),
		gzip.Module(),
		static.Ranges(),
	)
	return append(ms, ngx.VarModule(ms))
}

package server

import (
	"limpet/healthcheck"
	"limpet/internal/access"
	"limpet/internal/accesslog"
	"limpet/internal/authbasic"
	"limpet/internal/authrequest"
	"limpet/internal/corevars"
	"limpet/internal/headers"
	"limpet/internal/location"
	"limpet/internal/lua"
	"limpet/internal/maps"
	"limpet/internal/ngx"
	"limpet/internal/proxy"
	"limpet/internal/rewrite"
	"limpet/internal/static"
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
		maps.Module(),
		sticky.Module(sticky.Options{Legacy: opt.StickyLegacy}),
		upstream.Module(),
		lua.Module(lua.Options{Recognise: !opt.RunLua}),
		proxy.Module(),
		access.Module(),
		authbasic.Module(),
		authrequest.Module(),
		headers.Module(),
		accesslog.Module(),
		healthcheck.Module(healthcheck.Options{}),
	}
	ms = append(ms, static.Modules()...)
	ms = append(ms, static.NotModified(), static.Ranges())
	return append(ms, ngx.VarModule(ms))
}

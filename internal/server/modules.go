package server

import (
	"limpet/internal/access"
	"limpet/internal/accesslog"
	"limpet/internal/authbasic"
	"limpet/internal/authrequest"
	"limpet/internal/corevars"
	"limpet/internal/headers"
	"limpet/internal/limit"
	"limpet/internal/location"
	"limpet/internal/ngx"
	"limpet/internal/realip"
	"limpet/internal/referer"
	"limpet/internal/securelink"
	"limpet/internal/stubstatus"
	"limpet/internal/userid"
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
		upstream.Module(),
		realip.Module(),
		limit.Module(),
		access.Module(),
		authbasic.Module(),
		authrequest.Module(),
		referer.Module(),
		securelink.Module(),
		stubstatus.Module(),
		headers.Module(),
		userid.Module(),
		accesslog.Module(),
	}
	return append(ms, ngx.VarModule(ms))
}

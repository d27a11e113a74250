package server

import (
	"limpet/healthcheck"
	"limpet/internal/access"
	"limpet/internal/accesslog"
	"limpet/internal/addition"
	"limpet/internal/authbasic"
	"limpet/internal/authrequest"
	"limpet/internal/charset"
	"limpet/internal/corevars"
	"limpet/internal/drain"
	"limpet/internal/fastcgi"
	"limpet/internal/gunzip"
	"limpet/internal/gzip"
	"limpet/internal/headers"
	"limpet/internal/headersmore"
	"limpet/internal/http2"
	"limpet/internal/limit"
	"limpet/internal/location"
	"limpet/internal/lua"
	"limpet/internal/maps"
	"limpet/internal/memcached"
	"limpet/internal/metrics"
	"limpet/internal/mirror"
	"limpet/internal/ngx"
	"limpet/internal/proxy"
	"limpet/internal/realip"
	"limpet/internal/referer"
	"limpet/internal/relay"
	"limpet/internal/rewrite"
	"limpet/internal/scgi"
	"limpet/internal/securelink"
	"limpet/internal/ssi"
	"limpet/internal/static"
	"limpet/internal/stubstatus"
	"limpet/internal/subfilter"
	"limpet/internal/tlsconf"
	"limpet/internal/unsupported"
	"limpet/internal/userid"
	"limpet/internal/uwsgi"
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
		tlsconf.Module(),
		http2.Module(),
		maps.Module(),
		sticky.Module(sticky.Options{Legacy: opt.StickyLegacy}),
		upstream.Module(),
		drain.Module(opt.Drains),
		lua.Module(lua.Options{Recognise: !opt.RunLua}),
		metrics.Module(opt.Admin != ""),
		relay.Module(),
		proxy.Module(),
		fastcgi.Module(),
		uwsgi.Module(),
		scgi.Module(),
		memcached.Module(),
		realip.Module(),
		limit.Module(),
		access.Module(),
		authbasic.Module(),
		authrequest.Module(),
		referer.Module(),
		securelink.Module(),
		stubstatus.Module(),
		accesslog.Module(),
		healthcheck.Module(opt.Checks),
	}
	ms = append(ms, static.Modules()...)
	ms = append(ms,
		mirror.Module(),
		// from here on nginx's order of header filters
		static.NotModified(),
		headersmore.Module(),
		headers.Module(),
		userid.Module(),
		gunzip.Module(),
		addition.Module(),
		subfilter.Module(),
		charset.Module(),
		ssi.Module(),
		ngx.PostponeModule(),
		gzip.Module(),
		static.Ranges(),
	)
	ms = append(ms, unsupported.Module(opt.WarnUnsupported, ms))
	return append(ms, ngx.VarModule(ms))
}

// Package healthcheck is active checks of peers: schedule, probe, rise and fall,
// status pages, for every dialect of configuration.
//
// It stands for lua-resty-upstream-healthcheck, for the check module of Tengine
// and of Weibin Yao, for health_check and match of NGINX Plus and for
// upstream_probe of Angie PRO.
// https://github.com/openresty/lua-resty-upstream-healthcheck
// https://tengine.taobao.org/document/http_upstream_check.html
// https://github.com/yaoweibin/nginx_upstream_check_module
// https://nginx.org/en/docs/http/ngx_http_upstream_hc_module.html
// https://en.angie.software/angie/docs/configuration/modules/http/http_upstream_probe/
//
// All dialects share one prober. A dialect is a way of configuring a Check, a
// protocol is what is said to the peer, and the words of the log lines are the
// dialect's own. What a check knows of an address is a Mark; it is kept over
// reloads by group, address and check, whatever the position in the file. A peer
// is down as long as any check holds it down; `server ... down` stays down and
// isn't asked at all.
//
// Not done: checks by gRPC (type=grpc) and Angie's ping, both refused by name;
// checks of stream servers.
package healthcheck

import (
	"limpet/internal/ngx"
	"limpet/nginxconf"
	"limpet/upstream"
)

// bit is this package's bit in upstream.State.
const bit = 0

// Options are what the command line says of checks.
type Options struct {
	// FailOpen says what happens when checks have turned every peer of a group
	// down: "on" serves from them all the same, "off" answers 502; "" does as
	// each dialect does, which is 502 with all of them.
	FailOpen string
	// ExpectAlive says what check_http_expect_alive means: "replace" as with
	// Tengine, "add" as with Weibin Yao's module; "" tells by the file.
	ExpectAlive string
}

// module is the module; while a configuration is made there may be several, so it keeps nothing.
type module struct {
	opt Options
}

// Module returns the module of active checks. It stands behind the modules that
// proxy in the list, so that a location's target is known when its checks are built.
func Module(opt Options) ngx.Module {
	m := &module{opt: opt}
	return ngx.Module{
		Name:   "healthcheck",
		Conf:   func() nginxconf.Settings { return &Conf{check: newCheckSpec()} },
		Vars:   vars,
		Config: m.config,
		Scope:  m.scope,
	}
}

// config builds the checks of upstream blocks and sees to it that all checks of
// the configuration run while it is in force.
func (m *module) config(b *ngx.Build) error {
	s := ngx.Shared[Checks](b)
	p := ngx.Keep(b, "healthcheck", func() *prober { return newProber(b.Poller) })
	s.prober = p
	s.groups = ngx.Shared[upstream.Groups](b)
	if err := m.buildUpstreams(b, s); err != nil {
		return err
	}
	b.OnStart(func() {
		m.openGroups(s)
		p.install(s)
	})
	b.OnRetire(func() { p.retire(s) })
	return nil
}

// openGroups applies the switch of failing open to the groups with checks.
func (m *module) openGroups(s *Checks) {
	if m.opt.FailOpen == "" {
		return
	}
	for _, c := range s.list {
		c.Group.FailOpen = m.opt.FailOpen == "on"
	}
}

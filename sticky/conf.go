package sticky

import (
	"limpet/internal/ngx"
	conf "limpet/nginxconf"
	"limpet/upstream"
)

// Options are what the command line says of stickiness.
type Options struct {
	// Legacy is --sticky-legacy: names of cookies that are looked for beside the
	// configured one, and keys with which cookies were made, as DIALECT=KEY or
	// DIALECT=@FILE: haproxy=, caddy=, angie=, hmac=.
	Legacy []string
}

// Conf holds the directives of stickiness.
type Conf struct {
	Secret     conf.Opt[ngx.Text]
	Strict     conf.Opt[bool]
	NoFallback conf.Opt[bool]
	HideCookie conf.Opt[bool]

	// At the file's own level.
	ng    bool              // directives that only nginx-sticky-module-ng has were seen
	hides map[string]bool   // upstreams named by session_sticky_hide_cookie anywhere
	zones map[string]string // sticky learn: upstreams by zone
}

// Directives lists the directives of all dialects.
// https://nginx.org/en/docs/http/ngx_http_upstream_module.html#sticky
// https://en.angie.software/angie/docs/configuration/modules/http/http_upstream/#sticky
// https://bitbucket.org/nginx-goodies/nginx-sticky-module-ng
// https://tengine.taobao.org/document/http_upstream_session_sticky.html
// https://tengine.taobao.org/document/http_upstream_consistent_hash.html
// https://github.com/yaoweibin/nginx_upstream_jvm_route
func (c *Conf) Directives() []conf.Directive {
	return []conf.Directive{
		conf.Call("sticky", conf.Upstream, conf.AnyArgs, parseSticky, "Makes clients stick to a peer, in the words of nginx, NGINX Plus, Angie or nginx-sticky-module."),
		conf.Call("sticky_cookie_insert", conf.Upstream, conf.Args1234, parseInsert, "Is the former name of sticky cookie (NGINX Plus)."),
		ngx.TextRow("sticky_secret", conf.Upstream, &c.Secret, "", "Salts the values of sticky (Angie)."),
		conf.Flag("sticky_strict", conf.Upstream, &c.Strict, "off", "Refuses requests whose peer can't be asked (Angie)."),
		conf.Custom("sticky_no_fallback", conf.ServerLocation, conf.NoArgs, &c.NoFallback, ngWord, "", "Refuses requests whose peer can't be asked (nginx-sticky-module-ng)."),
		conf.Custom("sticky_hide_cookie", conf.ServerLocation, conf.NoArgs, &c.HideCookie, ngWord, "", "Keeps the cookie from clients (nginx-sticky-module-ng)."),
		conf.Call("session_sticky", conf.Upstream, conf.AnyArgs, parseTengine, "Makes clients stick to a peer (Tengine)."),
		conf.Call("session_sticky_hide_cookie", conf.HTTPServerLocation, conf.Args1, parseHide, "Says where Tengine takes the cookie out of requests; with option=indirect that is done everywhere here."),
		conf.Call("session_sticky_header", conf.HTTPServerLocation, conf.Args1, parseHide, "Is the former name of session_sticky_hide_cookie."),
		conf.Call("jvm_route", conf.Upstream, conf.Args12, parseJVM, "Sends sessions to the peer that their ID names (nginx_upstream_jvm_route)."),
		conf.Call("consistent_hash", conf.Upstream, conf.Args1, parseConsistent, "Chooses peers by a hash that moves few keys when peers change (Tengine)."),
	}
}

// root returns the Conf of the file's own level.
func root(lv *conf.Level) *Conf {
	c := conf.Own[*Conf](lv.Root())
	if c.hides == nil {
		c.hides, c.zones = make(map[string]bool), make(map[string]string)
	}
	return c
}

// ngWord takes a directive without arguments that only -ng has.
func ngWord(s *conf.Setting) (bool, error) {
	root(s.Level).ng = true
	return true, nil
}

// parseSticky tells the grammar by the first argument.
func parseSticky(s *conf.Setting) error {
	if len(s.Args) > 0 {
		switch s.Arg(0) {
		case "cookie", "route", "learn":
			return parseNginx(s)
		}
	}
	return parseClassic(s)
}

// Module returns the sticky module. It stands before upstream's in the list of modules.
func Module(opt Options) ngx.Module {
	return ngx.Module{
		Name: "sticky", Conf: func() conf.Settings { return new(Conf) }, Vars: Vars,
		Config: func(b *ngx.Build) error { return configure(b, opt) },
		Scope:  buildScope,
	}
}

// configure notes what holds for all groups.
func configure(b *ngx.Build, opt Options) error {
	c := shared(b)
	if err := c.takeLegacy(b, opt.Legacy); err != nil {
		return err
	}
	c.file = root(b.Config.Root)
	c.noFallback, c.hideCookie = ngx.NewSlot[bool](b), ngx.NewSlot[bool](b)
	return nil
}

// buildScope tells requests of the -ng directives of their location.
func buildScope(b *ngx.Build, s *ngx.Scope) error {
	c, all := conf.Of[*Conf](s.Level), shared(b)
	if !c.NoFallback.V && !c.HideCookie.V {
		return nil
	}
	s.Add(ngx.PreAccess, func(r *ngx.Request) ngx.Outcome {
		all.noFallback.Put(r, c.NoFallback.V)
		all.hideCookie.Put(r, c.HideCookie.V)
		return ngx.Next
	})
	return nil
}

// maker makes a group's policy for some peers, nil for none.
type maker func(ps *upstream.Peers) *Policy

// sticks sets the policy of the statement's group. prepare does once a
// configuration what doesn't depend on which peers there are.
func sticks(s *conf.Setting, prepare func(b *ngx.Build, g *upstream.Group) (maker, error)) {
	upstream.SetSticky(s, func(b *ngx.Build, g *upstream.Group) (upstream.StickyMaker, error) {
		m, err := prepare(b, g)
		if err != nil {
			return nil, err
		}
		return func(ps *upstream.Peers) upstream.Sticky {
			if p := m(ps); p != nil {
				return p
			}
			return nil // a nil *Policy would be a Sticky that isn't nil
		}, nil
	})
}

package proxy

import (
	"limpet/internal/ngx"
	"limpet/internal/relay"
	"limpet/nginxconf"
)

// kind is the proxy module's.
func kind() *relay.Kind {
	return &relay.Kind{
		Name: "proxy", URI: true,
		Schemes:   []relay.Scheme{{Prefix: "http://", Shown: "http://", Port: 80}, {Prefix: "https://", Shown: "https://", TLS: true, Port: 443}},
		Next:      relay.HTTPWords(),
		Hidden:    relay.AccelFields("Date", "Server", "X-Pad"),
		OwnServer: true,
		Conf:      func(lv *nginxconf.Level) *relay.Conf { return &nginxconf.Of[*Conf](lv).Conf },
	}
}

// Module returns the proxy module.
func Module() ngx.Module {
	k := kind()
	return ngx.Module{
		Name: "proxy", Conf: func() nginxconf.Settings { return new(Conf) },
		Vars: Vars, Config: k.Caches, Scope: func(b *ngx.Build, s *ngx.Scope) error { return build(k, b, s) },
	}
}

// place is HTTP/1 as one place speaks it.
type place struct {
	conf      *Conf
	target    *relay.Target
	head      *headPlan
	keptHead  *headPlan // of requests whose answers may be kept
	redirects []redirect
	cookies   bool // some rule may change Set-Cookie
}

// build makes the handler of a place that has a proxy_pass, its own or, in an
// if or limit_except, the enclosing location's.
func build(k *relay.Kind, b *ngx.Build, s *ngx.Scope) error {
	target := k.Target(s)
	if target == nil {
		return nil
	}
	conf := nginxconf.Of[*Conf](s.Level)
	p := newPlace(conf, target, s.Name)
	to := relay.Place{
		Kind: k, Protocol: p, Upgrades: true, Trailers: conf.PassTrailers.V, Chunks: conf.HTTPVersion.V == ngx.HTTP11, Probe: p.probeHead,
	}
	if conf.SetBody.IsSet() {
		to.Body = &conf.SetBody.V
	}
	if len(p.redirects) > 0 || p.cookies {
		to.Rewrite = p.rewrite
	}
	return relay.Handle(b, s, target, to)
}

func newPlace(conf *Conf, target *relay.Target, location string) *place {
	p := &place{
		conf: conf, target: target, head: compileHead(conf, false),
		cookies: len(conf.CookieDomain.V)+len(conf.CookiePath.V)+len(conf.CookieFlags.V) > 0,
	}
	if conf.Cached.On() {
		p.keptHead = compileHead(conf, true)
	}
	for _, rule := range conf.Redirect.V {
		switch {
		case !rule.isDefault:
			p.redirects = append(p.redirects, rule)
		case target.Group != nil:
			p.redirects = append(p.redirects, defaultRule(target, location))
		}
	}
	return p
}

// rewrite changes Location and Refresh as proxy_redirect has it, and cookies.
func (p *place) rewrite(x *relay.Exchange, f *ngx.Field) bool {
	g, r := *f, x.R
	switch f.ID {
	case ngx.HeaderSetCookie:
		if !p.cookies {
			return false
		}
		g.Value = p.rewriteCookie(r, f.Value)
	case ngx.HeaderRefresh:
		g.Value = rewriteRefresh(p.redirects, r, f.Value)
	default:
		v, ok := rewriteURL(p.redirects, r, f.Value)
		if !ok {
			return false
		}
		if g.Value = v; len(v) > 0 && v[0] == '/' {
			r.Out.Location = v // made absolute by the wire
			return true
		}
	}
	r.Out.Header.Fields = append(r.Out.Header.Fields, g)
	return true
}

// Package sticky says which peer a client belongs to: every dialect's reader, the
// configured dialect's writer.
//
// It stands for the sticky directive of nginx 1.29.6 and later, and for the ways
// of NGINX Plus, Angie, nginx-sticky-module and its -ng fork, Tengine, jvm_route and
// the route-cookie balancer in Lua.
// https://nginx.org/en/docs/http/ngx_http_upstream_module.html#sticky
//
// A Policy is an upstream.Sticky, set on a group by the directives of this
// package, or by internal/lua where it recognises the route-cookie balancer.
// For each peer every value that any dialect would write is computed when the
// configuration is built, so that nobody is logged out by a change of dialect:
// a cookie in any of them is honoured, and the answer carries the configured one.
//
// Not done: sync of learned sessions between machines (NGINX Plus).
package sticky

import (
	"limpet/internal/ngx"
	"limpet/nginxconf"
	"limpet/upstream"
)

// RouteCookie is the policy of the route-cookie balancer in Lua: a client's
// cookie is the MD5 of its peer's address, set at its first visit only.
type RouteCookie struct {
	Name string // of the cookie
	Tail string // behind the value in Set-Cookie: "; path=/;"
	// Dialect names the policy in -t's notes and in metrics.
	Dialect string
}

// SetRouteCookie makes the policy that of the group of the statement's block.
// The group then serves from peers that checks have turned down when no other is
// left, as the balancer does.
func SetRouteCookie(s *nginxconf.Setting, c RouteCookie) error {
	own := ownValues(func(q *upstream.Peer, at int) []spelled {
		return []spelled{{md5hex(string(q.Name)), AddressMD5}, {md5hex(q.Server), TextMD5}}
	})
	sticks(s, func(b *ngx.Build, g *upstream.Group) (maker, error) {
		g.FailOpen = true
		base := newPolicy(b, g, s, c.Dialect)
		return func(ps *upstream.Peers) *Policy {
			p := base.with(ps)
			p.read = p.cookieOf(c.Name, own, keys{})
			p.write = &setter{cookie: newCookie(c.Name, own.written(ps), []attribute{{text: c.Tail}})}
			return p
		}, nil
	})
	return nil
}

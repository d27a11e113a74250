// Package sticky says which peer a client belongs to: every dialect's reader, the
// configured dialect's writer.
//
// A policy is an upstream.Sticky, set on a group by the directives of this
// package, or by internal/lua where it recognises the route-cookie balancer.
package sticky

import (
	"limpet/nginxconf"
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
func SetRouteCookie(s *nginxconf.Setting, c RouteCookie) error { return nil }

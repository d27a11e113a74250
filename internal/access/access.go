// Package access lets clients in by their address: allow and deny of nginx's
// access module.
// https://nginx.org/en/docs/http/ngx_http_access_module.html
package access

import (
	"net/netip"

	"limpet/internal/ngx"
	"limpet/nginxconf"
)

// Module returns the module.
func Module() ngx.Module {
	return ngx.Module{
		Name: "access",
		Conf: func() nginxconf.Settings { return new(Conf) },
		Scope: func(_ *ngx.Build, s *ngx.Scope) error {
			s.Add(ngx.Access, step(nginxconf.Of[*Conf](s.Level).Rules.V))
			return nil
		},
	}
}

// rules are the rules in order, by the family of addresses that they are about.
type rules struct{ v4, v6, unix []Rule }

func step(all []Rule) ngx.Step {
	if len(all) == 0 {
		return nil
	}
	var rs rules
	for _, r := range all {
		if r.All || r.Unix {
			rs.unix = append(rs.unix, r)
		}
		if r.All || !r.Unix && r.Net.Addr().Is4() {
			rs.v4 = append(rs.v4, r)
		}
		if r.All || !r.Unix && r.Net.Addr().Is6() {
			rs.v6 = append(rs.v6, r)
		}
	}
	return func(r *ngx.Request) ngx.Outcome {
		deny, found := rs.find(r.Client)
		if r.Debugging() {
			debug(r, deny, found)
		}
		switch {
		case !found:
			return ngx.Next
		case !deny:
			return ngx.OK
		}
		if r.Scope.Core.Satisfy.V == ngx.SatisfyAll {
			r.Errorf("access forbidden by rule")
		}
		return ngx.Status(403)
	}
}

// debug tells what the rules say of the client. nginx's lines have addresses and masks in hexadecimal, which nobody reads.
func debug(r *ngx.Request, deny, found bool) {
	what := "no rule"
	switch {
	case deny:
		what = "deny"
	case found:
		what = "allow"
	}
	r.Debugf("access: %s %s", r.Client.Text, what)
}

// find returns what the first rule that holds for the client says.
func (rs *rules) find(c *ngx.Client) (deny, found bool) {
	addr := c.Addr.Addr()
	switch {
	case !addr.IsValid():
		return first(rs.unix, addr)
	case addr.Is4():
		return first(rs.v4, addr)
	case addr.Is4In6() && len(rs.v4) > 0:
		return first(rs.v4, addr.Unmap())
	}
	return first(rs.v6, addr)
}

func first(rules []Rule, addr netip.Addr) (deny, found bool) {
	for i := range rules {
		if r := &rules[i]; r.All || r.Unix || r.Net.Contains(addr) {
			return r.Deny, true
		}
	}
	return false, false
}

package admin

import (
	"strings"

	"limpet/internal/lua"
	"limpet/sticky"
	"limpet/upstream"
)

// stickyFamilies lists the metrics of stickiness.
func (s *Server) stickyFamilies() []family {
	const dialect = "upstream, dialect"
	each := func(f func(p *page, st *sticky.Policy, l []string)) func(*page) {
		return func(p *page) {
			for _, g := range s.groups() {
				if st := sticky.Of(g); st != nil {
					f(p, st, []string{"upstream", g.FullName(), "dialect", st.Dialect()})
				}
			}
		}
	}
	seen := func(write func(p *page, st *sticky.Policy, sp sticky.Spelling, l []string)) func(*page) {
		return each(func(p *page, st *sticky.Policy, l []string) {
			for sp := range sticky.Spelling(sticky.NumSpellings) {
				if n, _ := st.Seen(sp); n > 0 {
					write(p, st, sp, append(l[:len(l):len(l)], "spelling", sp.String()))
				}
			}
		})
	}
	client := func(f func(p *page, st *sticky.Policy, peer *upstream.Peer, l []string)) func(*page) {
		return s.eachPeer(func(p *page, g *upstream.Group, peer *upstream.Peer, l []string) {
			if st := sticky.Of(g); st != nil {
				f(p, st, peer, l)
			}
		})
	}
	return []family{
		{"limpet_sticky_decisions_total", "counter", dialect + ", outcome, reason",
			"Choices of a peer by outcome: new (no cookie), hit (the client's peer), miss (the cookie names no peer), moved (its peer can't be asked), and by $sticky_reason.",
			each(func(p *page, st *sticky.Policy, l []string) {
				for r := range sticky.NumReasons {
					p.add(st.Reasons(r), append(l[:len(l):len(l)], "outcome", strings.ToLower(r.Status().String()), "reason", r.String())...)
				}
			})},
		{"limpet_sticky_cookies_total", "counter", dialect + ", spelling", "Cookies that named a peer, by the spelling of the name.",
			seen(func(p *page, st *sticky.Policy, sp sticky.Spelling, l []string) {
				n, _ := st.Seen(sp)
				p.add(n, l...)
			})},
		{"limpet_sticky_cookie_last_seen_timestamp_seconds", "gauge", dialect + ", spelling", "When a cookie of the spelling was last seen, in Unix time.",
			seen(func(p *page, st *sticky.Policy, sp sticky.Spelling, l []string) {
				_, last := st.Seen(sp)
				p.add(last.Unix(), l...)
			})},
		{"limpet_sticky_sessions", "gauge", dialect, "Sessions that sticky learn holds, expired ones that nobody asked for included.",
			each(func(p *page, st *sticky.Policy, l []string) {
				if n, learns := st.Sessions(); learns {
					p.add(int64(n), l...)
				}
			})},
		{"limpet_sticky_clients", "gauge", "upstream, peer",
			"Distinct clients, by address and user agent, that came to the peer in the last ten minutes; an estimate that is exact at 0.",
			client(func(p *page, st *sticky.Policy, peer *upstream.Peer, l []string) {
				p.add(int64(st.Clients(peer, defaultWindow)), l...)
			})},
		{"limpet_sticky_client_last_seen_timestamp_seconds", "gauge", "upstream, peer", "When a client last came to the peer, in Unix time.",
			client(func(p *page, st *sticky.Policy, peer *upstream.Peer, l []string) {
				if last := st.LastSeen(peer); !last.IsZero() {
					p.add(last.Unix(), l...)
				}
			})},
	}
}

// luaFamilies lists the metrics of scripts.
func (s *Server) luaFamilies() []family {
	count := func(n func(st *lua.Stats) int64) func(*page) {
		return func(p *page) { p.add(n(lua.StatsOf(s.Server.Build()))) }
	}
	return []family{
		{"limpet_lua_runs_total", "counter", "", "Runs of Lua scripts; those that limpet does natively don't count.",
			count(func(st *lua.Stats) int64 { return st.Runs.Load() })},
		{"limpet_lua_errors_total", "counter", "", "Runs that ended with an error.",
			count(func(st *lua.Stats) int64 { return st.Errors.Load() })},
		{"limpet_lua_stopped_total", "counter", "", "Runs that were stopped because they took too many instructions or too long.",
			count(func(st *lua.Stats) int64 { return st.Stopped.Load() })},
	}
}

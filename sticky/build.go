package sticky

import (
	"strconv"

	"limpet/internal/ngx"
	"limpet/nginxconf"
	"limpet/upstream"
)

// common is what all policies of a configuration share.
type common struct {
	decisions *decisions
	legacy    []string
	keys      keys
}

func shared(b *ngx.Build) *common {
	c := ngx.Shared[common](b)
	if c.decisions == nil {
		c.decisions = newDecisions()
	}
	return c
}

// newPolicy returns a policy of a group, without reader and writer, that goes on
// with what the configuration before has counted.
func newPolicy(b *ngx.Build, g *upstream.Group, s *nginxconf.Setting, dialect string) *Policy {
	p := &Policy{group: g, dialect: dialect, where: s.File + ":" + strconv.Itoa(s.Line), decisions: shared(b).decisions}
	p.stats = ngx.Keep(b, "sticky "+g.Name, newStats)
	for at := range g.Peers {
		q := p.peerAt(at)
		p.clients = append(p.clients, ngx.Keep(b, "sticky clients "+g.Name+" "+string(q.Name), func() *clientTable { return new(clientTable) }))
	}
	return p
}

// readCookie makes the policy read the cookie of that name, and those of --sticky-legacy.
func (p *Policy) readCookie(b *ngx.Build, name string, exact bool, own func(q *upstream.Peer, at int) []spelled) *cookieReader {
	c := shared(b)
	r := &cookieReader{name: name, exact: exact, legacy: c.legacy, none: newWishes()}
	r.index = newIndex(p.group, &c.keys, own, nil)
	p.read = r
	return r
}

// written returns the value to write for each position: the first of a peer's own.
func written(g *upstream.Group, own func(q *upstream.Peer, at int) []spelled) []string {
	values := make([]string, len(g.Peers))
	for at := range values {
		values[at] = own(peerAt(g, at), at)[0].value
	}
	return values
}

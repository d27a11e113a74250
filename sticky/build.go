package sticky

import (
	"fmt"
	"os"
	"strconv"
	"strings"

	"limpet/internal/errlog"
	"limpet/internal/ngx"
	"limpet/nginxconf"
	"limpet/upstream"
)

// common is what all policies of a configuration share.
type common struct {
	decisions              *decisions
	legacy                 []string
	keys                   keys
	file                   *Conf // of the file's own level; nil without the module
	noFallback, hideCookie ngx.Slot[bool]
}

func shared(b *ngx.Build) *common {
	c := ngx.Shared[common](b)
	if c.decisions == nil {
		c.decisions = newDecisions()
	}
	return c
}

// takeLegacy sorts the items of --sticky-legacy into names and keys.
func (c *common) takeLegacy(b *ngx.Build, items []string) error {
	for _, item := range items {
		dialect, key, ok := strings.Cut(item, "=")
		if !ok {
			c.legacy = append(c.legacy, item)
			continue
		}
		lists := map[string]*[]string{"haproxy": &c.keys.haproxy, "caddy": &c.keys.caddy, "angie": &c.keys.angie, "hmac": &c.keys.hmac}
		list := lists[dialect]
		if list == nil {
			return fmt.Errorf(`--sticky-legacy: "%s" isn't a dialect with a key: angie, caddy, haproxy, hmac`, dialect)
		}
		if file, is := strings.CutPrefix(key, "@"); is {
			if b.Offline {
				continue
			}
			var err error
			if key, err = readKey(file); err != nil {
				return fmt.Errorf("--sticky-legacy: %w", err)
			}
		}
		*list = append(*list, key)
	}
	return nil
}

// readKey returns a key file's content without the newline at its end.
func readKey(name string) (string, error) {
	text, err := os.ReadFile(name)
	if err != nil {
		return "", fmt.Errorf(`open() "%s" failed %s`, name, errlog.Errno(err))
	}
	key := strings.TrimRight(string(text), "\r\n")
	if key == "" {
		return "", fmt.Errorf(`key file "%s" is empty`, name)
	}
	return key, nil
}

// newPolicy returns a policy of a group, without reader and writer, that goes on
// with what the configuration before has counted. -t tells of it.
func newPolicy(b *ngx.Build, g *upstream.Group, s *nginxconf.Setting, dialect string) *Policy {
	p := &Policy{name: g.Name, dialect: dialect, where: s.File + ":" + strconv.Itoa(s.Line), common: shared(b)}
	p.stats = ngx.Keep(b, "sticky "+g.Name, newStats)
	p.tables = ngx.Keep(b, "sticky clients "+g.Name, func() *upstream.Table[*clientTable] { return new(upstream.Table[*clientTable]) })
	p.note(b, `upstream "%s" is sticky as by %s`, g.Name, dialect)
	return p
}

// with returns a policy of the same kind for some peers, to be completed.
func (p *Policy) with(ps *upstream.Peers) *Policy {
	of := *p
	of.peers, of.clients = ps, nil
	names := make(map[string]bool)
	for _, q := range ps.Ordered() {
		name := string(q.Name)
		names[name] = true
		of.clients = append(of.clients, of.tables.Get(name, func() *clientTable { return new(clientTable) }))
	}
	of.tables.Retain(func(name string) bool { return names[name] })
	return &of
}

// note tells something about the directive at -t.
func (p *Policy) note(b *ngx.Build, format string, args ...any) {
	b.Notice("notice", "%s in %s", fmt.Sprintf(format, args...), p.where)
}

// ownValues returns the values that a dialect takes for its own for a peer at a
// position; the first is the one it writes.
type ownValues func(q *upstream.Peer, at int) []spelled

// cookieOf returns a reader of the cookie of that name, and of those of
// --sticky-legacy. more are the keys of this group beside those of the command line.
func (p *Policy) cookieOf(name string, own ownValues, more keys) *cookieReader {
	c := p.common
	return &cookieReader{name: name, legacy: c.legacy, none: newWishes(), index: newIndex(p.peers.Ordered(), c.keys.and(more), own, nil)}
}

// and returns the keys of both.
func (k keys) and(more keys) *keys {
	join := func(a, b []string) []string { return append(a[:len(a):len(a)], b...) }
	return &keys{join(k.hmac, more.hmac), join(k.angie, more.angie), join(k.haproxy, more.haproxy), join(k.caddy, more.caddy)}
}

// written returns the value to write for each position.
func (own ownValues) written(ps *upstream.Peers) []string {
	var values []string
	for at, q := range ps.Ordered() {
		values = append(values, own(q, at)[0].value)
	}
	return values
}

package sticky

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"limpet/internal/ngx"
	conf "limpet/nginxconf"
	"limpet/upstream"
)

// learnSpec is what sticky learn says.
type learnSpec struct {
	create, lookup []ngx.Text
	zone           string
	size           int64 // bytes
	timeout        time.Duration
	header         bool
	noRefresh      bool
}

// The shortest zone is eight pages, as in nginx. A session is forgotten ten
// minutes after its last request, in Angie after an hour.
const (
	minZone           = 8 * 4096
	learnTimeout      = 10 * time.Minute
	learnTimeoutAngie = time.Hour
)

// parseLearn reads sticky learn.
func parseLearn(s *conf.Setting) error {
	l := &learnSpec{}
	for i := 1; i < len(s.Args); i++ {
		if err := l.param(s, s.Arg(i)); err != nil {
			return err
		}
	}
	for _, p := range []struct {
		name    string
		missing bool
	}{{"lookup", l.lookup == nil}, {"create", l.create == nil}, {"zone", l.zone == ""}} {
		if p.missing {
			return conf.Brief(fmt.Sprintf(`"%s" parameter is not specified`, p.name))
		}
	}
	zones := root(s.Level).zones
	if other, used := zones[l.zone]; used {
		return fmt.Errorf(`sticky zone "%s" is already used in upstream "%s"`, l.zone, other)
	}
	zones[l.zone] = upstream.NameOf(s)
	sticks(s, func(b *ngx.Build, g *upstream.Group) (maker, error) { return l.build(b, g, s), nil })
	return nil
}

func (l *learnSpec) param(s *conf.Setting, p string) error {
	name, value, hasValue := strings.Cut(p, "=")
	switch {
	case p == "header":
		l.header = true
	case p == "norefresh":
		l.noRefresh = true
	case name == "create" && hasValue:
		return takeVariable(s, &l.create, name, value)
	case name == "lookup" && hasValue:
		return takeVariable(s, &l.lookup, name, value)
	case name == "zone" && hasValue:
		return l.takeZone(value)
	case name == "timeout" && hasValue:
		if l.timeout != 0 {
			return conf.Brief("duplicate timeout")
		}
		d, ok := conf.ParseTime(value, false)
		if !ok || d == 0 {
			return conf.Brief("invalid timeout")
		}
		l.timeout = d
	default: // sync of NGINX Plus among them
		return fmt.Errorf(`unknown parameter "%s"`, p)
	}
	return nil
}

func takeVariable(s *conf.Setting, list *[]ngx.Text, name, value string) error {
	if value == "" {
		return conf.Brief(fmt.Sprintf(`missing variable in the "%s" parameter`, name))
	}
	if value[0] != '$' {
		return fmt.Errorf(`invalid variable name "%s"`, value)
	}
	t, err := ngx.ParseText(s, value)
	*list = append(*list, t)
	return err
}

func (l *learnSpec) takeZone(value string) error {
	if l.zone != "" {
		return conf.Brief("duplicate zone")
	}
	name, size, ok := strings.Cut(value, ":")
	switch {
	case name == "":
		return conf.Brief("zone name is not specified")
	case !ok || size == "":
		return conf.Brief("zone size is not specified")
	}
	n, ok := conf.ParseSize(size)
	switch {
	case !ok:
		return conf.Brief("invalid zone size")
	case n < minZone:
		return conf.Brief("zone is too small")
	}
	l.zone, l.size = name, n
	return nil
}

func (l *learnSpec) build(b *ngx.Build, g *upstream.Group, s *conf.Setting) maker {
	block := conf.Of[*Conf](s.Level)
	dialect := dialectOf(g, block)
	if l.noRefresh {
		dialect = dialectAngie
	}
	base := newPolicy(b, g, s, dialect)
	base.angie(block)
	timeout := l.timeout
	if timeout == 0 {
		timeout = learnTimeout
		if dialect == dialectAngie {
			timeout = learnTimeoutAngie
		}
	}
	key := "sticky zone " + l.zone + " " + g.Name + " " + strconv.FormatInt(l.size, 10)
	table := ngx.Keep(b, key, func() *sessionTable { return newSessionTable(l.size) })
	lives := life{int64(timeout / (time.Second / ticksPerSecond)), l.noRefresh}
	return func(ps *upstream.Peers) *Policy {
		p := base.with(ps)
		learn := newLearner(l, table, lives, ps)
		p.read, p.learn = learn, learn
		return p
	}
}

func newLearner(l *learnSpec, table *sessionTable, lives life, ps *upstream.Peers) *learner {
	learn := &learner{spec: l, zone: table, life: lives, wishes: make(map[string]*wish), none: newWishes()}
	for _, q := range ps.Ordered() {
		id := sid(q)
		learn.sids = append(learn.sids, id)
		w := learn.wishes[id]
		if w == nil {
			w = &wish{reason: Learned}
			learn.wishes[id] = w
		}
		w.peers = append(w.peers, q)
	}
	return learn
}

// learner remembers which peer served a session, and reads the wish from it.
type learner struct {
	spec   *learnSpec
	zone   *sessionTable
	life   life
	sids   []string         // by position
	wishes map[string]*wish // by SID
	none   wishes
}

// wish implements reader.
func (l *learner) wish(s *upstream.Session) (*wish, Spelling) {
	id := first(l.spec.lookup, s.Request)
	if len(id) == 0 {
		return &l.none.noCookie, NumSpellings
	}
	if name, ok := l.zone.find(id, tick(), l.life); ok {
		if w := l.wishes[name]; w != nil {
			return w, NumSpellings
		}
	}
	return &l.none.unknown, NumSpellings
}

// answered learns from the answer's header.
func (l *learner) answered(s *upstream.Session, at int) {
	if l.spec.header {
		l.learn(s, at)
	}
}

// ended learns when the answer is complete.
func (l *learner) ended(s *upstream.Session, at int) {
	if !l.spec.header {
		l.learn(s, at)
	}
}

// learn notes the peer of the session that create names. A session that only
// lookup names goes on, and isn't begun.
func (l *learner) learn(s *upstream.Session, at int) {
	id, create := first(l.spec.create, s.Request), true
	if len(id) == 0 {
		if id, create = first(l.spec.lookup, s.Request), false; len(id) == 0 {
			return
		}
	}
	if s.Request.Debugging() {
		s.Request.Debugf(`sticky: session "%s" is of "%s", may begin: %t`, id, l.sids[at], create)
	}
	if l.zone.put(id, l.sids[at], tick(), l.life, create) {
		s.Request.Warnf(`could not allocate node in sticky session zone "%s", expiring least recently used session`, l.spec.zone)
	}
}

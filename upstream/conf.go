// Package upstream is groups of peers: balancing, passive failures, kept
// connections and the choice of the next peer.
//
// It stands for nginx's ngx_http_upstream_module with all of its balancing
// methods and its keepalive and zone parts.
// https://nginx.org/en/docs/http/ngx_http_upstream_module.html
//
// A Group belongs to one configuration. Its Peers are a snapshot: where names are
// resolved at run time, others take their place, and sessions under way go on with
// theirs. What a peer has done and how it fares is in its State, which is kept by
// group and address over reloads and changes. Where nginx has this state per
// worker, or per zone, there is one view here.
//
// Not done, and refused by name: state and ntlm of NGINX Plus.
package upstream

import (
	"fmt"
	"strings"
	"time"

	"limpet/internal/ngx"
	"limpet/internal/resolver"
	"limpet/nginxconf"
)

// Conf holds the upstream blocks at the http level, and the directives of one
// block at its own level.
type Conf struct {
	specs []*spec          // at the http level, in reading order
	named []namedAt        // at the http level: names that must be an upstream block's
	zones map[string]int64 // at the http level: sizes of zones, 0 where none was given yet

	Keepalive         nginxconf.Opt[Keepalive]
	KeepaliveRequests nginxconf.Opt[int]
	KeepaliveTime     nginxconf.Opt[time.Duration]
	KeepaliveTimeout  nginxconf.Opt[time.Duration]
	Queue             nginxconf.Opt[Waiting]
	Resolver          nginxconf.Opt[*resolver.Resolver]
	ResolverTimeout   nginxconf.Opt[time.Duration]
}

// Keepalive is what keepalive says.
type Keepalive struct {
	Max   int
	Local bool // a connection goes back only to the location that opened it
}

// spec is a group as configured, explicit by an upstream block or implicit by proxy_pass.
type spec struct {
	name    string
	level   *nginxconf.Level // of an explicit group, else nil
	at      nginxconf.Statement
	port    int // of an implicit group; 0: none was given
	deflt   int // default port of an implicit group
	servers []*serverSpec
	method  Method
	sticky  func(b *ngx.Build, g *Group) (StickyMaker, error)
	zone    bool // it has a zone
	queue   bool // it has a queue
	counted bool // -t tells of its max_conns
	script  func(b *ngx.Build, g *Group) (Script, error)
	group   *Group
}

// Method is a group's way of choosing peers, set by a directive of its block.
type Method struct {
	Name string // the directive's
	// Make returns the balancer for some peers; it runs again when there are others.
	Make func(ps *Peers) Balancer
	// What the method doesn't support of the parameters of server.
	NoBackup, NoWeight, NoMaxConns, NoSlowStart bool
}

// SetMethod makes m the way in which the group of the statement's block chooses
// peers; a second method replaces the first with nginx's warning.
func SetMethod(s *nginxconf.Setting, m Method) error {
	sp := specOf(s)
	if sp.method.Name != "" || sp.script != nil {
		s.Warn("load balancing method redefined")
	}
	if sp.sticky != nil {
		s.Note(`nginx would lose the stickiness that is configured before "%s", limpet keeps it`, s.Name)
		m.NoBackup, m.NoMaxConns = m.NoBackup || sp.method.NoBackup, m.NoMaxConns || sp.method.NoMaxConns
	}
	if sp.queue {
		s.Note(`nginx would lose the queue that is configured before "%s", limpet keeps it`, s.Name)
	}
	sp.method = m
	return nil
}

// MethodOf returns the name of the directive that set the method of the group of
// the statement's block so far; "" for round robin.
func MethodOf(s *nginxconf.Setting) string { return specOf(s).method.Name }

// Forbid makes the server lines that follow in the statement's block refuse
// backup and max_conns, as modules do that take the group's balancing over.
func Forbid(s *nginxconf.Setting) {
	sp := specOf(s)
	sp.method.NoBackup, sp.method.NoMaxConns = true, true
}

// StickyMaker makes the stickiness for some peers, nil for none. It runs again when
// there are others.
type StickyMaker func(ps *Peers) Sticky

// SetSticky makes clients of the group of the statement's block stick; make runs
// when the group is built, once its peers are there. The later of two statements holds, as a
// caller that doesn't want that looks at HasSticky.
func SetSticky(s *nginxconf.Setting, make func(b *ngx.Build, g *Group) (StickyMaker, error)) {
	specOf(s).sticky = make
}

// HasSticky reports whether the statement's block has a sticky policy already.
func HasSticky(s *nginxconf.Setting) bool { return specOf(s).sticky != nil }

// SetScript lets a script choose the peer of every try in the group of the statement's block.
func SetScript(s *nginxconf.Setting, make func(b *ngx.Build, g *Group) (Script, error)) error {
	sp := specOf(s)
	if sp.script != nil {
		return nginxconf.ErrDuplicate
	}
	if sp.method.Name != "" {
		s.Warn("load balancing method redefined")
	}
	sp.script = make
	sp.method.NoBackup, sp.method.NoMaxConns = true, true
	return nil
}

// NameOf returns the name of the group of the statement's block.
func NameOf(s *nginxconf.Setting) string { return specOf(s).name }

// Directives lists the directives of the upstream module.
func (c *Conf) Directives() []nginxconf.Directive {
	return []nginxconf.Directive{
		nginxconf.Block("upstream", nginxconf.HTTP, nginxconf.Upstream, nginxconf.Args1, c.openUpstream, closeUpstream, "Defines a group of servers."),
		nginxconf.Call("server", nginxconf.Upstream, nginxconf.Args1More, parseServer, "Adds a server to the group."),
		nginxconf.Custom("keepalive", nginxconf.Upstream, nginxconf.Args12, &c.Keepalive, parseKeepalive, "32 local", "Bounds the number of idle connections that are kept, for each worker process that nginx would have."),
		nginxconf.Num("keepalive_requests", nginxconf.Upstream, &c.KeepaliveRequests, "1000", "Bounds the number of requests of a connection."),
		nginxconf.Msec("keepalive_time", nginxconf.Upstream, &c.KeepaliveTime, "1h", "Bounds the time in which a connection takes requests."),
		nginxconf.Msec("keepalive_timeout", nginxconf.Upstream, &c.KeepaliveTimeout, "60s", "Sets how long an idle connection is kept."),
		nginxconf.Custom("queue", nginxconf.Upstream, nginxconf.Args12, &c.Queue, parseQueue, "", "Bounds the number of requests that wait for a peer, and how long they do."),
		ngx.ResolverRow(nginxconf.Upstream, &c.Resolver),
		nginxconf.Msec("resolver_timeout", nginxconf.Upstream, &c.ResolverTimeout, "30s", "Bounds the time in which a name is resolved."),
		nginxconf.Call("least_conn", nginxconf.Upstream, nginxconf.NoArgs, parseLeastConn, "Chooses the peer with the fewest requests."),
		nginxconf.Call("least_time", nginxconf.Upstream, nginxconf.Args12, parseLeastTime, "Chooses the peer with the least mean time and the fewest requests."),
		nginxconf.Call("ip_hash", nginxconf.Upstream, nginxconf.NoArgs, parseIPHash, "Chooses a peer by the client's address."),
		nginxconf.Call("hash", nginxconf.Upstream, nginxconf.Args12, parseHash, "Chooses a peer by a key."),
		nginxconf.Call("random", nginxconf.Upstream, nginxconf.NoArgs|nginxconf.Args12, parseRandom, "Chooses a peer at random."),
		nginxconf.Call("zone", nginxconf.Upstream, nginxconf.Args12, parseZone, "Names a zone for the group's state, which is always shared here."),
	}
}

// specOf returns the group that a statement inside an upstream block belongs to.
func specOf(s *nginxconf.Setting) *spec { return s.Level.Data.(*spec) }

func (c *Conf) openUpstream(s *nginxconf.Setting) error {
	name := s.Arg(0)
	for _, have := range c.specs {
		if have.level != nil && strings.EqualFold(have.name, name) {
			return fmt.Errorf(`duplicate upstream "%s"`, name)
		}
		if strings.EqualFold(have.name, name) && have.port != 0 {
			return nginxconf.Errorf(have.at.File, have.at.Line, `upstream "%s" may not have port %d`, name, have.port)
		}
	}
	sp := &spec{name: name, level: s.Inner, at: *s.Statement, group: &Group{Name: name}}
	for i, have := range c.specs {
		if strings.EqualFold(have.name, name) { // proxy_pass named it before
			sp.group = have.group
			sp.group.Name = name
			sp.group.Implicit, sp.group.Port = false, 0
			c.specs[i] = sp
			s.Inner.Data = sp
			return nil
		}
	}
	s.Inner.Data = sp
	c.specs = append(c.specs, sp)
	return nil
}

func closeUpstream(s *nginxconf.Setting) error {
	sp := s.Inner.Data.(*spec)
	if len(sp.servers) == 0 {
		return fmt.Errorf(`no servers are inside upstream`)
	}
	return nil
}

// Add returns the group that address names, host or host:port, as proxy_pass
// gives it. It may be defined later in the file; when it never is, the host is
// its one server. It is usable once the configuration is built.
func Add(s *nginxconf.Setting, address string, defaultPort int) (*Group, error) {
	http := s.Level.Up(nginxconf.HTTP)
	c := nginxconf.Own[*Conf](http)
	name, port, err := splitAddress(address)
	if err != nil {
		return nil, err
	}
	for _, have := range c.specs {
		if !strings.EqualFold(have.name, name) {
			continue
		}
		if have.level != nil && port != 0 {
			return nil, fmt.Errorf(`upstream "%s" may not have port %d`, name, port)
		}
		if have.level != nil || have.port == port && have.deflt == defaultPort {
			return have.group, nil
		}
	}
	sp := &spec{name: name, port: port, deflt: defaultPort, at: *s.Statement, group: &Group{Name: name, Implicit: true, Port: port, dialed: port}}
	if port == 0 {
		sp.group.dialed = defaultPort
	}
	c.specs = append(c.specs, sp)
	return sp.group, nil
}

// Named checks, once all is read, that there is an upstream block of that name,
// as directives need it that make no group of their own.
func Named(s *nginxconf.Setting, name string) {
	http := nginxconf.Own[*Conf](s.Level.Up(nginxconf.HTTP))
	http.named = append(http.named, namedAt{name, *s.Statement})
}

type namedAt struct {
	name string
	at   nginxconf.Statement
}

// checkNamed refuses names that Named was given and no block has.
func (c *Conf) checkNamed() error {
next:
	for _, n := range c.named {
		for _, sp := range c.specs {
			if sp.level != nil && strings.EqualFold(sp.name, n.name) {
				continue next
			}
		}
		return nginxconf.Errorf(n.at.File, n.at.Line, `no port in upstream "%s"`, n.name)
	}
	return nil
}

// splitAddress parts host and port of a URL's authority, or takes a unix socket's path whole.
func splitAddress(a string) (host string, port int, err error) {
	if strings.HasPrefix(a, "unix:") {
		return a, 0, nil
	}
	i := strings.LastIndexByte(a, ':')
	if strings.HasPrefix(a, "[") && i < strings.IndexByte(a, ']') {
		i = -1
	}
	if i < 0 {
		if a == "" {
			return "", 0, fmt.Errorf(`no host in upstream "%s"`, a)
		}
		return a, 0, nil
	}
	n, ok := nginxconf.ParseNum(a[i+1:])
	if !ok || n < 1 || n > 65535 {
		return "", 0, fmt.Errorf(`invalid port in upstream "%s"`, a)
	}
	if i == 0 {
		return "", 0, fmt.Errorf(`no host in upstream "%s"`, a)
	}
	return a[:i], n, nil
}

func parseKeepalive(s *nginxconf.Setting) (Keepalive, error) {
	n, ok := nginxconf.ParseNum(s.Arg(0))
	if !ok {
		return Keepalive{}, fmt.Errorf(`invalid value "%s" in "keepalive" directive`, s.Arg(0))
	}
	k := Keepalive{Max: n}
	if len(s.Args) == 2 {
		if s.Arg(1) != "local" {
			return k, fmt.Errorf(`invalid parameter "%s"`, s.Arg(1))
		}
		k.Local = true
	}
	return k, nil
}

func parseQueue(s *nginxconf.Setting) (Waiting, error) {
	n, ok := nginxconf.ParseNum(s.Arg(0))
	if !ok || n == 0 {
		return Waiting{}, fmt.Errorf(`invalid value "%s" in "queue" directive`, s.Arg(0))
	}
	w := Waiting{Max: n, Timeout: 60 * time.Second}
	if len(s.Args) == 2 {
		text, ok := strings.CutPrefix(s.Arg(1), "timeout=")
		if ok {
			w.Timeout, ok = nginxconf.ParseTime(text, true)
		}
		if !ok {
			return w, fmt.Errorf(`invalid parameter "%s"`, s.Arg(1))
		}
	}
	specOf(s).queue = true
	return w, nil
}

// parseZone checks a zone; of several in a block nginx takes the last, too.
func parseZone(s *nginxconf.Setting) error {
	name := s.Arg(0)
	if name == "" {
		return fmt.Errorf(`invalid zone name "%s"`, name)
	}
	specOf(s).zone = true
	var size int64
	if len(s.Args) == 2 {
		var ok bool
		if size, ok = nginxconf.ParseSize(s.Arg(1)); !ok {
			return fmt.Errorf(`invalid zone size "%s"`, s.Arg(1))
		}
		if size < 8*4096 {
			return fmt.Errorf(`zone "%s" is too small`, name)
		}
	}
	c := nginxconf.Own[*Conf](s.Level.Up(nginxconf.HTTP))
	if c.zones == nil {
		c.zones = make(map[string]int64)
	}
	if have := c.zones[name]; have != 0 && size != 0 && have != size {
		return fmt.Errorf(`the size %d of shared memory zone "%s" conflicts with already declared size %d`, size, name, have)
	}
	c.zones[name] = max(c.zones[name], size)
	return nil
}

// checkZones refuses a zone that no statement gives a size.
func (c *Conf) checkZones() error {
	for name, size := range c.zones {
		if size == 0 {
			return nginxconf.Errorf("", 0, `zero size shared memory zone "%s"`, name)
		}
	}
	return nil
}

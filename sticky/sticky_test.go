package sticky

import (
	"crypto/sha256"
	"hash"
	"strings"
	"testing"

	"limpet/internal/ngx"
	"limpet/nginxconf"
	"limpet/upstream"
)

// seedConf brings the route-cookie policy into files, as internal/lua does.
type seedConf struct{}

func (seedConf) Directives() []nginxconf.Directive {
	return []nginxconf.Directive{nginxconf.Call("seed", nginxconf.Upstream, nginxconf.NoArgs, func(s *nginxconf.Setting) error {
		return SetRouteCookie(s, RouteCookie{Name: "route", Tail: "; path=/;", Dialect: "OpenResty"})
	}, "")}
}

// http is the block of http.
type httpConf struct{}

func (httpConf) Directives() []nginxconf.Directive {
	none := func(*nginxconf.Setting) error { return nil }
	return []nginxconf.Directive{
		nginxconf.Block("http", nginxconf.Main, nginxconf.HTTP, nginxconf.NoArgs, none, nil, ""),
		nginxconf.Block("server", nginxconf.HTTP, nginxconf.Server, nginxconf.NoArgs, none, nil, ""),
		nginxconf.Block("location", nginxconf.Server, nginxconf.Location, nginxconf.Args1, none, nil, ""),
	}
}

// site is a configuration built for a test.
type site struct {
	*testing.T
	build  *ngx.Build
	groups *upstream.Groups
	opt    Options
}

// read reads the text of a file's http block.
func read(text string, opt Options) ([]ngx.Module, *nginxconf.Config, error) {
	ms := []ngx.Module{
		{Name: "http", Conf: func() nginxconf.Settings { return httpConf{} }},
		{Name: "seed", Conf: func() nginxconf.Settings { return seedConf{} }},
		ngx.CoreModule(), Module(opt), upstream.Module(),
		{Name: "test", Vars: testVars},
	}
	ms = append(ms, ngx.VarModule(ms))
	var mods []nginxconf.Module
	for _, m := range ms {
		if m.Conf != nil {
			mods = append(mods, nginxconf.Module{Name: m.Name, Conf: m.Conf})
		}
	}
	config, err := nginxconf.Load("nginx.conf", nginxconf.Options{Modules: mods,
		ReadFile: func(string) ([]byte, error) { return []byte("http {\n" + text + "\n}\n"), nil }})
	return ms, config, err
}

// testVars are variables that other modules define: arguments and cookies.
func testVars() []ngx.Variable {
	return []ngx.Variable{
		{Name: "arg_", Make: func(rest string) ngx.Getter {
			return func(r *ngx.Request, b []byte) ([]byte, bool) {
				for _, a := range strings.Split(string(r.Args), "&") {
					if v, ok := strings.CutPrefix(a, rest+"="); ok {
						return append(b, v...), true
					}
				}
				return b, false
			}
		}},
		{Name: "cookie_", Make: func(rest string) ngx.Getter {
			return func(r *ngx.Request, b []byte) ([]byte, bool) {
				f, ok := find(&r.In, rest, false)
				return append(b, f.value...), ok
			}
		}},
		{Name: "upstream_cookie_", Make: func(rest string) ngx.Getter {
			return func(r *ngx.Request, b []byte) ([]byte, bool) {
				for _, f := range r.UpHead.Fields {
					if f.ID == ngx.HeaderSetCookie && sets(f.Value, rest) {
						return append(b, setValue(f.Value, rest)...), true
					}
				}
				return b, false
			}
		}},
	}
}

// setValue returns the value of the cookie that a Set-Cookie field sets.
func setValue(field []byte, name string) string {
	v, _, _ := strings.Cut(string(field[len(name)+1:]), ";")
	return v
}

// open builds a configuration; old is the one before, or nil.
func open(t *testing.T, text string, old *site) *site {
	t.Helper()
	s := &site{T: t}
	if old != nil {
		s.opt = old.opt
	}
	return s.open(text, old)
}

func (s *site) open(text string, old *site) *site {
	s.Helper()
	ms, config, err := read(text, s.opt)
	if err != nil {
		s.Fatal(err)
	}
	var before *ngx.Build
	if old != nil {
		before = old.build
	}
	s.build = ngx.NewBuild(config, before)
	for _, m := range ms {
		if m.Config != nil && m.Name != "core" {
			if err := m.Config(s.build); err != nil {
				s.Fatal(err)
			}
		}
	}
	s.groups = ngx.Shared[upstream.Groups](s.build)
	return s
}

// visit is one request to a group.
type visit struct {
	cookies []string // Cookie lines
	args    string
	scheme  string
	status  int      // of the peers' answers
	set     []string // Set-Cookie fields of the peers' answers
	fail    int      // tries that fail first
	out     func(r *ngx.Request)
}

// seen is what became of a visit.
type seen struct {
	peers  string   // asked, blank between them
	set    []string // Set-Cookie fields of the answer
	cookie []string // Cookie lines as the peer gets them
	status string   // $sticky_status
	reason string
	code   int // of an answer without peer
	r      *ngx.Request
}

// go sends a visit to the only group.
func (s *site) visit(v visit) seen { return s.to(s.groups.List[0], v) }

func (s *site) to(g *upstream.Group, v visit) seen {
	s.Helper()
	r := &ngx.Request{Scheme: v.scheme, Args: []byte(v.args), Client: &ngx.Client{Text: []byte("192.0.2.1")}, Scope: &ngx.Scope{Core: &ngx.Core{}}}
	r.Main = r
	for _, c := range v.cookies {
		r.In.AddID(ngx.HeaderCookie, []byte(c))
	}
	if v.out != nil {
		v.out(r)
	}
	var ses upstream.Session
	g.Begin(&ses, r)
	var asked []string
	res := seen{r: r}
	for {
		p := ses.Next()
		if p == nil {
			asked = append(asked, "-")
			if res.code = ses.Refusal; res.code == 0 {
				res.code = 502
			}
			break
		}
		asked = append(asked, strings.TrimPrefix(string(p.Name), "127.0.0.1:"))
		if v.fail > 0 {
			v.fail--
			ses.Done(upstream.Failed)
			if ses.Tries == 0 {
				res.code = 502
				break
			}
			continue
		}
		s.answer(g, &ses, p, v)
		break
	}
	res.peers = strings.Join(asked, " ")
	for _, f := range r.Out.Header.Fields {
		if !f.Hidden && f.ID == ngx.HeaderSetCookie {
			res.set = append(res.set, string(f.Value))
		}
	}
	for _, f := range r.In.Fields {
		if !f.Hidden && f.ID == ngx.HeaderCookie {
			res.cookie = append(res.cookie, string(f.Value))
		}
	}
	res.status, res.reason = s.variable(r, "sticky_status"), s.variable(r, "sticky_reason")
	return res
}

func (s *site) answer(g *upstream.Group, ses *upstream.Session, p *upstream.Peer, v visit) {
	r := ses.Request
	r.Out.Status = v.status
	if v.status == 0 {
		r.Out.Status = 200
	}
	for _, c := range v.set {
		r.UpHead.AddID(ngx.HeaderSetCookie, []byte(c))
		r.Out.Header.AddID(ngx.HeaderSetCookie, []byte(c))
	}
	if g.Peers().Sticky != nil {
		g.Peers().Sticky.Answered(ses, p)
	}
	ses.Done(upstream.Good)
}

func (s *site) variable(r *ngx.Request, name string) string {
	b, ok := s.build.Vars.Lookup(name).Append(r, nil)
	if !ok {
		return "-"
	}
	return string(b)
}

func (got seen) check(t *testing.T, peers string, set ...string) {
	t.Helper()
	if got.peers != peers {
		t.Errorf("asked %s, want %s", got.peers, peers)
	}
	if strings.Join(got.set, "\n") != strings.Join(set, "\n") {
		t.Errorf("Set-Cookie %q, want %q", got.set, set)
	}
}

type (
	ngxRequest      = ngx.Request
	upstreamSession = upstream.Session
)

func sha256New() hash.Hash { return sha256.New() }

// peerOf returns a peer of that address.
func peerOf(t *testing.T, addr string) *upstream.Peer {
	return open(t, "upstream u { server "+addr+"; }", nil).groups.List[0].Peers().All[0]
}

// request returns a request with a cookie.
func (s *site) request(cookie string) *ngx.Request {
	r := &ngx.Request{Client: &ngx.Client{}, Scope: &ngx.Scope{Core: &ngx.Core{}}}
	r.In.AddID(ngx.HeaderCookie, []byte(cookie))
	return r
}

// enter returns what puts a request into the only location, its steps run.
func (s *site) enter(name string) func(r *ngx.Request) {
	var steps ngx.Scope
	for _, http := range s.build.Config.Root.Inner {
		for _, server := range http.Inner {
			for _, loc := range server.Inner {
				steps.Level = loc
				if err := buildScope(s.build, &steps); err != nil {
					s.Fatal(err)
				}
			}
		}
	}
	return func(r *ngx.Request) {
		for _, step := range steps.Steps[ngx.PreAccess] {
			step(r)
		}
	}
}

// configError returns the error of the configuration's making.
func configError(ms []ngx.Module, config *nginxconf.Config) error {
	b := ngx.NewBuild(config, nil)
	for _, m := range ms {
		if m.Config != nil && m.Name != "core" {
			if err := m.Config(b); err != nil {
				return err
			}
		}
	}
	return nil
}

// A request that waited in the queue while its group's peers changed goes on with its own peer.
func TestWaitingClientKeepsItsPeerOverAChangeOfPeers(t *testing.T) {
	const a, b, c = "server 192.0.2.1;", "server 192.0.2.2;", "server 192.0.2.3;"
	before := open(t, "upstream u { "+a+b+" sticky cookie c; }", nil)
	for _, tt := range []struct{ peers, want string }{{c + b, "192.0.2.2:80"}, {c, ""}} {
		after := open(t, "upstream u { "+tt.peers+" sticky cookie c; }", before)
		r := &ngx.Request{Client: &ngx.Client{}}
		r.In.AddID(ngx.HeaderCookie, []byte("c="+md5hex("192.0.2.2:80")))
		var s upstream.Session
		before.groups.List[0].Begin(&s, r)
		s.Peers = after.groups.List[0].Peers()
		sticky := s.Peers.Sticky
		sticky.Moved(&s, before.groups.List[0].Peers())
		got := ""
		if p := sticky.Choose(&s); p != nil {
			got = string(p.Name)
			if s.Peers.Position(p) < 0 {
				t.Errorf("%s is a peer of before", got)
			}
		}
		if got != tt.want {
			t.Errorf("its peer is %q, want %q", got, tt.want)
		}
		if got == "" && wishOf(&s).reason != Unknown {
			t.Errorf("reason %v", wishOf(&s).reason)
		}
	}
}

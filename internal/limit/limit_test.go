package limit

import (
	"fmt"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"limpet/internal/ngx"
	"limpet/internal/tcp"
	"limpet/nginxconf"
)

// blocks has the blocks that the directives stand in.
type blocks struct{}

func (blocks) Directives() []nginxconf.Directive {
	none := func(*nginxconf.Setting) error { return nil }
	block := func(name string, in, inner nginxconf.Context) nginxconf.Directive {
		return nginxconf.Block(name, in, inner, nginxconf.AnyArgs, none, nil, name)
	}
	return []nginxconf.Directive{block("http", nginxconf.Main, nginxconf.HTTP), block("server", nginxconf.HTTP, nginxconf.Server)}
}

// load reads the statements inside http{}; $uri and $args are keys.
func load(http string, old *ngx.Build) (*Conf, *ngx.Build, error) {
	vs := ngx.NewVars([]ngx.Variable{
		{Name: "uri", Get: func(r *ngx.Request, b []byte) ([]byte, bool) { return append(b, r.Path...), true }},
		{Name: "args", Get: func(r *ngx.Request, b []byte) ([]byte, bool) { return append(b, r.Args...), true }},
	})
	config, err := nginxconf.Load("nginx.conf", nginxconf.Options{
		Modules: []nginxconf.Module{
			{Name: "vars", Conf: func() nginxconf.Settings { return &ngx.VarConf{Vars: vs} }},
			{Name: "blocks", Conf: func() nginxconf.Settings { return blocks{} }},
			{Name: "limit", Conf: Module().Conf},
		},
		ReadFile: func(string) ([]byte, error) { return []byte("http {\n" + http + "\n}\n"), nil },
	})
	if err != nil {
		return nil, nil, err
	}
	b := ngx.NewBuild(config, old)
	if err := openZones(b); err != nil {
		return nil, nil, err
	}
	return nginxconf.Of[*Conf](config.Root.Inner[0]), b, nil
}

// request returns a request of a path, with a connection to wait by.
func request(t testing.TB, path string) *ngx.Request {
	t.Helper()
	a, b := net.Pipe()
	t.Cleanup(func() { a.Close(); b.Close() })
	r := &ngx.Request{Path: []byte(path), Scope: &ngx.Scope{Core: new(ngx.Core)}, Client: &ngx.Client{Conn: tcp.New(a)}}
	r.Main = r
	return r
}

// ask runs a step and tells of a request's fate: status, delay, $limit_req_status.
func ask(t *testing.T, step ngx.Step, path string) string {
	t.Helper()
	r := request(t, path)
	before := time.Now()
	out := step(r)
	s := r.LimitReq.String()
	if out.IsStatus() {
		s = fmt.Sprintf("%s %d", s, out)
	}
	if d := time.Since(before); d > 0 {
		s += " " + d.String()
	}
	return s
}

// The expectations are nginx's arithmetic, https://nginx.org/en/docs/http/ngx_http_limit_req_module.html
func TestRequestRates(t *testing.T) {
	const zone = "limit_req_zone $uri zone=z:1m rate=2r/s; "
	for _, c := range []struct {
		name, conf string
		at         []time.Duration
		want       []string
	}{
		{"no burst", "limit_req zone=z;", []time.Duration{0, 0, 499 * time.Millisecond, 500 * time.Millisecond},
			[]string{"PASSED", "REJECTED 503", "REJECTED 503", "PASSED"}},
		{"status", "limit_req_status 429; limit_req zone=z;", []time.Duration{0, 0}, []string{"PASSED", "REJECTED 429"}},
		{"nodelay", "limit_req zone=z burst=2 nodelay;", []time.Duration{0, 0, 0, 0, 500 * time.Millisecond},
			[]string{"PASSED", "PASSED", "PASSED", "REJECTED 503", "PASSED"}},
		{"burst", "limit_req zone=z burst=2;", []time.Duration{0, 0, 500 * time.Millisecond},
			[]string{"PASSED", "DELAYED 500ms", "DELAYED 500ms"}},
		{"delay", "limit_req zone=z burst=2 delay=1;", []time.Duration{0, 0, 0, 0},
			[]string{"PASSED", "PASSED", "DELAYED 500ms", "DELAYED 500ms"}},
		{"dry run", "limit_req_dry_run on; limit_req zone=z burst=1;", []time.Duration{0, 0, 0},
			[]string{"PASSED", "DELAYED_DRY_RUN", "REJECTED_DRY_RUN"}},
	} {
		synctest.Test(t, func(t *testing.T) {
			conf, _, err := load(zone+c.conf, nil)
			if err != nil {
				t.Fatal(err)
			}
			step, start := reqStep(conf), time.Now()
			var got []string
			for _, at := range c.at {
				time.Sleep(at - time.Since(start))
				got = append(got, ask(t, step, "/a"))
			}
			if strings.Join(got, ", ") != strings.Join(c.want, ", ") {
				t.Errorf("%s:\n got %s\nwant %s", c.name, strings.Join(got, ", "), strings.Join(c.want, ", "))
			}
		})
	}
}

func TestAnEmptyKeyIsNotCounted(t *testing.T) {
	conf, _, err := load("limit_req_zone $uri zone=z:1m rate=1r/s; limit_req zone=z; limit_conn_zone $uri zone=c:1m; limit_conn c 1;", nil)
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		r := request(t, "")
		if reqStep(conf)(r) != ngx.Next || connStep(conf)(r) != ngx.Next || r.LimitReq != ngx.LimitNone || r.LimitConn != ngx.LimitNone {
			t.Error("an empty key was counted")
		}
	}
}

func TestSeveralLimitsCountARequestWhenAllAgree(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		conf, _, err := load(`limit_req_zone $uri zone=path:1m rate=1r/m; limit_req_zone all zone=all:1m rate=1r/s;
			limit_req zone=path burst=1 nodelay; limit_req zone=all burst=1;`, nil)
		if err != nil {
			t.Fatal(err)
		}
		step := reqStep(conf)
		for i, want := range []string{"PASSED", "DELAYED 1s"} {
			if got := ask(t, step, "/a"); got != want {
				t.Errorf("request %d: %s, want %s", i, got, want)
			}
		}
		if got := ask(t, step, "/a"); got != "REJECTED 503" { // by path, whose burst is used up
			t.Errorf("beyond the path's burst: %s", got)
		}
		if got := ask(t, step, "/b"); got != "DELAYED 1s" { // the refused one wasn't counted in all
			t.Errorf("another path: %s", got)
		}
		for _, el := range conf.Reqs.V[0].zone.req.nodes {
			if n := el.Value.(*reqNode); n.users != 0 {
				t.Errorf("%s is still held", n.key)
			}
		}
	})
}

func TestARequestIsCountedOnce(t *testing.T) {
	conf, _, err := load("limit_req_zone $uri zone=z:1m rate=1r/s; limit_req zone=z; limit_conn_zone $uri zone=c:1m; limit_conn c 1;", nil)
	if err != nil {
		t.Fatal(err)
	}
	r := request(t, "/a")
	for range 3 { // internal redirects come by again
		if reqStep(conf)(r) != ngx.Next || connStep(conf)(r) != ngx.Next {
			t.Error("refused by itself")
		}
	}
}

func TestZoneIsBoundedByItsSize(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		conf, _, err := load("limit_req_zone $uri zone=z:32k rate=1r/s; limit_req zone=z nodelay;", nil)
		if err != nil {
			t.Fatal(err)
		}
		step, z := reqStep(conf), conf.Reqs.V[0].zone.req
		limit := (32<<10 - 8<<10) / 128
		for i := range 3 * limit {
			if got := ask(t, step, fmt.Sprint("/", i)); got != "PASSED" {
				t.Fatalf("key %d: %s", i, got)
			}
		}
		if len(z.nodes) != limit || z.order.Len() != limit {
			t.Errorf("%d keys, want %d", len(z.nodes), limit)
		}
		if z.nodes["/0"] != nil || z.nodes[fmt.Sprint("/", 3*limit-1)] == nil {
			t.Error("not the oldest were evicted")
		}
		time.Sleep(2 * time.Minute)
		ask(t, step, "/new")
		if len(z.nodes) != limit-1 {
			t.Errorf("%d keys after a long time, want two fewer and the new one", len(z.nodes))
		}
	})
}

func TestConnections(t *testing.T) {
	conf, _, err := load("limit_conn_zone $uri zone=a:1m; limit_conn_zone $args zone=b:1m; limit_conn a 2; limit_conn b 1; limit_conn_status 429;", nil)
	if err != nil {
		t.Fatal(err)
	}
	step := connStep(conf)
	enter := func(path, args string) (*ngx.Request, string) {
		r := request(t, path)
		r.Args = []byte(args)
		out := step(r)
		return r, fmt.Sprint(int(out), r.LimitConn)
	}
	first, s := enter("/a", "x")
	if s != "0 PASSED" {
		t.Fatal(s)
	}
	if _, s = enter("/a", "x"); s != "429 REJECTED" { // by b; a gives it back
		t.Error(s)
	}
	second, s := enter("/a", "")
	if s != "0 PASSED" {
		t.Error(s)
	}
	if _, s = enter("/a", ""); s != "429 REJECTED" {
		t.Error(s)
	}
	first.End()
	if _, s = enter("/a", "x"); s != "0 PASSED" {
		t.Error(s)
	}
	second.End()
	if n := conf.Conns.V[0].zone.conn.nodes["/a"]; n == nil || n.n != 1 {
		t.Errorf("%+v is left", n)
	}
}

func TestFullConnectionZoneRefuses(t *testing.T) {
	conf, _, err := load("limit_conn_zone $uri zone=a:32k; limit_conn a 1;", nil)
	if err != nil {
		t.Fatal(err)
	}
	step := connStep(conf)
	room := (32<<10 - 8<<10) / 64
	var rs []*ngx.Request
	for i := range room {
		r := request(t, fmt.Sprint("/", i))
		if out := step(r); out != ngx.Next {
			t.Fatal(i, out)
		}
		rs = append(rs, r)
	}
	if out := step(request(t, "/more")); out != 503 {
		t.Errorf("got %d, want 503", out)
	}
	rs[0].End()
	if out := step(request(t, "/more")); out != ngx.Next {
		t.Errorf("got %d after one has ended", out)
	}
}

func TestDryRunOfConnections(t *testing.T) {
	conf, _, err := load("limit_conn_zone $uri zone=a:1m; limit_conn a 1; limit_conn_dry_run on;", nil)
	if err != nil {
		t.Fatal(err)
	}
	step := connStep(conf)
	step(request(t, "/a"))
	r := request(t, "/a")
	if out := step(r); out != ngx.Next || r.LimitConn != ngx.LimitRejectedDryRun {
		t.Errorf("%d, %s", out, r.LimitConn)
	}
}

func TestZonesLiveOnOverReloads(t *testing.T) {
	const zones = "limit_req_zone $uri zone=z:1m rate=1r/m; limit_req zone=z; limit_conn_zone $uri zone=c:1m; limit_conn c 1;"
	one, b, err := load(zones, nil)
	if err != nil {
		t.Fatal(err)
	}
	two, _, err := load(strings.Replace(zones, "1r/m", "1r/s", 1), b)
	if err != nil {
		t.Fatal(err)
	}
	if one.Reqs.V[0].zone.req != two.Reqs.V[0].zone.req || one.Conns.V[0].zone.conn != two.Conns.V[0].zone.conn {
		t.Error("a zone of the same name, size and key begins anew")
	}
	three, _, err := load(strings.ReplaceAll(zones, ":1m", ":2m"), b)
	if err != nil {
		t.Fatal(err)
	}
	if one.Reqs.V[0].zone.req == three.Reqs.V[0].zone.req {
		t.Error("a zone of another size is kept")
	}
}

// The messages are those of nginx 1.22.1.
func TestWrongDirectives(t *testing.T) {
	const z, r = "limit_conn_zone $uri zone=z:32k; ", "limit_req_zone $uri zone=r:32k rate=1r/s; "
	for _, c := range []struct{ conf, want string }{
		{"limit_conn_zone $uri zone=z;", `invalid zone size "zone=z"`},
		{"limit_conn_zone $uri zone=:1m;", `"limit_conn_zone" must have "zone" parameter`},
		{"limit_conn_zone $uri zone=z:x;", `invalid zone size "zone=z:x"`},
		{"limit_conn_zone $uri zone=z:1k;", `zone "zone=z:1k" is too small`},
		{"limit_conn_zone $uri foo;", `invalid parameter "foo"`},
		{z + "limit_conn_zone $args zone=z:32k;", `limit_conn_zone "z" is already bound to key "$uri"`},
		{z + "limit_conn_zone $uri zone=z:64k;", `the size 65536 of shared memory zone "z" conflicts with already declared size 32768`},
		{"limit_conn nope 1;", `zero size shared memory zone "nope"`},
		{z + "limit_conn z 0;", `invalid number of connections "0"`},
		{z + "limit_conn z x;", `invalid number of connections "x"`},
		{z + "limit_conn z 65536;", `connection limit must be less 65536`},
		{z + "limit_conn z 1; limit_conn z 2;", `"limit_conn" directive is duplicate`},
		{r + "limit_conn r 1;", `the shared memory zone "r" is already declared for a different use`},
		{"limit_conn_status 399;", `value must be between 400 and 599`},
		{"limit_conn_status x;", `"limit_conn_status" directive invalid number`},
		{"limit_conn_log_level foo;", `invalid value "foo"`},
		{"limit_req_zone $uri zone=r:32k rate=0r/s;", `invalid rate "rate=0r/s"`},
		{"limit_req_zone $uri zone=r:32k rate=1.5r/s;", `invalid rate "rate=1.5r/s"`},
		{"limit_req_zone $uri foo=1 rate=1r/s;", `invalid parameter "foo=1"`},
		{"limit_req_zone $uri rate=1r/s rate=1r/s;", `"limit_req_zone" must have "zone" parameter`},
		{r + "limit_req burst=1;", `"limit_req" must have "zone" parameter`},
		{r + "limit_req zone=r burst=0;", `invalid burst value "burst=0"`},
		{r + "limit_req zone=r delay=0;", `invalid delay value "delay=0"`},
		{r + "limit_req zone=r foo;", `invalid parameter "foo"`},
		{r + "limit_req zone=r; limit_req zone=r;", `"limit_req" directive is duplicate`},
		{"limit_req zone=;", `zero size shared memory zone ""`},
	} {
		_, _, err := load(c.conf, nil)
		if err == nil || strings.TrimSuffix(err.Error(), " in nginx.conf:2") != c.want {
			t.Errorf("%s\n got %v\nwant %s", c.conf, err, c.want)
		}
	}
}

func BenchmarkLimits(b *testing.B) {
	conf, _, err := load("limit_req_zone $uri zone=z:1m rate=1000000000r/s; limit_req zone=z burst=1000 nodelay; limit_conn_zone $uri zone=c:1m; limit_conn c 10;", nil)
	if err != nil {
		b.Fatal(err)
	}
	req, conn, r := reqStep(conf), connStep(conf), request(b, "/a")
	b.ReportAllocs()
	for b.Loop() {
		r.LimitReq, r.LimitConn = ngx.LimitNone, ngx.LimitNone
		req(r)
		conn(r)
		r.End()
	}
}

package headersmore

import (
	"strings"
	"testing"

	"limpet/internal/ngx"
	"limpet/nginxconf"
)

// blocks has the blocks that the directives stand in.
type blocks struct{}

func (blocks) Directives() []nginxconf.Directive {
	none := func(*nginxconf.Setting) error { return nil }
	return []nginxconf.Directive{
		nginxconf.Block("http", nginxconf.Main, nginxconf.HTTP, nginxconf.NoArgs, none, nil, "http"),
		nginxconf.Block("server", nginxconf.HTTP, nginxconf.Server, nginxconf.NoArgs, none, nil, "server"),
	}
}

// load reads the statements inside http{} and returns the Conf of the innermost last block.
func load(http string) (*Conf, error) {
	vs := ngx.NewVars([]ngx.Variable{{Name: "uri", Get: func(r *ngx.Request, b []byte) ([]byte, bool) { return append(b, r.Path...), true }}})
	config, err := nginxconf.Load("nginx.conf", nginxconf.Options{
		Modules: []nginxconf.Module{
			{Name: "vars", Conf: func() nginxconf.Settings { return &ngx.VarConf{Vars: vs} }},
			{Name: "blocks", Conf: func() nginxconf.Settings { return blocks{} }},
			{Name: "headers_more", Conf: Module().Conf},
		},
		ReadFile: func(string) ([]byte, error) { return []byte("http {\n" + http + "\n}\n"), nil },
	})
	if err != nil {
		return nil, err
	}
	lv := config.Root
	for len(lv.Inner) > 0 {
		lv = lv.Inner[len(lv.Inner)-1]
	}
	return nginxconf.Of[*Conf](lv), nil
}

func mustLoad(t testing.TB, http string) *Conf {
	t.Helper()
	c, err := load(http)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// request returns a request, and answer of status 200, with some fields each.
func request() *ngx.Request {
	r := &ngx.Request{Scope: &ngx.Scope{Core: new(ngx.Core)}, Path: []byte("/path"), Host: []byte("h"), Length: -1}
	r.Main = r
	r.Out.Status, r.Out.Length, r.Out.ContentType = 200, 5, []byte("text/html; charset=utf-8")
	for _, h := range []*ngx.Header{&r.In, &r.Out.Header} {
		for _, f := range []string{"A: 1", "Host: h", "B: 2", "a: 3", "A-C: 4"} {
			name, value, _ := strings.Cut(f, ": ")
			h.Add([]byte(name), []byte(value))
		}
	}
	return r
}

// fields returns the fields, one after the other.
func fields(h *ngx.Header) string {
	var list []string
	for _, f := range h.Fields {
		if !f.Hidden {
			list = append(list, string(f.Name)+": "+string(f.Value))
		}
	}
	return strings.Join(list, ", ")
}

func TestFieldsOfAnswersAreSet(t *testing.T) {
	for _, c := range []struct{ conf, want string }{
		{`more_set_headers 'A: $uri';`, "A: /path, Host: h, B: 2, A-C: 4"},
		{`more_set_headers 'N:  x ' 'M:y';`, "A: 1, Host: h, B: 2, a: 3, A-C: 4, N: x , M: y"},
		{`more_clear_headers 'a';`, "Host: h, B: 2, A-C: 4"},
		{`more_clear_headers 'A*' Host;`, "B: 2"},
		{`more_set_headers -a 'B: 5';`, "A: 1, Host: h, B: 2, a: 3, A-C: 4, B: 5"},
		{`more_set_headers -s 404 'B: 5';`, "A: 1, Host: h, B: 2, a: 3, A-C: 4"},
		{`more_set_headers -s '404 200' 'B: 5';`, "A: 1, Host: h, B: 5, a: 3, A-C: 4"},
		{`more_set_headers -t text/html 'B: 5';`, "A: 1, Host: h, B: 5, a: 3, A-C: 4"},
		{`more_set_headers -t text 'B: 5';`, "A: 1, Host: h, B: 2, a: 3, A-C: 4"},
		{`more_clear_headers A*; server { more_set_headers 'A: in'; }`, "Host: h, B: 2, A: in"},
		{`more_clear_headers A* Host; server { }`, "B: 2"},
	} {
		r := request()
		outStep(mustLoad(t, c.conf).Out.V)(r)
		if got := fields(&r.Out.Header); got != c.want {
			t.Errorf("%s gives %q, want %q", c.conf, got, c.want)
		}
	}
}

func TestFieldsOfRequestsAreSet(t *testing.T) {
	for _, c := range []struct{ conf, want, host string }{
		{`more_set_input_headers 'Host: X.y:8' -r 'N: 1' 'B: 5';`, "A: 1, Host: X.y:8, B: 5, a: 3, A-C: 4", "x.y"},
		{`more_clear_input_headers 'A*' Host;`, "B: 2", ""},
		{`more_set_input_headers 'A*: 1';`, "A: 1, Host: h, B: 2, a: 3, A-C: 4, A*: 1", "h"},
		{`more_set_input_headers -t text/html 'B: 1';`, "A: 1, Host: h, B: 2, a: 3, A-C: 4", "h"},
	} {
		r := request()
		inStep(mustLoad(t, c.conf).In.V)(r)
		if got := fields(&r.In); got != c.want || string(r.Host) != c.host {
			t.Errorf("%s gives %q and %q, want %q and %q", c.conf, got, r.Host, c.want, c.host)
		}
	}
}

func TestNoRulesAreNoSteps(t *testing.T) {
	c := mustLoad(t, "")
	if outStep(c.Out.V) != nil || inStep(c.In.V) != nil {
		t.Error("there is a step without a rule")
	}
}

func TestWrongOptionsAreRefused(t *testing.T) {
	for _, c := range []struct{ conf, want string }{
		{`more_set_headers -r 'A: 1';`, `more_set_headers: invalid option name: "-r" in nginx.conf:2`},
		{`more_set_headers 'A: $none';`, `unknown "none" variable`},
		{`more_set_headers '*';`, `more_set_headers: wildcard key too short: * in nginx.conf:2`},
		{`more_clear_headers A -t;`, `more_clear_headers: option -t takes an argument. in nginx.conf:2`},
	} {
		if _, err := load(c.conf); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s gives %v, want %q", c.conf, err, c.want)
		}
	}
}

func BenchmarkSetHeaders(b *testing.B) {
	step := outStep(mustLoad(b, `more_set_headers 'Server: s' 'X-Uri: $uri'; more_clear_headers 'A*';`).Out.V)
	r := request()
	fields := r.Out.Header.Fields
	b.ReportAllocs()
	for b.Loop() {
		r.Reset()
		r.Out.Header.Fields = append(r.Out.Header.Fields[:0], fields...)
		step(r)
	}
}

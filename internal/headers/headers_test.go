package headers

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"limpet/internal/ngx"
	"limpet/nginxconf"
)

// now is the time of synctest's bubbles.
const now = "Sat, 01 Jan 2000 00:00:00 GMT"

// blocks has the blocks that the directives stand in.
type blocks struct{}

func (blocks) Directives() []nginxconf.Directive {
	none := func(*nginxconf.Setting) error { return nil }
	block := func(name string, in, inner nginxconf.Context) nginxconf.Directive {
		return nginxconf.Block(name, in, inner, nginxconf.AnyArgs, none, nil, name)
	}
	return []nginxconf.Directive{
		block("http", nginxconf.Main, nginxconf.HTTP), block("server", nginxconf.HTTP, nginxconf.Server),
		block("location", nginxconf.Server, nginxconf.Location),
	}
}

// load reads the statements inside http{} and returns the Conf of the innermost last block.
func load(http string) (*Conf, error) {
	vs := ngx.NewVars([]ngx.Variable{{Name: "uri", Get: func(r *ngx.Request, b []byte) ([]byte, bool) { return append(b, r.Path...), true }}})
	config, err := nginxconf.Load("nginx.conf", nginxconf.Options{
		Modules: []nginxconf.Module{
			{Name: "vars", Conf: func() nginxconf.Settings { return &ngx.VarConf{Vars: vs} }},
			{Name: "blocks", Conf: func() nginxconf.Settings { return blocks{} }},
			{Name: "headers", Conf: Module().Conf},
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

// answer returns a request about to be answered with a status.
func answer(status int) *ngx.Request {
	r := &ngx.Request{Scope: &ngx.Scope{Core: new(ngx.Core)}, Proto: ngx.HTTP11, Path: []byte("/path")}
	r.Scope.Core.ChunkedEncoding.Put(true)
	r.Main = r
	r.Out.Status, r.Out.Length = status, 5
	return r
}

// fields returns the answer's fields, one a line.
func fields(h *ngx.Header) string {
	var b strings.Builder
	for _, f := range h.Fields {
		if !f.Hidden {
			b.WriteString(string(f.Name) + ": " + string(f.Value) + "\n")
		}
	}
	return b.String()
}

// run sets the fields of an answer by the statements.
func run(t *testing.T, conf string, r *ngx.Request) string {
	t.Helper()
	c, err := load(conf)
	if err != nil {
		t.Fatal(err)
	}
	if s := step(c); s != nil {
		s(r)
	}
	return fields(&r.Out.Header)
}

func TestExpires(t *testing.T) {
	modified := time.Date(1999, 12, 31, 0, 0, 0, 0, time.UTC)
	for _, c := range []struct{ args, want string }{
		{"off", ""},
		{"epoch", "Expires: Thu, 01 Jan 1970 00:00:01 GMT\nCache-Control: no-cache\n"},
		{"max", "Expires: Thu, 31 Dec 2037 23:55:55 GMT\nCache-Control: max-age=315360000\n"},
		{"0", "Expires: " + now + "\nCache-Control: max-age=0\n"},
		{"2048", "Expires: Sat, 01 Jan 2000 00:34:08 GMT\nCache-Control: max-age=2048\n"},
		{"+1h", "Expires: Sat, 01 Jan 2000 01:00:00 GMT\nCache-Control: max-age=3600\n"},
		{"-1h", "Expires: Fri, 31 Dec 1999 23:00:00 GMT\nCache-Control: no-cache\n"},
		{"'1h 1m'", "Expires: Sat, 01 Jan 2000 01:01:00 GMT\nCache-Control: max-age=3660\n"},
		{"modified 1h", "Expires: Fri, 31 Dec 1999 01:00:00 GMT\nCache-Control: no-cache\n"},
		{"modified 25h", "Expires: Sat, 01 Jan 2000 01:00:00 GMT\nCache-Control: max-age=3600\n"},
		{"modified -1h", "Expires: Thu, 30 Dec 1999 23:00:00 GMT\nCache-Control: no-cache\n"},
		{"$uri", ""}, // no time: nothing is set
	} {
		synctest.Test(t, func(t *testing.T) {
			r := answer(200)
			r.Out.LastModified = modified
			if got := run(t, "expires "+c.args+";", r); got != c.want {
				t.Errorf("expires %s:\n%s", c.args, got)
			}
		})
	}
}

func TestExpiresFromAVariable(t *testing.T) {
	for value, want := range map[string]string{"epoch": "no-cache", "off": "", "10m": "max-age=600", "-1": "no-cache", "junk": "", "": ""} {
		r := answer(200)
		r.Path = []byte(value)
		run(t, "expires $uri;", r)
		if got := string(r.Out.Header.Get(ngx.HeaderCacheControl)); got != want {
			t.Errorf("%q: %q, want %q", value, got, want)
		}
	}
}

func TestDailyExpiresAtTheNextSuchTime(t *testing.T) {
	day := time.Date(2026, 3, 1, 15, 0, 0, 0, time.UTC)
	for at, want := range map[time.Duration]string{
		16 * time.Hour: "Sun, 01 Mar 2026 16:00:00 GMT", 15 * time.Hour: "Mon, 02 Mar 2026 15:00:00 GMT", 0: "Mon, 02 Mar 2026 00:00:00 GMT",
	} {
		if got := next(day, at).Format(ngx.TimeFormat); got != want {
			t.Errorf("@%v: %s, want %s", at, got, want)
		}
	}
}

func TestExpiresReplacesThePeersFields(t *testing.T) {
	r := answer(200)
	for _, v := range []string{"a", "b"} {
		r.Out.Header.AddID(ngx.HeaderCacheControl, []byte(v))
		r.Out.Header.AddID(ngx.HeaderExpires, []byte(v))
	}
	if got := run(t, "expires epoch;", r); got != "Cache-Control: no-cache\nExpires: Thu, 01 Jan 1970 00:00:01 GMT\n" {
		t.Errorf("got\n%s", got)
	}
}

func TestFieldsAreSetForSomeStatuses(t *testing.T) {
	const conf = "add_header X-A $uri; add_header X-B b always; add_header X-Empty ''; expires epoch;"
	for _, status := range []int{200, 201, 204, 206, 301, 302, 303, 304, 307, 308, 400, 404, 500, 203} {
		r := answer(status)
		got := run(t, conf, r)
		want := "X-B: b\n"
		if status < 400 && status != 203 {
			want = "Expires: Thu, 01 Jan 1970 00:00:01 GMT\nCache-Control: no-cache\nX-A: /path\nX-B: b\n"
		}
		if got != want {
			t.Errorf("%d:\n%s", status, got)
		}
	}
}

func TestSubrequestsGetNoFields(t *testing.T) {
	r := answer(200)
	r.Main = answer(200)
	if got := run(t, "add_header X-A a;", r); got != "" {
		t.Errorf("got %s", got)
	}
}

func TestFieldsOfWhichThereIsOne(t *testing.T) {
	r := answer(200)
	r.Out.LastModified = time.Now()
	r.Out.Header.AddID(ngx.HeaderETag, []byte(`"1"`))
	run(t, "add_header Last-Modified 'Sun, 06 Nov 1994 08:49:37 GMT'; add_header ETag x; add_header Cache-Control a; add_header Cache-Control b;", r)
	if got := fields(&r.Out.Header); got != "ETag: x\nCache-Control: a\nCache-Control: b\n" || r.Out.LastModified.Unix() != 784111777 {
		t.Errorf("got %s, modified %v", got, r.Out.LastModified)
	}
	r = answer(200)
	r.Out.LastModified = time.Now()
	r.Out.Header.AddID(ngx.HeaderETag, []byte(`"1"`))
	if got := run(t, "add_header Last-Modified ''; add_header ETag '';", r); got != "" || !r.Out.LastModified.IsZero() {
		t.Errorf("got %s, modified %v", got, r.Out.LastModified)
	}
	r = answer(200)
	if got := run(t, "add_header Last-Modified x;", r); got != "Last-Modified: x\n" {
		t.Errorf("got %s", got)
	}
}

// https://nginx.org/en/docs/http/ngx_http_headers_module.html#add_header_inherit
func TestInheritance(t *testing.T) {
	for _, c := range []struct{ conf, want string }{
		{"add_header A 1; server { location / { } }", "A: 1\n"},
		{"add_header A 1; server { add_header B 2; location / { } }", "B: 2\n"},
		{"add_header_inherit merge; add_header A 1; server { add_header B 2; location / { add_header C 3; } }", "C: 3\nB: 2\nA: 1\n"},
		{"add_header A 1; server { add_header B 2; location / { add_header_inherit merge; add_header C 3; } }", "C: 3\nB: 2\n"},
		{"add_header A 1; server { location / { add_header_inherit off; } }", ""},
		{"add_header A 1; server { add_header_inherit off; location / { } }", ""},
		{"add_header A 1; server { add_header_inherit off; location / { add_header C 3; } }", "C: 3\n"},
		{"add_header_inherit merge; add_header A 1; server { location / { } }", "A: 1\n"},
		{"add_trailer_inherit off; add_header A 1; server { location / { } }", "A: 1\n"},
	} {
		if got := run(t, c.conf, answer(200)); got != c.want {
			t.Errorf("%s\n%s", c.conf, got)
		}
	}
}

// sink collects the end of a body.
type sink struct {
	ngx.Sink
	finished bool
}

func (s *sink) Finish(*ngx.Request) error { s.finished = true; return nil }

func TestTrailersAreEvaluatedAtTheEnd(t *testing.T) {
	r := answer(200)
	run(t, "add_trailer X-T $uri; add_trailer X-Empty '';", r)
	if !r.Out.HasTrailer || !r.HasFilters() {
		t.Fatal("the body isn't in chunks")
	}
	f := &trailerFilter{safe: true}
	c, _ := load("add_trailer X-T $uri; add_trailer X-Empty '';")
	f.fields = c.Trailers.V
	s := &sink{}
	f.Chain(s)
	r.Path = []byte("/end")
	f.Finish(r)
	if got := fields(&r.Out.Trailer); got != "X-T: /end\n" || !s.finished {
		t.Errorf("got %s", got)
	}
}

func TestAnswersThatCannotHaveTrailers(t *testing.T) {
	for name, change := range map[string]func(r *ngx.Request){
		"HTTP/1.0":    func(r *ngx.Request) { r.Proto = ngx.HTTP10 },
		"no body":     func(r *ngx.Request) { r.HeaderOnly = true },
		"304":         func(r *ngx.Request) { r.Out.Status = 304 },
		"404":         func(r *ngx.Request) { r.Out.Status = 404 },
		"chunked off": func(r *ngx.Request) { r.Scope.Core.ChunkedEncoding.Put(false) },
	} {
		r := answer(200)
		change(r)
		run(t, "add_trailer X-T t;", r)
		if r.Out.Length != 5 || r.HasFilters() {
			t.Errorf("%s has a trailer", name)
		}
	}
}

// The messages are those of nginx 1.22.1.
func TestWrongDirectives(t *testing.T) {
	for _, c := range []struct{ conf, want string }{
		{"add_header a b c;", `invalid parameter "c"`},
		{"add_trailer a b foo;", `invalid parameter "foo"`},
		{"expires foo;", `"expires" directive invalid value`},
		{"expires modified;", `"expires" directive invalid value`},
		{"expires 1 2;", `"expires" directive invalid value`},
		{"expires modified epoch;", `"expires" directive invalid value`},
		{"expires epoch 1;", `"expires" directive invalid value`},
		{"expires -@1h;", `"expires" directive invalid value`},
		{"expires '';", `"expires" directive invalid value`},
		{"expires -;", `"expires" directive invalid value`},
		{"expires @25h;", `"expires" directive daily time value must be less than 24 hours`},
		{"expires modified @1h;", `"expires" directive daily time cannot be used with "modified" parameter`},
		{"expires 1h; expires 2h;", `"expires" directive is duplicate`},
	} {
		_, err := load(c.conf)
		if err == nil || err.Error() != c.want+" in nginx.conf:2" {
			t.Errorf("%s: %v", c.conf, err)
		}
	}
}

func BenchmarkAddHeader(b *testing.B) {
	c, err := load("add_header X-A a; add_header X-B b always;")
	if err != nil {
		b.Fatal(err)
	}
	set, r := step(c), answer(200)
	b.ReportAllocs()
	for b.Loop() {
		r.Out.Header.Reset()
		set(r)
	}
}

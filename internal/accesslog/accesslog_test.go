package accesslog

import (
	"bytes"
	"compress/gzip"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"limpet/internal/errlog"
	"limpet/internal/ngx"
	"limpet/nginxconf"
)

// vars are variables for tests: $empty, $none, and $uri.
func vars() *ngx.Vars {
	value := func(name string, get ngx.Getter) ngx.Variable { return ngx.Variable{Name: name, Get: get} }
	rows := []ngx.Variable{
		value("empty", func(_ *ngx.Request, b []byte) ([]byte, bool) { return b, true }),
		value("none", func(_ *ngx.Request, b []byte) ([]byte, bool) { return b, false }),
		value("uri", func(r *ngx.Request, b []byte) ([]byte, bool) { return append(b, r.Path...), true }),
	}
	for _, name := range []string{"remote_addr", "remote_user", "time_local", "request", "status", "body_bytes_sent", "http_referer", "http_user_agent"} {
		rows = append(rows, value(name, func(_ *ngx.Request, b []byte) ([]byte, bool) { return append(b, "<"+name+">"...), true }))
	}
	return ngx.NewVars(rows)
}

// load reads the statements inside http{} and returns the log module's Conf there, with the build.
func load(t *testing.T, http string) (*Conf, *ngx.Build, error) {
	t.Helper()
	dir := t.TempDir() + "/"
	vs := vars()
	settings := func(f func() nginxconf.Settings) func() nginxconf.Settings { return f }
	config, err := nginxconf.Load("nginx.conf", nginxconf.Options{
		Prefix: dir,
		Modules: []nginxconf.Module{
			{Name: "vars", Conf: settings(func() nginxconf.Settings { return &ngx.VarConf{Vars: vs} })},
			{Name: "core", Conf: settings(func() nginxconf.Settings { return new(ngx.Core) })},
			{Name: "blocks", Conf: settings(func() nginxconf.Settings { return blocks{} })},
			{Name: "log", Conf: Module().Conf},
		},
		ReadFile: func(string) ([]byte, error) { return []byte("http {\n" + http + "\n}\n"), nil },
	})
	if err != nil {
		return nil, nil, err
	}
	b := ngx.NewBuild(config, nil)
	b.Files = new(errlog.Files)
	return nginxconf.Of[*Conf](config.Root.Inner[0]), b, nil
}

// blocks has the blocks that the log module's directives stand in.
type blocks struct{}

func (blocks) Directives() []nginxconf.Directive {
	none := func(*nginxconf.Setting) error { return nil }
	return []nginxconf.Directive{
		nginxconf.Block("http", nginxconf.Main, nginxconf.HTTP, nginxconf.NoArgs, none, nil, "http"),
		nginxconf.Block("server", nginxconf.HTTP, nginxconf.Server, nginxconf.NoArgs, none, nil, "server"),
	}
}

func TestEscaping(t *testing.T) {
	all := "a\x00\x1f\"\\\x7f\xff\b\f\n\r\t\x01é/"
	for _, c := range []struct {
		esc  escaping
		want string
	}{
		{escapeDefault, `-|a\x00\x1F\x22\x5C\x7F\xFF\x08\x0C\x0A\x0D\x09\x01\xC3\xA9/|`},
		{escapeJSON, `|a\u0000\u001F\"\\` + "\x7f\xff" + `\b\f\n\r\t\u0001é/|`},
		{escapeNone, "|" + all + "|"},
	} {
		f := &Format{escape: c.esc}
		if err := f.compile(vars(), "$none|${uri}|$empty"); err != nil {
			t.Fatal(err)
		}
		if got := string(f.Append(&ngx.Request{Path: []byte(all)}, nil)); got != c.want {
			t.Errorf("escaping %d:\n got %s\nwant %s", c.esc, got, c.want)
		}
	}
}

func FuzzEscaping(f *testing.F) {
	f.Add("a\"b\\\x00")
	f.Fuzz(func(t *testing.T, s string) {
		got := string(escapeFrom([]byte("x"+s), 1))
		var want strings.Builder
		want.WriteByte('x')
		for _, c := range []byte(s) {
			if isHidden(c) {
				want.WriteString(`\x` + strings.ToUpper(string("0123456789abcdef"[c>>4])+string("0123456789abcdef"[c&15])))
			} else {
				want.WriteByte(c)
			}
		}
		if got != want.String() {
			t.Errorf("%q gives %q", s, got)
		}
	})
}

// The messages are those of nginx 1.22.1.
func TestWrongDirectives(t *testing.T) {
	for _, c := range []struct{ conf, want string }{
		{`log_format a "x" "y"; log_format a "z";`, `duplicate "log_format" name "a"`},
		{`log_format combined x;`, `duplicate "log_format" name "combined"`},
		{`log_format a escape=foo x;`, `unknown log format escaping "foo"`},
		{`log_format a "$";`, `invalid parameter "$"`},
		{`log_format a "b$-x";`, `invalid parameter "$-x"`},
		{`log_format a "${uri";`, `the closing bracket in "uri" variable is missing`},
		{`log_format a "${}";`, `invalid parameter "${}"`},
		{`log_format a "$1";`, `unknown "1" variable`},
		{`access_log l nope;`, `unknown log format "nope"`},
		{`access_log off x;`, `invalid parameter "x"`},
		{`access_log l combined buffer=0;`, `invalid buffer size "0"`},
		{`access_log l combined buffer=1k flush=x;`, `invalid flush time "x"`},
		{`access_log l combined flush=1s;`, `no buffer is defined for access_log "l"`},
		{`access_log l combined gzip=0;`, `invalid compression level "0"`},
		{`access_log l combined gzip=;`, `invalid compression level ""`},
		{`access_log l combined bogus;`, `invalid parameter "bogus"`},
		{`access_log l combined buffer=1k if;`, `invalid parameter "if"`},
		{`access_log l$uri combined buffer=1k;`, `buffered logs cannot have variables in name`},
		{`access_log syslog:server=127.0.0.1 combined buffer=1k;`, `logs to syslog cannot be buffered`},
		{`access_log syslog:foo;`, `unknown syslog parameter "foo"`},
		{`access_log l combined buffer=1k; server { access_log l combined buffer=1k gzip; }`, `access_log "l" already defined with conflicting parameters`},
		{`open_log_file_cache max=0;`, `"open_log_file_cache" must have "max" parameter`},
		{`open_log_file_cache max=x;`, `invalid "open_log_file_cache" parameter "max=x"`},
		{`open_log_file_cache max=1 foo;`, `invalid "open_log_file_cache" parameter "foo"`},
		{`open_log_file_cache off; open_log_file_cache max=1;`, `"open_log_file_cache" directive is duplicate`},
	} {
		_, _, err := load(t, c.conf)
		if err == nil || !strings.HasPrefix(err.Error(), c.want) {
			t.Errorf("%s\n got %v\nwant %s", c.conf, err, c.want)
		}
	}
}

// run writes the lines of the paths by the logs of http{}.
func run(t *testing.T, c *Conf, b *ngx.Build, paths ...string) {
	t.Helper()
	if err := open(b, c.Logs.V); err != nil {
		t.Fatal(err)
	}
	var entries []entry
	for _, l := range c.Logs.V {
		entries = append(entries, entry{l, l.out})
	}
	log := step(new(sync.Pool), entries)
	for _, p := range paths {
		log(&ngx.Request{Path: []byte(p)})
	}
}

func content(t *testing.T, l *Log) string {
	t.Helper()
	b, err := os.ReadFile(l.Path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestLinesGoToEveryLogThatWantsThem(t *testing.T) {
	c, b, err := load(t, "log_format f $uri;\naccess_log one f if=$uri;\naccess_log two;\naccess_log one f;")
	if err != nil {
		t.Fatal(err)
	}
	run(t, c, b, "0", "", "/a")
	b.Retire()
	if got := content(t, c.Logs.V[0]); got != "0\n\n/a\n/a\n" {
		t.Errorf("one: %q", got)
	}
	if got := content(t, c.Logs.V[1]); strings.Count(got, `<remote_addr> - <remote_user> [<time_local>] "<request>" <status> <body_bytes_sent> "<http_referer>" "<http_user_agent>"`+"\n") != 3 {
		t.Errorf("two: %q", got)
	}
}

func TestBufferIsWrittenWhenFullOnFlushAndAtTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, b, err := load(t, "log_format f $uri;\naccess_log l f buffer=8 flush=5s;")
		if err != nil {
			t.Fatal(err)
		}
		l := c.Logs.V[0]
		expect := func(when, want string) {
			t.Helper()
			if got := content(t, l); got != want {
				t.Errorf("%s: %q, want %q", when, got, want)
			}
		}
		run(t, c, b, "/1", "/2")
		expect("room left", "")
		run(t, c, b, "/3")
		expect("full", "/1\n/2\n")
		time.Sleep(6 * time.Second)
		synctest.Wait()
		expect("after flush=", "/1\n/2\n/3\n")
		run(t, c, b, "/longer than it")
		expect("too long for the buffer", "/1\n/2\n/3\n/longer than it\n")
		run(t, c, b, "/4")
		b.Reopen()
		expect("reopened", "/1\n/2\n/3\n/longer than it\n/4\n")
		run(t, c, b, "/5")
		b.Retire()
		expect("retired", "/1\n/2\n/3\n/longer than it\n/4\n/5\n")
	})
}

func TestCompressedLogIsAFileThatGunzipReads(t *testing.T) {
	c, b, err := load(t, "log_format f $uri;\naccess_log l f gzip=9 buffer=8;")
	if err != nil {
		t.Fatal(err)
	}
	run(t, c, b, "/1", "/2", "/3", "/4", "/5")
	b.Retire()
	zr, err := gzip.NewReader(bytes.NewReader([]byte(content(t, c.Logs.V[0]))))
	if err != nil {
		t.Fatal(err)
	}
	plain, err := io.ReadAll(zr)
	if err != nil || string(plain) != "/1\n/2\n/3\n/4\n/5\n" {
		t.Errorf("%q, %v", plain, err)
	}
}

func TestLogsOfOneFileShareItsBuffer(t *testing.T) {
	c, b, err := load(t, "log_format f $uri;\naccess_log l f;\naccess_log l f buffer=1k;")
	if err != nil {
		t.Fatal(err)
	}
	run(t, c, b, "/1")
	if got := content(t, c.Logs.V[0]); got != "" {
		t.Errorf("%q before the end", got)
	}
	b.Retire()
	if got := content(t, c.Logs.V[0]); got != "/1\n/1\n" {
		t.Errorf("%q", got)
	}
}

func TestFileThatCannotBeOpenedIsNginxsError(t *testing.T) {
	c, b, err := load(t, "access_log no/such/l;")
	if err != nil {
		t.Fatal(err)
	}
	err = open(b, c.Logs.V)
	want := `open() "` + c.Logs.V[0].Path + `" failed (2: No such file or directory)`
	if err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

func TestCacheKeepsFilesOpen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		c := &fileCache{max: 2, inactive: 10 * time.Second, valid: time.Minute, minUses: 2}
		defer c.close()
		write := func(name string) {
			t.Helper()
			if failed, err := c.write(filepath.Join(dir, name), []byte("x\n")); err != nil {
				t.Fatal(failed, err)
			}
		}
		isOpen := func(name string) bool {
			el := c.files[filepath.Join(dir, name)]
			return el != nil && el.Value.(*cached).file != nil
		}
		write("a")
		if isOpen("a") {
			t.Error("open after its first use, min_uses=2")
		}
		write("a")
		if !isOpen("a") {
			t.Error("not open after its second use")
		}
		write("b")
		write("c")
		if isOpen("a") || c.order.Len() != 2 {
			t.Error("max=2 isn't kept")
		}
		write("c")
		time.Sleep(11 * time.Second)
		write("b")
		if isOpen("c") {
			t.Error("open though inactive")
		}
		if b, _ := os.ReadFile(filepath.Join(dir, "c")); string(b) != "x\nx\n" {
			t.Errorf("c holds %q", b)
		}
	})
}

func TestCacheFindsAMovedFile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		name := filepath.Join(t.TempDir(), "l")
		c := &fileCache{max: 1, inactive: time.Hour, valid: time.Minute, minUses: 1}
		defer c.close()
		c.write(name, []byte("1\n"))
		if err := os.Rename(name, name+".old"); err != nil {
			t.Fatal(err)
		}
		c.write(name, []byte("2\n"))
		time.Sleep(2 * time.Minute)
		c.write(name, []byte("3\n"))
		old, _ := os.ReadFile(name + ".old")
		now, _ := os.ReadFile(name)
		if string(old) != "1\n2\n" || string(now) != "3\n" {
			t.Errorf("old %q, new %q", old, now)
		}
	})
}

func BenchmarkLine(b *testing.B) {
	f := &Format{}
	if err := f.compile(vars(), combined); err != nil {
		b.Fatal(err)
	}
	var files errlog.Files
	null, err := files.Open(os.DevNull)
	if err != nil {
		b.Fatal(err)
	}
	log := step(new(sync.Pool), []entry{{&Log{Format: f}, &file{file: null}}})
	r := &ngx.Request{}
	b.ReportAllocs()
	for b.Loop() {
		log(r)
	}
}

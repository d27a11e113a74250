package healthcheck

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"limpet/internal/errlog"
	"limpet/internal/ngx"
	"limpet/internal/tcp"
	"limpet/nginxconf"
	"limpet/upstream"
)

func TestMain(m *testing.M) {
	if os.Getenv(backendEnv) != "" {
		runBackend()
	}
	goleak.VerifyTestMain(m)
}

// blocks is the blocks that the tests' configurations need.
type blocks struct{}

func (*blocks) Directives() []nginxconf.Directive {
	open := func(*nginxconf.Setting) error { return nil }
	return []nginxconf.Directive{
		nginxconf.Block("http", nginxconf.Main, nginxconf.HTTP, nginxconf.NoArgs, open, nil, "http"),
		nginxconf.Block("server", nginxconf.HTTP, nginxconf.Server, nginxconf.NoArgs, open, nil, "server"),
		nginxconf.Block("location", nginxconf.Server, nginxconf.Location, nginxconf.Args1, open, nil, "location"),
	}
}

func testModules(opt Options) []ngx.Module {
	mods := []ngx.Module{
		{Name: "blocks", Conf: func() nginxconf.Settings { return new(blocks) }},
		ngx.CoreModule(), upstream.Module(), proxyModule(), Module(opt),
	}
	return append(mods, ngx.VarModule(mods))
}

// load reads and builds the inside of an http block. old may be nil.
func load(t testing.TB, text string, old *ngx.Build, opt Options) (*ngx.Build, error) {
	t.Helper()
	mods, building := testModules(opt), testModules(opt) // as the server, which makes them anew to build
	var confs []nginxconf.Module
	for _, m := range mods {
		if m.Conf != nil {
			confs = append(confs, nginxconf.Module{Name: m.Name, Conf: m.Conf})
		}
	}
	mods = building
	config, err := nginxconf.Load("nginx.conf", nginxconf.Options{Modules: confs, Offline: true,
		ReadFile: func(string) ([]byte, error) { return []byte("http {\n" + text + "\n}\n"), nil }})
	if err != nil {
		return nil, err
	}
	b := ngx.NewBuild(config, old)
	b.Files, b.Offline = new(errlog.Files), true
	if b.Log, err = errlog.Open(b.Files, []errlog.Target{{Level: errlog.Debug, Path: logFile(t)}}); err != nil {
		t.Fatal(err)
	}
	for _, m := range mods {
		if m.Config != nil {
			if err := m.Config(b); err != nil {
				return nil, err
			}
		}
	}
	return b, walk(b, mods, config.Root)
}

// walk builds the scopes below a level.
func walk(b *ngx.Build, mods []ngx.Module, lv *nginxconf.Level) error {
	for _, in := range lv.Inner {
		if in.Context&(nginxconf.Server|nginxconf.Location) != 0 {
			s := &ngx.Scope{Level: in, Core: nginxconf.Of[*ngx.Core](in)}
			s.Server, s.Core.ErrorLog = s, b.Log
			b.ScopeOf(in, s)
			for _, m := range mods {
				if m.Scope != nil {
					if err := m.Scope(b, s); err != nil {
						return err
					}
				}
			}
		}
		if err := walk(b, mods, in); err != nil {
			return err
		}
	}
	return nil
}

// must is load without an error.
func must(t testing.TB, text string, old *ngx.Build) *ngx.Build {
	t.Helper()
	b, err := load(t, text, old, Options{})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// logFile returns the name of the test's own log, the same at each call.
func logFile(t testing.TB) string { return filepath.Join(t.ArtifactDir(), "log") }

// logged returns the log's lines without date, process and thread, and empties the log.
func logged(t testing.TB) string {
	t.Helper()
	name := logFile(t)
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	os.Truncate(name, 0)
	return regexp.MustCompile(`(?m)^\S+ \S+ (\[\w+\]) \d+#\d+: `).ReplaceAllString(string(text), "$1 ")
}

// network is backends without sockets, so that they live in synctest's time.
type network struct {
	mu       sync.Mutex
	backends map[string]func(c net.Conn)
	dials    []string // address and time since start
	start    time.Time
	open     int // connections that the prober hasn't closed
}

// fake gives a build's prober a network of backends by address; without a backend a connection is refused.
func fake(b *ngx.Build, backends map[string]func(c net.Conn)) *network {
	if backends == nil {
		backends = make(map[string]func(net.Conn))
	}
	n := &network{backends: backends, start: time.Now()}
	Of(b).prober.dial = n.dial
	return n
}

func (n *network) dial(_, addr string, opt tcp.DialOptions) (*tcp.Conn, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.dials = append(n.dials, fmt.Sprintf("%s@%v", addr, time.Since(n.start)))
	serve := n.backends[addr]
	if serve == nil {
		return nil, os.NewSyscallError("connect", errRefused)
	}
	n.open++
	near, far := net.Pipe()
	go func() {
		serve(far)
		far.Close()
	}()
	c := tcp.New(&counted{near, n, sync.Once{}})
	if opt.Opened != nil {
		opt.Opened(c)
	}
	return c, nil
}

// set exchanges a backend.
func (n *network) set(addr string, serve func(c net.Conn)) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.backends[addr] = serve
}

func (n *network) dialled() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	s := strings.Join(n.dials, " ")
	n.dials = nil
	return s
}

type counted struct {
	net.Conn
	n    *network
	once sync.Once
}

func (c *counted) Close() error {
	c.once.Do(func() {
		c.n.mu.Lock()
		c.n.open--
		c.n.mu.Unlock()
	})
	return c.Conn.Close()
}

// replies returns a backend that reads a request's head and answers with text.
func replies(text string) func(c net.Conn) {
	return func(c net.Conn) {
		r := bufio.NewReader(c)
		for {
			line, err := r.ReadString('\n')
			if err != nil {
				return
			}
			if line == "\r\n" {
				break
			}
		}
		c.Write([]byte(text))
	}
}

// hangs is a backend that reads and never answers.
func hangs(c net.Conn) {
	buf := make([]byte, 512)
	for {
		if _, err := c.Read(buf); err != nil {
			return
		}
	}
}

// states returns the states of a group's peers: one letter each, U or D.
func states(b *ngx.Build, group string) string {
	s := ""
	for _, p := range ngx.Shared[upstream.Groups](b).Find([]byte(group)).Peers().All {
		if p.IsDown() {
			s += "D"
		} else {
			s += "U"
		}
	}
	return s
}

// textConn returns a connection that gives text and ends.
func textConn(text string) *tcp.Conn { return tcp.New(&textual{strings.NewReader(text)}) }

type textual struct{ r *strings.Reader }

func (c *textual) Read(p []byte) (int, error)       { return c.r.Read(p) }
func (c *textual) Write(p []byte) (int, error)      { return len(p), nil }
func (c *textual) Close() error                     { return nil }
func (c *textual) LocalAddr() net.Addr              { return &net.UnixAddr{} }
func (c *textual) RemoteAddr() net.Addr             { return &net.UnixAddr{} }
func (c *textual) SetDeadline(time.Time) error      { return nil }
func (c *textual) SetReadDeadline(time.Time) error  { return nil }
func (c *textual) SetWriteDeadline(time.Time) error { return nil }

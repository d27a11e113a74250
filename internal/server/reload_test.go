package server

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// site is a server under test with a file that it reads again.
type site struct {
	t    *testing.T
	dir  string
	file string
	*Server
}

func (s *site) write(http string) {
	s.t.Helper()
	text := "events { }\nhttp { access_log off;\n" + strings.ReplaceAll(http, "DIR", s.dir) + "\n}\n"
	if err := os.WriteFile(s.file, []byte(text), 0o600); err != nil {
		s.t.Fatal(err)
	}
}

func (s *site) reload(http string) {
	s.t.Helper()
	s.write(http)
	if _, err := s.Reload(); err != nil {
		s.t.Fatal(err)
	}
}

func startSite(t *testing.T, http string) *site {
	t.Helper()
	dir := t.TempDir() + "/"
	s := &site{t: t, dir: dir, file: filepath.Join(dir, "nginx.conf")}
	s.write(http)
	srv, _, err := New(Options{ConfFile: s.file, Prefix: dir, ErrorLog: dir + "error.log"})
	if err != nil {
		t.Fatal(err)
	}
	s.Server = srv
	srv.Start()
	t.Cleanup(func() { srv.Abort(); srv.Shutdown() })
	return s
}

// client is a keep-alive connection.
type client struct {
	net.Conn
	r *bufio.Reader
}

func dial(t *testing.T, network, addr string) *client {
	t.Helper()
	c, err := net.Dial(network, addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return &client{c, bufio.NewReader(c)}
}

// get sends a request and returns the answer's status.
func (c *client) get(path string) (int, error) {
	c.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: x\r\n\r\n", path); err != nil {
		return 0, err
	}
	resp, err := http.ReadResponse(c.r, nil)
	if err != nil {
		return 0, err
	}
	io.Copy(io.Discard, resp.Body)
	return resp.StatusCode, resp.Body.Close()
}

func (c *client) want(t *testing.T, status int) {
	t.Helper()
	if got, err := c.get("/"); err != nil || got != status {
		t.Errorf("status %d, error %v, want %d", got, err, status)
	}
}

// closed waits for the end of the connection.
func (c *client) closed() bool {
	c.SetReadDeadline(time.Now().Add(5 * time.Second))
	_, err := c.r.ReadByte()
	return err == io.EOF
}

// freePorts returns ports that nobody listens on.
func freePorts(t *testing.T, n int) []string {
	t.Helper()
	var ports []string
	for range n {
		l, err := net.Listen("tcp4", "0.0.0.0:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		ports = append(ports, strconv.Itoa(l.Addr().(*net.TCPAddr).Port))
	}
	return ports
}

func openFiles(t *testing.T) int {
	t.Helper()
	names, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(names)
}

// settles waits until f gives want at most.
func settles(t *testing.T, what string, want int, f func() int) {
	t.Helper()
	got := 0
	for until := time.Now().Add(5 * time.Second); time.Now().Before(until); runtime.Gosched() {
		if got = f(); got <= want {
			return
		}
	}
	stacks := make([]byte, 1<<16)
	t.Errorf("%d %s, want at most %d\n%s", got, what, want, stacks[:runtime.Stack(stacks, true)])
}

// TestReloadsUnderLoadLoseNothing reloads while clients on kept connections, over
// TCP and a unix socket, ask without a pause. LIMPET_RELOADS sets how often.
func TestReloadsUnderLoadLoseNothing(t *testing.T) {
	reloads := 200
	if n, err := strconv.Atoi(os.Getenv("LIMPET_RELOADS")); err == nil {
		reloads = n
	}
	ports := freePorts(t, 2)
	confs := []string{
		"server { return 200 ok; listen 127.0.0.1:" + ports[0] + "; listen unix:DIRs; }",
		"server { return 200 ok; listen 127.0.0.1:" + ports[0] + "; listen unix:DIRs; listen 127.0.0.1:" + ports[1] + "; keepalive_requests 9000000; }",
	}
	s := startSite(t, "keepalive_requests 8000000; "+confs[0])
	s.reload("keepalive_requests 8000000; " + confs[0])
	goroutines, files := runtime.NumGoroutine(), openFiles(t)

	var stop atomic.Bool
	var asked atomic.Int64
	var wg sync.WaitGroup
	for i := range 4 {
		network, addr := "tcp", "127.0.0.1:"+ports[0]
		if i%2 == 1 {
			network, addr = "unix", s.dir+"s"
		}
		c := dial(t, network, addr)
		wg.Go(func() {
			defer c.Close()
			for !stop.Load() {
				if status, err := c.get("/"); status != 200 || err != nil {
					t.Errorf("status %d, error %v", status, err)
					return
				}
				asked.Add(1)
			}
		})
	}
	for i := range reloads {
		s.reload("keepalive_requests 8000000; " + confs[i%2])
	}
	s.reload("keepalive_requests 8000000; " + confs[0])
	stop.Store(true)
	wg.Wait()
	if asked.Load() < int64(reloads) {
		t.Errorf("only %d requests ran during %d reloads", asked.Load(), reloads)
	}
	settles(t, "goroutines", goroutines, runtime.NumGoroutine)
	settles(t, "descriptors", files, func() int { return openFiles(t) })
	if n := s.Generation(); n != int64(reloads)+3 {
		t.Errorf("generation %d after %d reloads", n, reloads)
	}
}

func TestFailedReloadLeaksAndChangesNothing(t *testing.T) {
	ports := freePorts(t, 2)
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	good := "server { return 200 ok; listen 127.0.0.1:" + ports[0] + "; }"
	s := startSite(t, good)
	c := dial(t, "tcp", "127.0.0.1:"+ports[0])
	c.want(t, 200)
	goroutines, files := runtime.NumGoroutine(), openFiles(t)
	for _, bad := range []struct{ conf, want string }{
		{"nope;", `unknown directive "nope" in DIRnginx.conf:3`},
		{good + " error_log /nowhere/at/all;", `open() "/nowhere/at/all" failed (2: No such file or directory)`},
		{"error_log DIRother.log; server { return 200 ok; listen 127.0.0.1:" + ports[1] + "; error_log /nowhere/x; }", `open() "/nowhere/x" failed (2: No such file or directory)`},
		{"server { return 200 ok; listen 127.0.0.1:" + ports[1] + "; listen 192.0.2.1:" + ports[1] + "; }", "bind() to 192.0.2.1:" + ports[1] + " failed (99: Cannot assign requested address)"},
		{"server { return 200 ok; listen unix:DIRnew; listen " + taken.Addr().String() + "; }", "still could not bind()"},
	} {
		s.write(bad.conf)
		_, err := s.Reload()
		if want := strings.ReplaceAll(bad.want, "DIR", s.dir); err == nil || err.Error() != want {
			t.Errorf("%s: error %v, want %s", bad.conf, err, want)
		}
		c.want(t, 200)
	}
	settles(t, "goroutines", goroutines, runtime.NumGoroutine)
	settles(t, "descriptors", files, func() int { return openFiles(t) })
	if _, err := os.Stat(s.dir + "new"); err == nil {
		t.Error("the socket of a configuration that failed is still there")
	}
	if s.Generation() != 1 {
		t.Errorf("generation %d", s.Generation())
	}
}

func TestAddressesComeAndGo(t *testing.T) {
	ports := freePorts(t, 2)
	a, b := "127.0.0.1:"+ports[0], "127.0.0.1:"+ports[1]
	s := startSite(t, "server { return 200 ok; listen "+a+"; }")
	kept := dial(t, "tcp", a)
	kept.want(t, 200)
	s.reload("server { return 200 ok; listen " + a + "; } server { return 200 ok; listen " + b + "; }")
	second := dial(t, "tcp", b)
	second.want(t, 200)
	s.reload("server { return 200 ok; listen " + a + "; }")
	if !second.closed() {
		t.Error("an idle connection of an address that was removed lives on")
	}
	if _, err := net.Dial("tcp", b); err == nil {
		t.Error("a removed address still accepts")
	}
	kept.want(t, 200)
}

// TestWildcardAndSpecificAddressesReplaceEachOther moves between an address and the
// wildcard address of its port; kept connections go on under what covers them.
func TestWildcardAndSpecificAddressesReplaceEachOther(t *testing.T) {
	port := freePorts(t, 1)[0]
	specific, wildcard := "127.0.0.1:"+port, "0.0.0.0:"+port
	one := "server { return 200 ok; listen " + specific + "; }"
	any := "server { return 200 ok; listen " + wildcard + "; }"
	s := startSite(t, one)
	c := dial(t, "tcp", specific)
	for i, conf := range []string{any, one, one + any, any, one + any, one, any} {
		s.reload(conf)
		if got, err := c.get("/"); err != nil || got != 200 {
			t.Fatalf("step %d: kept connection: status %d, error %v", i, got, err)
		}
		dial(t, "tcp", specific).want(t, 200)
	}
}

func TestUnixSocketIsKeptOverReload(t *testing.T) {
	s := startSite(t, "server { return 200 ok; listen unix:DIRs; }")
	before, err := os.Stat(s.dir + "s")
	if err != nil {
		t.Fatal(err)
	}
	if before.Mode().Perm() != 0o666 {
		t.Errorf("mode %o, nginx has 666", before.Mode().Perm())
	}
	s.reload("server { return 200 ok; listen unix:DIRs; listen unix:DIRother; }")
	after, err := os.Stat(s.dir + "s")
	if err != nil || !os.SameFile(before, after) {
		t.Errorf("the socket was made anew: %v", err)
	}
	s.reload("server { return 200 ok; listen unix:DIRs; }")
	if _, err := os.Stat(s.dir + "other"); err == nil {
		t.Error("the path of a removed socket is left")
	}
	dial(t, "unix", s.dir+"s").want(t, 200)
}

func TestShutdownTimeoutCutsRequestsOfTheOldConfiguration(t *testing.T) {
	port := freePorts(t, 1)[0]
	s := startSite(t, "server { return 200 ok; listen 127.0.0.1:"+port+"; }")
	os.WriteFile(s.file, []byte("worker_shutdown_timeout 50ms; events {} http { access_log off; server { return 200 ok; listen 127.0.0.1:"+port+"; client_max_body_size 0; } }"), 0o600)
	if _, err := s.Reload(); err != nil {
		t.Fatal(err)
	}
	retired := make(chan struct{}, 1)
	c := dial(t, "tcp", "127.0.0.1:"+port)
	fmt.Fprintf(c, "GET / HTTP/1.1\r\nHost: ") // the head never ends
	settles(t, "requests waited for", -1, func() int { return -int(s.Stats().Reading.Load()) })
	s.OnRetire = func() { retired <- struct{}{} }
	s.reload("server { return 200 ok; listen 127.0.0.1:" + port + "; }")
	select {
	case <-retired:
	case <-time.After(5 * time.Second):
		t.Error("the old configuration's request was not cut")
	}
}

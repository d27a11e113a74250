package chaos

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"limpet/internal/ngx"
	"limpet/internal/server"
	"limpet/upstream"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// site is a limpet in this process.
type site struct {
	*server.Server
	t    testing.TB
	dir  string
	addr string
	once sync.Once
}

// startSite serves what http says; LISTEN in it stands for the address, a unix socket's where there is no other.
func startSite(t testing.TB, http string) *site {
	t.Helper()
	dir := t.TempDir() + "/"
	s := &site{t: t, dir: dir, addr: freeAddr(t)}
	s.write(http)
	srv, _, err := server.New(server.Options{ConfFile: dir + "nginx.conf", Prefix: dir, ErrorLog: dir + "error.log"})
	if err != nil {
		t.Fatal(err)
	}
	s.Server = srv
	srv.Start()
	t.Cleanup(s.stop)
	return s
}

func (s *site) write(http string) {
	text := "error_log " + s.dir + "error.log info; events { worker_connections 20000; }\nhttp {\nproxy_temp_path " + s.dir + "p; client_body_temp_path " + s.dir + "b; access_log " + s.dir + "access.log;\n" +
		strings.ReplaceAll(http, "LISTEN", s.addr) + "\n}\n"
	if err := os.WriteFile(s.dir+"nginx.conf", []byte(text), 0o600); err != nil {
		s.t.Fatal(err)
	}
}

// stop ends the server as QUIT does, and by force when that takes too long.
func (s *site) stop() { s.once.Do(s.end) }

func (s *site) end() {
	late := time.AfterFunc(20*time.Second, func() {
		s.t.Error("Shutdown waits for a request that never ends")
		s.Abort()
	})
	s.Shutdown()
	late.Stop()
	log, err := os.ReadFile(s.dir + "error.log")
	if err != nil {
		s.t.Error(err)
	}
	if s.t.Failed() {
		s.t.Logf("the error log ends with\n%s", log[max(len(log)-4000, 0):])
	}
	for line := range bytes.Lines(log) {
		if bytes.Contains(line, []byte("[alert]")) || bytes.Contains(line, []byte("[emerg]")) || bytes.Contains(line, []byte("BUG")) {
			s.t.Errorf("%s", line)
		}
	}
}

// busy is how many requests the peers are serving by the groups' count.
func (s *site) busy() (n int64) {
	for _, g := range ngx.Shared[upstream.Groups](s.Build()).List {
		for _, p := range g.Peers().All {
			n += p.Conns()
		}
	}
	return n
}

const chaosConf = `
	proxy_read_timeout 30s; proxy_send_timeout 30s; proxy_connect_timeout 30s; client_body_buffer_size 8k; client_max_body_size 0;
	keepalive_requests %d; sendfile on;
	map $http_upgrade $conn { default ""; ~. upgrade; }
	log_format all '$remote_addr "$request" $status $bytes_sent $upstream_addr $upstream_status $upstream_bytes_received $http_x_id $request_time';
	upstream a { %s max_fails=0; keepalive %d; keepalive_requests 200; }
	upstream s { %s max_fails=0; keepalive 3; sticky cookie route; }
	server {
		listen LISTEN;
		access_log logs all;
		proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection $conn; proxy_http_version 1.1;
		proxy_next_upstream error timeout http_502; proxy_next_upstream_tries 3;
		location /buf/ { proxy_pass http://a; }
		location /nobuf/ { proxy_pass http://a; proxy_buffering off; proxy_request_buffering off; }
		location /noreq/ { proxy_pass http://a; proxy_request_buffering off; }
		location /small/ { proxy_pass http://a; proxy_buffer_size 4k; proxy_buffers 2 4k; proxy_busy_buffers_size 4k; proxy_max_temp_file_size 0; }
		location /temp/ { proxy_pass http://a; proxy_buffer_size 4k; proxy_buffers 2 4k; proxy_busy_buffers_size 4k; proxy_max_temp_file_size %dk; }
		location /sub/ { proxy_pass http://a; sub_filter_once off; sub_filter 'QQ' 'ZZ'; }
		location /gz/ { proxy_pass http://a; gzip on; gzip_http_version 1.0; gzip_min_length 0; }
		location /rate/ { proxy_pass http://a; limit_rate 100k; }
		location /readrate/ { proxy_pass http://a; proxy_limit_rate 200k; }
		location /err/ { proxy_pass http://a; proxy_intercept_errors on; error_page 404 502 504 = @fallback; }
		location @fallback { proxy_pass http://s; }
		location /sticky/ { proxy_pass http://s; }
		location /http10/ { proxy_pass http://a; proxy_http_version 1.0; }
		location /internal/ { internal; proxy_pass http://a; }
		location /up/ { proxy_pass http://a; }
	}`

// someConf is the configuration with values that change from reload to reload.
func someConf(backends []*backend) string {
	var servers []string
	for _, b := range backends {
		servers = append(servers, "server "+b.addr())
	}
	rand.Shuffle(len(servers), func(i, k int) { servers[i], servers[k] = servers[k], servers[i] })
	list := strings.Join(servers[:2+rand.IntN(len(servers)-1)], " max_fails=0; ")
	return fmt.Sprintf(chaosConf, 5+rand.IntN(1000), list, 1+rand.IntN(20), strings.Join(servers, " max_fails=0; "), pick(4, 100, 8000))
}

func duration(t *testing.T) time.Duration {
	if s := os.Getenv("CHAOS"); s != "" {
		d, err := time.ParseDuration(s)
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	if testing.Short() {
		return 2 * time.Second
	}
	return 8 * time.Second
}

// TestEveryAnswerIsWholeAndItsOwn is the package's main test.
func TestEveryAnswerIsWholeAndItsOwn(t *testing.T) {
	fails, seen := &faults{}, &ledger{times: map[string]int{}}
	var backends []*backend
	for i := range 4 {
		backends = append(backends, startBackend(t, fmt.Sprint(i), fails, seen))
	}
	s := startSite(t, someConf(backends))
	fds := descriptors(t)
	until := time.Now().Add(duration(t))
	var wg sync.WaitGroup
	var done, reloads atomic.Int64
	for range 40 {
		wg.Go(func() { client(s.addr, until, fails, &done) })
	}
	wg.Go(func() {
		for time.Now().Before(until) {
			pause(time.Duration(100+rand.IntN(200)) * time.Millisecond)
			s.write(someConf(backends))
			if _, err := s.Reload(); err != nil {
				fails.addf("reload: %v", err)
			}
			reloads.Add(1)
		}
	})
	wg.Wait()
	settle(t, "the groups count requests that nobody makes", func() bool { return s.busy() == 0 })
	settle(t, "connections of clients are left", func() bool { return s.Stats().Active.Load() == 0 })
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	t.Logf("%d answers under %d configurations, %d MiB in use", done.Load(), reloads.Load(), m.HeapInuse>>20)
	if m.HeapInuse > 200<<20 {
		t.Errorf("%d MiB in use", m.HeapInuse>>20)
	}
	for _, b := range backends {
		b.stop()
	}
	s.stop()
	settle(t, "connections to peers are left", func() bool {
		n := int64(0)
		for _, b := range backends {
			n += b.conns.Load()
		}
		return n == 0
	})
	settle(t, "descriptors are left", func() bool { return descriptors(t) <= fds })
	if p := s.Stats().Panics.Load(); p != 0 {
		t.Errorf("%d panics", p)
	}
	if n := fails.lost.Load(); n > done.Load()/100+3 {
		t.Errorf("%d of %d requests were lost to peers that closed kept connections", n, done.Load())
	}
	reportSlow(t, s.dir)
	fails.report(t, s.dir+"error.log")
}

// reportSlow fails for requests that took so long that something must have waited for
// a time-out: backends answer within a second.
func reportSlow(t *testing.T, dir string) {
	t.Helper()
	access, _ := os.ReadFile(dir + "logs")
	errors, _ := os.ReadFile(dir + "error.log")
	for line := range strings.Lines(string(access)) {
		f := strings.Fields(line)
		took, _ := strconv.ParseFloat(f[len(f)-1], 64)
		if took < 20 || strings.Contains(line, "framing=close&act=early") {
			continue // such a peer answers, then waits for the rest of a body that goes no further, as with nginx
		}
		t.Errorf("slow: %s", line)
		_, id, _ := strings.Cut(line, "?id=")
		id, _, _ = strings.Cut(id, "&")
		for line := range strings.Lines(string(errors)) {
			if strings.Contains(line, "?id="+id+"&") {
				t.Log(line)
			}
		}
	}
}

// settle waits until something that ends by itself has ended.
func settle(t *testing.T, what string, f func() bool) {
	t.Helper()
	for range 500 {
		if f() {
			return
		}
		pause(20 * time.Millisecond)
	}
	buf := make([]byte, 1<<20)
	t.Errorf("%s\n%s", what, buf[:runtime.Stack(buf, true)])
}

// descriptors counts the process's open descriptors.
func descriptors(t *testing.T) int {
	t.Helper()
	names, err := filepath.Glob("/proc/self/fd/*")
	if err != nil {
		t.Fatal(err)
	}
	return len(names)
}

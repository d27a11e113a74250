package admin

import (
	"bytes"
	"context"
	"encoding/base64"
	"io"
	"math"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"limpet/internal/drain"
	"limpet/internal/server"
)

// start serves a configuration with the endpoint; get asks it.
func start(t *testing.T, addr, token string) (s *Server, front string, get func(method, path string) (int, string)) {
	t.Helper()
	dir := t.TempDir() + "/"
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	front = l.Addr().String()
	l.Close()
	conf := `events { } http { access_log off;
		upstream u { server 127.0.0.1:1; server unix:/nowhere/"s backup; server 127.0.0.1:1; queue 7; }
		upstream s { server 127.0.0.1; server 127.0.0.2:2 down; server 127.0.0.2:3 drain; sticky cookie c; }
		upstream c { server 127.0.0.1:1 max_fails=0; server 127.0.0.1:2 down; sticky cookie c; }
		upstream l { server 127.0.0.1:1; server 127.0.0.1:1; sticky learn create=$upstream_cookie_a lookup=$cookie_a zone=z:64k;
			check interval=60000 type=tcp; check_keepalive_requests 1; }
		server { listen ` + front + `; server_name a\"b; location / { return 200 ok; } location /x { return 404; } location /s { proxy_pass http://c; } location /l { proxy_pass http://127.0.0.1:4; } } }`
	if err := os.WriteFile(dir+"nginx.conf", []byte(conf), 0o600); err != nil {
		t.Fatal(err)
	}
	addr = strings.ReplaceAll(addr, "DIR", dir)
	drains := new(drain.Set)
	srv, _, err := server.New(server.Options{ConfFile: dir + "nginx.conf", Prefix: dir, ErrorLog: dir + "error.log", Admin: addr, Drains: drains})
	if err != nil {
		t.Fatal(err)
	}
	var reloads Reloads
	reloads.Succeeded(time.Unix(1700000000, 0))
	reloads.Failed()
	if s, err = Listen(addr, Source{Server: srv, Drains: drains, Reloads: &reloads, Version: "X", Token: token, Reload: func() { srv.Reload() }}); err != nil {
		t.Fatal(err)
	}
	srv.Start()
	s.Serve()
	t.Cleanup(func() { s.Close(); srv.Abort(); srv.Shutdown() })
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(context.Context, string, string) (net.Conn, error) {
		return net.Dial(s.Addr().Network(), s.Addr().String())
	}}}
	return s, front, func(method, path string) (int, string) {
		t.Helper()
		req, _ := http.NewRequest(method, "http://admin"+path, nil)
		if token != "" {
			req.Header.Set("Authorization", "Bearer "+token)
		}
		resp, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		b, _ := io.ReadAll(resp.Body)
		return resp.StatusCode, string(b)
	}
}

func TestMetricsCountRequestsByServerAndClass(t *testing.T) {
	s, front, get := start(t, "127.0.0.1:0", "")
	for range 3 {
		http.Get("http://" + front + "/")
	}
	http.Get("http://" + front + "/x")
	http.DefaultClient.CloseIdleConnections()
	p := s.groups()[0].Peers().All[0]
	p.Stats.Observe(3 * time.Millisecond)
	p.Stats.Classes[5].Add(2)
	q := s.groups()[0].Queue
	q.Stats.TimedOut.Add(3)
	q.Stats.Overflow.Add(4)
	if _, err := s.Server.Reload(); err != nil { // counters live on
		t.Fatal(err)
	}
	http.Get("http://" + front + "/x")
	req, _ := http.NewRequest("GET", "http://"+front+"/s", nil)
	req.Header.Set("Cookie", "c=5d43be6e4e1c3f1e9b9a1f4a7a2d0c11") // of nobody
	http.DefaultClient.Do(req)
	req.Header.Set("Cookie", "c="+base64.StdEncoding.EncodeToString([]byte("127.0.0.1:1"))) // as Envoy writes it
	http.DefaultClient.Do(req)
	_, page := get("GET", "/metrics")
	for _, want := range []string{
		`limpet_server_requests_total{server="a\"b",code="2xx"} 3`,
		`limpet_server_requests_total{server="a\"b",code="4xx"} 2`,
		`limpet_requests_total 7`,
		`limpet_reloads_total{result="success"} 1`,
		`limpet_reloads_total{result="error"} 1`,
		`limpet_last_reload_success_timestamp_seconds 1.7e+09`,
		`limpet_last_reload_successful 0`,
		`limpet_config_generation 2`,
		`limpet_upstream_queue_waiting{upstream="u"} 0`,
		`limpet_upstream_queued_total{upstream="u",result="served"} 0`,
		`limpet_upstream_queued_total{upstream="u",result="dropped"} 0`,
		`limpet_upstream_queued_total{upstream="u",result="timedout"} 3`,
		`limpet_upstream_queued_total{upstream="u",result="overflow"} 4`,
		`limpet_upstream_peer_up{upstream="u",peer="127.0.0.1:1"} 1`,
		`limpet_upstream_peer_up{upstream="u",peer="127.0.0.1:1 #2"} 1`,
		`limpet_upstream_peer_up{upstream="u",peer="unix:/nowhere/\"s"} 1`,
		`limpet_upstream_peer_responses_total{upstream="u",peer="127.0.0.1:1",code="5xx"} 2`,
		`limpet_upstream_peer_response_seconds_bucket{upstream="u",peer="127.0.0.1:1",le="0.0025"} 0`,
		`limpet_upstream_peer_response_seconds_bucket{upstream="u",peer="127.0.0.1:1",le="0.005"} 1`,
		`limpet_upstream_peer_response_seconds_bucket{upstream="u",peer="127.0.0.1:1",le="+Inf"} 1`,
		`limpet_upstream_peer_response_seconds_count{upstream="u",peer="127.0.0.1:1"} 1`,
		`limpet_upstream_peer_response_seconds_sum{upstream="u",peer="127.0.0.1:1"} 0.003`,
		`limpet_upstream_check_flips_total{upstream="l",peer="127.0.0.1:1",check="0",to="up"} 0`,
		`limpet_upstream_check_flips_total{upstream="l",peer="127.0.0.1:1 #2",check="0",to="up"} 0`,
		`limpet_sticky_decisions_total{upstream="c",dialect="nginx",outcome="miss",reason="unknown"} 1`,
		`limpet_sticky_decisions_total{upstream="c",dialect="nginx",outcome="hit",reason="other_dialect"} 1`,
		`limpet_sticky_decisions_total{upstream="c",dialect="nginx",outcome="moved",reason="peer_down"} 0`,
		`limpet_sticky_cookies_total{upstream="c",dialect="nginx",spelling="envoy"} 1`,
		`limpet_sticky_sessions{upstream="l",dialect="nginx"} 0`,
		`limpet_sticky_clients{upstream="c",peer="127.0.0.1:1"} 1`,
		`limpet_lua_runs_total 0`,
		`limpet_lua_errors_total 0`,
		`limpet_lua_stopped_total 0`,
	} {
		if n := strings.Count(page, want+"\n"); n != 1 {
			t.Errorf("%d times %s", n, want)
		}
	}
	for _, name := range []string{`limpet_sticky_cookie_last_seen_timestamp_seconds{upstream="c",dialect="nginx",spelling="envoy"}`,
		`limpet_sticky_client_last_seen_timestamp_seconds{upstream="c",peer="127.0.0.1:1"}`} {
		if m := regexp.MustCompile("(?m)^" + regexp.QuoteMeta(name) + ` (\S+)$`).FindStringSubmatch(page); m == nil {
			t.Errorf("no %s", name)
		} else if at, err := strconv.ParseFloat(m[1], 64); err != nil || math.Abs(at-float64(time.Now().Unix())) > 60 {
			t.Errorf("%s is %s", name, m[1])
		}
	}
	if !strings.Contains(page, "go_goroutines") || !strings.Contains(page, "process_") {
		t.Error("no metrics of the runtime and the process")
	}
	seen := map[string]bool{}
	for line := range strings.Lines(page) {
		if i := strings.LastIndexByte(line, ' '); !strings.HasPrefix(line, "#") && seen[line[:i]] {
			t.Errorf("%s is there twice", line[:i])
		} else if !strings.HasPrefix(line, "#") {
			seen[line[:i]] = true
		}
	}
	if t.Failed() {
		t.Log(page)
	}
}

func TestActionsWantAUnixSocketOrTheToken(t *testing.T) {
	for _, c := range []struct {
		addr, token string
		status      int
	}{
		{"127.0.0.1:0", "", 403}, {"127.0.0.1:0", "secret", 202}, {"unix:DIRadmin", "", 202},
	} {
		_, _, get := start(t, c.addr, c.token)
		if status, body := get("POST", "/api/reload"); status != c.status {
			t.Errorf("%s, token %q: %d %s, want %d", c.addr, c.token, status, body, c.status)
		}
		if status, _ := get("GET", "/api/reload"); status != 405 {
			t.Errorf("GET of an action: %d", status)
		}
	}
}

func TestWrongTokenIsRefused(t *testing.T) {
	s, _, _ := start(t, "127.0.0.1:0", "secret")
	for _, given := range []string{"", "Bearer ", "Bearer secre", "secret"} {
		req, _ := http.NewRequest("POST", "http://"+s.Addr().String()+"/api/reload", nil)
		req.Header.Set("Authorization", given)
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != 401 {
			t.Errorf("%q: %d", given, resp.StatusCode)
		}
	}
}

func TestPagesAreThere(t *testing.T) {
	_, _, get := start(t, "127.0.0.1:0", "")
	for path, want := range map[string]int{
		"/": 200, "/healthz": 200, "/nowhere": 404, "/api/status?window=x": 400, "/api/status?window=1h": 200,
		"/api/upstreams/u": 200, "/api/upstreams/none": 404, "/api/upstreams/u?peer=none": 404, "/api/upstreams/u?window=-1s": 400,
		"/api/upstreams/127.0.0.1:4": 200, "/api/upstreams/127.0.0.1": 200,
	} {
		if status, body := get("GET", path); status != want {
			t.Errorf("%s: %d %s, want %d", path, status, body, want)
		}
	}
	if _, body := get("GET", "/healthz"); body != "ok\n" {
		t.Errorf("healthz: %s", body)
	}
}

// TestReadmeListsEveryMetric compares README.md's table with the metrics; with
// LIMPET_UPDATE set it is written anew.
func TestReadmeListsEveryMetric(t *testing.T) {
	s, _, _ := start(t, "127.0.0.1:0", "")
	var table bytes.Buffer
	table.WriteString("| metric | type | labels | meaning |\n|---|---|---|---|\n")
	for _, f := range s.families() {
		table.WriteString("| `" + f.name + "` | " + f.kind + " | " + f.labels + " | " + f.help + " |\n")
	}
	text, err := os.ReadFile(filepath.Join(".", "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	marks := regexp.MustCompile(`(?s)\| metric \|.*\|\n`)
	if os.Getenv("LIMPET_UPDATE") != "" {
		os.WriteFile("README.md", marks.ReplaceAllLiteral(text, table.Bytes()), 0o644)
		return
	}
	if got := marks.Find(text); !bytes.Equal(got, table.Bytes()) {
		t.Errorf("README.md is stale: LIMPET_UPDATE=1 go test ./internal/admin")
	}
}

func TestLabelsAreEscaped(t *testing.T) {
	if got, want := braced([]string{"a", "x\"\\\n\xff"}), "{a=\"x\\\"\\\\\\n\uFFFD\"}"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

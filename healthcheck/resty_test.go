package healthcheck

import (
	"net"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"limpet/internal/ngx"
)

const errRefused = syscall.ECONNREFUSED

const ok200 = "HTTP/1.0 200 OK\r\n\r\n"

// spawn spawns a checker of three failures and two passes on the group hc.
func spawn(t *testing.T, b *ngx.Build, change func(r *Resty)) {
	t.Helper()
	r := Resty{Upstream: "hc", Request: []byte("GET / HTTP/1.0\r\n\r\n"), Timeout: time.Second, Interval: 2 * time.Second,
		ValidStatuses: []int{200}, Concurrency: 10, Fall: 3, Rise: 2}
	if change != nil {
		change(&r)
	}
	if err := SpawnResty(b, r); err != nil {
		t.Fatal(err)
	}
}

const threePeers = `upstream hc { server 127.0.0.1:81; server 127.0.0.1:82; server 127.0.0.1:83 backup; }`

func TestRestyTurnsPeerDownAndUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := must(t, threePeers, nil)
		n := fake(b, map[string]func(net.Conn){"127.0.0.1:81": replies(ok200), "127.0.0.1:83": replies("HTTP/1.1 503 No\r\n\r\n")})
		spawn(t, b, func(r *Resty) { r.Concurrency = 1 }) // so that the lines come in order
		b.Start()
		time.Sleep(3 * time.Second) // two cycles
		synctest.Wait()
		if got := states(b, "hc"); got != "UUU" {
			t.Errorf("after two failures: %s", got)
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if got := states(b, "hc"); got != "UDD" {
			t.Errorf("after three failures: %s", got)
		}
		n.set("127.0.0.1:82", replies(ok200))
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if got := states(b, "hc"); got != "UDD" {
			t.Errorf("after one pass: %s", got)
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if got := states(b, "hc"); got != "UUD" {
			t.Errorf("after two passes: %s", got)
		}
		b.Retire()
		want := `[error] *1 [lua] healthcheck.lua:61: errlog(): healthcheck: failed to connect to 127.0.0.1:82: connection refused, context: ngx.timer
[error] *1 [lua] healthcheck.lua:61: errlog(): healthcheck: bad status code from 127.0.0.1:83: 503, context: ngx.timer
[error] *2 [lua] healthcheck.lua:61: errlog(): healthcheck: failed to connect to 127.0.0.1:82: connection refused, context: ngx.timer
[error] *2 [lua] healthcheck.lua:61: errlog(): healthcheck: bad status code from 127.0.0.1:83: 503, context: ngx.timer
[error] *3 [lua] healthcheck.lua:61: errlog(): healthcheck: failed to connect to 127.0.0.1:82: connection refused, context: ngx.timer
[warn] *3 [lua] healthcheck.lua:57: warn(): healthcheck: peer 127.0.0.1:82 is turned down after 3 failure(s), context: ngx.timer
[error] *3 [lua] healthcheck.lua:61: errlog(): healthcheck: bad status code from 127.0.0.1:83: 503, context: ngx.timer
[warn] *3 [lua] healthcheck.lua:57: warn(): healthcheck: peer 127.0.0.1:83 is turned down after 3 failure(s), context: ngx.timer
[warn] *5 [lua] healthcheck.lua:57: warn(): healthcheck: peer 127.0.0.1:82 is turned up after 2 success(es), context: ngx.timer
`
		if got := logged(t); got != want {
			t.Errorf("log:\n%s\nwant:\n%s", got, want)
		}
		if n.open != 0 {
			t.Errorf("%d connections left open", n.open)
		}
	})
}

func TestRestyIntervalIsFromEndToStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := must(t, `upstream hc { server 127.0.0.1:81; server 127.0.0.1:82; }`, nil)
		n := fake(b, map[string]func(net.Conn){"127.0.0.1:81": hangs, "127.0.0.1:82": hangs})
		spawn(t, b, func(r *Resty) { r.Concurrency = 1 })
		b.Start()
		time.Sleep(7 * time.Second)
		synctest.Wait()
		b.Retire()
		want := "127.0.0.1:81@0s 127.0.0.1:82@1s 127.0.0.1:81@4s 127.0.0.1:82@5s"
		if got := n.dialled(); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
		if log := logged(t); !strings.Contains(log, "failed to receive status line from 127.0.0.1:81: timeout,") {
			t.Errorf("log: %s", log)
		}
	})
}

// A line that dribbles in is bounded as a whole; the original waited for as long as bytes came.
func TestRestyTimeoutBoundsTheLine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := must(t, `upstream hc { server 127.0.0.1:81; }`, nil)
		fake(b, map[string]func(net.Conn){"127.0.0.1:81": func(c net.Conn) {
			c.Read(make([]byte, 512))
			for _, ch := range "HTTP/1.0 200 OK\r\n" {
				time.Sleep(300 * time.Millisecond)
				if _, err := c.Write([]byte{byte(ch)}); err != nil {
					return
				}
			}
		}})
		spawn(t, b, func(r *Resty) { r.Fall = 1 })
		b.Start()
		time.Sleep(1100 * time.Millisecond)
		synctest.Wait()
		if got := states(b, "hc"); got != "D" {
			t.Errorf("state %s after the timeout", got)
		}
		b.Retire()
		time.Sleep(time.Second) // the backend notices
	})
}

func TestRestyLanes(t *testing.T) {
	for _, tt := range []struct {
		peers, concurrency int
		want               string
	}{
		{5, 0, "5"}, {5, 1, "5"}, {5, 5, "1 1 1 1 1"}, {3, 10, "1 1 1"}, {5, 2, "3 2"}, {11, 10, "2 2 2 2 2 1"}, {0, 1, ""},
	} {
		var sizes []string
		for _, l := range lanes(make([]*target, tt.peers), tt.concurrency) {
			sizes = append(sizes, string(rune('0'+len(l.targets))))
		}
		if got := strings.Join(sizes, " "); got != tt.want {
			t.Errorf("%d peers, concurrency %d: %s, want %s", tt.peers, tt.concurrency, got, tt.want)
		}
	}
}

func TestRestyStatusLine(t *testing.T) {
	for _, tt := range []struct {
		line string
		want int // -1: bad
	}{
		{"HTTP/1.0 200 OK", 200}, {"http/1.1 302", 302}, {"HTTP/1.0 0200", 200}, {"HTTP/1.0 200abc", 200}, {"HTTP/1.1 \t 100 Continue", 100},
		{"HTTP/11.22 204", 204}, {"HTTP/2 200", -1}, {"", -1}, {" HTTP/1.0 200", -1}, {"HTTP/1.0 OK", -1}, {"HTTP/1.0200", -1}, {"HTTP/.1 200", -1},
		{"HTTP/1. 200", -1}, {"HTTP/1.0 99999999999999999999", 1 << 30},
	} {
		got, ok := restyStatus([]byte(tt.line))
		if !ok {
			got = -1
		}
		if got != tt.want {
			t.Errorf("%q: %d, want %d", tt.line, got, tt.want)
		}
	}
}

func TestRestyJudgesTheFirstLine(t *testing.T) {
	for _, tt := range []struct {
		name, answer string
		valid        []int
		want         string // the log's text; "" passes
	}{
		{"no list takes any line", "garbage\n", nil, ""},
		{"no list takes an empty line", "\n", nil, ""},
		{"no line", "HTTP/1.0 200 OK", nil, "failed to receive status line from 127.0.0.1:81: closed"},
		{"empty list takes nothing", ok200, []int{}, "bad status code from 127.0.0.1:81: 200"},
		{"CR is dropped anywhere", "HT\rTP/1.0 2\r00 OK\n", []int{200}, ""},
		{"not a status line", "SSH-2.0-x\r\n", []int{200}, "bad status line from 127.0.0.1:81: SSH-2.0-x"},
		{"interim answer counts as it is", "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n\r\n", []int{200}, "bad status code from 127.0.0.1:81: 100"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := must(t, `upstream hc { server 127.0.0.1:81; }`, nil)
				fake(b, map[string]func(net.Conn){"127.0.0.1:81": replies(tt.answer)})
				spawn(t, b, func(r *Resty) { r.ValidStatuses = tt.valid })
				b.Start()
				time.Sleep(time.Second)
				synctest.Wait()
				b.Retire()
				want := tt.want
				if want != "" {
					want = "[error] *1 [lua] healthcheck.lua:61: errlog(): healthcheck: " + want + ", context: ngx.timer\n"
				}
				if got := logged(t); got != want {
					t.Errorf("log %q, want %q", got, want)
				}
			})
		})
	}
}

func TestSpawnOfUnknownUpstream(t *testing.T) {
	b := must(t, threePeers, nil)
	err := SpawnResty(b, Resty{Upstream: "nix"})
	if err == nil || err.Error() != "failed to get primary peers: upstream not found" {
		t.Errorf("got %v", err)
	}
}

func TestSpawningTwiceChecksOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := must(t, `upstream hc { server 127.0.0.1:81; }`, nil)
		n := fake(b, nil)
		spawn(t, b, nil)
		spawn(t, b, nil)
		b.Start()
		time.Sleep(time.Second)
		synctest.Wait()
		b.Retire()
		if got := n.dialled(); got != "127.0.0.1:81@0s" {
			t.Errorf("dialled %s", got)
		}
	})
}

func TestServerDownStaysDownAndUnasked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := must(t, `upstream hc { server 127.0.0.1:81; server 127.0.0.1:82 down; }`, nil)
		n := fake(b, map[string]func(net.Conn){"127.0.0.1:81": replies(ok200), "127.0.0.1:82": replies(ok200)})
		spawn(t, b, nil)
		b.Start()
		time.Sleep(9 * time.Second)
		synctest.Wait()
		b.Retire()
		if got := states(b, "hc"); got != "UD" {
			t.Errorf("states %s", got)
		}
		if strings.Contains(n.dialled(), ":82") {
			t.Error("the peer was asked")
		}
	})
}

// reload starts a second configuration while the first is in force and retires the first.
func reload(t *testing.T, old *ngx.Build, text string, change func(r *Resty)) *ngx.Build {
	t.Helper()
	b := must(t, text, old)
	if change != nil {
		spawn(t, b, change)
	}
	b.Start()
	old.Retire()
	return b
}

func TestStateFollowsTheAddressOverReload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := must(t, `upstream hc { server 127.0.0.1:81; server 127.0.0.1:82; }`, nil)
		n := fake(b, map[string]func(net.Conn){"127.0.0.1:81": replies(ok200), "127.0.0.1:83": replies(ok200)})
		same := func(*Resty) {}
		spawn(t, b, same)
		b.Start()
		time.Sleep(5 * time.Second)
		synctest.Wait()
		if got := states(b, "hc"); got != "UD" {
			t.Fatalf("before: %s", got)
		}
		n.dialled()
		b = reload(t, b, `upstream hc { server 127.0.0.1:82; server 127.0.0.1:83; server 127.0.0.1:81; }`, same)
		if got := states(b, "hc"); got != "DUU" {
			t.Errorf("after: %s", got)
		}
		n.set("127.0.0.1:82", replies(ok200))
		time.Sleep(3 * time.Second)
		synctest.Wait()
		if got := states(b, "hc"); got != "UUU" {
			t.Errorf("after two passes: %s", got)
		}
		b = reload(t, b, `upstream hc { server 127.0.0.1:82; }`, nil)
		b.Retire()
	})
}

func TestCheckThatIsGoneLeavesNobodyDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		text := `upstream hc { server 127.0.0.1:81; }`
		b := must(t, text, nil)
		n := fake(b, map[string]func(net.Conn){"127.0.0.1:81": hangs})
		spawn(t, b, func(r *Resty) { r.Fall = 1 })
		b.Start()
		time.Sleep(3500 * time.Millisecond) // in the middle of the second probe
		synctest.Wait()
		if got := states(b, "hc"); got != "D" {
			t.Fatalf("before: %s", got)
		}
		b = reload(t, b, text, nil)
		time.Sleep(5 * time.Second)
		synctest.Wait()
		if got := states(b, "hc"); got != "U" {
			t.Errorf("after: %s", got)
		}
		if n.open != 0 {
			t.Errorf("%d connections left open", n.open)
		}
		b.Retire()
	})
}

// A peer that was down under another check comes up by passing the new one.
func TestNewCheckOfDownPeerStartsDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		text := `upstream hc { server 127.0.0.1:81; }`
		b := must(t, text, nil)
		n := fake(b, nil)
		spawn(t, b, func(r *Resty) { r.Fall = 1 })
		b.Start()
		time.Sleep(time.Second)
		synctest.Wait()
		b = reload(t, b, text, func(r *Resty) { r.Request = []byte("HEAD / HTTP/1.0\r\n\r\n") })
		if got := states(b, "hc"); got != "D" {
			t.Errorf("after: %s", got)
		}
		n.set("127.0.0.1:81", replies(ok200))
		time.Sleep(5 * time.Second)
		synctest.Wait()
		if got := states(b, "hc"); got != "U" {
			t.Errorf("after passes: %s", got)
		}
		b.Retire()
	})
}

func TestRetireEndsProbesUnderWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := must(t, `upstream hc { server 127.0.0.1:81; }`, nil)
		fake(b, map[string]func(net.Conn){"127.0.0.1:81": hangs})
		spawn(t, b, func(r *Resty) { r.Timeout = time.Hour })
		b.Start()
		time.Sleep(time.Second)
		start := time.Now()
		b.Retire()
		if took := time.Since(start); took > time.Second {
			t.Errorf("took %v", took)
		}
	})
}

func TestRestyPages(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := must(t, threePeers+"\nupstream nochk { server 127.0.0.1:84; }", nil)
		fake(b, map[string]func(net.Conn){"127.0.0.1:81": replies(ok200), "127.0.0.1:83": replies(ok200)})
		spawn(t, b, func(r *Resty) { r.Fall = 1 })
		b.Start()
		time.Sleep(time.Second)
		synctest.Wait()
		b.Retire()
		want := `Upstream hc
    Primary Peers
        127.0.0.1:81 UP
        127.0.0.1:82 DOWN
    Backup Peers
        127.0.0.1:83 UP

Upstream nochk (NO checkers)
    Primary Peers
        127.0.0.1:84 UP
    Backup Peers
`
		if got := StatusPage(b); got != want {
			t.Errorf("status page:\n%s\nwant:\n%s", got, want)
		}
		want = `# HELP nginx_upstream_status_info The running status of nginx upstream
# TYPE nginx_upstream_status_info gauge
nginx_upstream_status_info{name="hc",endpoint="127.0.0.1:81",status="UP",role="PRIMARY"} 1
nginx_upstream_status_info{name="hc",endpoint="127.0.0.1:81",status="DOWN",role="PRIMARY"} 0
nginx_upstream_status_info{name="hc",endpoint="127.0.0.1:82",status="UP",role="PRIMARY"} 0
nginx_upstream_status_info{name="hc",endpoint="127.0.0.1:82",status="DOWN",role="PRIMARY"} 1
nginx_upstream_status_info{name="hc",endpoint="127.0.0.1:83",status="UP",role="BACKUP"} 1
nginx_upstream_status_info{name="hc",endpoint="127.0.0.1:83",status="DOWN",role="BACKUP"} 0
nginx_upstream_status_info{name="hc",status="UP"} 1
nginx_upstream_status_info{name="hc",status="DOWN"} 0
nginx_upstream_status_info{name="hc",status="UNKNOWN"} 0
nginx_upstream_status_info{name="nochk",status="UP"} 0
nginx_upstream_status_info{name="nochk",status="DOWN"} 0
nginx_upstream_status_info{name="nochk",status="UNKNOWN"} 1
`
		if got := PrometheusPage(b); got != want {
			t.Errorf("prometheus page:\n%s\nwant:\n%s", got, want)
		}
	})
}

func TestAlternatingResultsFlipNothing(t *testing.T) {
	m := new(Mark)
	for i := range 20 {
		if _, flipped := m.judge(i%2 == 0, 2, 2); flipped {
			t.Fatalf("flipped at %d", i)
		}
	}
	if n, flipped := m.judge(false, 2, 2); n != 2 || !flipped {
		t.Errorf("the second failure in a row: %d, %t", n, flipped)
	}
	for i := range 20 { // it is down
		if _, flipped := m.judge(i%2 == 0, 2, 2); flipped {
			t.Fatalf("came up at %d", i)
		}
	}
}

// A reload neither loses a check's rhythm nor makes it ask everybody at once.
func TestRhythmGoesOnOverReload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		text := `upstream hc { server 127.0.0.1:81; }`
		same := func(*Resty) {}
		b := must(t, text, nil)
		n := fake(b, map[string]func(net.Conn){"127.0.0.1:81": replies(ok200)})
		spawn(t, b, same)
		b.Start()
		time.Sleep(2500 * time.Millisecond)
		b = reload(t, b, text, same)
		time.Sleep(2 * time.Second)
		b.Retire()
		if got, want := n.dialled(), "127.0.0.1:81@0s 127.0.0.1:81@2s 127.0.0.1:81@4s"; got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	})
}

package healthcheck

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"limpet/internal/ngx"
	"limpet/nginxconf"
	"limpet/upstream"
)

// passTo is proxy_pass as far as Proxied wants it.
type passTo struct {
	group nginxconf.Opt[*upstream.Group]
}

func (p *passTo) Directives() []nginxconf.Directive {
	return []nginxconf.Directive{nginxconf.Custom("proxy_pass", nginxconf.Location, nginxconf.Args1, &p.group, func(s *nginxconf.Setting) (*upstream.Group, error) {
		return upstream.Add(s, s.Arg(0), 80)
	}, "", "Passes.").NoInherit()}
}

func proxyModule() ngx.Module {
	return ngx.Module{Name: "proxy", Conf: func() nginxconf.Settings { return new(passTo) },
		Scope: func(b *ngx.Build, s *ngx.Scope) error {
			p := nginxconf.Of[*passTo](s.Level)
			if !p.group.IsSet() {
				return nil
			}
			Proxied(b, s.Level, Location{Group: p.group.V, Connect: time.Second, Send: time.Second, Read: 2 * time.Second,
				Fails: func(status int) bool { return status >= 500 },
				Head: func(b []byte, _ *ngx.Request, method, uri string, keep bool) []byte {
					b = append(b, method+" "+uri+" HTTP/1.1\r\nHost: hc\r\n"...)
					if !keep {
						b = append(b, "Connection: close\r\n"...)
					}
					return append(b, "\r\n"...)
				}})
			return nil
		}}
}

// handles is a backend of whole requests.
func handles(answer func(r *http.Request) string) func(c net.Conn) {
	return func(c net.Conn) {
		in := bufio.NewReader(c)
		for {
			r, err := http.ReadRequest(in)
			if err != nil {
				return
			}
			c.Write([]byte(answer(r)))
			if r.Close {
				return
			}
		}
	}
}

func located(directives string) string {
	return "upstream hc { server 127.0.0.1:81; server 127.0.0.1:82; }\nserver { location / { proxy_pass hc; " + directives + " } }\n"
}

// answering gives an answer with a length.
func answering(status int, header, body string) string {
	return fmt.Sprintf("HTTP/1.1 %d X\r\n%sContent-Length: %d\r\n\r\n%s", status, header, len(body), body)
}

func TestHealthCheckTurnsPeersAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := must(t, located("health_check uri=/ok;"), nil)
		path := ""
		n := fake(b, map[string]func(net.Conn){
			"127.0.0.1:81": handles(func(r *http.Request) string { path = r.URL.Path; return answering(200, "", "") }),
			"127.0.0.1:82": handles(func(r *http.Request) string { return answering(500, "", "") }),
		})
		b.Start()
		time.Sleep(time.Second)
		synctest.Wait()
		if got := states(b, "hc"); got != "UD" || path != "/ok" {
			t.Errorf("states %s, asked %s", got, path)
		}
		n.set("127.0.0.1:82", handles(func(r *http.Request) string { return answering(204, "", "") }))
		time.Sleep(5 * time.Second)
		synctest.Wait()
		if got := states(b, "hc"); got != "UU" {
			t.Errorf("after one pass: %s", got)
		}
		b.Retire()
		want := `[error] unexpected status code 500 while checking status code, health check "" of peer 127.0.0.1:82 in upstream "hc"
[warn] peer is unhealthy while checking status code, health check "" of peer 127.0.0.1:82 in upstream "hc"
[notice] peer is healthy while checking status code, health check "" of peer 127.0.0.1:82 in upstream "hc"
`
		if got := logged(t); got != want {
			t.Errorf("log:\n%s\nwant:\n%s", got, want)
		}
	})
}

func TestMandatoryWaitsForPasses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := must(t, located("health_check mandatory persistent passes=2 interval=3;"), nil)
		fake(b, map[string]func(net.Conn){"127.0.0.1:81": handles(func(*http.Request) string { return answering(200, "", "") })})
		b.Start()
		if got := states(b, "hc"); got != "DD" {
			t.Errorf("at the start: %s", got)
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if got := states(b, "hc"); got != "DD" {
			t.Errorf("after one pass: %s", got)
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if got := states(b, "hc"); got != "UD" {
			t.Errorf("after two passes: %s", got)
		}
		b.Retire()
	})
}

func TestAnyFailingCheckTurnsThePeerDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := must(t, located("health_check uri=/a; health_check uri=/b;"), nil)
		var bad atomic.Value
		bad.Store("/b")
		serve := handles(func(r *http.Request) string {
			if r.URL.Path == bad.Load() {
				return answering(503, "", "")
			}
			return answering(200, "", "")
		})
		fake(b, map[string]func(net.Conn){"127.0.0.1:81": serve})
		b.Start()
		time.Sleep(time.Second)
		synctest.Wait()
		if got := states(b, "hc"); got != "DD" {
			t.Errorf("one of two fails: %s", got)
		}
		bad.Store("/a")
		time.Sleep(5 * time.Second)
		synctest.Wait()
		if got := states(b, "hc"); got != "DD" {
			t.Errorf("the other fails: %s", got)
		}
		bad.Store("")
		time.Sleep(5 * time.Second)
		synctest.Wait()
		if got := states(b, "hc"); got != "UD" {
			t.Errorf("both pass: %s", got)
		}
		b.Retire()
	})
}

func TestMatch(t *testing.T) {
	html := "Content-Type: text/html\r\nX-Two: a\r\nX-Two: b\r\n"
	for _, tt := range []struct {
		tests  string
		status int
		header string
		body   string
		up     bool
	}{
		{"status 200;", 200, "", "", true},
		{"status 200;", 204, "", "", false},
		{"status 200-299 404;", 404, "", "", true},
		{"status ! 500-599;", 404, "", "", true},
		{"status ! 500-599;", 502, "", "", false},
		{"header Content-Type = text/html;", 200, html, "", true},
		{"header content-type = text/htm;", 200, html, "", false},
		{"header Content-Type != text/plain;", 200, html, "", true},
		{"header Content-Type ~ ^text/;", 200, html, "", true},
		{"header Content-Type !~ ^text/;", 200, html, "", false},
		{"header X-Two = b;", 200, html, "", true},
		{"header X-Two;", 200, html, "", true},
		{"header ! X-Two;", 200, html, "", false},
		{"header ! X-Three;", 200, html, "", true},
		{`body ~ "Welcome to";`, 200, html, "Welcome to nginx", true},
		{`body ~ "Welcome to";`, 200, html, "bye", false},
		{`body !~ "maintenance";`, 200, html, "under maintenance", false},
		{`status 200; header X-Two; body ~ a;`, 200, html, "a", true},
		{`status 200; header X-Two; body ~ a;`, 500, html, "a", false},
		{`require $upstream_status;`, 500, "", "", false},
		{`require $upstream_status; status 200-599;`, 500, "", "", true},
		{`require $upstream_probe;`, 200, "", "", false},
	} {
		t.Run(tt.tests, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := must(t, "match m { "+tt.tests+" }\n"+located("health_check match=m;"), nil)
				fake(b, map[string]func(net.Conn){"127.0.0.1:81": handles(func(*http.Request) string { return answering(tt.status, tt.header, tt.body) })})
				b.Start()
				time.Sleep(time.Second)
				synctest.Wait()
				if got := states(b, "hc")[:1] == "U"; got != tt.up {
					t.Errorf("status %d, header %q, body %q: up %t", tt.status, tt.header, tt.body, got)
				}
				b.Retire()
			})
		})
	}
}

func TestHealthCheckOfUnknownMatch(t *testing.T) {
	if _, err := load(t, located("health_check match=m;"), nil, Options{}); err == nil || err.Error() != `unknown match "m" in nginx.conf:3` {
		t.Errorf("got %v", err)
	}
}

func TestHealthCheckKeepsConnections(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := must(t, located("health_check keepalive_time=9s interval=1s;"), nil)
		n := fake(b, map[string]func(net.Conn){"127.0.0.1:81": handles(func(*http.Request) string { return answering(200, "", "hello") })})
		b.Start()
		time.Sleep(15500 * time.Millisecond)
		synctest.Wait()
		b.Retire()
		if got := strings.Count(n.dialled(), "127.0.0.1:81@"); got != 2 {
			t.Errorf("%d connections", got)
		}
		if n.open != 0 {
			t.Errorf("%d connections left open", n.open)
		}
	})
}

func TestInterimAnswersArePassedOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := must(t, located("health_check;"), nil)
		fake(b, map[string]func(net.Conn){"127.0.0.1:81": handles(func(*http.Request) string {
			return "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + answering(200, "", "")
		})})
		b.Start()
		time.Sleep(time.Second)
		synctest.Wait()
		if got := states(b, "hc"); got != "UD" {
			t.Errorf("states %s", got)
		}
		b.Retire()
	})
}

func TestProbe(t *testing.T) {
	for _, tt := range []struct {
		params string
		status int
		body   string
		up     bool
	}{
		{"", 404, "", true},
		{"", 503, "", false},
		{"test=$upstream_probe", 200, "", true},
		{"test=$upstream_probe_response", 200, "0", false},
		{"test=$upstream_probe_response", 200, "fine", true},
		{"test=$upstream_probe_response", 200, "", false},
		{"method=HEAD uri=/h", 200, "", true},
	} {
		t.Run(tt.params, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := must(t, located("upstream_probe p "+tt.params+";"), nil)
				fake(b, map[string]func(net.Conn){"127.0.0.1:81": handles(func(*http.Request) string { return answering(tt.status, "", tt.body) })})
				b.Start()
				time.Sleep(time.Second)
				synctest.Wait()
				if got := states(b, "hc")[:1] == "U"; got != tt.up {
					t.Errorf("status %d, body %q: up %t\n%s", tt.status, tt.body, got, logged(t))
				}
				b.Retire()
			})
		})
	}
}

func TestProbeModes(t *testing.T) {
	for _, tt := range []struct {
		mode string
		want int // probes of the healthy peer whose clients come within every interval but the last two
	}{{"always", 5}, {"idle", 3}, {"onfail", 0}} {
		synctest.Test(t, func(t *testing.T) {
			b := must(t, located("upstream_probe p interval=10s mode="+tt.mode+";"), nil)
			n := fake(b, map[string]func(net.Conn){"127.0.0.1:81": handles(func(*http.Request) string { return answering(200, "", "") })})
			b.Start()
			peer := ngx.Shared[upstream.Groups](b).List[0].Peers().All[0]
			for i := range 5 {
				time.Sleep(time.Second)
				if i == 1 || i == 2 {
					peer.Stats.Requests.Add(1)
				}
				time.Sleep(9 * time.Second)
			}
			b.Retire()
			if got := strings.Count(n.dialled(), "127.0.0.1:81@"); got != tt.want && got != tt.want+1 {
				t.Errorf("mode %s: %d probes, want %d", tt.mode, got, tt.want)
			}
		})
	}
}

// The same check in two locations is two checks with streaks of their own.
func TestSameCheckInTwoLocations(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := must(t, "upstream hc { server 127.0.0.1:81; }\nserver { location /a { proxy_pass hc; health_check fails=2; } location /b { proxy_pass hc; health_check fails=2; } }", nil)
		fake(b, nil)
		b.Start()
		time.Sleep(time.Second)
		synctest.Wait()
		if got := states(b, "hc"); got != "U" {
			t.Errorf("after one failure of each: %s", got)
		}
		n := 0
		Of(b).Each(func(r Report) {
			if n++; r.Checks != 1 || r.Failed != 1 {
				t.Errorf("%d checks, %d failures", r.Checks, r.Failed)
			}
		})
		if n != 2 {
			t.Errorf("%d checks", n)
		}
		b.Retire()
	})
}

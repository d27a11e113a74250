package sticky

import (
	"testing"

	"limpet/internal/ngx"
)

const three = `upstream backend { server 127.0.0.1:18081; server 127.0.0.1:18082; server 127.0.0.1:18083; seed; }`

// The values are those of spec section 0.2, taken from the running originals.
const (
	md5of18081 = "7f3797d6a7e152c9ae2760fc816c6014"
	seed18081  = "route=" + md5of18081 + "; path=/;"
)

func seedCookie(addr string) string { return "route=" + md5hex(addr) + "; path=/;" }

func TestFirstVisitIsBalancedAndGetsACookie(t *testing.T) {
	s := open(t, three, nil)
	s.visit(visit{}).check(t, "18081", seed18081)
	s.visit(visit{}).check(t, "18082", seedCookie("127.0.0.1:18082"))
	s.visit(visit{status: 503}).check(t, "18083", seedCookie("127.0.0.1:18083"))
}

func TestValidRouteGoesToItsPeerWithoutSetCookie(t *testing.T) {
	s := open(t, three, nil)
	for range 3 {
		got := s.visit(visit{cookies: []string{"a=b; route=" + md5of18081 + "; c=d"}})
		got.check(t, "18081")
		if got.status != "HIT/VN" || got.reason != "valid" || got.cookie[0] != "a=b; route="+md5of18081+"; c=d" {
			t.Errorf("%+v", got)
		}
	}
}

func TestCookieComesBeforeThePeersOwn(t *testing.T) {
	s := open(t, three, nil)
	s.visit(visit{set: []string{"route=x", "a=b"}}).check(t, "18081", seed18081, "route=x", "a=b")
}

func TestUnknownValuesAreFirstVisits(t *testing.T) {
	upper := "7F3797D6A7E152C9AE2760FC816C6014"
	for _, v := range []string{"", "x", upper, " " + "x", md5of18081 + "0", md5of18081[:31], md5hex("127.0.0.1:9"), "\x00\xff", "%37", string(make([]byte, 8000))} {
		s := open(t, three, nil)
		got := s.visit(visit{cookies: []string{"route=" + v + "; x=y"}})
		got.check(t, "18081", seed18081)
		if want := "MISS/II"; v == "" && got.status != "NEW/II" || v != "" && got.status != want {
			t.Errorf("%q: status %s", v, got.status)
		}
	}
}

func TestRetryReplacesTheCookie(t *testing.T) {
	s := open(t, three, nil)
	got := s.visit(visit{fail: 1, set: []string{"route=x"}})
	got.check(t, "18081 18082", seedCookie("127.0.0.1:18082"), "route=x")
	if got.status != "NEW/NI, NEW/NI" {
		t.Error(got.status)
	}
}

func TestClientOfADeadPeerIsServedByTheNext(t *testing.T) {
	s := open(t, three, nil)
	route := visit{cookies: []string{"route=" + md5of18081}, fail: 1}
	got := s.visit(route)
	got.check(t, "18081 18082", seedCookie("127.0.0.1:18082"))
	if got.status != "HIT/VN, MOVED/DI" || got.reason != "valid, retried" {
		t.Error(got.status, got.reason)
	}
	s.groups.List[0].Peers().All[0].SetDown(0, true)
	route.fail = 0
	if got := s.visit(route); got.status != "MOVED/DI" || got.reason != "peer_down" || len(got.set) != 1 {
		t.Errorf("%+v", got)
	}
}

func TestNamesPortlessUnixAndIPv6ServersStick(t *testing.T) {
	for _, c := range []struct{ server, name string }{
		{"127.0.0.5", "127.0.0.5:80"},
		{"unix:/tmp/a b.sock", "unix:/tmp/a b.sock"},
		{"[::1]:8080", "[::1]:8080"},
		{"localhost:8080", "127.0.0.1:8080"},
	} {
		s := open(t, `upstream b { server "`+c.server+`"; server 127.0.0.9:1; seed; }`, nil)
		g := s.groups.List[0]
		name := ""
		for _, p := range g.Peers().All {
			if p.Server == c.server {
				name = string(p.Name)
				break
			}
		}
		for _, v := range []string{md5hex(name), md5hex(c.server)} {
			for range 3 {
				got := s.visit(visit{cookies: []string{"route=" + v}})
				if len(got.set) != 0 || got.status != "HIT/VN" {
					t.Errorf("%s as %s: %+v", c.server, v, got)
				}
			}
		}
	}
}

func TestAllDownIsServedFromTheClientsOwnPeer(t *testing.T) {
	s := open(t, three, nil)
	for _, p := range s.groups.List[0].Peers().All {
		p.SetDown(0, true)
	}
	s.visit(visit{cookies: []string{"route=" + md5hex("127.0.0.1:18082")}}).check(t, "18082")
}

func BenchmarkSticky(b *testing.B) {
	for _, bc := range []struct{ name, cookie string }{{"without cookie", ""}, {"hit", "session=0123456789abcdef; route=" + md5of18081}} {
		b.Run(bc.name, func(b *testing.B) { benchmark(b, three, bc.cookie) })
	}
	for _, d := range writers() {
		b.Run(d, func(b *testing.B) {
			benchmark(b, "upstream u { "+servers+d+" }", "session=0123456789abcdef; route="+md5of18081)
		})
	}
	b.Run("learn", func(b *testing.B) { benchmark(b, learning, "session=0123456789abcdef; sid=x") })
	b.Run("not sticky", func(b *testing.B) {
		benchmark(b, `upstream backend { server 127.0.0.1:18081; server 127.0.0.1:18082; server 127.0.0.1:18083; }`, "session=0123456789abcdef; route="+md5of18081)
	})
}

// benchmark serves one request again and again, as a connection does.
func benchmark(b *testing.B, conf, cookie string) {
	t := &testing.T{}
	s := open(t, conf, nil)
	g := s.groups.List[0]
	r := &ngx.Request{Client: &ngx.Client{Text: []byte("192.0.2.1")}, Scope: &ngx.Scope{Core: &ngx.Core{}}}
	run := newRunner(g, r, cookie)
	b.ReportAllocs()
	for b.Loop() {
		run()
	}
}

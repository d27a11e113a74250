package sticky

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// servers are the peers of most tests; 18081's values are in spec/sticky.md 0.2.
const servers = `server 127.0.0.1:18081; server 127.0.0.1:18082; `

// In a synctest bubble it is midnight of 2000-01-01.
const (
	midnight     = "946684800"
	inAnHour     = "Sat, 01-Jan-00 01:00:00 GMT"
	inAnHourLong = "Sat, 01-Jan-2000 01:00:00 GMT"
)

// sets lists the cookie lines of every dialect, as printed by the running
// originals (spec/sticky.md 0.2, 0.3; nginx-sticky.md 3; nginx-tests' upstream_sticky.t).
func TestSetCookieHasTheDialectsBytes(t *testing.T) {
	const (
		sock  = "fd2560ea45c81381b56c7f6132fe6ed1"
		addr1 = "5e8a2a76778e21713fd97f985d738037f80efa21"
		sock1 = "7c3a0bdc"
	)
	for _, c := range []struct{ directive, want string }{
		{`sticky cookie srv;`, "srv=" + md5of18081},
		{`sticky cookie srv expires=1h;`, "srv=" + md5of18081 + "; expires=" + inAnHour + "; max-age=3600"},
		{`sticky cookie srv "expires=1h 3m";`, "srv=" + md5of18081 + "; expires=Sat, 01-Jan-00 01:03:00 GMT; max-age=3780"},
		{`sticky cookie srv expires=0;`, "srv=" + md5of18081 + "; expires=Sat, 01-Jan-00 00:00:00 GMT; max-age=0"},
		{`sticky cookie srv expires=40y;`, "srv=" + md5of18081 + "; expires=Thu, 22-Dec-2039 00:00:00 GMT; max-age=1261440000"},
		{`sticky cookie srv expires=max;`, "srv=" + md5of18081 + "; expires=Thu, 31-Dec-37 23:55:55 GMT; max-age=315360000"},
		{`sticky cookie srv path=/x samesite=Lax secure httponly domain=example.com expires=1h;`,
			"srv=" + md5of18081 + "; expires=" + inAnHour + "; max-age=3600; domain=example.com; httponly; secure; samesite=Lax; path=/x"},
		{`sticky cookie srv domain=$arg_v$arg_w;`, "srv=" + md5of18081},
		{`sticky cookie srv domain=$arg_d.com;`, "srv=" + md5of18081 + "; domain=example.com"},
		{`sticky cookie srv samesite=$arg_none;`, "srv=" + md5of18081},
		{`sticky cookie srv samesite=$arg_d;`, "srv=" + md5of18081 + "; samesite=strict"},
		{`sticky cookie srv samesite=$arg_s;`, "srv=" + md5of18081 + "; samesite=LAX"},
		{`sticky cookie srv secure=auto;`, "srv=" + md5of18081 + "; secure"},
		{`sticky cookie srv hmac=sha256 hmac_key=k;`, "srv=" + hmacHex(sha256New, "k", md5of18081)},

		{`sticky_cookie_insert srv expires=1h domain=example.com path=/;`, "srv=" + md5of18081 + "; expires=" + inAnHour + "; max-age=3600; domain=example.com; path=/"},

		{`sticky cookie srv; sticky_strict on;`, "srv=" + md5of18081 + "; path=/"},
		{`sticky cookie srv secure domain=$arg_d path=/x; sticky_strict off;`, "srv=" + md5of18081 + "; secure; domain=example; path=/x"},
		{`sticky cookie srv max-age=$arg_none expires=1h partitioned;`, "srv=" + md5of18081 + "; expires=" + inAnHour + "; max-age=3600; partitioned; path=/"},
		{`sticky cookie srv; sticky_secret salt;`, "srv=" + md5hex(md5of18081+"salt") + "; path=/"},
		{`sticky cookie srv; sticky_secret $arg_d;`, "srv=" + md5hex(md5of18081+"example") + "; path=/"},

		{`sticky;`, "route=" + sock + "; Path=/"},
		{`sticky name=srv domain=d path=/p expires=1h secure httponly;`, "srv=" + sock + "; Domain=d; Expires=" + inAnHourLong + "; Path=/p; Secure; HttpOnly"},
		{`sticky hash=md5;`, "route=" + sock + "; Path=/"},
		{`sticky text=md5;`, "route=" + md5of18081 + "; Path=/"},
		{`sticky text=sha1;`, "route=" + addr1 + "; Path=/"},
		{`sticky text=raw;`, "route=127.0.0.1:18081; Path=/"},
		{`sticky hash=index;`, "route=0; Path=/"},
		{`sticky hmac=md5 hmac_key=secret;`, "route=9f2d54b0467c8cd7030b780ed084e858; Path=/"},
		{`sticky samesite=lax secure=auto;`, "route=" + sock + "; Path=/; Secure; SameSite=lax"},

		{`sticky "delimiter= ";`, "route=" + md5of18081 + "; Path=/"},
		{`sticky transfer hash=sha1;`, "route=" + addr1 + "; Path=/"},
		{`sticky transfer hmac=md5 hmac_key=secret;`, "route=b1a908be54cbfdd9ad866640b18524a9; Path=/"},
		{`sticky hide_cookie;`, ""},

		{`session_sticky;`, "route=" + md5of18081 + "; Path=/"},
		{`session_sticky cookie=uid domain=d path=/p maxage=3600 mode=insert option=direct;`,
			"uid=" + md5of18081 + "; Domain=d; Path=/p; Max-Age=3600; Expires=" + inAnHour},
		{`session_sticky hash=plain;`, "route=127.0.0.1:18081; Path=/"},
		{`session_sticky maxidle=60;`, "route=" + md5of18081 + "|" + midnight + "|" + midnight + "; Path=/"},
		{`session_sticky maxlife=60 maxage=10;`, "route=" + md5of18081 + "|" + midnight + "|" + midnight + "; Path=/"},
		{`session_sticky httponly secure samesite=strict;`, "route=" + md5of18081 + "; Path=/; HttpOnly; Secure; SameSite=strict"},
		{`session_sticky mode=prefix;`, ""},
		{`session_sticky mode=rewrite;`, ""},
	} {
		synctest.Test(t, func(t *testing.T) {
			s := open(t, "upstream u { "+servers+c.directive+" }", nil)
			got := s.visit(visit{args: "d=example&s=LAX", scheme: "https"})
			if strings.Join(got.set, "\n") != c.want {
				t.Errorf("%s\n got %s\nwant %s", c.directive, got.set, c.want)
			}
		})
	}
	if v := sha1hex(sockaddr(peerOf(t, "127.0.0.1:18081"))); v[:8] != sock1 {
		t.Errorf("hash=sha1 of the classic module: %s", v)
	}
}

// Each dialect sets its cookie at other times (spec/sticky.md 0.4).
func TestSetCookieIsSentWhenTheDialectSendsIt(t *testing.T) {
	const whenNew, always, never = 1, 2, 0
	for _, c := range []struct {
		directive               string
		valid, unknown, failing int
	}{
		{"sticky cookie route;", always, whenNew, whenNew},
		{"sticky;", never, whenNew, whenNew},
		{"sticky transfer;", always, whenNew, whenNew},
		{"session_sticky;", never, whenNew, never},
		{"session_sticky maxidle=60;", always, whenNew, never},
		{"seed;", never, whenNew, whenNew},
	} {
		conf := "upstream u { " + servers + c.directive + " }"
		s := open(t, conf, nil)
		fresh := s.visit(visit{}).set[0]
		pair, _, _ := strings.Cut(fresh, ";")
		if n := len(s.visit(visit{cookies: []string{pair}}).set); n != min(c.valid, 1) {
			t.Errorf("%s: %d cookies to a client that has a valid one", c.directive, n)
		}
		if n := len(s.visit(visit{cookies: []string{"route=zzz"}}).set); n != c.unknown {
			t.Errorf("%s: %d cookies to a client with an unknown one", c.directive, n)
		}
		if n := len(s.visit(visit{status: 404}).set); n != c.failing {
			t.Errorf("%s: %d cookies with an error", c.directive, n)
		}
	}
}

func TestBackendsOwnCookie(t *testing.T) {
	const own = "route=app; HttpOnly"
	for _, c := range []struct{ directive, want string }{
		{"sticky cookie route;", "route=P\nx=y\n" + own},
		{"sticky;", "route=P; Path=/\nx=y\n" + own},
		{"sticky transfer;", "x=y\nroute=P app; Path=/"},
		{`sticky delimiter=: transfer;`, "x=y\nroute=P:app; Path=/"},
		{"sticky delimiter=.;", "x=y\nroute=P; Path=/"},
		{"sticky hide_cookie;", "x=y"},
		{"session_sticky;", "x=y\n" + own + "\nroute=P; Path=/"},
		{"session_sticky option=indirect;", "x=y\nroute=P; Path=/"},
		{"session_sticky mode=prefix;", "x=y\nroute=P~app; HttpOnly"},
		{"session_sticky mode=rewrite;", "x=y\nroute=P; HttpOnly"},
		{"seed;", "route=P; path=/;\nx=y\n" + own},
	} {
		s := open(t, "upstream u { "+servers+c.directive+" }", nil)
		got := s.visit(visit{set: []string{"x=y", own}})
		p := Of(s.groups.List[0]).Value(s.groups.List[0].Peers().All[0])
		if all := strings.ReplaceAll(strings.Join(got.set, "\n"), p, "P"); all != c.want {
			t.Errorf("%s\n got %q\nwant %q", c.directive, all, c.want)
		}
	}
}

func TestWhatThePeerSees(t *testing.T) {
	const v = md5of18081
	for _, c := range []struct{ directive, cookie, want string }{
		{"sticky cookie route;", "x=1; route=" + v + "; y=2", "x=1; route=" + v + "; y=2"},
		{"sticky;", "route=" + v, "route=" + v},
		{"sticky transfer;", "route=" + v + " app", "route=" + v + " app"},
		{"session_sticky;", "x=1; route=" + v, "x=1; route=" + v},
		{"session_sticky option=indirect;", "x=1; route=" + v + "; y=2", "x=1;  y=2"},
		{"session_sticky option=indirect;", "x=1; route=" + v, "x=1; "},
		{"session_sticky option=indirect;", "route=" + v, ""},
		{"session_sticky option=indirect;", "route=unknown; y=2", " y=2"},
		{"session_sticky option=indirect;", "myroute=" + v, "myroute=" + v},
		{"session_sticky mode=prefix;", "x=1; route=" + v + "~app; y=2", "x=1; route=app; y=2"},
		{"session_sticky mode=prefix;", "route=app", "route=app"},
		{"session_sticky mode=rewrite option=indirect;", "route=" + v, "route=" + v},
	} {
		s := open(t, "upstream u { "+servers+c.directive+" }", nil)
		got := s.visit(visit{cookies: []string{c.cookie}})
		if len(got.cookie) != 1 || got.cookie[0] != c.want {
			t.Errorf("%s\n got %q\nwant %q", c.directive, got.cookie, c.want)
		}
		if strings.Contains(c.cookie, " route="+v) && got.status[:3] != "HIT" {
			t.Errorf("%s with %s: %s", c.directive, c.cookie, got.status)
		}
	}
}

func TestSecondGroupKnowsTheCookieThatWasTakenOut(t *testing.T) {
	s := open(t, "upstream u { "+servers+"session_sticky option=indirect; }", nil)
	got := s.visit(visit{cookies: []string{"route=" + md5hex("127.0.0.1:18082")}})
	r := got.r
	again := s.visit(visit{out: func(n *ngxRequest) { n.In = r.In }})
	again.check(t, "18082")
}

func TestTransferKeepsTheApplicationsPart(t *testing.T) {
	s := open(t, "upstream u { "+servers+"sticky transfer; }", nil)
	in := []string{"route=" + md5of18081 + " app"}
	s.visit(visit{cookies: in}).check(t, "18081", "route="+md5of18081+" app; Path=/")
	s.visit(visit{cookies: in, set: []string{"route=new"}}).check(t, "18081", "route="+md5of18081+" new; Path=/")
}

func TestTengineTimes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := open(t, "upstream u { "+servers+"session_sticky maxidle=100 maxlife=200 option=indirect; }", nil)
		value := func(got seen) string { return strings.TrimSuffix(got.set[0], "; Path=/") }
		c := value(s.visit(visit{}))
		for i, want := range []string{"946684890|946684800", "946684980|946684800"} {
			time.Sleep(90 * time.Second)
			got := s.visit(visit{cookies: []string{c}})
			if c = value(got); !strings.HasSuffix(c, want) || got.status != "HIT/VU" {
				t.Errorf("visit %d: %s %s", i, c, got.status)
			}
		}
		time.Sleep(90 * time.Second)
		if got := s.visit(visit{cookies: []string{c}}); got.reason != "expired" || got.status != "MISS/EI" {
			t.Errorf("too old: %+v", got)
		}
		v := md5of18081
		for value, want := range map[string]string{
			v + "|946685000|946685000": "valid", v + "|946684000|946685000": "expired", v + "|946685000|946684000": "expired",
			v + "|946771471|946685000": "expired", v + "|946685000|946771471": "expired", v + "|946685000": "malformed",
			v + "|1|2|3": "malformed", v + "||": "malformed", v + "|x|y": "malformed", v: "other_dialect",
			v + "|Y2xpZ|Y2xpZ": "other_dialect", v + "|Y2xpZ": "other_dialect", "zz|946685000|946685000": "unknown",
		} {
			if got := s.visit(visit{cookies: []string{"route=" + value}}); got.reason != want {
				t.Errorf("%s: %s, want %s", value, got.reason, want)
			}
		}
	})
}

// What becomes of a client whose peer can't be asked: U is a client with an unknown
// value, F one whose peer is dead, N one without cookie, at its first try.
func TestStrictModes(t *testing.T) {
	for _, c := range []struct{ directive, none, unknown, down string }{
		{"sticky cookie route;", "18081", "18081", "18082"},
		{"sticky cookie route; sticky_strict on;", "18081", "-", "-"},
		{"sticky text=md5 no_fallback;", "18081", "18081", "-"},
		{"sticky delimiter=. no_fallback;", "-", "-", "-"},
		{"session_sticky fallback=off;", "18081", "-", "-"},
		{"session_sticky fallback=on;", "18081", "18081", "18082"},
	} {
		conf := "upstream u { " + servers + c.directive + " }"
		if got := open(t, conf, nil).visit(visit{}); got.peers != c.none || c.none == "-" && got.code != 502 {
			t.Errorf("%s, no cookie: %s", c.directive, got.peers)
		}
		if got := open(t, conf, nil).visit(visit{cookies: []string{"route=zz"}}); got.peers != c.unknown {
			t.Errorf("%s, unknown: %s", c.directive, got.peers)
		}
		s := open(t, conf, nil)
		s.groups.List[0].Peers().All[0].SetDown(0, true)
		if got := s.visit(visit{cookies: []string{"route=" + md5of18081}}); got.peers != c.down {
			t.Errorf("%s, down: %s", c.directive, got.peers)
		}
		s = open(t, conf, nil)
		if got := s.visit(visit{cookies: []string{"route=" + md5of18081}, fail: 1}); got.peers != "18081 "+c.down {
			t.Errorf("%s, failing: %s", c.directive, got.peers)
		}
	}
}

func TestLocationsOfNG(t *testing.T) {
	s := open(t, "upstream u { "+servers+"sticky; }\nserver { location / { sticky_no_fallback; sticky_hide_cookie; } }", nil)
	if d := Of(s.groups.List[0]).Dialect(); d != dialectNG {
		t.Errorf("told from its location directives: %s", d)
	}
	got := s.visit(visit{out: s.enter("/")})
	if got.peers != "-" || len(got.set) != 0 {
		t.Errorf("no_fallback: %+v", got)
	}
	got = s.visit(visit{out: s.enter("/"), cookies: []string{"route=" + md5of18081}, set: []string{"route=x"}})
	got.check(t, "18081")
	second := md5hex("127.0.0.1:18082") // a client that sticks to the first was just counted there
	s.visit(visit{}).check(t, "18082", "route="+second+"; Path=/")
}

func TestSingleServer(t *testing.T) {
	for directive, sets := range map[string]int{"sticky;": 0, "sticky transfer;": 0, "sticky cookie c;": 1, "session_sticky;": 1, "seed;": 1} {
		s := open(t, "upstream u { server 127.0.0.1:18081; "+directive+" }", nil)
		if got := s.visit(visit{}); got.peers != "18081" || len(got.set) != sets {
			t.Errorf("%s: %+v", directive, got)
		}
	}
}

func TestPeersThatAreDownDrainingFullOrBackup(t *testing.T) {
	const own = "route=" + md5of18081
	for _, c := range []struct{ directive, params, peers, reason string }{
		{"sticky cookie route;", "down", "18082", "peer_down"},
		{"sticky cookie route;", "drain", "18081", "valid"},
		{"sticky cookie route;", "backup", "18082", "backup"},
		{"sticky cookie route; sticky_strict off;", "backup", "18081", "valid"},
		{"sticky text=md5;", "down", "18082", "peer_down"},
		{"session_sticky;", "down", "18082", "peer_down"},
		{"session_sticky;", "drain", "18081", "valid"},
		{"session_sticky;", "backup", "18082", "backup"},
		{"seed;", "down", "18082", "peer_down"},
		{"seed;", "drain", "18081", "valid"},
	} {
		s := open(t, "upstream u { server 127.0.0.1:18081 "+c.params+"; server 127.0.0.1:18082; "+c.directive+" }", nil)
		got := s.visit(visit{cookies: []string{own}})
		if got.peers != c.peers || got.reason != c.reason {
			t.Errorf("%s %s: %s %s", c.directive, c.params, got.peers, got.reason)
		}
		if got := s.visit(visit{}); got.peers != "18082" {
			t.Errorf("%s %s: a new client went to %s", c.directive, c.params, got.peers)
		}
	}
}

func TestClientOfABackupPeerFindsItAgain(t *testing.T) {
	s := open(t, `upstream u { server 127.0.0.1:18081; server 127.0.0.1:18082 backup; server 127.0.0.1:18083 backup; sticky cookie route; }`, nil)
	s.groups.List[0].Peers().All[0].SetDown(0, true)
	for range 4 {
		got := s.visit(visit{cookies: []string{"route=" + md5hex("127.0.0.1:18083")}})
		if got.peers != "18083" || got.status != "HIT/VU" {
			t.Errorf("%+v", got)
		}
	}
}

func TestFullPeer(t *testing.T) {
	s := open(t, `upstream u { server 127.0.0.1:18081 max_conns=1; server 127.0.0.1:18082; sticky cookie route; }`, nil)
	g := s.groups.List[0]
	var busy upstreamSession
	g.Begin(&busy, s.request("route="+md5of18081))
	busy.Next()
	got := s.visit(visit{cookies: []string{"route=" + md5of18081}})
	if got.peers != "18082" || got.reason != "peer_full" {
		t.Errorf("%+v", got)
	}
}

func TestFailedPeer(t *testing.T) {
	s := open(t, `upstream u { server 127.0.0.1:18081; server 127.0.0.1:18082; sticky cookie route; }`, nil)
	own := []string{"route=" + md5of18081}
	s.visit(visit{cookies: own, fail: 1})
	if got := s.visit(visit{cookies: own}); got.peers != "18082" || got.reason != "peer_failed" || got.status != "MOVED/DI" {
		t.Errorf("%+v", got)
	}
}

func TestRoute(t *testing.T) {
	s := open(t, `upstream u { server 127.0.0.1:1 route=a; server 127.0.0.1:2 route=b; server 127.0.0.1:3; sticky route $arg_x $cookie_y; }`, nil)
	for _, c := range []struct{ args, cookie, peers, status string }{
		{"x=b", "", "2", "HIT/VN"},
		{"x=b", "y=a", "2", "HIT/VN"},
		{"x=", "y=a", "1", "HIT/VN"},
		{"x=" + md5hex("127.0.0.1:3"), "", "3", "HIT/VN"},
		{"x=B", "y=b", "2", "MISS/IN"},
		{"x=0", "", "3", "MISS/IN"},
		{"", "", "1", "NEW/NN"},
	} {
		got := s.visit(visit{args: c.args, cookies: []string{c.cookie}})
		if got.peers != c.peers && got.status[:3] == "HIT" || got.status != c.status || len(got.set) > 0 {
			t.Errorf("%+v: %s %s %s", c, got.peers, got.status, got.set)
		}
	}
}

func TestPeersOfOneRouteAreTriedInTurn(t *testing.T) {
	s := open(t, `upstream u { server 127.0.0.1:1 route=a; server 127.0.0.1:2 route=b; server 127.0.0.1:3 route=a; sticky route $arg_x; }`, nil)
	if got := s.visit(visit{args: "x=a", fail: 1}); got.peers != "1 3" {
		t.Error(got.peers)
	}
}

func TestJVMRoute(t *testing.T) {
	for _, c := range []struct{ args, cookie, uri, peers string }{
		{"$cookie_JSESSIONID|sessionid", "a123", "/", "1"},
		{"$cookie_JSESSIONID|sessionid", "bb123", "/", "3"},
		{"$cookie_JSESSIONID|sessionid", "b123", "/", "2"},
		{"$cookie_JSESSIONID|sessionid", "", "/x;sessionid=b12?y=z", "2"},
		{"$cookie_JSESSIONID|sessionid", "", "/x;a=b;sessionid=bb;c", "3"},
		{"$cookie_JSESSIONID", "", "/x;sessionid=b12", "1"},
		{"$cookie_JSESSIONID reverse", "12.bb", "/", "3"},
		{"$cookie_JSESSIONID reverse", "12.zz", "/", "1"},
	} {
		s := open(t, `upstream u { server 127.0.0.1:1 srun_id=a; server 127.0.0.1:2 srun_id=b; server 127.0.0.1:3 srun_id=bb; jvm_route `+c.args+`; }`, nil)
		v := visit{out: func(r *ngxRequest) { r.URI = []byte(c.uri) }}
		if c.cookie != "" {
			v.cookies = []string{"JSESSIONID=" + c.cookie}
		}
		if got := s.visit(v); got.peers != c.peers || len(got.set) > 0 {
			t.Errorf("%+v: %s", c, got.peers)
		}
	}
}

func TestMethodBesideSticky(t *testing.T) {
	s := open(t, `upstream u { server 127.0.0.1:1; server 127.0.0.1:2; consistent_hash $arg_k; sticky cookie c; }`, nil)
	first := s.visit(visit{args: "k=x"}).peers
	for range 3 {
		s.visit(visit{args: "k=x"}).check(t, first, "c="+md5hex("127.0.0.1:"+first))
	}
}

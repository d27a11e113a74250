package sticky

import (
	"strings"
	"testing"

	"limpet/upstream"
)

// writers are the configured dialects that write a cookie.
func writers() []string {
	return []string{
		"seed;",
		"sticky cookie route;", "sticky cookie route hmac=sha256 hmac_key=K;",
		"sticky cookie route; sticky_strict off;", "sticky cookie route; sticky_secret K;", "sticky cookie route; sticky_secret $arg_k;",
		"sticky;", "sticky hash=sha1;", "sticky hash=index;", "sticky text=md5;", "sticky text=sha1;", "sticky text=raw;", "sticky hmac=md5 hmac_key=K;",
		"sticky transfer;", "sticky hash=sha1 transfer;", "sticky hmac=sha1 hmac_key=K transfer;",
		"session_sticky;", "session_sticky hash=plain;", "session_sticky option=indirect;", "session_sticky maxidle=60;",
		"session_sticky mode=prefix;", "session_sticky mode=rewrite;",
	}
}

// foreign are cookies that others write for the peer 127.0.0.1:18082 with the
// server line 127.0.0.1:18082 id=s2: what each configured dialect writes, and
// proxies that limpet has no directives of.
func foreign(t *testing.T, s *site) map[string]string {
	cookies := map[string]string{
		"Caddy":                hmacHex(sha256New, "K", "127.0.0.1:18082"),
		"Caddy without secret": hmacHex(sha256New, "", "127.0.0.1:18082"),
		"Envoy":                "MTI3LjAuMC4xOjE4MDgy", "Envoy quoted": `"MTI3LjAuMC4xOjE4MDgy"`,
		"Traefik": traefik("http://127.0.0.1:18082")[0].value, "Traefik FNV": traefik("http://127.0.0.1:18082")[1].value,
		"Traefik https": traefik("https://127.0.0.1:18082/")[0].value,
		"id":            "s2", "prefix": "s2~app",
	}
	p := s.groups.List[0].Peers().All[1]
	cookies["HAProxy dynamic"] = haproxyDynamic(p, "K")
	cookies["HAProxy dated"] = haproxyDynamic(p, "K") + "|Y2xpZ|Y2xpZ"
	for _, w := range writers() {
		other := crossSite(t, w)
		got := other.visit(visit{args: "k=K", cookies: []string{"route=" + md5hex("127.0.0.1:18082")}, set: []string{"route=app"}})
		if got.peers != "18082" {
			t.Fatalf("%s: %s", w, got.peers)
		}
		v := Of(other.groups.List[0]).Value(other.groups.List[0].Peers().All[1])
		for _, set := range got.set {
			if value := setValue([]byte(set), "route"); value != "app" {
				v = value
			}
		}
		cookies[w] = v
	}
	return cookies
}

func crossSite(t *testing.T, directive string) *site {
	s := &site{T: t, opt: Options{Legacy: []string{"old", "hmac=K", "haproxy=K", "caddy=K", "angie=K"}}}
	return s.open("upstream u { server 127.0.0.1:18081 id=s1; server 127.0.0.1:18082 id=s2; server 127.0.0.1:18083; "+directive+" }", nil)
}

// Every cookie of another dialect is honoured, under the configured name and under
// one of --sticky-legacy, and the answer carries the configured dialect's.
func TestEveryDialectIsReadInEachConfiguredOne(t *testing.T) {
	for _, w := range writers() {
		s := crossSite(t, w)
		own := Of(s.groups.List[0]).Value(s.groups.List[0].Peers().All[1])
		for from, value := range foreign(t, s) {
			for _, name := range []string{"route", "old"} {
				got := s.visit(visit{args: "k=K", cookies: []string{"x=y; " + name + "=" + value}})
				if got.peers != "18082" || got.status[:3] != "HIT" {
					t.Errorf("%s doesn't honour %s=%s of %s: %s %s", w, name, value, from, got.peers, got.status)
					continue
				}
				silent := got.reason == "valid" || strings.Contains(w, "mode=")
				if reissued := len(got.set) == 1 && strings.HasPrefix(got.set[0], "route="+own) || strings.Contains(w, "secret $"); !silent && !reissued {
					t.Errorf("%s answers %s=%s of %s with %q", w, name, value, from, got.set)
				}
			}
		}
	}
}

// The values were printed by the running originals (spec/sticky.md 0.2).
func TestSpellings(t *testing.T) {
	p := peerOf(t, "127.0.0.1:18081")
	want := map[string]Spelling{
		md5of18081: AddressMD5, "fd2560ea45c81381b56c7f6132fe6ed1": SockaddrMD5, "5e8a2a76778e21713fd97f985d738037f80efa21": AddressSHA1,
		"9f2d54b0467c8cd7030b780ed084e858": SockaddrHMAC, "b1a908be54cbfdd9ad866640b18524a9": TextHMAC, "0": Index,
		"127.0.0.1:18081": Plain, "4865a0a1433d2679": HAProxy, "b528746506c397e7": Traefik, "MTI3LjAuMC4xOjE4MDgx": Envoy,
	}
	have := make(map[string]Spelling)
	for _, v := range spellings(p, 0, &keys{hmac: []string{"secret"}, haproxy: []string{"mykey"}}) {
		if _, ok := have[v.value]; !ok {
			have[v.value] = v.spelling
		}
	}
	for v, sp := range want {
		if got, ok := have[v]; !ok || got != sp {
			t.Errorf("%s: %v, %v, want %v", v, got, ok, sp)
		}
	}
}

// The test vectors are those of the specification's implementation: XXH64 of "", "a", "abc" and longer.
func TestXXH64(t *testing.T) {
	for in, want := range map[string]uint64{"": 0xef46db3751d8e999, "a": 0xd24ec4f1a98c6e5b, "abc": 0x44bc2cf5ad770999,
		"Nobody inspects the spammish repetition": 0xfbcea83c8a378bf1} {
		if got := xxh64([]byte(in)); got != want {
			t.Errorf("%q: %x, want %x", in, got, want)
		}
	}
}

func TestRouteGoesBeforeIndex(t *testing.T) {
	s := open(t, `upstream u { server 127.0.0.1:1; server 127.0.0.1:2 route=0; sticky cookie c; }`, nil)
	s.visit(visit{cookies: []string{"c=0"}}).check(t, "2", "c=0")
	s = open(t, `upstream u { server 127.0.0.1:1; server 127.0.0.1:2 route=0; session_sticky cookie=c; }`, nil)
	s.visit(visit{cookies: []string{"c=0"}}).check(t, "2", "c="+md5hex("127.0.0.1:2")+"; Path=/")
}

func TestAddressesOfOneNameHaveCookiesOfTheirOwn(t *testing.T) {
	peers := []*upstream.Peer{{Name: []byte("192.0.2.1:80"), Server: "n"}, {Name: []byte("192.0.2.2:80"), Server: "n"}}
	if got := serverTexts(peers); got[0] != "n" || got[1] != "192.0.2.2:80" {
		t.Error(got)
	}
}

func TestSightingsAreCountedBySpelling(t *testing.T) {
	s := open(t, `upstream u { `+servers+`sticky cookie c; }`, nil)
	s.visit(visit{cookies: []string{"c=fd2560ea45c81381b56c7f6132fe6ed1"}})
	s = open(t, `upstream u { `+servers+`session_sticky cookie=c; }`, s)
	s.visit(visit{cookies: []string{"c=fd2560ea45c81381b56c7f6132fe6ed1"}})
	p := Of(s.groups.List[0])
	if n, last := p.Seen(SockaddrMD5); n != 2 || last.IsZero() {
		t.Errorf("seen %d, last %s", n, last)
	}
	if n, last := p.Seen(Envoy); n != 0 || !last.IsZero() {
		t.Errorf("seen %d, last %s", n, last)
	}
	if n := p.Reasons(OtherDialect); n != 2 {
		t.Errorf("%d cookies of another dialect", n)
	}
}

package sticky

import (
	"os"
	"strings"
	"testing"
)

// The messages are nginx's (spec/nginx-sticky.md) and the modules' (spec/sticky.md).
func TestWrongOptionsAreRefusedInTheDialectsWords(t *testing.T) {
	const in = " in nginx.conf:2"
	for _, c := range []struct{ directive, want string }{
		{"sticky cookie;", `invalid number of arguments in "sticky" directive` + in},
		{"sticky route;", `invalid number of arguments in "sticky" directive` + in},
		{"sticky learn;", `invalid number of arguments in "sticky" directive` + in},
		{`sticky cookie "";`, `"sticky" directive empty cookie name` + in},
		{"sticky cookie c domain=;", `"sticky" directive no value for "domain"` + in},
		{"sticky cookie c path=;", `"sticky" directive no value for "path"` + in},
		{"sticky cookie c expires=;", `"sticky" directive invalid "expires" parameter value` + in},
		{"sticky cookie c expires=1x;", `"sticky" directive invalid "expires" parameter value` + in},
		{"sticky cookie c samesite=foo;", `"sticky" directive invalid "samesite" parameter value` + in},
		{"sticky cookie c httponly httponly;", `"sticky" directive parameter "httponly" is duplicate` + in},
		{"sticky cookie c secure secure;", `"sticky" directive parameter "secure" is duplicate` + in},
		{"sticky cookie c expires=1 expires=max;", `"sticky" directive parameter "expires" is duplicate` + in},
		{"sticky cookie c domain=a domain=b;", `"sticky" directive parameter "domain" is duplicate` + in},
		{"sticky cookie c path=a path=b;", `"sticky" directive parameter "path" is duplicate` + in},
		{"sticky cookie c samesite=lax samesite=lax;", `"sticky" directive parameter "samesite" is duplicate` + in},
		{"sticky cookie c foo;", `unknown parameter "foo"` + in},
		{"sticky cookie c domain=$;", `invalid variable name` + in},
		{"sticky cookie c hmac=sha256;", `"hmac_key" or "hmac_key_file" is missing for "hmac=sha256"` + in},
		{"sticky cookie c hmac_key=k;", `"hmac" is missing for "hmac_key"` + in},
		{"sticky cookie c hmac_key_file=/nonexistent;", `open() "/nonexistent" failed (2: No such file or directory)` + in},
		{"sticky cookie c; sticky cookie d;", `"sticky" directive is duplicate` + in},
		{"sticky route foo;", `invalid variable name "foo"` + in},
		{"sticky learn create=$arg_a;", `"sticky" directive "lookup" parameter is not specified` + in},
		{"sticky learn lookup=$arg_a;", `"sticky" directive "create" parameter is not specified` + in},
		{"sticky learn lookup=$arg_a create=$arg_a;", `"sticky" directive "zone" parameter is not specified` + in},
		{"sticky learn lookup=a;", `invalid variable name "a"` + in},
		{"sticky learn lookup=;", `"sticky" directive missing variable in the "lookup" parameter` + in},
		{"sticky learn create=;", `"sticky" directive missing variable in the "create" parameter` + in},
		{"sticky learn zone=z;", `"sticky" directive zone size is not specified` + in},
		{"sticky learn zone=:1m;", `"sticky" directive zone name is not specified` + in},
		{"sticky learn zone=z:x;", `"sticky" directive invalid zone size` + in},
		{"sticky learn zone=z:31k;", `"sticky" directive zone is too small` + in},
		{"sticky learn zone=z:1m zone=y:1m;", `"sticky" directive duplicate zone` + in},
		{"sticky learn timeout=1 timeout=2;", `"sticky" directive duplicate timeout` + in},
		{"sticky learn timeout=0;", `"sticky" directive invalid timeout` + in},
		{"sticky learn sync;", `unknown parameter "sync"` + in},

		{"sticky foo;", "invalid arguement (foo)" + in},
		{"sticky foo=bar;", "invalid arguement (foo=bar)" + in},
		{"sticky name=;", "invalid arguement (name=)" + in},
		{"sticky expires=0;", "invalid arguement (expires=0)" + in},
		{"sticky expires=x;", "invalid arguement (expires=x)" + in},
		{"sticky hash=foo;", "invalid arguement (hash=foo)" + in},
		{"sticky hash=md5 text=raw;", "please choose between text, hash and hmac" + in},
		{"sticky hmac=md5;", `"hmac_key" or "hmac_key_file" is missing for "hmac=md5"` + in},
		{"sticky hmac_key=k;", `"hmac" is missing for "hmac_key"` + in},
		{"sticky securexx;", "invalid arguement (securexx)" + in},
		{"consistent_hash $arg_x; sticky;", "You can't use sticky with another upstream module" + in},
		{"sticky; sticky;", "You can't use sticky with another upstream module" + in},
		{"sticky; server 127.0.0.1:1 backup;", `balancing method does not support parameter "backup"` + in},
		{"sticky; server 127.0.0.1:1 max_conns=1;", `balancing method does not support parameter "max_conns=1"` + in},

		{"session_sticky cookie=;", "invalid cookie" + in},
		{"session_sticky domain=;", "invalid domain" + in},
		{"session_sticky path=;", "invalid path" + in},
		{"session_sticky maxage=1h;", "invalid maxage" + in},
		{"session_sticky maxidle=1h;", "invalid maxidle" + in},
		{"session_sticky maxlife=x;", "invalid maxlife" + in},
		{"session_sticky mode=foo;", "invalid mode" + in},
		{"session_sticky option=foo;", "invalid option" + in},
		{"session_sticky fallback=foo;", "invalid fallback" + in},
		{"session_sticky hash=md5x;", "invalid hash mode" + in},
		{"session_sticky foo;", "invalid argument" + in},
		{"session_sticky; server 127.0.0.1:1 backup;", `balancing method does not support parameter "backup"` + in},
		{"jvm_route foo;", `invalid variable name "foo"` + in},
		{"jvm_route $cookie_a foo;", `invalid parameter "foo"` + in},
		{"jvm_route $cookie_a; jvm_route $cookie_a;", `"jvm_route" directive is duplicate` + in},
		{"server 127.0.0.1:1 route=;", "route is empty" + in},
		{"server 127.0.0.1:1 route=" + strings.Repeat("x", 33) + ";", "route is longer than 32" + in},
		{"server 127.0.0.1:1 id=;", `invalid parameter "id="` + in},
		{"server 127.0.0.1:1 srun_id=;", `invalid parameter "srun_id="` + in},
	} {
		_, _, err := read("upstream u { server 127.0.0.1:9; "+c.directive+" }", Options{})
		if err == nil || err.Error() != c.want {
			t.Errorf("%s\n got %v\nwant %s", c.directive, err, c.want)
		}
	}
}

func TestWrongOptionsOutsideOfUpstream(t *testing.T) {
	const u = "upstream u { server 127.0.0.1:9; session_sticky; }\n"
	for _, c := range []struct{ text, want string }{
		{u + "session_sticky_hide_cookie upstream=nope;", `no port in upstream "nope" in nginx.conf:3`},
		{u + "session_sticky_hide_cookie u;", `"session_sticky_hide_cookie" directive invalid argument of "u" in nginx.conf:3`},
		{u + "server { sticky_no_fallback; sticky_no_fallback; }", `"sticky_no_fallback" directive is duplicate in nginx.conf:3`},
		{u + "sticky_no_fallback;", `"sticky_no_fallback" directive is not allowed here in nginx.conf:3`},
		{"upstream a { server 127.0.0.1:9; sticky learn create=$arg_a lookup=$arg_a zone=z:1m; }\n" +
			"upstream b { server 127.0.0.1:9; sticky learn create=$arg_a lookup=$arg_a zone=z:1m; }",
			`sticky zone "z" is already used in upstream "a" in nginx.conf:3`},
	} {
		if _, _, err := read(c.text, Options{}); err == nil || err.Error() != c.want {
			t.Errorf("%s\n got %v\nwant %s", c.text, err, c.want)
		}
	}
}

// What the modules take although it looks wrong (spec/sticky.md 2.1, 3.1).
func TestSloppyOptionsAreTaken(t *testing.T) {
	for _, directive := range []string{"sticky hash=md5xyz;", "sticky text=rawfoo;", "sticky no_fallbackXX;", "sticky hide_cookieZ;",
		"session_sticky mode=insertXYZ;", "session_sticky fallback=onward;", "session_sticky; session_sticky;", "sticky cookie c; session_sticky;"} {
		if _, _, err := read("upstream u { server 127.0.0.1:9; "+directive+" }", Options{}); err != nil {
			t.Errorf("%s: %v", directive, err)
		}
	}
}

func TestTheTestSaysWhichDialectItSaw(t *testing.T) {
	const in = " in nginx.conf:2"
	for _, c := range []struct{ text, want string }{
		{"sticky cookie c;", `notice: upstream "u" is sticky as by nginx` + in},
		{"sticky cookie c; sticky_secret s;", `notice: upstream "u" is sticky as by Angie` + in},
		{"server 127.0.0.1:8 sid=a; sticky route $arg_a;", `notice: upstream "u" is sticky as by Angie` + in},
		{"sticky learn create=$arg_a lookup=$arg_a zone=z:1m norefresh;", `notice: upstream "u" is sticky as by Angie` + in},
		{"server 127.0.0.1:8; sticky text=md5;", `notice: upstream "u" is sticky as by nginx-sticky-module` + in},
		{"server 127.0.0.1:8; sticky transfer;", `notice: upstream "u" is sticky as by nginx-sticky-module-ng` + in},
		{"session_sticky;", `notice: upstream "u" is sticky as by Tengine's session_sticky` + in},
		{"jvm_route $cookie_a;", `notice: upstream "u" is sticky as by jvm_route` + in},
		{"seed;", `notice: upstream "u" is sticky as by OpenResty` + in},
		{"sticky;", `notice: upstream "u" has one server, so that its sticky does nothing, as in nginx-sticky-module` + in},
		{"server 127.0.0.1:8; sticky;", `notice: upstream "u": cookies of nginx-sticky-module-ng are read, too; add "delimiter= " to write them` + in},
		{"server 127.0.0.1:8; sticky transfer no_fallback;", `notice: upstream "u" has no_fallback, which in nginx-sticky-module-ng refuses clients without a cookie, too` + in},
		{"session_sticky option=indirect;", `notice: upstream "u": no location names it in session_sticky_hide_cookie; Tengine would then set no cookie, limpet does` + in},
		{"session_sticky option=indirect maxidle=5;", `notice: upstream "u": maxidle and maxlife hold also where the cookie is the only one, which they don't in Tengine` + in},
		{"server 127.0.0.1:8 down; session_sticky;", `notice: upstream "u": clients don't stick to the server 127.0.0.1:8, which is down; in Tengine they do` + in},
		{"server 127.0.0.1:8 backup; server 127.0.0.1:7; sticky;", `notice: upstream "u": clients stick to the backup server 127.0.0.1:8, too, which they don't with nginx-sticky-module` + in},
		{"sticky cookie c; consistent_hash $arg_a;", `notice: nginx would lose the stickiness that is configured before "consistent_hash", limpet keeps it` + in},
		{"consistent_hash $arg_a; session_sticky;", `notice: Tengine would lose "consistent_hash" before "session_sticky", limpet keeps it` + in},
		{"session_sticky; session_sticky;", `warn: "session_sticky" replaces the stickiness that is configured before` + in},
		{"jvm_route $cookie_a;", `notice: upstream "u": no server has srun_id, so that jvm_route never finds one` + in},
	} {
		s := open(t, "upstream u { server 127.0.0.1:9; "+c.text+" }", nil)
		var all []string
		for _, n := range s.build.Config.Notices {
			all = append(all, n.Severity+": "+n.Msg)
		}
		if !strings.Contains("\n"+strings.Join(all, "\n")+"\n", "\n"+c.want+"\n") {
			t.Errorf("%s: want %s, got\n%s", c.text, c.want, strings.Join(all, "\n"))
		}
	}
	s := open(t, "upstream u { server 127.0.0.1:9; session_sticky option=indirect; }\nsession_sticky_hide_cookie upstream=u;", nil)
	for _, n := range s.build.Config.Notices {
		if strings.Contains(n.Msg, "no location names it") {
			t.Error(n.Msg)
		}
	}
}

func TestKeysOfStickyLegacy(t *testing.T) {
	file := t.TempDir() + "/key"
	if err := os.WriteFile(file, []byte("K\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s := &site{T: t, opt: Options{Legacy: []string{"haproxy=@" + file}}}
	s.open("upstream u { "+servers+"sticky cookie c; }", nil)
	p := s.groups.List[0].Peers().All[1]
	s.visit(visit{cookies: []string{"c=" + haproxyDynamic(p, "K")}}).check(t, "18082", "c="+md5hex("127.0.0.1:18082"))
	for _, item := range []string{"foo=K", "caddy=@/nonexistent"} {
		ms, config, err := read("", Options{Legacy: []string{item}})
		if err != nil {
			t.Fatal(err)
		}
		if err := configError(ms, config); err == nil {
			t.Errorf("--sticky-legacy %s was taken", item)
		}
	}
}

func TestKeyFile(t *testing.T) {
	file := t.TempDir() + "/key"
	if err := os.WriteFile(file, []byte("K\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s := open(t, "upstream u { "+servers+"session_sticky hmac=sha256 hmac_key_file="+file+"; }", nil)
	s.visit(visit{}).check(t, "18081", "route="+hmacHex(sha256New, "K", md5of18081)+"; Path=/")
}

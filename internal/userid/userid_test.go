package userid

import (
	"encoding/hex"
	"net/netip"
	"strings"
	"testing"
	"time"

	"limpet/internal/ngx"
	"limpet/nginxconf"
)

// load reads the module's statements and returns its Conf, ready to run.
func load(statements string) (*Conf, error) {
	vs := ngx.NewVars(Vars())
	config, err := nginxconf.Load("nginx.conf", nginxconf.Options{
		Modules: []nginxconf.Module{
			{Name: "vars", Conf: func() nginxconf.Settings { return &ngx.VarConf{Vars: vs} }},
			{Name: "blocks", Conf: func() nginxconf.Settings { return blocks{} }},
			{Name: "userid", Conf: Module().Conf},
		},
		ReadFile: func(string) ([]byte, error) { return []byte("http {\n" + statements + "\n}\n"), nil },
	})
	if err != nil {
		return nil, err
	}
	b := ngx.NewBuild(config, nil)
	lv := config.Root.Inner[0]
	if err := addStep(b, &ngx.Scope{Level: lv}); err != nil {
		return nil, err
	}
	return nginxconf.Of[*Conf](lv), nil
}

// blocks has http{}.
type blocks struct{}

func (blocks) Directives() []nginxconf.Directive {
	return []nginxconf.Directive{nginxconf.Block("http", nginxconf.Main, nginxconf.HTTP, nginxconf.NoArgs, func(*nginxconf.Setting) error { return nil }, nil, "http")}
}

func mustLoad(t *testing.T, statements string) *Conf {
	t.Helper()
	c, err := load(statements)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func request(cookie string) *ngx.Request {
	r := &ngx.Request{Client: &ngx.Client{Local: netip.MustParseAddrPort("192.0.2.1:80")}, Scope: &ngx.Scope{Core: new(ngx.Core)}}
	r.Main = r
	if cookie != "" {
		r.In.AddID(ngx.HeaderCookie, []byte(cookie))
	}
	return r
}

// set returns the Set-Cookie field, "" for none.
func set(c *Conf, r *ngx.Request) string {
	c.setCookie(r)
	return string(r.Out.Header.Get(ngx.HeaderSetCookie))
}

func TestAttributes(t *testing.T) {
	u := &user{}
	hex.Decode(u.set[:], []byte("000000076b06103fbafc67af03030302"))
	now := time.Date(2026, 11, 24, 22, 31, 27, 0, time.UTC)
	for _, c := range []struct{ conf, want string }{
		{"userid on;", "uid=AAAAB2sGED+6/GevAwMDAg==; path=/"},
		// recorded from nginx 1.22.1
		{"userid_name u; userid_domain example.com; userid_path /p; userid_expires 365d; userid_flags secure httponly samesite=strict; userid_mark E;",
			"u=AAAAB2sGED+6/GevAwMDAgE=; expires=Wed, 24-Nov-27 22:31:27 GMT; domain=example.com; path=/p; secure; httponly; samesite=strict"},
		{"userid_expires max; userid_mark off; userid_domain none; userid_flags off;", "uid=AAAAB2sGED+6/GevAwMDAg==; expires=Thu, 31-Dec-37 23:55:55 GMT; path=/"},
		{"userid_expires 20y;", "uid=AAAAB2sGED+6/GevAwMDAg==; expires=Mon, 19-Nov-2046 22:31:27 GMT; path=/"},
	} {
		if got := string(mustLoad(t, c.conf).cookie(u, now)); got != c.want {
			t.Errorf("%s\n got %s\nwant %s", c.conf, got, c.want)
		}
	}
}

func TestAClientKeepsItsIdentifier(t *testing.T) {
	c := mustLoad(t, "userid on; userid_p3p x;")
	r := request("")
	first := set(c, r)
	if first == "" || string(r.Out.Header.Name("P3P").Value) != "x" {
		t.Fatalf("%q, %v", first, r.Out.Header.Fields)
	}
	pair, _, _ := strings.Cut(first, ";")
	if got := set(c, request("a=b; "+pair)); got != "" {
		t.Errorf("another cookie is set: %s", got)
	}
	if again := set(c, request("")); again == first {
		t.Errorf("two clients have %s", again)
	}
}

func TestAMarkRenewsTheCookieAndKeepsTheIdentifier(t *testing.T) {
	const plain, marked = "uid=AAAAB2sGED+6/GevAwMDAg==", "uid=AAAAB2sGED+6/GevAwMDAgE="
	c := mustLoad(t, "userid on; userid_mark E;")
	if got := set(c, request(plain)); got != marked+"; path=/" {
		t.Errorf("got %s", got)
	}
	if got := set(c, request(marked)); got != "" {
		t.Errorf("got %s", got)
	}
}

func TestResetMakesANewIdentifier(t *testing.T) {
	const cookie = "uid=AAAAB2sGED+6/GevAwMDAg=="
	for value, wanted := range map[string]bool{"": false, "0": false, "1": true, "log": true} {
		c := mustLoad(t, "userid on;")
		r := request(cookie)
		c.state.reset.Assign(r, []byte(value))
		if got := set(c, r); (got != "") != wanted || strings.HasPrefix(got, cookie) {
			t.Errorf("$uid_reset %q sets %q", value, got)
		}
	}
}

func TestBrokenCookiesAreReplaced(t *testing.T) {
	for _, cookie := range []string{"uid=short", "uid=!!!!!!!!!!!!!!!!!!!!!!!!", "uid=AAAAAAAAAAAAAAAAAAAAAA==", "xuid=AAAAB2sGED+6/GevAwMDAg=="} {
		if set(mustLoad(t, "userid on;"), request(cookie)) == "" {
			t.Errorf("%s is taken for an identifier", cookie)
		}
	}
	if got := set(mustLoad(t, "userid on;"), request("uid=AAAAB2sGED+6/GevAwMDAgxgarbage")); got != "" {
		t.Errorf("garbage behind an identifier replaces it: %s", got)
	}
}

func TestIdentifiers(t *testing.T) {
	m := &maker{start: 0xbafc67af}
	m.v1.Store(1)
	m.v2.Store(0xffffff02)
	now := time.Unix(0x6b06103f, 0)
	for _, c := range []struct{ conf, bytes, text string }{
		// recorded from nginx 1.22.1
		{"userid v1; userid_service 7;", "070000003f10066baf67fcba01000000", "uid=000000076B06103FBAFC67AF00000001"},
		{"userid v1;", "000000003f10066baf67fcba01010000", "uid=000000006B06103FBAFC67AF00000101"},
		{"userid on; userid_service 7;", "000000076b06103fbafc67afffffff02", "uid=070000003F10066BAF67FCBA02FFFFFF"},
		{"userid on;", "c00002016b06103fbafc67af03030302", "uid=010200C03F10066BAF67FCBA02030303"},
		{"userid on; userid_service 0;", "000000006b06103fbafc67af03030402", "uid=000000003F10066BAF67FCBA02040303"},
	} {
		i := m.next(mustLoad(t, c.conf), request(""), now)
		if got := hex.EncodeToString(i[:]); got != c.bytes {
			t.Errorf("%s\n got %s\nwant %s", c.conf, got, c.bytes)
		}
		if got := string(appendID(nil, "uid", i)); got != c.text {
			t.Errorf("%s\n got %s\nwant %s", c.conf, got, c.text)
		}
	}
}

// The messages are those of nginx 1.22.1.
func TestWrongDirectives(t *testing.T) {
	for _, c := range []struct{ conf, want string }{
		{"userid foo;", `invalid value "foo"`},
		{"userid_service x;", `"userid_service" directive invalid number`},
		{"userid_expires x;", `"userid_expires" directive invalid value`},
		{"userid_expires max; userid_expires 1;", `"userid_expires" directive is duplicate`},
		{"userid_mark ab;", `"userid_mark" directive value must be "off" or a single letter, digit or "="`},
		{"userid_mark ';';", `"userid_mark" directive value must be "off" or a single letter, digit or "="`},
		{"userid_flags foo;", `invalid value "foo"`},
		{"userid_flags samesite=x;", `invalid value "samesite=x"`},
		{"userid_p3p x; userid_p3p y;", `"userid_p3p" directive is duplicate`},
	} {
		_, err := load(c.conf)
		if err == nil || err.Error() != c.want+" in nginx.conf:2" {
			t.Errorf("%s\n got %v\nwant %s", c.conf, err, c.want)
		}
	}
}

package proxy

import (
	"bytes"
	"testing"

	"limpet/internal/ngx"
	"limpet/internal/relay"
	"limpet/internal/relaytest"
	"limpet/nginxconf"
)

// location returns a location /name/ with the statements.
func location(t testing.TB, statements string) *place {
	t.Helper()
	c := nginxconf.Of[*Conf](relaytest.Level(t, Module(), statements))
	return newPlace(c, c.Pass.V, "/name/")
}

// request returns a client's GET of a path in the location, with fields as pairs of name and value.
func request(uri string, fields ...string) *ngx.Request {
	r := relaytest.Request("GET", uri, "", fields...)
	r.Scope.Name = "/name/"
	return r
}

// passing returns the Exchange of a request that is about to be passed on.
func passing(t testing.TB, p *place, r *ngx.Request) *relay.Exchange {
	t.Helper()
	x, err := relay.Trial(relay.Place{Kind: kind(), Protocol: p}, &p.conf.Conf, r, nil)
	if err != nil {
		t.Fatal(err)
	}
	return x
}

func TestURIPassedOn(t *testing.T) {
	free := func(r *ngx.Request) { r.PathChanged, r.PathFree = true, true }
	changed := func(r *ngx.Request) { r.PathChanged = true }
	for _, c := range []struct {
		rule, pass, uri, path string
		also                  func(r *ngx.Request)
		want                  string
	}{
		{"without a URI as received", "http://127.0.0.1", "/name/a%2Fb//c?x=%20", "/name/a/b/c", nil, "/name/a%2Fb//c?x=%20"},
		{"without a URI, rewritten", "http://127.0.0.1", "/name/old?q", "/new path", changed, "/new%20path?q"},
		{"a URI replaces the name", "http://127.0.0.1/up/", "/name/a?q=1", "/name/a", nil, "/up/a?q=1"},
		{"a slash replaces the name", "http://127.0.0.1/", "/name/a", "/name/a", nil, "/a"},
		{"joined as they are", "http://127.0.0.1/up", "/name/a", "/name/a", nil, "/upa"},
		{"what was escaped is escaped again", "http://127.0.0.1/up/", "/name/a%20b%3Fc", "/name/a b?c", nil, "/up/a%20b%3Fc"},
		{"rewrite ... break replaces all", "http://127.0.0.1/up/", "/name/a", "/other", free, "/other"},
		{"arguments in front of the rest", "http://127.0.0.1/?a=", "/name/b", "/name/b", nil, "/?a=b"},
		{"variables: the URL's URI is all", "http://127.0.0.1/$host", "/name/a?q", "/name/a", nil, "/example.com"},
		{"variables without a URI", "http://127.0.0.1$empty", "/name/a?q", "/name/a", nil, "/name/a?q"},
		{"a unix socket", "http://unix:/s:/up/", "/name/a", "/name/a", nil, "/up/a"},
	} {
		r := request(c.uri)
		r.Path = []byte(c.path)
		if c.also != nil {
			c.also(r)
		}
		x := passing(t, location(t, "proxy_pass "+c.pass+";"), r)
		if got := string(x.To.AppendURI(nil, r, x.Location())); got != c.want {
			t.Errorf("%s: proxy_pass %s: %s gives %s, want %s", c.rule, c.pass, c.uri, got, c.want)
		}
	}
}

func TestHeadPassedOn(t *testing.T) {
	for _, c := range []struct {
		rule, conf string
		r          *ngx.Request
		want       string
	}{
		{"own fields replace the client's", "", request("/name/", "Host", "h", "Connection", "close", "X-A", "1", "TE", "trailers", "Expect", "100-continue", "Upgrade", "x", "Keep-Alive", "1"),
			"GET /name/ HTTP/1.1\nHost: 127.0.0.1\nX-A: 1\n\n"},
		{"HTTP/1.0 closes", "proxy_http_version 1.0;", request("/name/"), "GET /name/ HTTP/1.0\nHost: 127.0.0.1\nConnection: close\n\n"},
		{"set, with variables, empty", `proxy_set_header Host $host; proxy_set_header X-A $empty; proxy_set_header X-B ""; proxy_set_header X-C c$host;`,
			request("/name/", "X-A", "1", "X-B", "2", "x-c", "3", "X-D", "4"), "GET /name/ HTTP/1.1\nHost: example.com\nX-C: cexample.com\nX-D: 4\n\n"},
		{"no fields of the client", "proxy_pass_request_headers off;", request("/name/", "X-A", "1"), "GET /name/ HTTP/1.1\nHost: 127.0.0.1\n\n"},
		{"another method", "proxy_method PUT;", request("/name/"), "PUT /name/ HTTP/1.1\nHost: 127.0.0.1\n\n"},
		{"upgrades", "proxy_set_header Upgrade websocket; proxy_set_header Connection upgrade;", request("/name/", "Upgrade", "x", "Connection", "y"),
			"GET /name/ HTTP/1.1\nHost: 127.0.0.1\nUpgrade: websocket\nConnection: upgrade\n\n"},
		{"where the client is", "proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;", request("/name/", "X-Forwarded-For", "a", "X-Forwarded-For", "b"),
			"GET /name/ HTTP/1.1\nHost: 127.0.0.1\nX-Forwarded-For: a, b, 192.0.2.1\n\n"},
	} {
		x := passing(t, location(t, c.conf+"proxy_pass http://127.0.0.1;"), c.r)
		if got := string(bytes.ReplaceAll(x.H.Protocol.AppendRequest(nil, x), []byte("\r"), nil)); got != c.want {
			t.Errorf("%s: got\n%swant\n%s", c.rule, got, c.want)
		}
	}
}

func TestBodysLengthIsTold(t *testing.T) {
	x := passing(t, location(t, "proxy_pass http://127.0.0.1;"), request("/"))
	x.BodyLength = 12
	if got := x.H.Protocol.AppendRequest(nil, x); !bytes.Contains(got, []byte("\r\nContent-Length: 12\r\n")) {
		t.Errorf("got %s", got)
	}
	x.BodyLength, x.BodyChunked = -1, true
	if got := x.H.Protocol.AppendRequest(nil, x); !bytes.Contains(got, []byte("\r\nTransfer-Encoding: chunked\r\n")) || bytes.Contains(got, []byte("Length")) {
		t.Errorf("got %s", got)
	}
}

func TestFrame(t *testing.T) {
	for _, c := range []struct {
		n    int
		end  bool
		want string
	}{
		{0, true, "0\r\n\r\n"}, {3, false, "3\r\nabc\r\n"}, {3, true, "3\r\nabc\r\n0\r\n\r\n"}, {17, true, "11\r\nabcdefghijklmnopq\r\n0\r\n\r\n"},
	} {
		buf := make([]byte, 64)
		copy(buf[relay.FrameRoom:], "abcdefghijklmnopq")
		if got := string(frame(buf, relay.FrameRoom, c.n, c.end)); got != c.want {
			t.Errorf("%d bytes, end %v: got %q, want %q", c.n, c.end, got, c.want)
		}
	}
}

func TestRefreshIsRewritten(t *testing.T) {
	h := location(t, "proxy_pass http://127.0.0.1/up/;")
	for in, want := range map[string]string{
		"5; url=http://127.0.0.1/up/x": "5; url=/name/x",
		"5;URL=http://127.0.0.1/up/x":  "5;URL=/name/x",
		"5; url=http://other/":         "5; url=http://other/",
		"5":                            "5",
	} {
		if got := string(rewriteRefresh(h.redirects, request("/"), []byte(in))); got != want {
			t.Errorf("%s: got %s, want %s", in, got, want)
		}
	}
}

func BenchmarkAppendHead(b *testing.B) {
	h := location(b, "proxy_set_header Host $host; proxy_set_header X-Real-IP 192.0.2.1; proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for; proxy_pass http://127.0.0.1/up/;")
	r := request("/name/path?a=b", "Host", "example.com", "User-Agent", "test", "Accept", "*/*", "Cookie", "a=b", "Connection", "keep-alive")
	x := passing(b, h, r)
	b.ReportAllocs()
	for b.Loop() {
		x.Out = h.AppendRequest(x.Out[:0], x)
	}
}

package corevars

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"limpet/internal/ngx"
)

// request returns a request for `GET /a%20b?x=1&Name=v HTTP/1.1` with the given fields, name and value in turn.
func request(fields ...string) *ngx.Request {
	scope := &ngx.Scope{Core: new(ngx.Core), ServerName: []byte("first.example")}
	scope.Server = scope
	scope.Core.Root.Put(ngx.Root{Text: ngx.Literal("/srv")})
	r := &ngx.Request{
		Scope: scope, Scheme: "http", Proto: ngx.HTTP11, Start: time.Now(), Length: -1,
		Line: []byte("GET /a%20b?x=1&Name=v HTTP/1.1"), Method: []byte("GET"), URI: []byte("/a%20b?x=1&Name=v"),
		Path: []byte("/a b"), Args: []byte("x=1&Name=v"),
		Client: &ngx.Client{
			Addr: netip.MustParseAddrPort("192.0.2.7:4711"), Text: []byte("192.0.2.7"),
			Local: netip.MustParseAddrPort("[2001:db8::1]:80"), ID: 42, Requests: 3, Start: time.Now(),
		},
	}
	r.Main = r
	r.Out.Length = -1
	for i := 0; i < len(fields); i += 2 {
		r.In.Add([]byte(fields[i]), []byte(fields[i+1]))
	}
	return r
}

// eval returns the value of a variable; "-" when it has none.
func eval(t *testing.T, r *ngx.Request, name string) string {
	t.Helper()
	v := ngx.NewVars(Vars()).Lookup(name)
	if v == nil {
		t.Fatalf("no variable $%s", name)
	}
	b, ok := v.Append(r, nil)
	if !ok {
		return "-"
	}
	return string(b)
}

func TestVariablesOfARequest(t *testing.T) {
	r := request("Host", "h.example:8080", "X-One", "a", "x-one", "b", "Cookie", "a=1; b=2", "Cookie", "c=3",
		"Content-Length", "12", "Content-Type", "text/x", "Authorization", "Basic   dXNlcjpwYTpzcw==")
	r.Host = []byte("h.example")
	for name, want := range map[string]string{
		"request": "GET /a%20b?x=1&Name=v HTTP/1.1", "request_method": "GET", "request_uri": "/a%20b?x=1&Name=v",
		"uri": "/a b", "document_uri": "/a b", "args": "x=1&Name=v", "query_string": "x=1&Name=v", "is_args": "?",
		"arg_x": "1", "arg_name": "v", "arg_nam": "-", "arg_none": "-", "arg_": "-", "http_": "-", "cookie_": "-",
		"host": "h.example", "request_port": "8080", "is_request_port": ":", "server_name": "first.example",
		"server_protocol": "HTTP/1.1", "scheme": "http", "https": "",
		"http_x_one": "a, b", "http_cookie": "a=1; b=2; c=3", "http_none": "-", "http_host": "h.example:8080",
		"cookie_b": "2", "cookie_c": "3", "cookie_d": "-",
		"content_length": "12", "content_type": "text/x", "remote_user": "user",
		"document_root": "/srv", "request_filename": "/srv/a b",
		"remote_addr": "192.0.2.7", "remote_port": "4711", "binary_remote_addr": "\xc0\x00\x02\x07",
		"server_addr": "2001:db8::1", "server_port": "80", "connection": "42", "connection_requests": "3",
		"request_body": "-", "request_body_file": "-", "request_completion": "", "pipe": ".", "status": "000",
		"proxy_protocol_addr": "-", "sent_http_content_length": "-", "limit_rate": "0",
	} {
		if got := eval(t, r, name); got != want {
			t.Errorf("$%s is %q, want %q", name, got, want)
		}
	}
}

func TestCookieRules(t *testing.T) {
	for _, c := range []struct{ cookies, want string }{
		{"a=1", "1"}, {"A=1", "1"}, {"b=2;a=1", "1"}, {"b=2;   a = 1 ;c", "1 "}, {"xa=1", "-"}, {"a", "-"}, {"a;a=2", "2"},
		{"ab=1; a=2", "2"}, {"b=2, a=1", "-"}, {"a=1,2", "1,2"}, {"a=", ""}, {"b=a=1", "-"},
	} {
		if got := eval(t, request("Cookie", c.cookies), "cookie_a"); got != c.want {
			t.Errorf("Cookie: %s gives %q, want %q", c.cookies, got, c.want)
		}
	}
}

func TestRequestPortComesFromTargetThenHost(t *testing.T) {
	for _, c := range []struct{ line, host, want string }{
		{"GET / HTTP/1.1", "a", ""}, {"GET / HTTP/1.1", "a:081", "81"}, {"GET / HTTP/1.1", "[::1]", ""}, {"GET / HTTP/1.1", "[::1]:82", "82"},
		{"GET http://b:83/ HTTP/1.1", "a:81", "83"}, {"GET http://b?x:9 HTTP/1.1", "a:81", ""}, {"GET / HTTP/1.1", "a:70000", ""},
	} {
		r := request("Host", c.host)
		r.Line = []byte(c.line)
		if got := eval(t, r, "request_port"); got != c.want {
			t.Errorf("%s, Host: %s gives %q, want %q", c.line, c.host, got, c.want)
		}
	}
}

func TestProtocolIsShownAsReceived(t *testing.T) {
	r := request()
	r.Line = []byte("GET /a HTTP/1.2")
	if got := eval(t, r, "server_protocol"); got != "HTTP/1.2" {
		t.Errorf("got %q", got)
	}
	r.Line, r.Proto = []byte("GET /a"), ngx.HTTP09
	if got := eval(t, r, "server_protocol"); got != "-" {
		t.Errorf("HTTP/0.9 gives %q", got)
	}
}

func TestAnswerVariables(t *testing.T) {
	r := request()
	r.KeepAlive = true
	r.Out.Status, r.Out.ContentType, r.Out.Charset, r.Out.Length = 206, []byte("text/html"), []byte("utf-8"), 7
	r.Out.LastModified = time.Unix(784111777, 0)
	r.Out.Location = []byte("/else")
	r.Out.Header.Add([]byte("X-A"), []byte("1"))
	r.Out.Header.Add([]byte("X-A"), []byte("2"))
	r.Out.Trailer.Add([]byte("X-T"), []byte("t"))
	r.Out.Chunked, r.Complete, r.BytesSent, r.BodySent = true, true, 9, 7
	r.Scope.Core.KeepAliveTimeout.Put(ngx.KeepAlive{Header: 20 * time.Second})
	for name, want := range map[string]string{
		"status": "206", "sent_http_content_type": "text/html; charset=utf-8", "sent_http_content_length": "7",
		"sent_http_last_modified": "Sun, 06 Nov 1994 08:49:37 GMT", "sent_http_location": "/else", "sent_http_x_a": "1, 2",
		"sent_trailer_x_t": "t", "sent_http_connection": "keep-alive", "sent_http_keep_alive": "timeout=20",
		"sent_http_transfer_encoding": "chunked", "request_completion": "OK", "bytes_sent": "9", "body_bytes_sent": "7",
		"sent_http_server": "-", "sent_http_none": "-",
	} {
		if got := eval(t, r, name); got != want {
			t.Errorf("$%s is %q, want %q", name, got, want)
		}
	}
}

func TestStatusBeforeTheAnswerIsThatOfTheError(t *testing.T) {
	r := request()
	r.ErrorStatus, r.Out.Status = 404, 200
	if got := eval(t, r, "status"); got != "404" {
		t.Errorf("got %s", got)
	}
	r = request()
	r.Proto = ngx.HTTP09
	if got := eval(t, r, "status"); got != "009" {
		t.Errorf("HTTP/0.9 without an answer gives %s", got)
	}
}

func TestRequestIDIsTheSameInSubrequests(t *testing.T) {
	r := request()
	id := eval(t, r.Sub([]byte("/s"), nil), "request_id")
	if len(id) != 32 || strings.Trim(id, "0123456789abcdef") != "" {
		t.Errorf("got %q", id)
	}
	if again := eval(t, r, "request_id"); again != id {
		t.Errorf("got %s, then %s", id, again)
	}
	if other := eval(t, request(), "request_id"); other == id {
		t.Error("two requests have one ID")
	}
}

func TestSettableVariables(t *testing.T) {
	vs := ngx.NewVars(Vars())
	r := request()
	for name, value := range map[string]string{"args": "y=2", "limit_rate": "4k"} {
		v, err := vs.Settable(name)
		if err != nil {
			t.Fatal(err)
		}
		v.Assign(r, []byte(value))
	}
	if got := eval(t, r, "query_string"); got != "y=2" {
		t.Errorf("arguments are %q", got)
	}
	if got := eval(t, r, "limit_rate"); got != "4096" || !r.LimitRateSet {
		t.Errorf("rate is %q", got)
	}
	if _, err := vs.Settable("host"); err == nil || err.Error() != `the duplicate "host" variable` {
		t.Errorf("$host: %v", err)
	}
}

func TestProxyProtocolVariables(t *testing.T) {
	r := request()
	r.Client.Proxy = &ngx.ProxyHeader{
		Source: netip.MustParseAddrPort("198.51.100.1:1001"), Dest: netip.MustParseAddrPort("198.51.100.2:1002"),
		TLVs: []ngx.TLV{{Type: 0x01, Value: []byte("h2")}, {Type: 0x20, Value: []byte("\x01\x00\x00\x00\x05\x21\x00\x03TLS\x22\x00\x02cn")}, {Type: 0xE1, Value: []byte("own")}},
	}
	for name, want := range map[string]string{
		"proxy_protocol_addr": "198.51.100.1", "proxy_protocol_port": "1001",
		"proxy_protocol_server_addr": "198.51.100.2", "proxy_protocol_server_port": "1002",
		"proxy_protocol_tlv_alpn": "h2", "proxy_protocol_tlv_0x01": "h2", "proxy_protocol_tlv_0xe1": "own", "proxy_protocol_tlv_authority": "-",
		"proxy_protocol_tlv_ssl_verify": "5", "proxy_protocol_tlv_ssl_version": "TLS", "proxy_protocol_tlv_ssl_0x22": "cn", "proxy_protocol_tlv_ssl_cipher": "-",
	} {
		if got := eval(t, r, name); got != want {
			t.Errorf("$%s is %q, want %q", name, got, want)
		}
	}
}

func TestUnixClient(t *testing.T) {
	r := request()
	r.Client.Addr, r.Client.Text, r.Client.Unix = netip.AddrPort{}, []byte("unix:"), true
	for name, want := range map[string]string{"remote_addr": "unix:", "remote_port": "", "binary_remote_addr": "unix:"} {
		if got := eval(t, r, name); got != want {
			t.Errorf("$%s is %q, want %q", name, got, want)
		}
	}
}

func BenchmarkText(b *testing.B) {
	vs := ngx.NewVars(Vars())
	text, err := ngx.CompileText(vs, "$remote_addr $host $uri $http_user_agent $cookie_route $status $request_time")
	if err != nil {
		b.Fatal(err)
	}
	r := request("Host", "h", "User-Agent", "curl/8", "Accept", "*/*", "Cookie", "x=1; route=abc")
	buf := make([]byte, 0, 512)
	b.ReportAllocs()
	for b.Loop() {
		buf = text.Append(r, buf[:0])
	}
}

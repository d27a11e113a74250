package scgi

import (
	"fmt"
	"strconv"
	"strings"
	"testing"

	"limpet/internal/ngx"
	"limpet/internal/relay"
	"limpet/internal/relaytest"
	"limpet/nginxconf"
)

// location returns a place with the statements of a location, and its settings.
func location(t testing.TB, statements string) (*place, *relay.Conf) {
	t.Helper()
	c := nginxconf.Of[*Conf](relaytest.Level(t, Module(), statements+"scgi_pass 127.0.0.1:9000;"))
	return newPlace(c, c.Pass.V.Value), &c.Conf
}

// answering is an Exchange whose peer sends an answer in pieces of n bytes; 0: in one.
func answering(t testing.TB, statements string, r *ngx.Request, answer string, n int) *relay.Exchange {
	t.Helper()
	p, c := location(t, statements)
	return relaytest.Answering(t, relay.Place{Kind: kind(), Protocol: p}, c, r, []byte(answer), n)
}

func TestAnswers(t *testing.T) {
	bad := fmt.Sprint("fail ", relay.NextInvalidHeader, " 502")
	lost := fmt.Sprint("fail ", relay.NextError, " 502")
	for _, c := range []struct{ rule, method, answer, want string }{
		{"a CGI head", "GET", "Status: 201 Made\r\nX-A: b\r\n\r\nhello", `201 Status=201 Made X-A=b "hello"`},
		{"no status", "GET", "X-A: b\n\nhello", `200 X-A=b "hello"`},
		{"a redirect", "GET", "Location: /x\r\n\r\n", `302 Location=/x ""`},
		{"a head of HTTP", "GET", "HTTP/1.1 202 Taken\r\nX-A: b\r\n\r\nhello", `202 X-A=b "hello"`},
		{"both: HTTP's counts", "GET", "HTTP/1.0 202 Taken\r\nStatus: 203\r\n\r\nhello", `202 Status=203 "hello"`},
		{"a field that begins like HTTP", "GET", "HTTP-A: b\r\n\r\nhello", `200 HTTP-A=b "hello"`},
		{"a length", "GET", "Content-Length: 5\r\n\r\nhello", `200 Content-Length=5 "hello"`},
		{"more than the length", "GET", "Content-Length: 3\r\n\r\nhello", `200 Content-Length=3 "hel"`},
		{"less than the length", "GET", "Content-Length: 9\r\n\r\nhello", `200 Content-Length=9 "hello" upstream prematurely closed connection`},
		{"status 204 has no body", "GET", "Status: 204 None\r\n\r\nhello", `204 Status=204 None ""`},
		{"an answer to HEAD has no body", "HEAD", "Content-Length: 9\r\n\r\n", `200 Content-Length=9 ""`},
		{"an invalid status", "GET", "Status: abc\r\n\r\nhello", bad},
		{"an invalid field", "GET", "X A: b\r\n\r\nhello", bad},
		{"two lengths", "GET", "Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello", bad},
		{"a head that is too big", "GET", "X-A: " + strings.Repeat("x", 600) + "\r\n\r\n", bad},
		{"a cut head", "GET", "Status: 200 OK\r\nX-A: ", lost},
		{"nothing", "GET", "", lost},
	} {
		t.Run(c.rule, func(t *testing.T) {
			// Whole, parted at every byte, and a byte a read.
			for cut := 0; cut <= len(c.answer); cut++ {
				x := answering(t, "scgi_buffer_size 512; scgi_buffers 4 512;", relaytest.Request(c.method, "/", ""), c.answer, cut)
				if got := relaytest.Outcome(x); got != c.want {
					t.Fatalf("in pieces of %d:\ngot  %s\nwant %s", cut, got, c.want)
				}
			}
		})
	}
}

func TestRequests(t *testing.T) {
	host := "HTTP_HOST\x00example.com\x00"
	huge := strings.Repeat("y", 70000)
	for _, c := range []struct {
		rule, conf, body string
		fields           []string
		want             string // between the length and the comma
	}{
		{"nothing but the length", "scgi_param HTTP_HOST '';", "", nil, "CONTENT_LENGTH\x000\x00"},
		{"a body's length comes first", "scgi_param SCGI 1;", "hello", nil, "CONTENT_LENGTH\x005\x00SCGI\x001\x00" + host},
		{"parameters and fields", "scgi_param A b; scgi_param URI $uri;", "", []string{"X-B", "c"}, "CONTENT_LENGTH\x000\x00A\x00b\x00URI\x00/p\x00" + host + "HTTP_X_B\x00c\x00"},
		{"an empty value", "scgi_param A $empty; scgi_param B $empty if_not_empty;", "", nil, "CONTENT_LENGTH\x000\x00A\x00\x00" + host},
		{"large values", "", "", []string{"A", huge}, "CONTENT_LENGTH\x000\x00" + host + "HTTP_A\x00" + huge + "\x00"},
		{"no fields passed on", "scgi_pass_request_headers off;", "", []string{"A", "b"}, "CONTENT_LENGTH\x000\x00" + host},
	} {
		x := answering(t, c.conf, relaytest.Request("POST", "/p", c.body, c.fields...), "", 0)
		want := strconv.Itoa(len(c.want)) + ":" + c.want + ","
		if got := string(x.H.Protocol.AppendRequest(nil, x)); got != want {
			t.Errorf("%s:\ngot  %.300q\nwant %.300q", c.rule, got, want)
		}
	}
}

func BenchmarkAppendRequest(b *testing.B) {
	x := answering(b, "scgi_param QUERY_STRING a=b; scgi_param REQUEST_METHOD GET; scgi_param REQUEST_URI $uri; scgi_param DOCUMENT_ROOT /srv/www; "+
		"scgi_param REMOTE_ADDR 192.0.2.1; scgi_param SERVER_NAME $host;",
		relaytest.Request("GET", "/app", "", "Host", "example.com", "User-Agent", "Mozilla/5.0", "Accept", "*/*", "Cookie", "a=b"), "", 0)
	buf := x.H.Protocol.AppendRequest(nil, x)
	asked := *x.R
	b.ReportAllocs()
	b.SetBytes(int64(len(buf)))
	for b.Loop() {
		*x.R = asked // its memory is free again
		buf = x.H.Protocol.AppendRequest(buf[:0], x)
	}
}

func BenchmarkAnswersHead(b *testing.B) {
	x := answering(b, "", relaytest.Request("GET", "/", ""), "", 0)
	head := "Status: 200 OK\r\nContent-Type: text/html; charset=UTF-8\r\nContent-Length: 128\r\nCache-Control: no-cache\r\nSet-Cookie: a=b\r\n\r\n"
	b.ReportAllocs()
	for b.Loop() {
		x.Rd, x.Wr = 0, copy(x.In, head)
		if fail := x.H.Protocol.ReadHead(x); fail.Class != 0 {
			b.Fatal(fail)
		}
	}
}

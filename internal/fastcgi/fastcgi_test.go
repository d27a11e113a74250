package fastcgi

import (
	"encoding/binary"
	"fmt"
	"io"
	"strings"
	"testing"

	"limpet/internal/ngx"
	"limpet/internal/relay"
	"limpet/internal/relaytest"
	"limpet/nginxconf"
)

// location returns a place with the statements of a location.
func location(t testing.TB, statements string) *place {
	t.Helper()
	c := nginxconf.Of[*Conf](relaytest.Level(t, Module(), statements+"fastcgi_pass 127.0.0.1:9000;"))
	return newPlace(c, c.Pass.V.Value)
}

// answering is an Exchange whose peer sends an answer in pieces of n bytes; 0: in one.
func answering(t testing.TB, p *place, r *ngx.Request, answer string, n int) *relay.Exchange {
	t.Helper()
	return relaytest.Answering(t, relay.Place{Kind: kind(), Protocol: p, Chunks: true}, &p.conf.Conf, r, []byte(answer), n)
}

// rec is a record as it is on the wire.
func rec(kind byte, padding int, content string) string {
	b := []byte{version, kind, 0, requestID, byte(len(content) >> 8), byte(len(content)), byte(padding), 0}
	return string(b) + content + strings.Repeat("\xff", padding)
}

func TestAnswers(t *testing.T) {
	const head = "Status: 200 OK\r\nX-A: b\r\n\r\n"
	end := rec(endRequest, 0, "\x00\x00\x00\x00\x00\x00\x00\x00")
	whole := rec(stdout, 0, "") + end
	bad := fmt.Sprint("fail ", relay.NextInvalidHeader, " 502")
	for _, c := range []struct{ rule, method, answer, want string }{
		{"one record", "GET", rec(stdout, 0, head+"hello") + whole, `200 Status=200 OK X-A=b "hello"`},
		{"padding", "GET", rec(stdout, 5, head+"hello") + rec(stdout, 3, "") + end, `200 Status=200 OK X-A=b "hello"`},
		{"several records", "GET", rec(stdout, 0, head[:9]) + rec(stdout, 7, head[9:]) + rec(stdout, 1, "hel") + rec(stdout, 255, "lo") + whole, `200 Status=200 OK X-A=b "hello"`},
		{"the end of the head in two records", "GET", rec(stdout, 0, head[:len(head)-1]) + rec(stdout, 0, "\nhello") + whole, `200 Status=200 OK X-A=b "hello"`},
		{"standard error in between", "GET", rec(stderr, 2, "one") + rec(stdout, 0, head[:9]) + rec(stderr, 0, "two") + rec(stdout, 0, head[9:]+"hel") +
			rec(stderr, 0, "three") + rec(stdout, 0, "lo") + rec(stderr, 0, "") + whole, `200 Status=200 OK X-A=b "hello"`},
		{"records of a byte", "GET", strings.Join(each(head+"hello", func(s string) string { return rec(stdout, 1, s) }), "") + whole, `200 Status=200 OK X-A=b "hello"`},
		{"no end of the stream", "GET", rec(stdout, 0, head+"hello") + end, `200 Status=200 OK X-A=b "hello"`},
		{"no status", "GET", rec(stdout, 0, "X-A: b\n\nhello") + whole, `200 X-A=b "hello"`},
		{"a redirect", "GET", rec(stdout, 0, "Location: /x\r\n\r\n") + whole, `302 Location=/x ""`},
		{"an empty body", "GET", rec(stdout, 0, head) + whole, `200 Status=200 OK X-A=b ""`},
		{"a length", "GET", rec(stdout, 0, "Content-Length: 5\r\n\r\nhello") + whole, `200 Content-Length=5 "hello"`},
		{"bytes behind the end", "GET", rec(stdout, 0, head+"hello") + whole + "more", `200 Status=200 OK X-A=b "hello"`},
		{"more than the length", "GET", rec(stdout, 0, "Content-Length: 3\r\n\r\nhello") + whole, `200 Content-Length=3 "hel"`},
		{"less than the length", "GET", rec(stdout, 0, "Content-Length: 9\r\n\r\nhello") + whole, `200 Content-Length=9 "hello" upstream prematurely closed FastCGI stdout`},
		{"less than the length, early", "GET", rec(stdout, 0, "Content-Length: 9\r\n\r\nhello") + end, `200 Content-Length=9 "hello" upstream prematurely closed FastCGI request`},
		{"an answer to HEAD may lack its body", "HEAD", rec(stdout, 0, "Content-Length: 9\r\n\r\n") + whole, `200 Content-Length=9 ""`},
		{"status 204 has none", "GET", rec(stdout, 0, "Status: 204\r\n\r\nhello") + whole, `204 Status=204 ""`},
		{"the connection's end isn't the answer's", "GET", rec(stdout, 0, head+"hello"), `200 Status=200 OK X-A=b "hello" upstream prematurely closed connection`},
		{"a cut record", "GET", rec(stdout, 0, head+"hello")[:8+len(head)+3], `200 Status=200 OK X-A=b "hel" upstream prematurely closed connection`},
		{"an end in the head", "GET", rec(stdout, 0, head[:9]) + end, bad},
		{"an end of the stream in the head", "GET", rec(stdout, 0, head[:9]) + whole, bad},
		{"nothing but standard error", "GET", rec(stderr, 0, "no") + whole, bad},
		{"a text that is caught", "GET", rec(stderr, 0, "it is Fatal, is it") + rec(stdout, 0, head) + whole, bad},
		{"a text that is caught between parts of the head", "GET", rec(stdout, 0, head[:9]) + rec(stderr, 0, "Fatal") + rec(stdout, 0, head[9:]) + whole, bad},
		{"a text behind the head", "GET", rec(stdout, 0, head) + rec(stderr, 0, "Fatal") + whole, `200 Status=200 OK X-A=b ""`},
		{"another version", "GET", "\x02" + rec(stdout, 0, head)[1:] + whole, bad},
		{"another version behind the head", "GET", rec(stdout, 0, head+"hello") + "\x02" + end[1:], `200 Status=200 OK X-A=b "hello" upstream sent unsupported FastCGI protocol version: 2`},
		{"another type", "GET", rec(9, 0, "x") + rec(stdout, 0, head) + whole, bad},
		{"another type behind the head", "GET", rec(stdout, 0, head) + rec(stdin, 0, "x") + whole, `200 Status=200 OK X-A=b "" upstream sent invalid FastCGI record type: 5`},
		{"another request", "GET", "\x01\x06\x00\x02" + rec(stdout, 0, head)[4:] + whole, bad},
		{"another request by the high byte", "GET", rec(stdout, 0, head) + "\x01\x06\x01" + rec(stdout, 0, "x")[3:], `200 Status=200 OK X-A=b "" upstream sent unexpected FastCGI request id high byte: 1`},
		{"an invalid field", "GET", rec(stdout, 0, "X A: b\r\n\r\n") + whole, bad},
		{"a head that is too big", "GET", rec(stdout, 0, "X-A: "+strings.Repeat("x", 600)+"\r\n\r\n") + whole, bad},
		{"nothing", "GET", "", fmt.Sprint("fail ", relay.NextError, " 502")},
		{"half a header", "GET", rec(stdout, 0, head)[:5], fmt.Sprint("fail ", relay.NextError, " 502")},
	} {
		t.Run(c.rule, func(t *testing.T) {
			p := location(t, "fastcgi_catch_stderr Fatal; fastcgi_buffer_size 512; fastcgi_buffers 4 512;")
			// Whole, parted at every byte, and a byte a read.
			for cut := 0; cut <= len(c.answer); cut++ {
				x := answering(t, p, relaytest.Request(c.method, "/", ""), c.answer, cut)
				if got := relaytest.Outcome(x); got != c.want {
					t.Fatalf("in pieces of %d:\ngot  %s\nwant %s", cut, got, c.want)
				}
			}
		})
	}
}

// each returns what fn makes of each byte.
func each(s string, fn func(string) string) []string {
	list := strings.Split(s, "")
	for i := range list {
		list[i] = fn(list[i])
	}
	return list
}

func TestConnectionIsKeptBehindItsAnswer(t *testing.T) {
	end := rec(stdout, 0, "") + rec(endRequest, 0, "\x00\x00\x00\x00\x00\x00\x00\x00")
	for _, c := range []struct {
		rule, conf, behind string
		want               bool
	}{
		{"asked for", "fastcgi_keep_conn on;", "", true},
		{"not asked for", "", "", false},
		{"bytes behind the answer", "fastcgi_keep_conn on;", "more", false},
	} {
		x := answering(t, location(t, c.conf), relaytest.Request("GET", "/", ""), rec(stdout, 0, "A: b\r\n\r\nhello")+end+c.behind, 0)
		relaytest.Outcome(x)
		if x.Keep != c.want {
			t.Errorf("%s: kept %v", c.rule, x.Keep)
		}
	}
}

// sent is a request as a peer reads it.
type sent struct {
	role       uint16
	flags      byte
	params     []string
	body       string
	count      int // of records
	unpadded   bool
	paramsEnd  bool
	stdinEnd   bool
	unexpected string
}

// receive reads the records of a request.
func receive(b []byte) (s sent) {
	var params []byte
	for len(b) >= 8 {
		kind, n, padding := b[1], int(binary.BigEndian.Uint16(b[4:])), int(b[6])
		if b[0] != 1 || b[2] != 0 || b[3] != 1 || len(b) < 8+n+padding {
			s.unexpected = fmt.Sprintf("% x", b[:8])
			return s
		}
		content := b[8 : 8+n]
		b = b[8+n+padding:]
		s.count++
		s.unpadded = s.unpadded || (n+padding)%8 != 0
		switch {
		case kind == beginRequest && s.count == 1:
			s.role, s.flags = binary.BigEndian.Uint16(content), content[2]
		case kind == 4 && !s.paramsEnd:
			params = append(params, content...)
			s.paramsEnd = n == 0
		case kind == stdin && s.paramsEnd && !s.stdinEnd:
			s.body += string(content)
			s.stdinEnd = n == 0
		default:
			s.unexpected = fmt.Sprint("type ", kind)
		}
	}
	if len(b) > 0 {
		s.unexpected = "bytes behind it"
	}
	length := func() (n int) {
		if n = int(params[0]); n < 128 {
			params = params[1:]
			return n
		}
		n = int(binary.BigEndian.Uint32(params) & 0x7fffffff)
		params = params[4:]
		return n
	}
	for len(params) > 0 {
		n := length()
		v := length()
		s.params = append(s.params, string(params[:n])+"="+string(params[n:n+v]))
		params = params[n+v:]
	}
	return s
}

func TestRequests(t *testing.T) {
	long, huge := strings.Repeat("x", 200), strings.Repeat("y", 70000)
	for _, c := range []struct {
		rule, conf, body string
		fields           []string
		want             []string
		flags            byte
	}{
		{"parameters and fields", "fastcgi_param A b; fastcgi_param URI $uri;", "", []string{"X-B", "c", "Host", "example.com"}, []string{"A=b", "URI=/p", "HTTP_HOST=example.com", "HTTP_X_B=c"}, 0},
		{"an empty value", "fastcgi_param A $empty; fastcgi_param B $empty if_not_empty;", "", nil, []string{"A=", "HTTP_HOST=example.com"}, 0},
		{"long names and values", "fastcgi_param " + long + " " + long + ";", "", []string{long, long}, []string{long + "=" + long, "HTTP_HOST=example.com", "HTTP_" + strings.ToUpper(long) + "=" + long}, 0},
		{"parameters for two records", "", "", []string{"A", huge}, []string{"HTTP_HOST=example.com", "HTTP_A=" + huge}, 0},
		{"a body", "", "hello", nil, []string{"HTTP_HOST=example.com"}, 0},
		{"a body for two records", "", huge, nil, []string{"HTTP_HOST=example.com"}, 0},
		{"no body passed on", "fastcgi_pass_request_body off;", "", nil, []string{"HTTP_HOST=example.com"}, 0},
		{"no fields passed on", "fastcgi_pass_request_headers off;", "", []string{"A", "b"}, []string{"HTTP_HOST=example.com"}, 0},
		{"fields of a name joined", "", "", []string{"A", "1", "B", "2", "a", "3", "Cookie", "c", "Cookie", "d"}, []string{"HTTP_HOST=example.com", "HTTP_A=1, 3", "HTTP_B=2", "HTTP_COOKIE=c; d"}, 0},
		{"a parameter in place of a field", "fastcgi_param HTTP_X_A mine; fastcgi_param HTTP_HOST ''; fastcgi_param HTTP_B '';", "", []string{"x-a", "1", "B", "2"}, []string{"HTTP_X_A=mine"}, 0},
		{"connections kept", "fastcgi_keep_conn on;", "", nil, []string{"HTTP_HOST=example.com"}, keepConn},
	} {
		p := location(t, c.conf)
		x := answering(t, p, relaytest.Request("POST", "/p", c.body, c.fields...), "", 0)
		got := receive(p.AppendRequest(nil, x))
		if got.role != responder || got.flags != c.flags || !got.paramsEnd || !got.stdinEnd || got.unpadded || got.unexpected != "" {
			t.Errorf("%s: role %d flags %d, streams ended %v %v, unpadded %v, unexpected %q", c.rule, got.role, got.flags, got.paramsEnd, got.stdinEnd, got.unpadded, got.unexpected)
		}
		if strings.Join(got.params, "\n") != strings.Join(c.want, "\n") || got.body != c.body {
			t.Errorf("%s: got %.300q and a body of %d, want %.300q and %d", c.rule, got.params, len(got.body), c.want, len(c.body))
		}
	}
}

func TestBodiesAreFramedInPlace(t *testing.T) {
	p := location(t, "")
	x := answering(t, p, relaytest.Request("POST", "/", ""), "", 0)
	for _, c := range []struct {
		body string
		end  bool
		want string
	}{
		{"hello", false, rec(stdin, 3, "hello")},
		{"hello", true, rec(stdin, 3, "hello") + rec(stdin, 0, "")},
		{"", true, rec(stdin, 0, "")},
		{"", false, ""},
		{"12345678", false, rec(stdin, 0, "12345678")},
	} {
		copy(x.In[relay.FrameRoom:], c.body)
		got := string(p.Frame(x, len(c.body), c.end))
		if want := strings.ReplaceAll(c.want, "\xff", "\x00"); got != want { // what pads is zeros
			t.Errorf("%q, end %v: got %q, want %q", c.body, c.end, got, want)
		}
	}
}

// FuzzAnswers reads records in one piece and in small ones: it must come to the same.
func FuzzAnswers(f *testing.F) {
	end := rec(stdout, 0, "") + rec(endRequest, 0, "\x00\x00\x00\x00\x00\x00\x00\x00")
	f.Add([]byte(rec(stdout, 3, "Status: 200 OK\r\nContent-Length: 5\r\n\r\nhello")+end), 1)
	f.Add([]byte(rec(stderr, 3, "warning")+rec(stdout, 0, "A: b\r\n\r\nhel")+rec(stderr, 0, "Fatal")+rec(stdout, 1, "lo")+end), 7)
	f.Add([]byte(rec(stdout, 0, "Content-Length: 3\r\n\r\nhello")+"\x02"+end), 3)
	f.Add([]byte(rec(stdout, 255, "Sta")+rec(endRequest, 9, "")), 2)
	p := location(f, "fastcgi_catch_stderr Fatal;")
	f.Fuzz(func(t *testing.T, answer []byte, n int) {
		answer = answer[:min(len(answer), 4000)] // what is larger is too big by what has come, framing among it
		whole := relaytest.Outcome(answering(t, p, relaytest.Request("GET", "/", ""), string(answer), 0))
		parted := relaytest.Outcome(answering(t, p, relaytest.Request("GET", "/", ""), string(answer), max(n, 1)))
		if whole != parted {
			t.Errorf("in one piece %s\nin pieces of %d %s", whole, max(n, 1), parted)
		}
	})
}

func BenchmarkAppendRequest(b *testing.B) {
	p := location(b, "fastcgi_param SCRIPT_FILENAME /srv/www$uri; fastcgi_param QUERY_STRING a=b; fastcgi_param REQUEST_METHOD GET; "+
		"fastcgi_param REQUEST_URI $uri; fastcgi_param DOCUMENT_ROOT /srv/www; fastcgi_param REMOTE_ADDR 192.0.2.1; fastcgi_param SERVER_NAME $host;")
	x := answering(b, p, relaytest.Request("GET", "/index.php", "", "Host", "example.com", "User-Agent", "Mozilla/5.0", "Accept", "*/*", "Cookie", "a=b"), "", 0)
	buf := p.AppendRequest(nil, x)
	asked := *x.R
	b.ReportAllocs()
	b.SetBytes(int64(len(buf)))
	for b.Loop() {
		*x.R = asked // its memory is free again
		buf = p.AppendRequest(buf[:0], x)
	}
}

func BenchmarkAnswer(b *testing.B) {
	p := location(b, "fastcgi_keep_conn on;")
	x := answering(b, p, relaytest.Request("GET", "/", ""), "", 0)
	answer := rec(stdout, 7, "Status: 200 OK\r\nContent-Type: text/html; charset=UTF-8\r\nX-Powered-By: PHP\r\nSet-Cookie: a=b\r\n\r\n"+strings.Repeat("x", 1024)) +
		rec(stdout, 0, "") + rec(endRequest, 0, "\x00\x00\x00\x00\x00\x00\x00\x00")
	s := x.State.(*state)
	b.ReportAllocs()
	b.SetBytes(int64(len(answer)))
	for b.Loop() {
		*s = state{pairs: s.pairs, stderr: s.stderr[:0]}
		x.Rd, x.Wr = 0, copy(x.In, answer)
		if fail := p.ReadHead(x); fail.Class != 0 {
			b.Fatal(fail)
		}
		for {
			if _, err := p.Decode(x, x.In[x.Rd:x.Wr]); err == io.EOF {
				break
			} else if err != nil {
				b.Fatal(err)
			}
		}
	}
}

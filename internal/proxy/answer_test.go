package proxy

import (
	"fmt"
	"strings"
	"testing"

	"limpet/internal/relay"
	"limpet/internal/relaytest"
)

// answering is an Exchange whose peer sends an answer, in pieces of n bytes unless n is 0, and closes.
func answering(t testing.TB, statements, answer string, n int) *relay.Exchange {
	t.Helper()
	p := location(t, statements+"proxy_pass http://127.0.0.1;")
	x := relaytest.Answering(t, relay.Place{Kind: kind(), Protocol: p}, &p.conf.Conf, request("/name/"), []byte(answer), n)
	x.Out = append(x.Out, "GET / HTTP/1.1\r\n\r\n"...)
	return x
}

// outcome tells how the head was taken: the failure's class and status, or status, length and the fields.
func outcome(x *relay.Exchange) string {
	if fail := x.H.Protocol.ReadHead(x); fail.Class != 0 {
		return fmt.Sprint("fail ", fail.Class, " ", fail.Status)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%d length %d chunked %v keep %v", x.Status, x.Length, x.Framed, x.Keep)
	for _, f := range x.R.UpHead.Fields {
		fmt.Fprintf(&b, " %s=%s", f.Name, f.Value)
	}
	return b.String()
}

func TestAnswersHead(t *testing.T) {
	bad := fmt.Sprint("fail ", relay.NextInvalidHeader, " 502")
	lost := fmt.Sprint("fail ", relay.NextError, " 502")
	for _, c := range []struct{ rule, conf, head, want string }{
		{"a length", "", "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nA: b\r\n\r\n", "200 length 3 chunked false keep true Content-Length=3 A=b"},
		{"chunks", "", "HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n", "200 length -1 chunked true keep true Transfer-Encoding=Chunked"},
		{"LF alone ends lines", "", "HTTP/1.1 200 OK\nA: b\n\n", "200 length -1 chunked false keep true A=b"},
		{"interim answers are skipped", "", "HTTP/1.1 103 Early\r\nLink: x\r\n\r\nHTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n", "204 length -1 chunked false keep true"},
		{"Connection: close", "", "HTTP/1.1 200 OK\r\nConnection: x, Close\r\n\r\n", "200 length -1 chunked false keep false Connection=x, Close"},
		{"HTTP/1.0 closes", "", "HTTP/1.0 200 OK\r\n\r\n", "200 length -1 chunked false keep false"},
		{"HTTP/1.0 that says it doesn't", "", "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n\r\n", "200 length -1 chunked false keep true Connection=keep-alive"},
		{"a second single field is dropped", "", "HTTP/1.1 200 OK\r\nServer: a\r\nServer: b\r\nVia: a\r\nVia: b\r\n\r\n", "200 length -1 chunked false keep true Server=a Via=a Via=b"},
		{"two lengths", "", "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\n", bad},
		{"length and chunks", "", "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n", bad},
		{"chunks and length", "", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n", bad},
		{"a negative length", "", "HTTP/1.1 200 OK\r\nContent-Length: -3\r\n\r\n", bad},
		{"another coding", "", "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n", bad},
		{"a blank in a name", "", "HTTP/1.1 200 OK\r\nA b: c\r\n\r\n", bad},
		{"no status line", "", "hello\r\n\r\n", bad},
		{"an end in the middle", "", "HTTP/1.1 200 OK\r\nA: b", lost},
		{"nothing", "", "", lost},
		{"more than proxy_buffer_size", "proxy_buffer_size 64;", "HTTP/1.1 200 OK\r\nA: " + strings.Repeat("b", 60) + "\r\n\r\n", bad},
	} {
		if got := outcome(answering(t, c.conf, c.head, 0)); got != c.want {
			t.Errorf("%s: got %s, want %s", c.rule, got, c.want)
		}
		// The same, a byte a read.
		if got := outcome(answering(t, c.conf, c.head, 1)); got != c.want {
			t.Errorf("%s, byte by byte: got %s, want %s", c.rule, got, c.want)
		}
	}
}

// body reads an answer's body to its end.
func body(x *relay.Exchange) string {
	if fail := x.H.Protocol.ReadHead(x); fail.Class != 0 {
		return fmt.Sprint("fail ", fail.Status)
	}
	b, err := x.ReadAll()
	if err != nil {
		return fmt.Sprintf("%s|%v", b, err)
	}
	for _, f := range x.R.UpTrailer.Fields {
		b = fmt.Appendf(b, " %s=%s", f.Name, f.Value)
	}
	return fmt.Sprintf("%s|keep %v", b, x.Keep)
}

func TestAnswersBody(t *testing.T) {
	const head = "HTTP/1.1 200 OK\r\n"
	for _, c := range []struct{ rule, answer, want string }{
		{"by length", head + "Content-Length: 5\r\n\r\nhello", "hello|keep true"},
		{"by the end", head + "\r\nhello", "hello|keep false"},
		{"in chunks", head + "Transfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2;x=y\r\nlo\r\n0\r\n\r\n", "hello|keep true"},
		{"with a trailer", head + "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nA: b\r\nC: d\r\n\r\n", "hello A=b C=d|keep true"},
		{"short of its length", head + "Content-Length: 6\r\n\r\nhello", "hello|" + "upstream prematurely closed connection"},
		{"chunks without an end", head + "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", "hello|" + "upstream prematurely closed connection"},
		{"a trailer without an end", head + "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nA: b\r\n", "hello|" + "upstream prematurely closed connection"},
	} {
		if got := body(answering(t, "", c.answer, 0)); got != c.want {
			t.Errorf("%s: got %s, want %s", c.rule, got, c.want)
		}
		if got := body(answering(t, "", c.answer, 1)); got != c.want {
			t.Errorf("%s, byte by byte: got %s, want %s", c.rule, got, c.want)
		}
	}
}

func TestBytesBehindTheBodyEndTheConnection(t *testing.T) {
	for _, answer := range []string{
		"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhellomore",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\nmore",
	} {
		if got := body(answering(t, "", answer, 0)); got != "hello|keep false" {
			t.Errorf("%q: got %s", answer, got)
		}
	}
}

func TestBrokenChunksAreSeenBeforeTheAnswer(t *testing.T) {
	x := answering(t, "", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n", 0)
	if got := outcome(x); got != fmt.Sprint("fail ", relay.NextOff, " 502") {
		t.Errorf("got %s", got)
	}
}

func BenchmarkAnswersHead(b *testing.B) {
	x := answering(b, "", "", 0)
	head := "HTTP/1.1 200 OK\r\nDate: Mon, 01 Jan 2024 00:00:00 GMT\r\nServer: s\r\nContent-Type: text/plain\r\nContent-Length: 128\r\nCache-Control: no-cache\r\nSet-Cookie: a=b\r\n\r\n"
	b.ReportAllocs()
	for b.Loop() {
		x.Rd, x.Wr = 0, copy(x.In, head)
		if fail := x.H.Protocol.ReadHead(x); fail.Class != 0 {
			b.Fatal(fail)
		}
	}
}

package proxy

import (
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"

	"limpet/internal/ngx"
	"limpet/internal/tcp"
	"limpet/upstream"
)

// silence is a piece that never comes.
const silence = "silence"

// answering is an exchange whose peer sends the pieces, one read each, and closes.
func answering(t testing.TB, statements string, pieces ...string) *exchange {
	t.Helper()
	x := passing(t, location(t, statements+"proxy_pass http://127.0.0.1;"), request("/name/"))
	a, b := net.Pipe()
	x.link = upstream.Link{Conn: tcp.New(a)}
	x.out = append(x.out, "GET / HTTP/1.1\r\n\r\n"...)
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer b.Close()
		for _, p := range pieces {
			if p == silence {
				io.Copy(io.Discard, b) // until the other side closes
				return
			}
			if _, err := io.WriteString(b, p); err != nil {
				return
			}
		}
	}()
	t.Cleanup(func() {
		x.close()
		b.Close()
		<-done
	})
	return x
}

func split(s string) []string { return strings.Split(s, "") }

// outcome tells how the head was taken: the failure's class and status, or status, length and the fields.
func outcome(x *exchange) string {
	if fail := x.readHead(); fail.class != 0 {
		return fmt.Sprint("fail ", fail.class, " ", fail.status)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%d length %d chunked %v keep %v", x.line.Status, x.length, x.chunked, x.keep)
	for _, f := range x.r.UpHead.Fields {
		fmt.Fprintf(&b, " %s=%s", f.Name, f.Value)
	}
	return b.String()
}

func TestAnswersHead(t *testing.T) {
	bad := fmt.Sprint("fail ", nextInvalidHeader, " 502")
	lost := fmt.Sprint("fail ", nextError, " 502")
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
		if got := outcome(answering(t, c.conf, c.head)); got != c.want {
			t.Errorf("%s: got %s, want %s", c.rule, got, c.want)
		}
		// The same, a byte a read.
		if got := outcome(answering(t, c.conf, split(c.head)...)); got != c.want {
			t.Errorf("%s, byte by byte: got %s, want %s", c.rule, got, c.want)
		}
	}
}

// body reads an answer's body to its end.
func body(x *exchange) string {
	if fail := x.readHead(); fail.class != 0 {
		return fmt.Sprint("fail ", fail.status)
	}
	x.src = source{base: x.rd, remain: x.length}
	var b strings.Builder
	for {
		p, err := x.next()
		b.Write(p)
		if err == io.EOF {
			x.takeTrailer()
			for _, f := range x.r.UpTrailer.Fields {
				fmt.Fprintf(&b, " %s=%s", f.Name, f.Value)
			}
			return fmt.Sprintf("%s|keep %v", &b, x.keep)
		}
		if err != nil {
			return fmt.Sprintf("%s|%v", &b, err)
		}
	}
}

func TestAnswersBody(t *testing.T) {
	const head = "HTTP/1.1 200 OK\r\n"
	for _, c := range []struct{ rule, answer, want string }{
		{"by length", head + "Content-Length: 5\r\n\r\nhello", "hello|keep true"},
		{"by the end", head + "\r\nhello", "hello|keep false"},
		{"in chunks", head + "Transfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2;x=y\r\nlo\r\n0\r\n\r\n", "hello|keep true"},
		{"with a trailer", head + "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nA: b\r\nC: d\r\n\r\n", "hello A=b C=d|keep true"},
		{"short of its length", head + "Content-Length: 6\r\n\r\nhello", "hello|" + errEarly.Error()},
		{"chunks without an end", head + "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", "hello|" + errEarly.Error()},
		{"a trailer without an end", head + "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nA: b\r\n", "hello|" + errEarly.Error()},
	} {
		if got := body(answering(t, "", c.answer)); got != c.want {
			t.Errorf("%s: got %s, want %s", c.rule, got, c.want)
		}
		if got := body(answering(t, "", split(c.answer)...)); got != c.want {
			t.Errorf("%s, byte by byte: got %s, want %s", c.rule, got, c.want)
		}
	}
}

func TestBytesBehindTheBodyEndTheConnection(t *testing.T) {
	for _, answer := range []string{
		"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhellomore",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\nmore",
	} {
		if got := body(answering(t, "", answer)); got != "hello|keep false" {
			t.Errorf("%q: got %s", answer, got)
		}
	}
}

func TestBrokenChunksAreSeenBeforeTheAnswer(t *testing.T) {
	x := answering(t, "", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n")
	if got := outcome(x); got != fmt.Sprint("fail ", nextOff, " 502") {
		t.Errorf("got %s", got)
	}
}

// A spool gives everything in order: what was in memory, then what a file took.
func TestSpoolKeepsTheOrder(t *testing.T) {
	var pieces []string
	for i := range 3000 {
		pieces = append(pieces, fmt.Sprintf("piece %04d,", i))
	}
	want := strings.Join(pieces, "")
	for _, conf := range []string{
		"proxy_buffers 2 4k; proxy_busy_buffers_size 4k; proxy_max_temp_file_size 0;", // waits for room
		"proxy_buffers 2 4k; proxy_busy_buffers_size 4k; proxy_max_temp_file_size 1m;",
	} {
		head := fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n", len(want))
		x := answering(t, conf, append([]string{head}, pieces...)...)
		x.h.temp = &ngx.TempDir{Path: ngx.TempPath{Dir: t.TempDir()}}
		x.h.target.Group = upstream.Single("x", "127.0.0.1:1")
		x.to.group = x.h.target.Group
		if fail := x.readHead(); fail.class != 0 {
			t.Fatal(fail)
		}
		x.src = source{base: x.rd, remain: x.length}
		x.startSpool()
		var got strings.Builder
		var err error
		for err == nil {
			var p []byte
			p, err = x.spool.take()
			got.Write(p)
		}
		x.close()
		if err != io.EOF || got.String() != want {
			t.Errorf("%s: %v, %d bytes of %d", conf, err, got.Len(), len(want))
		}
	}
}

// A spool that nobody takes from ends when it is told to, in the middle of waiting for room and of reading.
func TestSpoolEndsWhenToldTo(t *testing.T) {
	for name, rest := range map[string]string{"waits for room": strings.Repeat("x", 200<<10), "reads": silence} {
		x := answering(t, "proxy_max_temp_file_size 0;", "HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n", rest)
		if fail := x.readHead(); fail.class != 0 {
			t.Fatal(name, fail)
		}
		x.src = source{base: x.rd, remain: x.length}
		x.startSpool()
		s := x.spool
		x.close()
		if _, err := s.take(); rest == silence && !errors.Is(err, tcp.ErrAborted) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func BenchmarkAnswersHead(b *testing.B) {
	x := answering(b, "")
	head := "HTTP/1.1 200 OK\r\nDate: Mon, 01 Jan 2024 00:00:00 GMT\r\nServer: s\r\nContent-Type: text/plain\r\nContent-Length: 128\r\nCache-Control: no-cache\r\nSet-Cookie: a=b\r\n\r\n"
	b.ReportAllocs()
	for b.Loop() {
		x.rd, x.wr = 0, copy(x.in, head)
		if fail := x.readHead(); fail.class != 0 {
			b.Fatal(fail)
		}
	}
}

package server

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// proxied starts a server whose http block is conf, BACKEND being replaced by an
// address where backend serves each connection, and returns a function that connects to it.
func proxied(t testing.TB, conf string, backend func(c net.Conn)) (dial func() net.Conn) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				backend(c)
			}()
		}
	}()
	dir, err := os.MkdirTemp("", "limpet") // a socket's path must be short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	file := filepath.Join(dir, "nginx.conf")
	conf = strings.ReplaceAll(conf, "BACKEND", l.Addr().String())
	if !strings.Contains(conf, "listen;") {
		conf = "server { listen; " + conf + "}"
	}
	conf = strings.Replace(conf, "listen;", "listen unix:"+dir+"/s;", 1)
	text := "events { }\nhttp { access_log off; " + conf + "}\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	s, _, err := New(Options{ConfFile: file, Prefix: dir + "/", ErrorLog: filepath.Join(dir, "error.log")})
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(s.Shutdown)
	return func() net.Conn {
		c, err := net.Dial("unix", dir+"/s")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		c.SetDeadline(time.Now().Add(10 * time.Second))
		return c
	}
}

// answer reads a response and returns its status and body.
func answer(t testing.TB, r *bufio.Reader) string {
	t.Helper()
	resp, err := http.ReadResponse(r, nil)
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprint(resp.StatusCode, " ", string(body))
}

// head reads a request's head.
func head(c io.Reader) string {
	var b []byte
	one := make([]byte, 1)
	for !bytes.HasSuffix(b, []byte("\r\n\r\n")) {
		if _, err := c.Read(one); err != nil {
			return ""
		}
		b = append(b, one[0])
	}
	return string(b)
}

// A peer that answers before it has the request's body is heard, though the client
// sends no more, and its connection doesn't serve another request.
func TestEarlyAnswerEndsTheUpload(t *testing.T) {
	for name, framing := range map[string]string{
		"length":  "Content-Length: 100000\r\n\r\nsome",
		"chunked": "Transfer-Encoding: chunked\r\n\r\n4\r\nsome\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			var conns atomic.Int32
			dial := proxied(t, `upstream u { server BACKEND; keepalive 4; }
server { listen; proxy_request_buffering off; proxy_http_version 1.1; proxy_set_header Connection ""; location / { proxy_pass http://u; } }`,
				func(c net.Conn) {
					n := conns.Add(1)
					for {
						h := head(c)
						if h == "" {
							return
						}
						fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n%d", n)
					}
				})
			c := dial()
			fmt.Fprintf(c, "POST / HTTP/1.1\r\nHost: x\r\n%s", framing)
			if got := answer(t, bufio.NewReader(c)); got != "200 1" {
				t.Errorf("got %s", got)
			}
			d := dial()
			fmt.Fprint(d, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
			if got := answer(t, bufio.NewReader(d)); got != "200 2" {
				t.Errorf("the next request: got %s, want a connection of its own", got)
			}
		})
	}
}

// A body that has come whole is sent at once with the head, as a buffered one.
func TestStreamedBodyArrivesWhole(t *testing.T) {
	big := strings.Repeat("0123456789abcdef", 40000)
	for name, c := range map[string]struct{ conf, request, want string }{
		"small":         {"", "Content-Length: 5\r\n\r\nhello", "Content-Length: 5|hello"},
		"small chunked": {"", "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", "Content-Length: 5|hello"},
		"big":           {"", fmt.Sprintf("Content-Length: %d\r\n\r\n%s", len(big), big), fmt.Sprintf("Content-Length: %d|%s", len(big), big)},
		"big chunked":   {"", fmt.Sprintf("Transfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n", len(big), big), "Transfer-Encoding: chunked|" + big},
		"buffered":      {"proxy_request_buffering on;", fmt.Sprintf("Transfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n", len(big), big), fmt.Sprintf("Content-Length: %d|%s", len(big), big)},
	} {
		t.Run(name, func(t *testing.T) {
			if c.conf == "" {
				c.conf = "proxy_request_buffering off;"
			}
			got := make(chan string, 1)
			dial := proxied(t, "client_max_body_size 0; location / { "+c.conf+" proxy_pass http://BACKEND; }", func(conn net.Conn) {
				req, err := http.ReadRequest(bufio.NewReader(conn))
				if err != nil {
					return
				}
				body, err := io.ReadAll(req.Body)
				if err != nil {
					got <- err.Error()
				}
				framing := fmt.Sprint("Content-Length: ", req.ContentLength)
				if req.ContentLength < 0 {
					framing = "Transfer-Encoding: chunked"
				}
				got <- framing + "|" + string(body)
				fmt.Fprint(conn, "HTTP/1.1 204 No Content\r\n\r\n")
			})
			conn := dial()
			go fmt.Fprintf(conn, "POST / HTTP/1.1\r\nHost: x\r\n%s", c.request)
			if a := answer(t, bufio.NewReader(conn)); a != "204 " {
				t.Errorf("answer %s", a)
			}
			if g := <-got; g != c.want {
				t.Errorf("the peer got %.100q (%d bytes), want %.100q (%d)", g, len(g), c.want, len(c.want))
			}
		})
	}
}

// The beginning of a streamed body that came with the head goes on with it, in one piece.
func TestStreamedBodyBeginsWithTheHead(t *testing.T) {
	for name, c := range map[string]struct{ request, want string }{
		"length":  {"Content-Length: 9\r\n\r\nsome", "\r\n\r\nsome"},
		"chunked": {"Transfer-Encoding: chunked\r\n\r\n4\r\nsome\r\n", "\r\n\r\n4\r\nsome\r\n"},
	} {
		t.Run(name, func(t *testing.T) {
			got := make(chan string, 1)
			dial := proxied(t, "proxy_request_buffering off; location / { proxy_pass http://BACKEND; }", func(conn net.Conn) {
				buf := make([]byte, 4096)
				n, _ := conn.Read(buf)
				got <- string(buf[:n])
				fmt.Fprint(conn, "HTTP/1.1 204 No Content\r\n\r\n")
			})
			fmt.Fprintf(dial(), "POST / HTTP/1.1\r\nHost: x\r\n%s", c.request)
			if g := <-got; !strings.HasSuffix(g, c.want) {
				t.Errorf("the peer's first read gave %q", g)
			}
		})
	}
}

// BenchmarkProxied is a request passed on over kept connections on both sides; in steady state it doesn't allocate.
func BenchmarkProxied(b *testing.B) {
	const get = "GET /path?a=b HTTP/1.1\r\nHost: example.com\r\nUser-Agent: test\r\nAccept: */*\r\nCookie: a=b\r\n\r\n"
	const post = "POST /path HTTP/1.1\r\nHost: example.com\r\nContent-Length: 5\r\n\r\nhello"
	body := strings.Repeat("x", 128)
	length := "Content-Length: 128\r\n\r\n" + body
	chunked := "Transfer-Encoding: chunked\r\n\r\n80\r\n" + body + "\r\n0\r\n\r\n"
	for _, c := range []struct{ name, conf, request, framing string }{
		{"length", "", get, length},
		{"chunked", "", get, chunked},
		{"post", "", post, length},
		{"unbuffered", "proxy_request_buffering off; proxy_buffering off;", post, chunked},
	} {
		b.Run(c.name, func(b *testing.B) {
			response := []byte("HTTP/1.1 200 OK\r\nDate: Mon, 01 Jan 2024 00:00:00 GMT\r\nServer: s\r\nContent-Type: text/plain\r\nCache-Control: no-cache\r\n" + c.framing)
			dial := proxied(b, `keepalive_requests 1000000000; upstream u { server BACKEND; keepalive 4; keepalive_requests 1000000000; }
server { listen; proxy_set_header Host $host; proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for; `+c.conf+` location / { proxy_pass http://u; } }`, func(c net.Conn) {
				buf := make([]byte, 4096)
				for {
					if _, err := c.Read(buf); err != nil {
						return
					}
					if _, err := c.Write(response); err != nil {
						return
					}
				}
			})
			conn := dial()
			conn.SetDeadline(time.Time{})
			request, end, buf := []byte(c.request), []byte(c.framing[len(c.framing)-8:]), make([]byte, 4096)
			round := func() {
				if _, err := conn.Write(request); err != nil {
					b.Fatal(err)
				}
				for n := 0; !bytes.HasSuffix(buf[:n], end); {
					m, err := conn.Read(buf[n:])
					if err != nil {
						b.Fatal(err)
					}
					n += m
				}
			}
			for range 100 {
				round()
			}
			b.ReportAllocs()
			b.ResetTimer()
			for range b.N {
				round()
			}
		})
	}
}

package healthcheck

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"limpet/internal/ngx"
)

// The recipe that the web copies.
const recipe = `upstream hc {
    server 127.0.0.1:81;
    server 127.0.0.1:82;

    check interval=3000 rise=2 fall=5 timeout=1000 type=http;
    check_http_send "HEAD / HTTP/1.0\r\n\r\n";
    check_http_expect_alive http_2xx http_3xx;
}
`

func TestCheckRecipe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := must(t, recipe, nil)
		var asked string
		n := fake(b, map[string]func(net.Conn){"127.0.0.1:81": func(c net.Conn) {
			buf := make([]byte, 512)
			m, _ := c.Read(buf)
			asked = string(buf[:m])
			c.Write([]byte("HTTP/1.1 302 Found\r\nContent-Length: 5\r\n\r\n"))
		}})
		b.Start()
		if got := states(b, "hc"); got != "DD" {
			t.Errorf("at the start: %s", got)
		}
		time.Sleep(4500 * time.Millisecond) // two probes, the first within a second
		synctest.Wait()
		if got := states(b, "hc"); got != "UD" {
			t.Errorf("after two probes: %s", got)
		}
		if asked != "HEAD / HTTP/1.0\r\n\r\n" {
			t.Errorf("sent %q", asked)
		}
		n.set("127.0.0.1:81", replies("HTTP/1.1 503 No\r\n\r\n"))
		time.Sleep(12 * time.Second)
		synctest.Wait()
		if got := states(b, "hc"); got != "UD" {
			t.Errorf("after four failures: %s", got)
		}
		n.set("127.0.0.1:81", hangs)
		time.Sleep(4 * time.Second)
		synctest.Wait()
		if got := states(b, "hc"); got != "DD" {
			t.Errorf("after five failures: %s", got)
		}
		b.Retire()
		log := logged(t)
		for _, want := range []string{
			"[error] enable check peer: 127.0.0.1:81 \n", "[error] disable check peer: 127.0.0.1:81 \n",
			"[error] check protocol http error with peer: 127.0.0.1:81 \n", "[error] check time out with peer: 127.0.0.1:81 \n",
			"[error] connect() to 127.0.0.1:82 failed (111: Connection refused)\n",
		} {
			if !strings.Contains(log, want) {
				t.Errorf("log lacks %q:\n%s", want, log)
			}
		}
		if strings.Contains(log, "enable check peer: 127.0.0.1:82") || strings.Contains(log, "disable check peer: 127.0.0.1:82") {
			t.Errorf("the peer that never was up flipped:\n%s", log)
		}
	})
}

// record makes a FastCGI record of request 1.
func record(kind byte, content string) string {
	return string(fcgiRecord(nil, kind, []byte(content)))
}

func TestCheckProtocols(t *testing.T) {
	greeting := "\x0a\x00\x00\x00\x0a5.7"
	for _, tt := range []struct {
		name, conf string
		serve      func(c net.Conn)
		up         bool
	}{
		{"tcp open", "type=tcp", hangs, true},
		{"mysql greets", "type=mysql", func(c net.Conn) { c.Write([]byte(greeting)) }, true},
		{"mysql packet 1", "type=mysql", func(c net.Conn) { c.Write([]byte("\x0a\x00\x00\x01\x0a5.7")) }, false},
		{"mysql closes", "type=mysql", func(c net.Conn) {}, false},
		{"ajp pongs", "type=ajp", answers("AB\x00\x01\x09"), true},
		{"ajp speaks http", "type=ajp", answers("HTTP/1.0 400 No\r\n"), false},
		{"server hello", "type=ssl_hello", answers("\x16\x03\x03\x00\x7a\x02\x00"), true},
		{"alert", "type=ssl_hello", answers("\x15\x03\x03\x00\x02\x02\x28"), false},
		{"http 404 taken", "type=http; check_http_expect_alive http_4xx", answers("HTTP/1.1 404 Not Found\r\n"), true},
		{"http 404", "type=http", answers("HTTP/1.1 404 Not Found\r\n"), false},
		{"http dotted status", "type=http", answers("HTTP/1.1 200.1 OK\r\n"), true},
		{"http two digits", "type=http", answers("HTTP/1.1 20 OK\r\n"), false},
		{"http without its line end", "type=http", answers("HTTP/1.1 200 OK"), false},
		{"http switching", "type=http; check_http_expect_alive http_1xx", answers("HTTP/1.1 101 Switching\r\n"), true},
		{"fastcgi output", "type=fastcgi", answers(record(fcgiStdout, "Content-Type: a\r\n\r\n")), true},
		{"fastcgi errors", "type=fastcgi", answers(record(7, "oops")), false},
		{"fastcgi 500", "type=fastcgi; check_http_expect_alive http_2xx", answers(record(fcgiStdout, "Status: 500 No\r\n\r\n")), false},
		{"fastcgi 204", "type=fastcgi; check_http_expect_alive http_2xx", answers(record(fcgiStdout, "status: 204\r\n\r\n")), true},
		{"fastcgi without status", "type=fastcgi; check_http_expect_alive http_2xx", answers(record(fcgiStdout, "X: y\r\n\r\n")), true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := must(t, "upstream hc { server 127.0.0.1:81; check rise=1 interval=1000 "+tt.conf+"; }", nil)
				fake(b, map[string]func(net.Conn){"127.0.0.1:81": tt.serve})
				b.Start()
				time.Sleep(3 * time.Second)
				synctest.Wait()
				if got := states(b, "hc") == "U"; got != tt.up {
					t.Errorf("up %t, want %t\n%s", got, tt.up, logged(t))
				}
				b.Retire()
			})
		})
	}
}

// answers is a backend that takes one read's worth and answers with text.
func answers(text string) func(c net.Conn) {
	return func(c net.Conn) {
		c.Read(make([]byte, 4096))
		c.Write([]byte(text))
	}
}

func TestFastCGIRequest(t *testing.T) {
	got := newFastCGI([]string{"A", "b", "LONG", strings.Repeat("x", 200)}, 0).request
	want := "\x01\x01\x00\x01\x00\x08\x00\x00" + "\x00\x01\x00\x00\x00\x00\x00\x00" +
		"\x01\x04\x00\x01\x00\xd5\x03\x00" + "\x01\x01Ab" + "\x04\x80\x00\x00\xc8LONG" + strings.Repeat("x", 200) + "\x00\x00\x00" +
		"\x01\x04\x00\x01\x00\x00\x00\x00" + "\x01\x05\x00\x01\x00\x00\x00\x00"
	if string(got) != want {
		t.Errorf("got %q\nwant %q", got, want)
	}
}

func TestHelloIsOneOfOurDays(t *testing.T) {
	hello := newHello().hello
	if len(hello) < 50 || hello[0] != 22 || hello[5] != 1 || !bytes.Contains(hello, []byte{0x00, 0x2b}) {
		t.Errorf("hello %x", hello)
	}
}

func TestCheckKeepsConnections(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := must(t, `upstream hc { server 127.0.0.1:81; check interval=1000 rise=1 type=http; check_keepalive_requests 3; check_http_send "GET / HTTP/1.1\r\nHost: a\r\n\r\n"; }`, nil)
		requests := 0
		n := fake(b, map[string]func(net.Conn){"127.0.0.1:81": func(c net.Conn) {
			buf := make([]byte, 512)
			for {
				if _, err := c.Read(buf); err != nil {
					return
				}
				requests++
				io.WriteString(c, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n")
			}
		}})
		b.Start()
		time.Sleep(6900 * time.Millisecond)
		synctest.Wait()
		b.Retire()
		dials := len(strings.Fields(n.dialled()))
		if requests < 6 || dials != (requests+2)/3 {
			t.Errorf("%d requests on %d connections", requests, dials)
		}
		if n.open != 0 {
			t.Errorf("%d connections left open", n.open)
		}
	})
}

func TestClosedKeptConnectionIsNoFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := must(t, `upstream hc { server 127.0.0.1:81; check interval=1000 rise=1 fall=1 type=http; check_keepalive_requests 9; check_http_send "GET / HTTP/1.1\r\nHost: a\r\n\r\n"; }`, nil)
		fake(b, map[string]func(net.Conn){"127.0.0.1:81": func(c net.Conn) {
			buf := make([]byte, 512)
			c.Read(buf)
			io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
			c.Read(buf) // the second request is lost
		}})
		b.Start()
		time.Sleep(5 * time.Second)
		synctest.Wait()
		Of(b).Each(func(r Report) {
			if r.WentDown != 0 || r.Failed != 0 {
				t.Errorf("%+v", r)
			}
		})
		b.Retire()
	})
}

func TestUniqueChecksOnceForAllGroups(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := must(t, `
upstream a { server 127.0.0.1:81; check type=tcp unique=true interval=5000 rise=1; }
upstream b { server 127.0.0.1:81; check type=tcp unique=true interval=5000 rise=1; }
upstream c { server 127.0.0.1:81; check type=tcp interval=5000 rise=1; }`, nil)
		n := fake(b, map[string]func(net.Conn){"127.0.0.1:81": hangs})
		b.Start()
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if got := len(strings.Fields(n.dialled())); got != 2 {
			t.Errorf("%d probes, want 2", got)
		}
		if got := states(b, "a") + states(b, "b") + states(b, "c"); got != "UUU" {
			t.Errorf("states %s", got)
		}
		if got := csvPage(Of(b).rows("")); got != "0,a,127.0.0.1:81,up,1,0,tcp,0\n1,b,127.0.0.1:81,up,1,0,tcp,0\n2,c,127.0.0.1:81,up,1,0,tcp,0\n" {
			t.Errorf("rows:\n%s", got)
		}
		b.Retire()
	})
}

// Two groups with the same address have states of their own.
func TestSameAddressInTwoGroups(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := must(t, `
upstream a { server 127.0.0.1:81; check type=tcp interval=1000 rise=1 fall=1 default_down=false; }
upstream b { server 127.0.0.1:81; check type=mysql interval=1000 rise=1 fall=1 default_down=false; }`, nil)
		fake(b, map[string]func(net.Conn){"127.0.0.1:81": hangs})
		if got := states(b, "a") + states(b, "b"); got != "UU" {
			t.Errorf("at the start: %s", got)
		}
		b.Start()
		time.Sleep(3500 * time.Millisecond)
		synctest.Wait()
		if got := states(b, "a") + states(b, "b"); got != "UD" {
			t.Errorf("states %s", got)
		}
		b.Retire()
	})
}

// After a reload a checked peer is up at once: the window of default_down is the first start's alone.
func TestDefaultDownOnlyAtTheFirstStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := must(t, recipe, nil)
		n := fake(b, map[string]func(net.Conn){"127.0.0.1:81": answers(ok200), "127.0.0.1:82": answers(ok200)})
		b.Start()
		time.Sleep(5 * time.Second)
		synctest.Wait()
		n.dialled()
		next := reload(t, b, recipe+"# changed", nil)
		if got := states(next, "hc"); got != "UU" {
			t.Errorf("after the reload: %s", got)
		}
		if got := n.dialled(); got != "" {
			t.Errorf("the rhythm was lost: %s", got)
		}
		next.Retire()
	})
}

func TestExpectAliveIsTold(t *testing.T) {
	const block = `upstream hc { server 127.0.0.1:81; %s check type=http; check_http_expect_alive http_2xx; }`
	for _, tt := range []struct {
		name, text string
		opt        Options
		alive      uint8
		note       string
	}{
		{"as with Tengine", fmt.Sprintf(block, ""), Options{}, 1 << 2, "only the classes named are alive (as with Tengine;"},
		{"Tengine by unique", `upstream hc { server 127.0.0.1:81; check type=http unique=true; check_http_expect_alive http_2xx; }`, Options{}, 1 << 2, "(the file is written for Tengine)"},
		{"the other by order", fmt.Sprintf(block, `check_http_send "GET / HTTP/1.0\r\n\r\n";`), Options{}, 1<<2 | 1<<3, "besides http_2xx and http_3xx (the file is written for nginx_upstream_check_module)"},
		{"asked", fmt.Sprintf(block, ""), Options{ExpectAlive: "add"}, 1<<2 | 1<<3, "(so asked by --expect-alive)"},
		{"no difference", recipe, Options{}, 1<<2 | 1<<3, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b, err := load(t, tt.text, nil, tt.opt)
			if err != nil {
				t.Fatal(err)
			}
			if got := Of(b).list[0].protocol.(*checkHTTP).alive; got != tt.alive {
				t.Errorf("alive %b, want %b", got, tt.alive)
			}
			note := ""
			for _, n := range b.Config.Notices {
				note += n.Msg
			}
			if !strings.Contains(note, tt.note) || (note == "") != (tt.note == "") {
				t.Errorf("note %q, want %q", note, tt.note)
			}
		})
	}
}

func TestWrongDirectives(t *testing.T) {
	up := func(s string) string { return "upstream hc { server 127.0.0.1:81; " + s + " }" }
	loc := func(s string) string { return "server { location / { " + s + " } }" }
	for _, tt := range []struct{ text, want string }{
		{up("check interval=3s;"), `invalid parameter "interval=3s"`},
		{up("check rise=0;"), `invalid parameter "rise=0"`},
		{up("check type=https;"), `invalid parameter "type=https"`},
		{up("check port=65536;"), `invalid parameter "port=65536"`},
		{up("check default_down=yes;"), `invalid parameter "default_down=yes"`},
		{up("check foo;"), `invalid parameter "foo"`},
		{up("check;"), `invalid number of arguments in "check" directive`},
		{up("check_http_expect_alive 200;"), `invalid value "200"`},
		{up("check_http_expect_alive http_2xx_;"), `invalid value "http_2xx_"`},
		{up("check_keepalive_requests 0;"), `"check_keepalive_requests" directive invalid value`},
		{up(`check_http_send "a"; check type=http unique=true;`), `invalid check_http_send should set [check] first`},
		{up(`check type=tcp unique=true; check_http_send "a";`), `invalid check_http_send for type "tcp"`},
		{"check_shm_size 1x;", `"check_shm_size" directive invalid value`},
		{"check_shm_size 2m; check_shm_size 2m;", `"check_shm_size" directive is duplicate`},
		{"check interval=1000;", `"check" directive is not allowed here`},
		{loc("check_status xml;"), `invalid check format "xml"`},
		{loc("health_check type=grpc;"), `parameter "type=grpc" of "health_check" is known but not supported`},
		{loc("health_check interval=0;"), `invalid parameter "interval=0"`},
		{loc("health_check persistent;"), `invalid parameter "persistent"`},
		{loc("health_check uri=x;"), `invalid parameter "uri=x"`},
		{loc("health_check;"), `"health_check" directive needs a "proxy_pass" to a group of servers without variables in its location`},
		{loc("upstream_probe a ping;"), `parameter "ping" of "upstream_probe" is known but not supported`},
		{loc("upstream_probe a mode=never;"), `invalid parameter "mode=never"`},
		{loc("upstream_probe a; upstream_probe a;"), `duplicate probe "a"`},
		{"match a { status 200; } match a { status 200; }", `duplicate match "a"`},
		{"match a { status 99; }", `invalid status "99"`},
		{"match a { status 300-200; }", `invalid status "300-200"`},
		{"match a { header X > 1; }", `invalid operator ">"`},
		{"match a { body = x; }", `invalid operator "="`},
		{"match a { require x; }", `invalid variable name "x"`},
	} {
		_, err := load(t, tt.text, nil, Options{})
		if err == nil || !strings.HasPrefix(err.Error(), tt.want+" in nginx.conf:") {
			t.Errorf("%s\ngot  %v\nwant %s", tt.text, err, tt.want)
		}
	}
}

func someRows() []row {
	return []row{
		{0, "hc", "127.0.0.1:18081", "up", 41, 0, "http", 0},
		{2, `a"b`, "127.0.0.1:18082", "down", 0, 7, "tcp", 8080},
	}
}

func TestStatusPages(t *testing.T) {
	if got, want := csvPage(someRows()), "0,hc,127.0.0.1:18081,up,41,0,http,0\n2,a\"b,127.0.0.1:18082,down,0,7,tcp,8080\n"; got != want {
		t.Errorf("csv %q", got)
	}
	want := `{"servers": {
  "total": 2,
  "up": 1,
  "down": 1,
  "generation": 3,
  "server": [
    {"index": 0, "upstream": "hc", "name": "127.0.0.1:18081", "status": "up", "rise": 41, "fall": 0, "type": "http", "port": 0},
    {"index": 2, "upstream": "a\"b", "name": "127.0.0.1:18082", "status": "down", "rise": 0, "fall": 7, "type": "tcp", "port": 8080}
  ]
}}
`
	if got := jsonPage(someRows(), 3); got != want {
		t.Errorf("json %s", got)
	}
	for _, rows := range [][]row{someRows(), nil, someRows()[:1]} {
		if !json.Valid([]byte(jsonPage(rows, 1))) {
			t.Errorf("not JSON: %s", jsonPage(rows, 1))
		}
	}
	html := htmlPage(someRows(), 3)
	for _, want := range []string{
		"<h2>Check upstream server number: 2, generation: 3</h2>\n", "  <tr>\n    <td>0</td>\n    <td>hc</td>\n",
		"  <tr bgcolor=\"#FF0000\">\n    <td>2</td>\n", "    <td>8080</td>\n  </tr>\n</table>\n</body>\n</html>\n",
	} {
		if !strings.Contains(html, want) {
			t.Errorf("html lacks %q:\n%s", want, html)
		}
	}
	prom := prometheusPage(someRows(), 3)
	for _, want := range []string{
		"nginx_upstream_count_up 1\n", "# TYPE nginx_upstream_server_rise counter\n",
		`nginx_upstream_server_rise{index="0",upstream="hc",name="127.0.0.1:18081",status="up",type="http",port="0"} 41` + "\n",
		`nginx_upstream_server_active{index="2",upstream="a\"b",name="127.0.0.1:18082",type="tcp",port="8080"} 0` + "\n",
	} {
		if !strings.Contains(prom, want) {
			t.Errorf("prometheus lacks %q:\n%s", want, prom)
		}
	}
}

func TestStatusArguments(t *testing.T) {
	s := &Checks{}
	for _, tt := range []struct {
		args string
		f    format
	}{{"", formatHTML}, {"format=JSON", formatJSON}, {"a=b&format=csv&status=DOWN", formatCSV}, {"format=prometheus", formatPrometheus}} {
		r := &ngx.Request{Args: []byte(tt.args)}
		if _, f := s.page(r, formatHTML); f != tt.f {
			t.Errorf("%s: format %d", tt.args, f)
		}
	}
}

func TestStatusOfRows(t *testing.T) {
	b := must(t, "upstream a { server 127.0.0.1:81; server 127.0.0.1:82; server 127.0.0.1:83 down; check type=tcp port=99; }", nil)
	s := Of(b)
	s.list[0].at()[0].mark.down.Store(false)
	if got := csvPage(s.rows("down")); got != "1,a,127.0.0.1:82,down,0,0,tcp,99\n" {
		t.Errorf("down: %s", got)
	}
	if got := csvPage(s.rows("up")); got != "0,a,127.0.0.1:81,up,0,0,tcp,99\n" {
		t.Errorf("up: %s", got)
	}
	if addr := s.list[0].at()[0].addr; addr != "127.0.0.1:99" {
		t.Errorf("asks %s", addr)
	}
}

func TestReadingOfAnswers(t *testing.T) {
	const chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
	for _, tt := range []struct {
		name, text string
		body       string
		whole      bool
		bad        bool
	}{
		{"length", "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabcd", "abc", true, false},
		{"until the end", "HTTP/1.0 200 OK\r\n\r\nabc", "abc", false, false},
		{"chunks", chunked + "2\r\nab\r\n1;x=y\r\nc\r\n0\r\nT: v\r\n\r\n", "abc", true, false},
		{"chunks win over a length", "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", "abc", true, false},
		{"limit in a chunk", chunked + "20\r\n" + strings.Repeat("z", 32) + "\r\n0\r\n\r\n", strings.Repeat("z", 16), false, false},
		{"limit of a length", "HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n" + strings.Repeat("z", 99), strings.Repeat("z", 16), false, false},
		{"no content", "HTTP/1.1 204 No\r\nContent-Length: 3\r\n\r\n", "", true, false},
		{"short", "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nab", "", false, true},
		{"bad length", "HTTP/1.1 200 OK\r\nContent-Length: -3\r\n\r\nab", "", false, true},
		{"bad chunk", chunked + "zz\r\nab\r\n", "", false, true},
		{"bad field", "HTTP/1.1 200 OK\r\nA B: c\r\n\r\n", "", false, true},
		{"no colon", "HTTP/1.1 200 OK\r\nAB\r\n\r\n", "", false, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			x := exchangeOver(t, tt.text)
			var whole, ok bool
			if ok = x.readHead(0, false); ok {
				whole, ok = x.readBody(16)
			}
			if ok == tt.bad || whole != tt.whole || ok && string(x.answer.body) != tt.body {
				t.Errorf("ok %t, whole %t, body %q, error %v", ok, whole, x.answer.body, x.err)
			}
		})
	}
}

func TestStatusLineOfTengine(t *testing.T) {
	for line, want := range map[string]int{
		"HTTP/1.1 200 OK\r\n": 200, "HTTP/1.0 403.1 No\n": 403, "HTTP/1.1 200\r\n": 200, "HTTP/1.1  301 M\r\n": 301,
		"http/1.1 200 OK\r\n": -1, "HTTP/1.1 2000\r\n": -1, "HTTP/1 200\r\n": -1, "": -1, "HTTP/1.1\r\n": -1,
	} {
		got, _, ok := statusLine([]byte(line))
		if !ok {
			got = -1
		}
		if got != want {
			t.Errorf("%q: %d, want %d", line, got, want)
		}
	}
}

func FuzzAnswer(f *testing.F) {
	f.Add("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n")
	f.Add("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc")
	f.Fuzz(func(t *testing.T, text string) {
		x := exchangeOver(t, text)
		if x.readHead(0, false) {
			if whole, ok := x.readBody(64); ok && len(x.answer.body) > 64 || whole && !ok {
				t.Errorf("body of %d bytes, whole %t, ok %t", len(x.answer.body), whole, ok)
			}
		}
		restyStatus([]byte(text))
		fcgiStatus([]byte(text))
	})
}

// exchangeOver returns an exchange whose connection gives text and ends.
func exchangeOver(t *testing.T, text string) *exchange {
	t.Helper()
	x := newExchange()
	x.reset(&target{check: &Check{timeouts: timeouts{total: time.Minute}}})
	x.begin(time.Minute)
	x.conn = textConn(text)
	return x
}

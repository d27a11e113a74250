package fastcgi

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"

	"limpet/internal/errlog"
	"limpet/internal/ngx"
	"limpet/internal/relay"
	"limpet/internal/tcp"
	"limpet/nginxconf"
	"limpet/upstream"
)

// blocks has the blocks that the directives stand in.
type blocks struct{}

func (blocks) Directives() []nginxconf.Directive {
	none := func(*nginxconf.Setting) error { return nil }
	return []nginxconf.Directive{
		nginxconf.Block("http", nginxconf.Main, nginxconf.HTTP, nginxconf.NoArgs, none, nil, "http"),
		nginxconf.Block("server", nginxconf.HTTP, nginxconf.Server, nginxconf.NoArgs, none, nil, "server"),
		nginxconf.Block("location", nginxconf.Server, nginxconf.Location, nginxconf.AnyArgs, none, nil, "location"),
	}
}

// load reads the statements of a location.
func load(t testing.TB, statements string) *Conf {
	t.Helper()
	text := func(s string) ngx.Getter {
		return func(_ *ngx.Request, b []byte) ([]byte, bool) { return append(b, s...), true }
	}
	vs := ngx.NewVars([]ngx.Variable{{Name: "host", Get: text("h")}, {Name: "is_request_port", Get: text("")}, {Name: "request_port", Get: text("")}, {Name: "empty", Get: text("")}})
	config, err := nginxconf.Load("nginx.conf", nginxconf.Options{
		Modules: []nginxconf.Module{
			{Name: "vars", Conf: func() nginxconf.Settings { return &ngx.VarConf{Vars: vs} }},
			{Name: "blocks", Conf: func() nginxconf.Settings { return blocks{} }},
			{Name: "upstream", Conf: upstream.Module().Conf},
			{Name: "fastcgi", Conf: Module().Conf},
		},
		ReadFile: func(string) ([]byte, error) {
			return []byte("http { server { location / {\n" + statements + "fastcgi_pass 127.0.0.1:9000;\n} } }\n"), nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	lv := config.Root
	for len(lv.Inner) > 0 {
		lv = lv.Inner[len(lv.Inner)-1]
	}
	return nginxconf.Of[*Conf](lv)
}

// request returns a client's request, with fields as pairs of name and value.
func request(method string, fields ...string) *ngx.Request {
	r := &ngx.Request{
		Scope: &ngx.Scope{Core: &ngx.Core{ErrorLog: new(errlog.Log)}}, Client: &ngx.Client{},
		Method: []byte(method), URI: []byte("/"), Path: []byte("/"), Proto: ngx.HTTP11, Length: -1,
	}
	r.Main = r
	r.Scope.Server = r.Scope
	for i := 0; i < len(fields); i += 2 {
		r.In.Add([]byte(fields[i]), []byte(fields[i+1]))
	}
	return r
}

// trial returns the Exchange of a request over a connection whose other side sends the pieces, one read each, and closes.
func trial(t testing.TB, statements string, r *ngx.Request, pieces ...[]byte) *relay.Exchange {
	t.Helper()
	c := load(t, statements)
	a, b := net.Pipe()
	x, err := relay.Trial(relay.Place{Kind: kind(), Protocol: newPlace(c, c.Pass.V.Value)}, &c.Conf, r, tcp.New(a))
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer b.Close()
		for _, p := range pieces {
			if len(p) == 0 {
				continue
			}
			if _, err := b.Write(p); err != nil {
				return
			}
		}
	}()
	t.Cleanup(func() {
		x.End()
		b.Close()
		<-done
	})
	return x
}

// record returns a record as a server sends it.
func record(kind byte, content string, padding int) string {
	b := []byte{1, kind, 0, 1}
	b = binary.BigEndian.AppendUint16(b, uint16(len(content)))
	b = append(b, byte(padding), 0)
	return string(b) + content + strings.Repeat("p", padding)
}

var end = record(endRequest, "\x00\x00\x00\x00\x00\x00\x00\x00", 0)

// outcome tells what an answer comes to.
func outcome(x *relay.Exchange) string {
	if fail := x.H.Protocol.ReadHead(x); fail.Class != 0 {
		return fmt.Sprint("fail ", fail.Status)
	}
	head := fmt.Sprintf("%d %d", x.Status, x.Length)
	b, err := x.ReadAll()
	if err != nil {
		return fmt.Sprintf("%s|%s|%v", head, b, err)
	}
	return fmt.Sprintf("%s|%s|keep %v", head, b, x.Keep)
}

func TestAnswers(t *testing.T) {
	out := func(s string) string { return record(stdout, s, 3) }
	for _, c := range []struct{ rule, conf, method, answer, want string }{
		{"no Status is 200", "", "GET", out("A: b\r\n\r\nhello") + end, "200 -1|hello|keep false"},
		{"a Status", "", "GET", out("Status: 404 No\n\nhello") + end, "404 -1|hello|keep false"},
		{"a Location is 302", "", "GET", out("Location: /x\r\n\r\n") + end, "302 -1||keep false"},
		{"a bad Status", "", "GET", out("Status: x\r\n\r\n") + end, "fail 502"},
		{"kept", "fastcgi_keep_conn on;", "GET", out("A: b\r\n\r\nhello") + end, "200 -1|hello|keep true"},
		{"bytes behind the end", "fastcgi_keep_conn on;", "GET", out("A: b\r\n\r\nhello") + end + "x", "200 -1|hello|keep false"},
		{"a head over several records", "", "GET", out("A: b\r") + record(stderr, "oops", 1) + out("\n\r") + out("\nhel") + out("lo") + out("") + end, "200 -1|hello|keep false"},
		{"more than its length", "", "GET", out("Content-Length: 3\r\n\r\nhello") + end, "200 3|hel|keep false"},
		{"less than its length", "", "GET", out("Content-Length: 9\r\n\r\nhello") + end, "200 9|hello|upstream prematurely closed FastCGI request"},
		{"less than its length, stdout closed", "", "GET", out("Content-Length: 9\r\n\r\nhello") + out("") + end, "200 9|hello|upstream prematurely closed FastCGI stdout"},
		{"no end", "", "GET", out("A: b\r\n\r\nhello"), "200 -1|hello|upstream prematurely closed connection"},
		{"HEAD", "", "HEAD", out("Content-Length: 9\r\n\r\n") + end, "200 9||keep false"},
		{"no head", "", "GET", end, "fail 502"},
		{"half a head", "", "GET", out("A: b\r\n") + end, "fail 502"},
		{"stderr that is looked for", "fastcgi_catch_stderr Fatal;", "GET", record(stderr, "PHP Fatal", 0) + out("A: b\r\n\r\n") + end, "fail 502"},
		{"another version", "", "GET", "\x02" + out("A: b\r\n\r\n")[1:], "fail 502"},
		{"another request", "", "GET", "\x01\x06\x00\x02" + out("A: b\r\n\r\n")[4:], "fail 502"},
		{"another kind of record", "", "GET", record(9, "", 0), "fail 502"},
	} {
		if got := outcome(trial(t, c.conf, request(c.method), []byte(c.answer))); got != c.want {
			t.Errorf("%s: got %s, want %s", c.rule, got, c.want)
		}
		if c.rule == "bytes behind the end" {
			continue // they come when nobody looks any more
		}
		var split [][]byte
		for i := range len(c.answer) {
			split = append(split, []byte(c.answer[i:i+1]))
		}
		if got := outcome(trial(t, c.conf, request(c.method), split...)); got != c.want {
			t.Errorf("%s, byte by byte: got %s, want %s", c.rule, got, c.want)
		}
	}
}

// decode returns the records of a request as text, the parameters parted by blanks.
func decode(t *testing.T, b []byte) string {
	t.Helper()
	var list []string
	var pairs []byte
	for len(b) > 0 {
		n := int(binary.BigEndian.Uint16(b[4:]))
		content := b[8 : 8+n]
		switch {
		case b[1] == params && n > 0:
			pairs = append(pairs, content...)
		case b[1] == params:
			for r := bytes.NewReader(pairs); r.Len() > 0; {
				name, value := make([]byte, length(r)), make([]byte, length(r))
				io.ReadFull(r, name)
				io.ReadFull(r, value)
				list = append(list, fmt.Sprintf("%s=%.20s", name, value))
			}
		default:
			list = append(list, fmt.Sprintf("%d(%d)", b[1], n))
		}
		b = b[8+n+int(b[6]):]
	}
	return strings.Join(list, " ")
}

func length(r *bytes.Reader) int {
	n, _ := r.ReadByte()
	if n < 128 {
		return int(n)
	}
	rest := make([]byte, 3)
	io.ReadFull(r, rest)
	return int(n&127)<<24 | int(rest[0])<<16 | int(rest[1])<<8 | int(rest[2])
}

func TestRequests(t *testing.T) {
	long := strings.Repeat("x", 70000)
	body := request("POST")
	body.Length, body.Body = 5, ngx.Body{Read: true, Mem: []byte("hello"), Size: 5}
	for _, c := range []struct {
		rule, conf string
		r          *ngx.Request
		want       string
	}{
		{"fields are parameters", "", request("GET", "X-a", "1", "Host", "z"), "1(8) HTTP_HOST=h HTTP_X_A=1 5(0)"},
		{"fields of one name are one", "", request("GET", "A", "1", "Cookie", "a=b", "a", "2", "Cookie", "c=d"), "1(8) HTTP_HOST=h HTTP_A=1, 2 HTTP_COOKIE=a=b; c=d 5(0)"},
		{"a parameter keeps a field away", `fastcgi_param HTTP_X_A own; fastcgi_param HTTP_B ""; fastcgi_param C d;`, request("GET", "X-a", "1", "X_A", "2", "B", "3"), "1(8) HTTP_X_A=own C=d HTTP_HOST=h 5(0)"},
		{"an empty one", `fastcgi_param A $empty; fastcgi_param B $empty if_not_empty;`, request("GET"), "1(8) A= HTTP_HOST=h 5(0)"},
		{"no fields", `fastcgi_pass_request_headers off; fastcgi_param HTTP_HOST x;`, request("GET", "A", "1"), "1(8) HTTP_HOST=x 5(0)"},
		{"a body", "", body, "1(8) HTTP_HOST=h 5(5) 5(0)"},
		{"more than a record takes", "", request("GET", "A", long), "1(8) HTTP_HOST=h HTTP_A=xxxxxxxxxxxxxxxxxxxx 5(0)"},
	} {
		x := trial(t, c.conf, c.r)
		x.BodyLength = c.r.Length
		if got := decode(t, x.H.Protocol.AppendRequest(nil, x)); got != c.want {
			t.Errorf("%s: got %s, want %s", c.rule, got, c.want)
		}
	}
}

func FuzzAnswer(f *testing.F) {
	f.Add([]byte(record(stdout, "A: b\r\n\r\nhello", 3)+end), uint8(7))
	f.Add([]byte(record(stderr, "oops", 0)+record(stdout, "Content-Length: 9\r\n\r\n", 0)+record(stdout, "", 0)), uint8(1))
	f.Fuzz(func(t *testing.T, b []byte, at uint8) {
		n := min(int(at), len(b))
		whole := outcome(trial(t, "", request("GET"), b))
		parts := outcome(trial(t, "", request("GET"), b[:n], b[n:]))
		if strings.TrimSuffix(parts, "true") != strings.TrimSuffix(whole, "true") && len(b) < 4000 {
			t.Errorf("%q in one piece gives %s, in two %s", b, whole, parts)
		}
	})
}

func BenchmarkAppendRequest(b *testing.B) {
	x := trial(b, "fastcgi_param A b; fastcgi_param C $host;", request("GET", "Host", "example.com", "User-Agent", "test", "Accept", "*/*", "Cookie", "a=b"))
	b.ReportAllocs()
	for b.Loop() {
		x.Out = x.H.Protocol.AppendRequest(x.Out[:0], x)
	}
}

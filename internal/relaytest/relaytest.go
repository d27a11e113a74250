// Package relaytest helps to test how kinds of modules write requests and read answers: the settings of a location, a
// client's request, and a peer that answers in pieces. It is test code; nothing of the server imports it.
package relaytest

import (
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

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

// variables are the module's and those that tests use: $uri, $host, $empty.
func variables(m ngx.Module) *ngx.Vars {
	nothing := func(_ *ngx.Request, b []byte) ([]byte, bool) { return b, true }
	rows := []ngx.Variable{
		{Name: "host", Get: func(r *ngx.Request, b []byte) ([]byte, bool) { return append(b, r.Host...), true }},
		{Name: "uri", Get: func(r *ngx.Request, b []byte) ([]byte, bool) { return append(b, r.Path...), true }},
		{Name: "empty", Get: nothing},
		{Name: "is_request_port", Get: nothing},
		{Name: "request_port", Get: nothing},
	}
	if m.Vars != nil {
		rows = append(rows, m.Vars()...)
	}
	return ngx.NewVars(rows)
}

// Level returns the settings of a location with the statements, which are of the module.
func Level(t testing.TB, m ngx.Module, statements string) *nginxconf.Level {
	t.Helper()
	vs := variables(m)
	config, err := nginxconf.Load("nginx.conf", nginxconf.Options{
		Modules: []nginxconf.Module{
			{Name: "vars", Conf: func() nginxconf.Settings { return &ngx.VarConf{Vars: vs} }},
			{Name: "blocks", Conf: func() nginxconf.Settings { return blocks{} }},
			{Name: "upstream", Conf: upstream.Module().Conf},
			{Name: m.Name, Conf: m.Conf},
		},
		ReadFile: func(string) ([]byte, error) {
			return []byte("http { server { location / {\n" + statements + "\n} } }\n"), nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	lv := config.Root
	for len(lv.Inner) > 0 {
		lv = lv.Inner[len(lv.Inner)-1]
	}
	return lv
}

// Request returns a client's request, with fields as pairs of name and value, and a body unless it is empty.
func Request(method, uri, body string, fields ...string) *ngx.Request {
	r := &ngx.Request{
		Scope: &ngx.Scope{Name: "/", Core: &ngx.Core{ErrorLog: new(errlog.Log)}}, Client: &ngx.Client{Text: []byte("192.0.2.1")},
		Method: []byte(method), URI: []byte(uri), Host: []byte("example.com"), Proto: ngx.HTTP11, Length: -1,
	}
	r.Main = r
	r.Scope.Server = r.Scope
	r.SetTarget([]byte(uri))
	for i := 0; i < len(fields); i += 2 {
		r.In.Add([]byte(fields[i]), []byte(fields[i+1]))
	}
	if body != "" {
		r.Length = int64(len(body))
		r.Body = ngx.Body{Read: true, Mem: []byte(body), Size: r.Length}
	}
	return r
}

// pieces is a connection whose peer sends pieces, one a read, and closes.
type pieces struct {
	net.Conn
	list [][]byte
}

func (c *pieces) Read(p []byte) (int, error) {
	if len(c.list) == 0 {
		return 0, io.EOF
	}
	n := copy(p, c.list[0])
	if c.list[0] = c.list[0][n:]; len(c.list[0]) == 0 {
		c.list = c.list[1:]
	}
	return n, nil
}

func (*pieces) Write(p []byte) (int, error)      { return len(p), nil }
func (*pieces) Close() error                     { return nil }
func (*pieces) SetDeadline(time.Time) error      { return nil }
func (*pieces) SetReadDeadline(time.Time) error  { return nil }
func (*pieces) SetWriteDeadline(time.Time) error { return nil }
func (*pieces) LocalAddr() net.Addr              { return &net.TCPAddr{} }
func (*pieces) RemoteAddr() net.Addr             { return &net.TCPAddr{} }

// Answering returns the Exchange of a request whose peer sends an answer in pieces of n bytes, in one where n is 0, and
// closes.
func Answering(t testing.TB, p relay.Place, c *relay.Conf, r *ngx.Request, answer []byte, n int) *relay.Exchange {
	t.Helper()
	peer := new(pieces)
	for n > 0 && len(answer) > n {
		peer.list = append(peer.list, answer[:n])
		answer = answer[n:]
	}
	if len(answer) > 0 {
		peer.list = append(peer.list, answer)
	}
	x, err := relay.Trial(p, c, r, tcp.New(peer))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(x.End)
	return x
}

// Outcome reads an answer and tells of it: how it failed, or its status, fields and body.
func Outcome(x *relay.Exchange) string {
	if fail := x.H.Protocol.ReadHead(x); fail.Class != 0 {
		return fmt.Sprint("fail ", fail.Class, " ", fail.Status)
	}
	var b strings.Builder
	fmt.Fprint(&b, x.Status)
	for _, f := range x.R.UpHead.Fields {
		fmt.Fprintf(&b, " %s=%s", f.Name, f.Value)
	}
	body, err := x.ReadAll()
	fmt.Fprintf(&b, " %q", body)
	if err != nil {
		fmt.Fprintf(&b, " %v", err)
	}
	return b.String()
}

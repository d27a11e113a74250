package memcached

import (
	"fmt"
	"testing"

	"limpet/internal/ngx"
	"limpet/internal/relay"
	"limpet/internal/relaytest"
	"limpet/nginxconf"
)

// module is the memcached module with its key, which a `set` makes in a real configuration.
func module() ngx.Module {
	m := Module()
	m.Vars = func() []ngx.Variable {
		return []ngx.Variable{{Name: "memcached_key", Get: func(r *ngx.Request, b []byte) ([]byte, bool) { return append(b, r.Path...), true }}}
	}
	return m
}

// answering is the Exchange of a request for a key whose peer sends an answer, in pieces of n bytes unless n is 0, and closes.
func answering(t testing.TB, method, key, answer string, n int) *relay.Exchange {
	t.Helper()
	c := nginxconf.Of[*Conf](relaytest.Level(t, module(), "memcached_gzip_flag 2; memcached_pass 127.0.0.1:1;"))
	p := &place{key: &c.Pass.V.Value, flag: c.GzipFlag.V}
	x := relaytest.Answering(t, relay.Place{Kind: kind(), Protocol: p, NoBody: true}, &c.Conf, relaytest.Request(method, key, ""), []byte(answer), n)
	x.Out = p.AppendRequest(x.Out[:0], x)
	return x
}

func TestKeysAreEscaped(t *testing.T) {
	for key, want := range map[string]string{
		"/a":          "get /a\r\n",
		"/a%20%25b":   "get /a%20%25b\r\n",
		"/%0d%0aset":  "get /%0D%0Aset\r\n",
		"/%C3%A9{}\"": "get /\xc3\xa9{}\"\r\n",
	} {
		x := answering(t, "GET", "/a", "", 0)
		path := make([]byte, 0, len(key))
		for i := 0; i < len(key); i++ {
			if c := key[i]; c == '%' {
				path = append(path, byte(ngx.Unhex(key[i+1])<<4|ngx.Unhex(key[i+2])))
				i += 2
			} else {
				path = append(path, c)
			}
		}
		x.R.Path = path
		if got := string(x.H.Protocol.AppendRequest(nil, x)); got != want {
			t.Errorf("%s: got %q, want %q", key, got, want)
		}
	}
}

func TestAnswers(t *testing.T) {
	bad := fmt.Sprint("fail ", relay.NextInvalidHeader, " 502")
	for _, c := range []struct{ rule, method, answer, want string }{
		{"a value", "GET", "VALUE /a 0 5\r\nhello\r\nEND\r\n", `200 "hello"`},
		{"an empty one", "GET", "VALUE /a 0 0\r\n\r\nEND\r\n", `200 ""`},
		{"a compressed one", "GET", "VALUE /a 3 5\r\nhello\r\nEND\r\n", `200 Content-Encoding=gzip "hello"`},
		{"none", "GET", "END\r\n", `404 ""`},
		{"its line without CR", "GET", "VALUE /a 0 5\nhello\r\nEND\r\n", bad},
		{"another key", "GET", "VALUE /b 0 5\r\nhello\r\nEND\r\n", bad},
		{"a longer key", "GET", "VALUE /ab 0 5\r\nhello\r\nEND\r\n", bad},
		{"no length", "GET", "VALUE /a 0\r\nhello\r\nEND\r\n", bad},
		{"a length that is none", "GET", "VALUE /a 0 x\r\n", bad},
		{"flags that are none", "GET", "VALUE /a x 5\r\n", bad},
		{"an error", "GET", "SERVER_ERROR out of memory\r\n", bad},
		{"a value that is cut", "GET", "VALUE /a 0 9\r\nhello", `200 "hello" upstream prematurely closed connection`},
		{"a trailer that is cut", "GET", "VALUE /a 0 5\r\nhello\r\nEN", `200 "hello" upstream prematurely closed connection`},
		{"another trailer", "GET", "VALUE /a 0 5\r\nhellomore\r\nEND\r\n", `200 "hello"`},
	} {
		for _, n := range []int{0, 1, 3} {
			if got := relaytest.Outcome(answering(t, c.method, "/a", c.answer, n)); got != c.want {
				t.Errorf("%s, pieces of %d: got %s, want %s", c.rule, n, got, c.want)
			}
		}
	}
}

func TestConnectionsAreKept(t *testing.T) {
	for answer, want := range map[string]bool{
		"VALUE /a 0 5\r\nhello\r\nEND\r\n":     true,
		"END\r\n":                              true,
		"VALUE /a 0 5\r\nhello\r\nEND\r\nmore": false,
		"VALUE /a 0 5\r\nhello\r\nENDmore":     false,
	} {
		x := answering(t, "GET", "/a", answer, 0)
		if relaytest.Outcome(x); x.Keep != want {
			t.Errorf("%q: keep %v", answer, x.Keep)
		}
	}
}

package http1

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"limpet/internal/ngx"
)

// inPieces checks that a parser which is given more and more of b asks for more until it says of a prefix what it says of
// all: n bytes used, or an error, as text.
func inPieces(t *testing.T, what string, b []byte, parse func(b []byte) (n int, text string)) {
	t.Helper()
	n, whole := parse(b)
	if n > len(b) || n < 0 {
		t.Fatalf("%s: used %d of %d bytes of %q", what, n, len(b), b)
	}
	for k := range len(b) {
		m, text := parse(b[:k])
		if m == 0 && text == "" {
			if n > 0 && k >= n {
				t.Fatalf("%s: %q needs more than its %d bytes", what, b[:k], n)
			}
			continue
		}
		if m != n || text != whole {
			t.Fatalf("%s: %q gives %d, %s; %q gives %d, %s", what, b[:k], m, text, b, n, whole)
		}
	}
}

// FuzzRequestLine: a request line is the same read at once and byte by byte.
func FuzzRequestLine(f *testing.F) {
	for _, s := range []string{
		"GET / HTTP/1.1\r\n", "GET /a//b/../c?x=1#y HTTP/1.0\n", "GET http://h:80/x HTTP/1.1\r\n", "GET http://h?x HTTP/1.1\r\n", "GET /\r\n",
		"CONNECT h:443 HTTP/1.1\r\n", "GET http://[::1]:8/ HTTP/1.1\r\n", "get / HTTP/1.1\r\n", "GET / HTTP/2.0\r\n", "M-SEARCH  /%2e%2e/  HTTP/1.1 \r\n",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		inPieces(t, "request line", b, func(b []byte) (int, string) {
			var l requestLine
			n, err := l.parseLine(b)
			if err != nil {
				return 0, fmt.Sprintf("%d %s", err.status, err.msg)
			}
			if n == 0 {
				return 0, ""
			}
			return n, fmt.Sprintf("%q %q %q %q %q %v %v %v %v", l.line, l.method, l.host, l.scheme, l.uri, l.proto, l.complex, l.emptyPath, l.noPath)
		})
	})
}

// FuzzField: a header line is the same read at once and byte by byte, and has nothing in it that ends a line.
func FuzzField(f *testing.F) {
	for _, s := range []string{"Host: x\r\n", "a_b:  v \n", "bare\r\n", "\r\n", "x: \x00\r\n", "a b: c\r\n", ": x\r\n", "A:\r\n", "A: b\rc\r\n"} {
		f.Add([]byte(s), true)
		f.Add([]byte(s), false)
	}
	f.Fuzz(func(t *testing.T, b []byte, underscores bool) {
		inPieces(t, "field", b, func(b []byte) (int, string) {
			field, n, res := parseField(b, underscores)
			switch res {
			case fieldMore:
				return 0, ""
			case fieldBad:
				return 0, fmt.Sprintf("bad at %d", n)
			}
			if bytes.ContainsAny(field.Value, "\r\n\x00") || bytes.ContainsAny(field.Name, "\r\n\x00: ") {
				t.Fatalf("%q: %q", field.Name, field.Value)
			}
			return n, fmt.Sprintf("%d %d %q %q", res, field.ID, field.Name, field.Value)
		})
	})
}

// FuzzStatusLine: a status line is the same read at once and byte by byte.
func FuzzStatusLine(f *testing.F) {
	for _, s := range []string{"HTTP/1.1 200 OK\r\n", "HTTP/1.0 404\n", "HTTP/1.1 200.1\r\n", "HTTP/11.1  302 a\rb\r\n", "HTTP/0.9 200\r\n", "ICY 200\r\n"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		inPieces(t, "status line", b, func(b []byte) (int, string) {
			var l StatusLine
			n, ok := l.ParseStatusLine(b)
			switch {
			case !ok:
				return 0, "bad"
			case n == 0:
				return 0, ""
			}
			if l.Status < 0 || l.Status > 999 || bytes.ContainsAny(l.Text, "\n") {
				t.Fatalf("%d %q", l.Status, l.Text)
			}
			return n, fmt.Sprintf("%d %q %v", l.Status, l.Text, l.Old)
		})
	})
}

// decodeAll decodes a body that comes in pieces of the sizes in cuts, over and over.
func decodeAll(b []byte, cuts []byte, limit int) (body []byte, used int, done bool, err error) {
	var d ChunkDecoder
	for i := 0; used < len(b) && !d.Done(); i++ {
		piece := b[used:]
		if len(cuts) > 0 {
			piece = piece[:min(len(piece), int(cuts[i%len(cuts)])+1)]
		}
		data, n, err := d.Next(piece, limit)
		body = append(body, data...)
		if used += n; err != nil {
			return body, used, false, err
		}
		if n == 0 {
			return body, used, false, fmt.Errorf("no progress")
		}
	}
	return body, used, d.Done(), nil
}

// FuzzChunkDecoder: a chunked body means the same however it is cut into pieces.
func FuzzChunkDecoder(f *testing.F) {
	f.Add([]byte("5\r\nhello\r\n0\r\n\r\nmore"), []byte{0}, 1)
	f.Add([]byte("1;x=\"y\"\r\na\r\n0\r\nT: v\r\n\r\n"), []byte{1, 7}, 100)
	f.Add([]byte("fffffffffffffff\r\n"), []byte{3}, 5)
	f.Add([]byte("2\nab\n0\n\n"), []byte{}, 2)
	f.Fuzz(func(t *testing.T, b, cuts []byte, limit int) {
		body, used, done, err := decodeAll(b, nil, 1<<20)
		limit = max(limit, 1)
		body2, used2, done2, err2 := decodeAll(b, cuts, limit)
		if !bytes.Equal(body, body2) || used != used2 || done != done2 || (err == nil) != (err2 == nil) {
			t.Fatalf("%q by %v: %q %d %v %v, at once %q %d %v %v", b, cuts, body2, used2, done2, err2, body, used, done, err)
		}
	})
}

// FuzzChunkRoundTrip: what is framed in chunks of any sizes is decoded to what it was.
func FuzzChunkRoundTrip(f *testing.F) {
	f.Add([]byte("hello world"), []byte{4, 0, 200}, []byte{2})
	f.Fuzz(func(t *testing.T, body, sizes, cuts []byte) {
		var framed []byte
		for rest, i := body, 0; len(rest) > 0; i++ {
			n := len(rest)
			if len(sizes) > 0 {
				n = min(n, int(sizes[i%len(sizes)])+1)
			}
			framed = fmt.Appendf(framed, "%x\r\n%s\r\n", n, rest[:n])
			rest = rest[n:]
		}
		framed = append(framed, "0\r\n\r\n"...)
		got, used, done, err := decodeAll(append(framed, "next"...), cuts, 1<<20)
		if !bytes.Equal(got, body) || used != len(framed) || !done || err != nil {
			t.Fatalf("%q: %q, %d of %d, %v %v", body, got, used, len(framed), done, err)
		}
	})
}

// FuzzNormalize: a path that is accepted begins at the root, has no way up or empty
// name left, and stays what it is when it is escaped and normalised again.
func FuzzNormalize(f *testing.F) {
	for _, s := range []string{"/", "/a/./b/../c", "/../x", "/a//b", "/%2e%2e/%2fetc", "/a%00", "/a?b#c", "/.", "/..", "/a/..", "/a/.../b", "/%", "/%252e%252e/", "/a//../b", "//../"} {
		f.Add([]byte(s), true)
		f.Add([]byte(s), false)
	}
	f.Fuzz(func(t *testing.T, target []byte, merge bool) {
		if len(target) == 0 || target[0] != '/' || bytes.ContainsFunc(target, func(c rune) bool { return uriClass(byte(c)) >= uriSpace }) {
			return // parseLine lets no such target through
		}
		path, _, ok := normalize(nil, target, merge)
		if !ok {
			return
		}
		if len(path) == 0 || path[0] != '/' {
			t.Fatalf("%q is %q", target, path)
		}
		for i, s := range strings.Split(string(path[1:]), "/") {
			if s == "." || s == ".." || s == "" && merge && i < strings.Count(string(path[1:]), "/") {
				t.Fatalf("%q is %q", target, path)
			}
		}
		again, args, ok := normalize(nil, escape(path), merge)
		if !ok || !bytes.Equal(again, path) || args != nil {
			t.Fatalf("%q is %q, and that %q", target, path, again)
		}
	})
}

// escape writes every byte but slashes as %XX.
func escape(path []byte) (out []byte) {
	for _, c := range path {
		if c == '/' {
			out = append(out, c)
		} else {
			out = fmt.Appendf(out, "%%%02X", c)
		}
	}
	return out
}

// FuzzHost: a host that is accepted is in lower case, is its own name, and has nothing in it that could be more than a host.
func FuzzHost(f *testing.F) {
	for _, s := range []string{"a", "A.B:80", "[::1]:8080", "a..b", "a.", "a:b", "a/b", "a@b", "[", "[]", "%41", "a%00", "a:99999", ".", "a_b"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, host []byte) {
		name, ok := ngx.ValidHost(nil, host)
		if !ok {
			return
		}
		if len(name) == 0 || bytes.ContainsAny(name, "/@ ?#\\\"<>\x00\r\n\tABCDEFGHIJKLMNOPQRSTUVWXYZ") || name[0] != '[' && bytes.ContainsAny(name, ":[]") {
			t.Fatalf("%q is %q", host, name)
		}
		if again, ok := ngx.ValidHost(nil, name); !ok || !bytes.Equal(again, name) {
			t.Fatalf("%q is %q, and that %q, %v", host, name, again, ok)
		}
	})
}

// FuzzProxyProtocol: a header is the same read at once and byte by byte, and leaves what follows alone.
func FuzzProxyProtocol(f *testing.F) {
	for _, s := range []string{
		"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\nGET", "PROXY TCP6 ::1 ::2 65535 0\r\n", "PROXY UNKNOWN\r\n", "PROXY UNKNOWN anything\r\n", "PROXY TCP4 x\r\n",
		proxySignature + "\x21\x11\x00\x0c\x7f\x00\x00\x01\x7f\x00\x00\x02\x00\x01\x00\x02rest", proxySignature + "\x20\x00\x00\x00", proxySignature + "\x21\x11\x00\x10\x7f\x00\x00\x01\x7f\x00\x00\x02\x00\x01\x00\x02\x05\x00\x01x",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		inPieces(t, "header", b, func(b []byte) (int, string) {
			h, n, ok := parseProxy(b)
			switch {
			case !ok:
				return 0, "bad"
			case n == 0:
				return 0, ""
			}
			return n, fmt.Sprintf("%v", *h)
		})
	})
}

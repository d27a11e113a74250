package subfilter

import (
	"bytes"
	"strings"
	"testing"

	"limpet/internal/ngx"
)

// sink keeps a body.
type sink struct{ bytes.Buffer }

func (s *sink) Write(_ *ngx.Request, p []byte) error { s.Buffer.Write(p); return nil }
func (s *sink) Flush(*ngx.Request) error             { return nil }
func (s *sink) Finish(*ngx.Request) error            { return nil }

func newFilter(once bool, pairs ...string) (*filter, *sink) {
	var subs []sub
	for i := 0; i < len(pairs); i += 2 {
		subs = append(subs, sub{ngx.Literal(pairs[i]), ngx.Literal(pairs[i+1])})
	}
	t := compile(subs)
	f := &filter{table: t, subs: subs, once: once, values: make([][]byte, len(t.patterns)), done: make([]bool, len(t.patterns))}
	out := new(sink)
	f.Chain(out)
	return f, out
}

func TestStringsAreReplacedHoweverTheBodyIsCut(t *testing.T) {
	for _, c := range []struct {
		once       bool
		pairs      []string
		body, want string
	}{
		{false, []string{"foo", "bar"}, "a foo FoO fo", "a bar bar fo"},
		{true, []string{"foo", "bar"}, "foo foo", "bar foo"},
		{true, []string{"foo", "bar", "x", "y"}, "x foo x foo", "y bar x foo"},
		{false, []string{"aab", "+"}, "aaab aaaab", "a+ aa+"},
		{false, []string{"aabb", "+", "aaabb", "-"}, "aaabb aabb", "- +"},
		{false, []string{"ab", "1", "abc", "2"}, "abc", "1c"},
		{false, []string{"abc", "1", "ab", "2"}, "abab", "22"},
		{false, []string{"a", ""}, "banana", "bnn"},
		{false, []string{"a", "aa"}, "aa", "aaaa"},
		{false, []string{"é", "e"}, "café", "cafe"},
		{false, []string{"long pattern", "x"}, "long patter", "long patter"},
	} {
		for cut := range len(c.body) + 1 {
			f, out := newFilter(c.once, c.pairs...)
			f.Write(nil, []byte(c.body[:cut]))
			f.Write(nil, []byte(c.body[cut:]))
			f.Finish(nil)
			if out.String() != c.want {
				t.Errorf("%q with %q cut at %d: got %q, want %q", c.body, c.pairs, cut, out.String(), c.want)
			}
		}
		f, out := newFilter(c.once, c.pairs...)
		for i := range len(c.body) {
			f.Write(nil, []byte{c.body[i]})
		}
		f.Finish(nil)
		if out.String() != c.want {
			t.Errorf("%q with %q by bytes: got %q, want %q", c.body, c.pairs, out.String(), c.want)
		}
	}
}

func TestOnlyWhatMayMatchIsHeldBack(t *testing.T) {
	f, out := newFilter(false, "foobar", "x")
	f.Write(nil, []byte("some text foo"))
	if out.String() != "some text " {
		t.Errorf("got %q", out.String())
	}
	f.Write(nil, []byte("d"))
	if out.String() != "some text food" {
		t.Errorf("got %q", out.String())
	}
}

func FuzzCutsDontMatter(f *testing.F) {
	f.Add("abcabd", "ab", "abd", uint8(3))
	f.Fuzz(func(t *testing.T, body, one, two string, cut uint8) {
		if one == "" || two == "" {
			t.Skip()
		}
		whole, want := newFilter(false, one, "1", two, "2")
		whole.Write(nil, []byte(body))
		whole.Finish(nil)
		parts, got := newFilter(false, one, "1", two, "2")
		for rest := []byte(body); len(rest) > 0; {
			n := min(int(cut%7)+1, len(rest))
			parts.Write(nil, rest[:n])
			rest = rest[n:]
		}
		parts.Finish(nil)
		if got.String() != want.String() {
			t.Fatalf("%q with %q and %q: got %q, want %q", body, one, two, got.String(), want.String())
		}
	})
}

func BenchmarkReplace(b *testing.B) {
	body := []byte(strings.Repeat("The quick brown fox jumps over the lazy dog. ", 700))
	f, out := newFilter(false, "http://origin.example", "https://front.example", "lazy", "sleepy")
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		out.Reset()
		f.Write(nil, body)
	}
}

package ssi

import (
	"bytes"
	"fmt"
	"testing"
	"time"

	"limpet/internal/errlog"
	"limpet/internal/ngx"
)

type sink struct{ bytes.Buffer }

func (s *sink) Write(_ *ngx.Request, p []byte) error { s.Buffer.Write(p); return nil }
func (s *sink) Flush(*ngx.Request) error             { return nil }
func (s *sink) Finish(*ngx.Request) error            { return nil }

func newTestFilter() (*filter, *sink, *ngx.Request) {
	r := &ngx.Request{Path: []byte("/dir/page.html"), Scope: &ngx.Scope{Core: &ngx.Core{ErrorLog: new(errlog.Log)}}}
	r.Main = r
	c := &Conf{}
	c.ValueLength.Put(256)
	f := newFilter(r, c, ngx.NewVars(vars()))
	out := new(sink)
	f.Chain(out)
	r.AddFilter(f)
	f.errMsg = "ERR"
	return f, out, r
}

func TestPagesComeOutTheSameHoweverTheyAreCut(t *testing.T) {
	for _, c := range []struct{ page, want string }{
		{"plain", "plain"},
		{`a<!--# set var="x" value="1" -->b<!--#echo var="x"-->c`, "ab1c"},
		{`<!--#echo var="none" --> <!--#echo var="none" default="" -->`, "(none) "},
		{`<!--#set var="x" value="<&>'" --><!--#echo var="x" --> <!--#echo var="x" encoding="none" --> <!--#echo var='x' -->`, "&lt;&amp;&gt;' <&>' <&>'"},
		{`<!--#if expr="a = a" -->1<!--#else -->2<!--#endif --><!--#if expr="a != a" -->1<!--#else -->2<!--#endif -->`, "12"},
		{`<!--#if expr="" -->1<!--#elif expr="ab = /^a(.)/" --><!--#echo var="1" --><!--#elif expr="x" -->3<!--#endif -->`, "b"},
		{`<!--#if expr="a" -->1<!--#if expr="" -->2<!--#endif -->3<!--#endif -->4`, "134"},
		{`<!--#if expr="" --><!--#bad --><!--#if expr="a" -->2<!--#else -->3<!--#endif --><!--#else -->4<!--#endif -->`, "4"},
		{`<!--#bad --><!--#config errmsg="no" --><!--#bad --><!--#echo x --><!--#endif -->`, "ERRnonono"},
		{`<!--#block name="b" -->dropped<!--#echo var="x" --><!--#endblock -->.`, "."},
		{`<!--#set var="a" value="A" --><!--#set var="b" value="${a}b\$a\\" --><!--#echo var="b" -->`, `Ab$a\`},
		{`<!--#config timefmt="%%" --><!--#echo var="date_gmt" -->`, "%"},
		{`text <!--#echo var="never closed`, "text "},
		{`text <!-`, "text <!-"},
		{`<!-<!--<!- `, "<!-<!--<!- "},
		{`<!--#echo var="uri"x -->-->`, "ERR-->"},
		{`<!--#echo var="none" default='-->' -->`, "-->"},
	} {
		for cut := range len(c.page) + 1 {
			f, out, r := newTestFilter()
			f.Write(r, []byte(c.page[:cut]))
			f.Write(r, []byte(c.page[cut:]))
			f.Finish(r)
			if out.String() != c.want {
				t.Errorf("%s\ncut at %d: got %q, want %q", c.page, cut, out.String(), c.want)
				break
			}
		}
	}
}

func FuzzCutsDontMatter(f *testing.F) {
	f.Add([]byte(`<!--#if expr="a=a" -->x<!--#else -->y<!--#endif --> <!--#echo var="v" --> <!--#set var="v" value="\$" -->`), uint8(3))
	f.Fuzz(func(t *testing.T, page []byte, cut uint8) {
		if bytes.Contains(page, []byte("include")) || bytes.Contains(page, []byte("date")) {
			t.Skip()
		}
		whole, want, r := newTestFilter()
		whole.Write(r, page)
		whole.Finish(r)
		parts, got, r := newTestFilter()
		for rest := page; len(rest) > 0; {
			n := min(int(cut%9)+1, len(rest))
			parts.Write(r, rest[:n])
			rest = rest[n:]
		}
		parts.Finish(r)
		if got.String() != want.String() {
			t.Fatalf("%q by %d: got %q, want %q", page, cut%9+1, got.String(), want.String())
		}
	})
}

func TestAnIncludeCannotLeaveTheRoot(t *testing.T) {
	f, _, r := newTestFilter()
	for uri, want := range map[string]string{"x.html": "/dir/x.html ", "/a/b?c=%20": "/a/b c=%20", "/a%20b%3f": "/a b? ", "../x": "", "/a/%2e%2e/b": "", "/a%00": "", "..x": "/dir/..x "} {
		path, args, ok := f.target(r, []byte(uri))
		if got := fmt.Sprintf("%s %s", path, args); ok != (want != "") || ok && got != want {
			t.Errorf("%s: got %q, %v", uri, got, ok)
		}
	}
}

func TestTimesAreFormattedAsByStrftime(t *testing.T) {
	at := time.Date(2024, 2, 9, 5, 4, 3, 0, time.UTC) // strftime(3) in the C locale
	for format, want := range map[string]string{
		defaultTimeFormat: "Friday, 09-Feb-2024 05:04:03 UTC", "%a %b %e %T %Y": "Fri Feb  9 05:04:03 2024", "%j %U %W %V %G %u %w": "040 05 06 06 2024 5 5",
		"%I:%M %p %k %l": "05:04 AM  5  5", "%D %F %y %C %z %s%n%t%%%": "02/09/24 2024-02-09 24 20 +0000 1707455043\n\t%%",
	} {
		if got := string(appendTime(nil, format, at)); got != want {
			t.Errorf("%s: got %q, want %q", format, got, want)
		}
	}
}

func BenchmarkPageWithoutCommands(b *testing.B) {
	page := bytes.Repeat([]byte("<p>The quick brown fox jumps over the lazy dog.</p>\n"), 600)
	f, out, r := newTestFilter()
	b.SetBytes(int64(len(page)))
	b.ReportAllocs()
	for b.Loop() {
		out.Reset()
		f.Write(r, page)
	}
}

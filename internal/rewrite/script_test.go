package rewrite

import (
	"testing"

	"limpet/internal/ngx"
	"limpet/internal/rx"
)

func TestTargetIsDecodedUpToTheQuestionMark(t *testing.T) {
	for _, tc := range []struct{ in, want string }{
		{"/a", "/a"},
		{"/a%2fb%41%7e", "/a/bA~"},
		{"/%20%25%22%7f%e4%0A", "/%20%25%22%7f%e4%0A"}, // stays: not above the percent sign, or not printable
		{"/a%3fb%2f?%41", "/a?b%2f?%41"},               // %3f is the first question mark
		{"/a?b%41", "/a?b%41"},
		{"/%4", "/%4"},
		{"%26%3B%2b", "&;+"},
	} {
		if got := string(decodeTarget([]byte(tc.in))); got != tc.want {
			t.Errorf("%q: got %q, want %q", tc.in, got, tc.want)
		}
	}
}

// request returns a request that no wire has part in.
func request(path, args string) *ngx.Request {
	r := &ngx.Request{URI: []byte(path), Path: []byte(path), Args: []byte(args)}
	r.Main = r
	return r
}

func text(t testing.TB, s string) ngx.Text {
	v, err := ngx.CompileText(ngx.NewVars(nil), s)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func pattern(t testing.TB, s string) *ngx.Pattern {
	re, err := rx.Compile(s, 0)
	if err != nil {
		t.Fatal(err)
	}
	return &ngx.Pattern{Re: re, Text: s}
}

func TestRewriteOutcomes(t *testing.T) {
	base := func() *change {
		return &change{pattern: pattern(t, "^/a/(.*)$"), path: text(t, "/b/$1"), keepArgs: true}
	}
	flag := func(f func(w *change)) *change {
		w := base()
		f(w)
		return w
	}
	for _, tc := range []struct {
		name       string
		w          *change
		path, args string
		out        ngx.Outcome
		free       bool
	}{
		{"without a flag", base(), "/b/x", "q=1", ngx.Redirect, false},
		{"last", flag(func(w *change) { w.last = true }), "/b/x", "q=1", ngx.Redirect, false},
		{"break", flag(func(w *change) { w.last, w.stay = true, true }), "/b/x", "q=1", ngx.Next, true},
		{"no arguments", flag(func(w *change) { w.keepArgs = false }), "/b/x", "", ngx.Redirect, false},
		{"more arguments", flag(func(w *change) { w.hasArgs, w.args = true, text(t, "c=$1") }), "/b/x", "c=x&q=1", ngx.Redirect, false},
		{"no match", flag(func(w *change) { w.pattern = pattern(t, "^/c") }), "/a/x", "q=1", ngx.Next, false},
	} {
		r := request("/a/x", "q=1")
		out := newScript([]op{tc.w.run})(r)
		if string(r.Path) != tc.path || string(r.Args) != tc.args || out != tc.out || r.PathFree != tc.free {
			t.Errorf("%s: got %s?%s, outcome %d, free %v", tc.name, r.Path, r.Args, out, r.PathFree)
		}
	}
}

func TestBreakKeepsAChangedPathInTheLocation(t *testing.T) {
	w := &change{pattern: pattern(t, "^"), path: text(t, "/b")}
	r := request("/a", "")
	if out := newScript([]op{w.run, stop})(r); out != ngx.Next || !r.PathFree || string(r.Path) != "/b" {
		t.Errorf("got outcome %d, free %v, path %s", out, r.PathFree, r.Path)
	}
	r = request("/a", "")
	if newScript([]op{stop, w.run})(r); r.PathFree || string(r.Path) != "/a" {
		t.Errorf("break alone: free %v, path %s", r.PathFree, r.Path)
	}
}

func TestFailedMatchForgetsCaptures(t *testing.T) {
	r := request("/a", "")
	p, q := pattern(t, "(a)"), pattern(t, "(b)")
	if !matchPattern(p, r, r.Path, false) || string(r.Capture(1)) != "a" {
		t.Fatal("no capture")
	}
	if matchPattern(q, r, r.Path, false) || r.Capture(1) != nil {
		t.Errorf("got %q", r.Capture(1))
	}
}

func TestEndlessMatchEndsIn500(t *testing.T) {
	r := request("/", "")
	r.MatchFailed = true
	if out := newScript([]op{func(_ *ngx.Request, st state) state { return st }})(r); out != ngx.Status(500) || r.MatchFailed {
		t.Errorf("got %d", out)
	}
}

func BenchmarkScript(b *testing.B) {
	w := &change{pattern: pattern(b, "^/a/(.*)$"), path: text(b, "/b/$1"), keepArgs: true, last: true}
	miss := &change{pattern: pattern(b, "^/old/"), path: text(b, "/new/"), keepArgs: true}
	step := newScript([]op{miss.run, w.run})
	r := request("/a/some/file.html", "x=1")
	path := r.Path
	b.ReportAllocs()
	for b.Loop() {
		r.Reset()
		r.URI, r.Path = path, path
		step(r)
	}
}

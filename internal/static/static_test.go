package static

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"limpet/internal/errlog"
	"limpet/internal/ngx"
)

// newRequest returns a request whose errors are logged nowhere.
func newRequest() *ngx.Request {
	r := &ngx.Request{Scope: &ngx.Scope{Core: &ngx.Core{ErrorLog: new(errlog.Log)}}}
	r.Main = r
	return r
}

func TestRangesAreParsed(t *testing.T) {
	for _, c := range []struct {
		field string
		limit int
		how   int
		want  string
	}{
		{"0-0", -1, rangesGood, "0-0"},
		{"0-4", -1, rangesGood, "0-4"},
		{"8-", -1, rangesGood, "8-9"},
		{"-3", -1, rangesGood, "7-9"},
		{"-30", -1, rangesGood, "0-9"},
		{"5-300", -1, rangesGood, "5-9"},
		{" 1 - 2 , 4-5", -1, rangesGood, "1-2 4-5"},
		{"4-5,1-2", -1, rangesGood, "4-5 1-2"},
		{"0-0,20-30", -1, rangesGood, "0-0"},
		{"0-9,0-0", -1, rangesWhole, ""},
		{"0-0,1-1", 1, rangesWhole, ""},
		{"10-", -1, rangesBad, ""},
		{"-0", -1, rangesBad, ""},
		{"", -1, rangesBad, ""},
		{"x", -1, rangesBad, ""},
		{"1", -1, rangesBad, ""},
		{"1-x", -1, rangesBad, ""},
		{"0-1,", -1, rangesBad, ""},
		{"99999999999999999999-", -1, rangesBad, ""},
	} {
		spans, how := parseRanges([]byte(c.field), 10, c.limit)
		var got []string
		for _, s := range spans {
			got = append(got, fmt.Sprintf("%d-%d", s.start, s.end-1))
		}
		if how != c.how || strings.Join(got, " ") != c.want {
			t.Errorf("%q of at most %d: got %v as %d, want %q as %d", c.field, c.limit, got, how, c.want, c.how)
		}
	}
}

func FuzzRangesStayInTheBody(f *testing.F) {
	f.Add([]byte("0-0,-5,3-"), int64(100))
	f.Add([]byte("9223372036854775807-,0-9223372036854775807"), int64(1))
	f.Fuzz(func(t *testing.T, field []byte, length int64) {
		spans, how := parseRanges(field, max(length, 0), -1)
		var sum int64
		for _, s := range spans {
			if s.start < 0 || s.start >= s.end || s.end > length {
				t.Fatalf("%q of %d bytes gives %v", field, length, s)
			}
			sum += s.end - s.start
		}
		if how == rangesGood && (sum > length || len(spans) == 0) {
			t.Fatalf("%q of %d bytes gives %v", field, length, spans)
		}
	})
}

func TestDatesOfThreeFormatsAreParsed(t *testing.T) {
	want := time.Date(1994, 11, 6, 8, 49, 37, 0, time.UTC)
	for _, s := range []string{"Sun, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994", "Sun, 06 Nov 1994 08:49:37"} {
		if got, ok := ngx.ParseTime([]byte(s)); !ok || !got.Equal(want) {
			t.Errorf("%q: got %v, %v", s, got, ok)
		}
	}
	for _, s := range []string{"", "x", "Sun, 6 Nov 1994 08:49:37 GMT", "sun, 06 nov 1994 08:49:37 gmt", "Sun, 06 Nov 1994 08:49", "1994-11-06T08:49:37Z"} {
		if got, ok := ngx.ParseTime([]byte(s)); ok {
			t.Errorf("%q: got %v, want none", s, got)
		}
	}
}

func TestETagLists(t *testing.T) {
	for _, c := range []struct {
		etag, list string
		weak, want bool
	}{
		{`"a"`, `"a"`, false, true},
		{`"a"`, `"b", "a"`, false, true},
		{`"a"`, `"b"`, false, false},
		{`"a"`, `W/"a"`, false, false},
		{`"a"`, `W/"a"`, true, true},
		{`W/"a"`, `"a"`, true, true},
		{`W/"a"`, `"b",W/"a"`, true, true},
		{`"a"`, `"a"x`, true, false},
		{`"a"`, `"a" ,"b"`, false, true},
		{`"a"`, `*`, false, true},
		{``, `*`, true, true},
		{``, `"a"`, true, false},
	} {
		r := newRequest()
		if c.etag != "" {
			r.Out.Header.AddID(ngx.HeaderETag, []byte(c.etag))
		}
		if got := etagMatches(r, []byte(c.list), c.weak); got != c.want {
			t.Errorf("%s in %s, weak %v: got %v", c.etag, c.list, c.weak, got)
		}
	}
}

func TestPathsThatClimbAreFound(t *testing.T) {
	for path, want := range map[string]bool{"/a/../b": true, "../a": true, "/..": true, "/a..": false, "/..a/b": false, "/a/...": false, "/": false, "": false} {
		if got := climbs([]byte(path)); got != want {
			t.Errorf("%q: got %v", path, got)
		}
	}
}

func TestAnAliasCannotBeClimbedOutOf(t *testing.T) {
	r := newRequest()
	r.Scope.Core.Root.V = ngx.Root{Text: ngx.Literal("/srv/"), Alias: true, Cut: len("/files")}
	r.Path = []byte("/files../secret")
	if name, ok := locate(r); ok {
		t.Errorf("%s may be read", name)
	}
	r.Path = []byte("/files/x")
	if name, ok := locate(r); !ok || string(name) != "/srv//x" {
		t.Errorf("got %s, %v", name, ok)
	}
}

func TestSizesAreRounded(t *testing.T) {
	for n, want := range map[int64]string{0: "0", 9999: "9999", 10000: "10K", 1048575: "1024K", 1048576: "1M", 1572863: "1M", 1572864: "2M", 5000000000: "5G"} {
		if got := string(appendRounded(nil, n)); got != want {
			t.Errorf("%d: got %s, want %s", n, got, want)
		}
	}
}

func TestLongNamesAreCutAndLinesAligned(t *testing.T) {
	c := &Conf{}
	c.AutoindexExactSize.Put(true)
	at := time.Date(2020, 1, 2, 3, 4, 5, 0, time.UTC)
	long := strings.Repeat("é", 60)
	for _, e := range []entry{{name: "dir", dir: true, mtime: at}, {name: strings.Repeat("x", 50), file: true, size: 7, mtime: at}, {name: strings.Repeat("x", 51), file: true, size: 7, mtime: at}, {name: long, file: true, mtime: at}} {
		line := string(c.appendHTMLEntry(nil, &e, true))
		_, text, _ := strings.Cut(line, "\">")
		text = strings.ReplaceAll(strings.ReplaceAll(text, "</a>", ""), "&gt;", ">")
		if n := len([]rune(text)); n != nameWidth+len(" 02-Jan-2006 15:04 ")+19+2 {
			t.Errorf("%d characters: %q", n, text)
		}
	}
}

func TestLinksAreRefused(t *testing.T) {
	dir := t.TempDir()
	for _, d := range []string{"real/sub", "top"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	os.WriteFile(filepath.Join(dir, "real/sub/f"), []byte("x"), 0o644)
	os.Symlink("../real/sub", filepath.Join(dir, "top/link"))
	os.Symlink("real/sub/f", filepath.Join(dir, "flink"))
	for _, c := range []struct {
		name    string
		from    int
		ofOwner bool
		want    error
	}{
		{"real/sub/f", 0, false, nil},
		{"real//sub/./f", 0, false, nil},
		{"flink", 0, false, unix.ELOOP},
		{"flink", 0, true, nil},
		{"top/link/f", 0, false, unix.ENOTDIR},
		{"top/link/f", len(dir) + len("/top/link"), false, nil},
		{"real/sub/none", 0, false, unix.ENOENT},
		{"real/sub/f/", 0, false, unix.ENOTDIR},
	} {
		fd, err := openChecked(dir+"/"+c.name, c.from, c.ofOwner)
		if err != c.want {
			t.Errorf("%s from %d, of one owner %v: got %v, want %v", c.name, c.from, c.ofOwner, err, c.want)
		}
		if err == nil {
			unix.Close(fd)
		}
	}
}

// bodySink keeps a body.
type bodySink struct{ bytes.Buffer }

func (s *bodySink) Write(_ *ngx.Request, p []byte) error { s.Buffer.Write(p); return nil }
func (s *bodySink) Flush(*ngx.Request) error             { return nil }
func (s *bodySink) Finish(*ngx.Request) error            { return nil }

func TestRangesOfABodyInPieces(t *testing.T) {
	body := "0123456789"
	for cut := range len(body) {
		var one bodySink
		f := &rangeFilter{start: 2, end: 7}
		f.Chain(&one)
		f.Write(nil, []byte(body[:cut]))
		f.Write(nil, []byte(body[cut:]))
		if one.String() != "23456" {
			t.Errorf("cut at %d: got %q", cut, one.String())
		}
		var many bodySink
		m := &multiFilter{total: 10, last: []byte("."), parts: []part{{span{8, 10}, []byte("<a>")}, {span{0, 2}, []byte("<b>")}}}
		m.Chain(&many)
		m.Write(nil, []byte(body[:cut]))
		m.Write(nil, []byte(body[cut:]))
		m.Finish(nil)
		if many.String() != "<a>89<b>01." {
			t.Errorf("cut at %d: got %q", cut, many.String())
		}
	}
}

func BenchmarkRange(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		parseRanges([]byte("100-199"), 1000, -1)
	}
}

func BenchmarkNotModified(b *testing.B) {
	r := newRequest()
	r.Out.Status, r.Out.LastModified = 200, time.Unix(784111777, 0)
	r.In.AddID(ngx.HeaderIfModifiedSince, []byte("Mon, 07 Nov 1994 08:49:37 GMT"))
	r.Out.Header.AddID(ngx.HeaderETag, []byte(`"5e0d5da5-2"`))
	r.In.AddID(ngx.HeaderIfNoneMatch, []byte(`"5e0d5da5-3"`))
	b.ReportAllocs()
	for b.Loop() {
		notModified(r, sinceBefore)
	}
}

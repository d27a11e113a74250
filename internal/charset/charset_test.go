package charset

import (
	"bytes"
	"testing"

	"limpet/internal/ngx"
	conf "limpet/nginxconf"
)

type sink struct{ bytes.Buffer }

func (s *sink) Write(_ *ngx.Request, p []byte) error { s.Buffer.Write(p); return nil }
func (s *sink) Flush(*ngx.Request) error             { return nil }
func (s *sink) Finish(*ngx.Request) error            { return nil }

func newTable(t *testing.T, to string, lines ...string) *table {
	t.Helper()
	tab := &table{from: "x", to: to, utf8: to == "utf-8", narrow: make(map[rune]int)}
	for i := range 256 {
		tab.there[i], tab.back[i] = '?', '?'
		if i < 0x80 {
			tab.there[i], tab.back[i], tab.wide[i], tab.narrow[rune(i)] = byte(i), byte(i), string(rune(i)), i
		}
	}
	for i := 0; i < len(lines); i += 2 {
		if err := tab.add(&conf.Statement{Name: lines[i], Args: []conf.Arg{{Value: lines[i+1]}}}); err != nil {
			t.Fatal(err)
		}
	}
	return tab
}

func TestBodiesAreConvertedHoweverTheyAreCut(t *testing.T) {
	euro := newTable(t, "utf-8", "A4", "E282AC", "FC", "C3BC")
	bytes1 := newTable(t, "y", "C1", "E1")
	for _, c := range []struct {
		table      *table
		reverse    bool
		body, want string
	}{
		{euro, false, "5 \xa4 \xfc \xff", "5 € ü ?"},
		{euro, true, "5 € ü é", "5 \xa4 \xfc &#233;"},
		{euro, true, "a\xffb\xe2\x28", "a?b?("},
		{bytes1, false, "a\xc1\xc2", "a\xe1?"},
		{bytes1, true, "a\xe1\xe2", "a\xc1?"},
	} {
		for cut := range len(c.body) + 1 {
			f, out := &filter{table: c.table, reverse: c.reverse}, new(sink)
			f.Chain(out)
			f.Write(nil, []byte(c.body[:cut]))
			f.Write(nil, []byte(c.body[cut:]))
			f.Finish(nil)
			if out.String() != c.want {
				t.Errorf("%q cut at %d: got %q, want %q", c.body, cut, out.String(), c.want)
			}
		}
	}
}

func TestTheSetIsTakenOutOfTheType(t *testing.T) {
	for _, c := range []struct{ in, contentType, charset string }{
		{"text/html", "text/html", ""},
		{"text/html; charset=koi8-r", "text/html", "koi8-r"},
		{"text/html;charset=\"utf-8\"", "text/html", "utf-8"},
		{"text/html; CHARSET=x", "text/html", "x"},
		{"text/html; a=b; charset=x", "text/html; a=b", "x"},
		{"text/html; charset", "text/html; charset", ""},
	} {
		r := &ngx.Request{}
		r.Out.ContentType = []byte(c.in)
		got := string(split(r))
		if got != c.charset || string(r.Out.ContentType) != c.contentType {
			t.Errorf("%s: got %q and %q", c.in, r.Out.ContentType, got)
		}
	}
}

func BenchmarkConvert(b *testing.B) {
	body := bytes.Repeat([]byte("some text \xa4 "), 2000)
	tab := &table{utf8: true}
	for i := range 256 {
		tab.wide[i] = string(rune(i))
	}
	f := &filter{table: tab}
	f.Chain(new(sink))
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		f.next.(*sink).Reset()
		f.Write(nil, body)
	}
}

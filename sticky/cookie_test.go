package sticky

import (
	"bytes"
	"testing"

	"limpet/internal/ngx"
)

// The cases are those of spec/openresty.md 1.1, seen on nginx 1.22, but for the comma (nginx 1.29.6).
func TestCookieIsReadAsNginxDoes(t *testing.T) {
	for _, c := range []struct{ name, lines, want string }{
		{"alone", "route=v", "v"},
		{"behind another", "a=b; route=v", "v"},
		{"without a blank", "a=b;route=v", "v"},
		{"many blanks", "a=b;   route=v", "v"},
		{"name in any case", "ROUTE=v", "v"},
		{"value keeps its case", "route=V", "V"},
		{"blanks around =", "route  =  v", "v"},
		{"trailing blanks belong to the value", "route=v ;a=b", "v "},
		{"up to the end", "route=v w", "v w"},
		{"comma belongs to the value", "route=v,w", "v,w"},
		{"comma doesn't separate", "a=b, route=v", "-"},
		{"quotes stay", `route="v"`, `"v"`},
		{"percent stays", "route=%41", "%41"},
		{"= in the value", "route=a=b", "a=b"},
		{"empty", "route=", ""},
		{"empty before another", "route=; route=v", ""},
		{"first wins", "route=v; route=w", "v"},
		{"longer name", "xroute=v", "-"},
		{"name with a word before", "my route=v", "-"},
		{"longer name behind", "routes=v", "-"},
		{"name without = swallows the next", "route; route=v", "-"},
		{"name without = spares the one after", "route; a=b; route=v", "v"},
		{"name only", "route", "-"},
		{"name and blanks", "route   ", "-"},
		{"nothing", "", "-"},
		{"semicolons", ";;;", "-"},
		{"semicolons before", ";;route=v", "v"},
		{"a tab is no blank", "a=b;\troute=v", "-"},
		{"nor before =", "route\t=v", "-"},
		{"nor behind =", "route=\tv", "\tv"},
		{"blanks only", "route=  ;x=y", ""},
		{"blank cookies before", "a=b; ;route=v", "v"},
		{"second line", "a=b\nroute=v", "v"},
		{"first line wins", "route=v\nroute=w", "v"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var h ngx.Header
			for _, l := range bytes.Split([]byte(c.lines), []byte("\n")) {
				h.AddID(ngx.HeaderCookie, l)
			}
			f, ok := find(&h, "route", false)
			if got := string(f.value); ok && got != c.want || !ok && c.want != "-" {
				t.Errorf("%q: got %q, %v, want %q", c.lines, got, ok, c.want)
			}
			if ok && string(h.Fields[f.field].Value[f.from:f.end]) != c.want {
				t.Errorf("the position doesn't hold the value")
			}
		})
	}
}

func TestExactNamesHaveTheirCase(t *testing.T) {
	h := ngx.Header{}
	h.AddID(ngx.HeaderCookie, []byte("ROUTE=v; route=w"))
	if f, _ := find(&h, "route", true); string(f.value) != "w" {
		t.Errorf("got %q", f.value)
	}
}

func TestHiddenCookieFieldsAreNotRead(t *testing.T) {
	h := ngx.Header{}
	h.AddID(ngx.HeaderCookie, []byte("route=v"))
	h.Fields[0].Hidden = true
	if _, ok := find(&h, "route", false); ok {
		t.Error("read a hidden field")
	}
}

func FuzzCookie(f *testing.F) {
	for _, s := range []string{"route=v", "a=b; route=v", "route; route=v", "route = \"x\"; ", ";=;;route", "route=MTI3~x|y", "\x00route=\xff"} {
		f.Add([]byte(s))
	}
	x := &index{values: map[string]meaning{"v": {of: newForms(nil, false)}}, longest: 1}
	f.Fuzz(func(t *testing.T, line []byte) {
		before := string(line)
		start, from, end, ok := scan(line, "route", false)
		if string(line) != before {
			t.Fatal("the line was changed")
		}
		if !ok {
			return
		}
		if start < 0 || start+len("route") >= from || from > end || end > len(line) {
			t.Fatalf("%q: start %d, value from %d to %d", line, start, from, end)
		}
		if !ngx.EqualFold(line[start:start+5], "route") {
			t.Fatalf("%q: no name at %d", line, start)
		}
		if bytes.IndexByte(line[from:end], ';') >= 0 || end < len(line) && line[end] != ';' {
			t.Fatalf("%q: value %q", line, line[from:end])
		}
		x.lookLoose(line[from:end], exact)
	})
}

func BenchmarkCookie(b *testing.B) {
	h := ngx.Header{}
	h.AddID(ngx.HeaderCookie, []byte("_ga=GA1.2.1234567890.1234567890; session=0123456789abcdef; route="+md5of18081))
	b.ReportAllocs()
	for b.Loop() {
		find(&h, "route", false)
	}
}

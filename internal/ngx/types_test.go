package ngx

import (
	"testing"
	"time"

	"limpet/internal/errlog"
)

func newTestRequest() *Request {
	r := &Request{Proto: HTTP11, Scope: &Scope{Core: &Core{ErrorLog: new(errlog.Log)}}}
	r.Main = r
	r.Scope.Core.Gzip.Version.Put(HTTP11)
	r.Scope.Core.Gzip.Proxied.Put(gzipProxiedOff)
	return r
}

func TestTypesGoByExtension(t *testing.T) {
	r := newTestRequest()
	core := r.Scope.Core
	core.defaultType, core.DefaultType.V = []byte("text/plain"), "text/plain"
	for path, want := range map[string]string{"/a.html": "text/html", "/a.b.GIF": "image/gif", "/a": "text/plain", "/a.html/b": "text/plain", "/.html": "text/plain", "/a.": "text/plain", "/": "text/plain"} {
		r.Path = []byte(path)
		if got := string(r.MIMEType()); got != want {
			t.Errorf("%s: got %s, want %s", path, got, want)
		}
	}
	core.Types = &Types{map[string][]byte{"x": []byte("a/b")}}
	r.Path = []byte("/f.X")
	if got := string(r.MIMEType()); got != "a/b" {
		t.Errorf("got %s", got)
	}
	r.Path = []byte("/f.html") // types{} replaces nginx's three
	if got := string(r.MIMEType()); got != "text/plain" {
		t.Errorf("got %s", got)
	}
}

func TestTypeSetsLookAtTheTypeAlone(t *testing.T) {
	s := &TypeSet{names: map[string]bool{"text/html": true}}
	for in, want := range map[string]bool{"text/html": true, "Text/HTML; charset=x": true, "text/html ;x": true, "text/htmlx": false, "": false} {
		if got := s.Has([]byte(in)); got != want {
			t.Errorf("%s: got %v", in, got)
		}
	}
	if s.Has(nil) || !(&TypeSet{all: true}).Has(nil) {
		t.Error("an answer without a type is in the set of all only")
	}
}

func TestAcceptEncodingHasGzip(t *testing.T) {
	for in, want := range map[string]bool{
		"gzip": true, "GZIP": true, "deflate, gzip": true, "deflate,gzip": true, "gzip;q=0": false, "gzip; q=0.0": false, "gzip;q=0.001": true,
		"gzip;q=1.0": true, "gzip;q=1.001": false, "gzip;q=2": false, "x-gzip": false, "gzipx": false, "*": false, "": false, "gzip ;q=0": false, "gzip;q=": false,
	} {
		if got := acceptsGzip([]byte(in)); got != want {
			t.Errorf("%q: got %v", in, got)
		}
	}
}

func TestProxiedRequestsGetGzipByTheAnswersHeader(t *testing.T) {
	for _, c := range []struct {
		mask                 uint32
		expires, control     string
		lastModified, tagged bool
		want                 bool
	}{
		{gzipProxiedOff, "", "", false, false, false},
		{gzipProxiedAny, "", "private", false, false, true},
		{gzipProxiedExpired, "Thu, 01 Jan 1970 00:00:01 GMT", "", false, false, true},
		{gzipProxiedExpired, "Fri, 01 Jan 2100 00:00:01 GMT", "", false, false, false},
		{gzipProxiedNoCache, "Thu, 01 Jan 1970 00:00:01 GMT", "", false, false, false},
		{gzipProxiedNoCache, "", "max-age=1, No-Cache", false, false, true},
		{gzipProxiedNoStore | gzipProxiedPrivate, "", "no-cache", false, false, false},
		{gzipProxiedNoLastModified, "", "", true, false, false},
		{gzipProxiedNoLastModified, "", "", false, true, true},
		{gzipProxiedNoETag, "", "", true, true, false},
	} {
		r := newTestRequest()
		r.Scope.Core.Gzip.Proxied.V = c.mask
		r.In.AddID(HeaderAcceptEncoding, []byte("gzip"))
		r.In.AddID(HeaderVia, []byte("1.1 p"))
		if c.expires != "" {
			r.Out.Header.AddID(HeaderExpires, []byte(c.expires))
		}
		if c.control != "" {
			r.Out.Header.AddID(HeaderCacheControl, []byte(c.control))
		}
		if c.lastModified {
			r.Out.LastModified = time.Unix(1, 0)
		}
		if c.tagged {
			r.Out.Header.AddID(HeaderETag, []byte(`"x"`))
		}
		if got := GzipOK(r); got != c.want {
			t.Errorf("%+v: got %v", c, got)
		}
	}
}

func TestETagsAreWeakened(t *testing.T) {
	for in, want := range map[string]string{`"a"`: `W/"a"`, `W/"a"`: `W/"a"`, `a`: ``, ``: ``} {
		r := newTestRequest()
		r.Out.Header.AddID(HeaderETag, []byte(in))
		if r.WeakenETag(); string(r.Out.Header.Get(HeaderETag)) != want {
			t.Errorf("%s: got %s, want %s", in, r.Out.Header.Get(HeaderETag), want)
		}
	}
}

func TestVaryComesFirstAndOnce(t *testing.T) {
	r := newTestRequest()
	r.Out.Header.Add([]byte("X"), []byte("1"))
	if AddVary(r); len(r.Out.Header.Fields) != 1 {
		t.Error("added with gzip_vary off")
	}
	r.Scope.Core.Gzip.Vary.Put(true)
	AddVary(r)
	AddVary(r)
	if f := r.Out.Header.Fields; len(f) != 2 || string(f[0].Name) != "Vary" {
		t.Errorf("got %d fields", len(f))
	}
}

func BenchmarkMIMEType(b *testing.B) {
	r := newTestRequest()
	r.Scope.Core.Types = &Types{map[string][]byte{"html": []byte("text/html")}}
	r.Path = []byte("/some/path/to/index.html")
	b.ReportAllocs()
	for b.Loop() {
		r.MIMEType()
	}
}

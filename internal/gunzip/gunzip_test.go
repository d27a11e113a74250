package gunzip

import (
	"bytes"
	"compress/gzip"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"limpet/internal/errlog"
	"limpet/internal/ngx"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type sink struct{ bytes.Buffer }

func (s *sink) Write(_ *ngx.Request, p []byte) error { s.Buffer.Write(p); return nil }
func (s *sink) Flush(*ngx.Request) error             { return nil }
func (s *sink) Finish(*ngx.Request) error            { return nil }

func compressed(text string) []byte {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	z.Write([]byte(text))
	z.Close()
	return b.Bytes()
}

func newRequest() *ngx.Request {
	return &ngx.Request{Scope: &ngx.Scope{Core: &ngx.Core{ErrorLog: new(errlog.Log)}}}
}

// run passes a body through in pieces of n bytes.
func run(body []byte, n int) (string, error) {
	f, out, r := &filter{size: 100, pool: new(pool)}, new(sink), newRequest()
	f.Chain(out)
	defer f.Close()
	for len(body) > 0 {
		n = min(n, len(body))
		if err := f.Write(r, body[:n]); err != nil {
			return out.String(), err
		}
		body = body[n:]
	}
	err := f.Finish(r)
	return out.String(), err
}

func TestBodiesAreDecompressedHoweverTheyAreCut(t *testing.T) {
	text := strings.Repeat("some text and more of it ", 100)
	one := compressed(text)
	two := append(append([]byte{}, one...), one...)
	for _, n := range []int{1, 2, 7, 10, 18, 1000} {
		if got, err := run(one, n); err != nil || got != text {
			t.Errorf("by %d: got %d bytes, %v", n, len(got), err)
		}
		if got, err := run(two, n); err != nil || got != text+text {
			t.Errorf("two members by %d: got %d bytes, %v", n, len(got), err)
		}
	}
}

func TestWhatIsNoGzipFails(t *testing.T) {
	for name, body := range map[string][]byte{"text": []byte("this is no gzip"), "cut": compressed(strings.Repeat("some text ", 100))[:30]} {
		if _, err := run(body, 5); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestAnAnswerThatBreaksOffLeavesNothingBehind(t *testing.T) {
	f := &filter{size: 100, pool: new(pool)}
	f.Chain(new(sink))
	if err := f.Write(newRequest(), compressed("text")[:12]); err != nil {
		t.Fatal(err)
	}
	f.Close() // TestMain finds what stays
}

func BenchmarkGunzip(b *testing.B) {
	body := compressed(strings.Repeat("<p>The quick brown fox jumps over the lazy dog.</p>\n", 600))
	p := new(pool)
	b.ReportAllocs()
	for b.Loop() {
		f, r := &filter{size: 8 << 10, pool: p}, newRequest()
		f.Chain(new(sink))
		f.Write(r, body)
		f.Finish(r)
		f.Close()
	}
}

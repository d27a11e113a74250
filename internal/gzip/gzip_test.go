package gzip

import (
	"bytes"
	stdgzip "compress/gzip"
	"errors"
	"io"
	"strings"
	"sync"
	"testing"

	"limpet/internal/ngx"
	conf "limpet/nginxconf"
)

// sink keeps a body, and fails once it has limit bytes of it when limit is set.
type sink struct {
	bytes.Buffer
	flushes, limit int
}

var errGone = errors.New("gone")

func (s *sink) Write(_ *ngx.Request, p []byte) error {
	if s.Buffer.Write(p); s.limit > 0 && s.Len() >= s.limit {
		return errGone
	}
	return nil
}
func (s *sink) Flush(*ngx.Request) error  { s.flushes++; return nil }
func (s *sink) Finish(*ngx.Request) error { return nil }

func newConf() *Conf {
	c := &Conf{}
	c.Level.Put(1)
	c.Buffers.Put(conf.Buffers{Num: 16, Size: 64})
	return c
}

func decompress(t *testing.T, b []byte) string {
	t.Helper()
	z, err := stdgzip.NewReader(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestBodiesComeBackWholeFromACompressorUsedAgain(t *testing.T) {
	var pool sync.Pool
	for i := range 5 {
		f, out := newFilter(newConf(), &pool), new(sink)
		f.Chain(out)
		want := strings.Repeat("some text ", i*1000)
		for rest := []byte(want); len(rest) > 0; {
			n := min(77, len(rest))
			if err := f.Write(nil, rest[:n]); err != nil {
				t.Fatal(err)
			}
			rest = rest[n:]
		}
		if err := f.Finish(nil); err != nil {
			t.Fatal(err)
		}
		if got := decompress(t, out.Bytes()); got != want {
			t.Errorf("%d bytes came back as %d", len(want), len(got))
		}
		if f.in != int64(len(want)) || f.out != int64(out.Len()) {
			t.Errorf("counted %d and %d of %d and %d bytes", f.in, f.out, len(want), out.Len())
		}
	}
}

func TestFlushSendsWhatWasWritten(t *testing.T) {
	var pool sync.Pool
	f, out := newFilter(newConf(), &pool), new(sink)
	f.Chain(out)
	f.Write(nil, []byte("first"))
	f.Flush(nil)
	z, err := stdgzip.NewReader(bytes.NewReader(bytes.Clone(out.Bytes())))
	if err != nil {
		t.Fatal(err)
	}
	got := make([]byte, 5)
	if _, err := io.ReadFull(z, got); err != nil || string(got) != "first" || out.flushes != 1 {
		t.Errorf("got %q, %v, %d flushes", got, err, out.flushes)
	}
}

func TestAClientThatGoesEndsTheBody(t *testing.T) {
	var pool sync.Pool
	f, out := newFilter(newConf(), &pool), &sink{limit: 1}
	f.Chain(out)
	f.Write(nil, []byte("text"))
	if err := f.Finish(nil); err != errGone {
		t.Errorf("got %v", err)
	}
	if pool.Get() != nil {
		t.Error("a compressor with an error went back to the pool")
	}
}

func BenchmarkGzip(b *testing.B) {
	body := []byte(strings.Repeat("<p>The quick brown fox jumps over the lazy dog.</p>\n", 600))
	c := newConf()
	c.Buffers.Put(conf.Buffers{Num: 16, Size: 8 << 10})
	var pool sync.Pool
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		f := newFilter(c, &pool)
		f.Chain(new(sink))
		f.Write(nil, body)
		f.Finish(nil)
	}
}

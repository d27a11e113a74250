package gzip

import (
	"strconv"
	"sync"

	"github.com/klauspost/compress/gzip"

	"limpet/internal/ngx"
)

// pools keep a configuration's compressors that aren't in use, by level.
type pools struct{ byLevel [10]sync.Pool }

// unixOS is the operating system in a member's header, RFC 1952 section 2.3.1.
const unixOS = 3

// start is the header filter: it compresses the answers that are to be.
func start(r *ngx.Request, c *Conf, pool *sync.Pool) ngx.Outcome {
	o := &r.Out
	switch {
	case o.Status != 200 && o.Status != 403 && o.Status != 404,
		len(o.Header.Get(ngx.HeaderContentEncoding)) > 0,
		o.Length >= 0 && o.Length < c.MinLength.V,
		!c.Types.V.Has(o.ContentType):
		return ngx.Next
	}
	ngx.AddVary(r)
	if !ngx.GzipOK(r) {
		if r.Debugging() {
			r.Debugf("http gzip filter: not for this client")
		}
		return ngx.Next
	}
	if r.Debugging() {
		r.Debugf("http gzip filter")
	}
	o.Header.AddID(ngx.HeaderContentEncoding, []byte("gzip"))
	r.Changed()
	r.WeakenETag()
	if !r.HeaderOnly {
		r.AddFilter(newFilter(c, pool))
	}
	return ngx.Next
}

// filter compresses the body. Its compressor comes from a pool, and goes back at the end.
type filter struct {
	next    ngx.Sink
	pool    *sync.Pool
	z       *compressor
	in, out int64 // bytes
}

// compressor is a gzip writer and the buffer that it fills.
type compressor struct {
	gz   *gzip.Writer
	buf  []byte
	f    *filter
	r    *ngx.Request
	fail error
}

func newFilter(c *Conf, pool *sync.Pool) *filter {
	f := &filter{pool: pool}
	z, _ := pool.Get().(*compressor)
	if z == nil {
		z = &compressor{}
		z.gz, _ = gzip.NewWriterLevel(z, c.Level.V) // the level was checked
	} else {
		z.gz.Reset(z)
	}
	z.gz.OS = unixOS
	if size := int(c.Buffers.V.Size); cap(z.buf) != size {
		z.buf = make([]byte, 0, size)
	}
	z.f, f.z = f, z
	return f
}

// Write takes compressed bytes and passes them on by full buffers.
func (z *compressor) Write(p []byte) (int, error) {
	n := len(p)
	z.f.out += int64(n)
	for len(p) > 0 && z.fail == nil {
		m := min(cap(z.buf)-len(z.buf), len(p))
		z.buf = append(z.buf, p[:m]...)
		if p = p[m:]; len(z.buf) == cap(z.buf) {
			z.drain()
		}
	}
	return n, z.fail
}

func (z *compressor) drain() {
	if z.fail == nil && len(z.buf) > 0 {
		z.fail = z.f.next.Write(z.r, z.buf)
	}
	z.buf = z.buf[:0]
}

// Chain implements ngx.BodyFilter.
func (f *filter) Chain(next ngx.Sink) { f.next = next }

// Write implements ngx.Sink.
func (f *filter) Write(r *ngx.Request, p []byte) error {
	f.in += int64(len(p))
	f.z.r = r
	_, err := f.z.gz.Write(p)
	return err
}

// Flush implements ngx.Sink.
func (f *filter) Flush(r *ngx.Request) error {
	f.z.r = r
	if err := f.z.gz.Flush(); err != nil {
		return err
	}
	if f.z.drain(); f.z.fail != nil {
		return f.z.fail
	}
	return f.next.Flush(r)
}

// Finish implements ngx.Sink.
func (f *filter) Finish(r *ngx.Request) error {
	z := f.z
	z.r = r
	err := z.gz.Close()
	if z.drain(); err == nil {
		err = z.fail
	}
	if err != nil {
		return err
	}
	z.f, z.r, f.z = nil, nil, nil
	f.pool.Put(z)
	return f.next.Finish(r)
}

// vars are the gzip filter's variables.
func vars() []ngx.Variable {
	return []ngx.Variable{{Name: "gzip_ratio", Doc: "How many times smaller the answer became.", Get: func(r *ngx.Request, b []byte) ([]byte, bool) {
		f, ok := ngx.FilterOf[*filter](r)
		if !ok || f.out == 0 {
			return b, false
		}
		hundredths := (f.in*1000/f.out + 5) / 10
		b = append(strconv.AppendInt(b, hundredths/100, 10), '.')
		return append(b, byte('0'+hundredths/10%10), byte('0'+hundredths%10)), true
	}}}
}

// Package gunzip decompresses answers for clients that don't take them compressed.
//
// It stands for nginx's ngx_http_gunzip_filter_module.
// https://nginx.org/en/docs/http/ngx_http_gunzip_module.html
package gunzip

import (
	"io"
	"iter"
	"sync"

	"github.com/klauspost/compress/gzip"

	"limpet/internal/ngx"
	conf "limpet/nginxconf"
)

// Conf is the configuration of the gunzip filter at one level.
type Conf struct {
	On      conf.Opt[bool]
	Buffers conf.Opt[conf.Buffers]
}

// Directives lists the directives of the gunzip filter.
func (c *Conf) Directives() []conf.Directive {
	return []conf.Directive{
		conf.Flag("gunzip", conf.HTTPServerLocation, &c.On, "off", "Decompresses answers for clients that don't take gzip."),
		conf.Bufs("gunzip_buffers", conf.HTTPServerLocation, &c.Buffers, "16 8k", "Sets the size of the buffer for decompressed bytes; one is needed."),
	}
}

// Module returns the gunzip filter; it runs before the filters that look at the body's text.
func Module() ngx.Module {
	return ngx.Module{
		Name: "gunzip",
		Conf: func() conf.Settings { return new(Conf) },
		Scope: func(b *ngx.Build, s *ngx.Scope) error {
			if c := conf.Of[*Conf](s.Level); c.On.V {
				p := ngx.Shared[pool](b)
				s.Add(ngx.HeaderFilter, func(r *ngx.Request) ngx.Outcome { return start(r, c, p) })
			}
			return nil
		},
	}
}

// pool keeps a configuration's decompressors that aren't in use.
type pool struct{ sync.Pool }

// decompressor is a gzip reader and the buffer that it fills.
type decompressor struct {
	z   *gzip.Reader
	buf []byte
}

// start is the header filter.
func start(r *ngx.Request, c *Conf, p *pool) ngx.Outcome {
	encoding := r.Out.Header.Get(ngx.HeaderContentEncoding)
	if !ngx.EqualFold(encoding, "gzip") {
		return ngx.Next
	}
	ngx.AddVary(r)
	if ngx.GzipOK(r) {
		return ngx.Next
	}
	if r.Debugging() {
		r.Debugf("http gunzip filter")
	}
	r.Out.Header.Hide(ngx.HeaderContentEncoding)
	r.Changed()
	r.WeakenETag()
	if !r.HeaderOnly {
		r.AddFilter(&filter{size: int(c.Buffers.V.Size), pool: p})
	}
	return ngx.Next
}

// filter decompresses the body. The decompressor pulls its input, so it runs as a
// coroutine of the request's goroutine: it goes on whenever a piece of the body comes.
type filter struct {
	next ngx.Sink
	size int
	pool *pool
	in   []byte // the piece at hand, as far as it wasn't taken
	end  bool
	fail error

	resume func() ([]byte, bool) // the next decompressed piece, empty when more input is needed
	stop   func()
	more   func([]byte) bool
	over   bool
}

// Chain implements ngx.BodyFilter.
func (f *filter) Chain(next ngx.Sink) {
	f.next = next
	f.resume, f.stop = iter.Pull(f.run)
}

// run is the coroutine.
func (f *filter) run(yield func([]byte) bool) {
	f.more = yield
	d, _ := f.pool.Get().(*decompressor)
	if d == nil {
		d = &decompressor{z: new(gzip.Reader)}
	}
	defer f.pool.Put(d)
	if len(d.buf) != f.size {
		d.buf = make([]byte, f.size)
	}
	err := d.z.Reset(f)
	for err == nil {
		var n int
		if n, err = d.z.Read(d.buf); n > 0 && !yield(d.buf[:n]) {
			return
		}
	}
	if err != io.EOF {
		f.fail = err
	}
}

// Read gives the decompressor its input, and waits in between.
func (f *filter) Read(p []byte) (int, error) {
	for len(f.in) == 0 {
		if f.end || !f.more(nil) {
			return 0, io.EOF
		}
	}
	n := copy(p, f.in)
	f.in = f.in[n:]
	return n, nil
}

// ReadByte spares the decompressor a buffer of its own, which would read ahead.
func (f *filter) ReadByte() (byte, error) {
	var one [1]byte
	_, err := f.Read(one[:])
	return one[0], err
}

// Write implements ngx.Sink.
func (f *filter) Write(r *ngx.Request, p []byte) error {
	f.in = p
	return f.pump(r)
}

// pump passes on what the input gives.
func (f *filter) pump(r *ngx.Request) error {
	for !f.over {
		out, ok := f.resume()
		if !ok {
			f.over = true
			break
		}
		if len(out) == 0 {
			return nil
		}
		if err := f.next.Write(r, out); err != nil {
			return err
		}
	}
	if f.fail != nil {
		r.Errorf("inflate() failed: %s while sending response to client", f.fail)
		return f.fail
	}
	return nil
}

// Flush implements ngx.Sink.
func (f *filter) Flush(r *ngx.Request) error { return f.next.Flush(r) }

// Finish implements ngx.Sink.
func (f *filter) Finish(r *ngx.Request) error {
	f.end = true
	if err := f.pump(r); err != nil {
		return err
	}
	return f.next.Finish(r)
}

// Close ends the coroutine of an answer that broke off; it implements ngx.FilterCloser.
func (f *filter) Close() { f.stop() }

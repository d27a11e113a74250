package ngx

import (
	"errors"
	"io"
	"os"
	"sync"
	"time"

	"limpet/internal/tcp"
)

// Sink takes a response's body in order. The bytes belong to the caller and
// are copied or gone when Write returns. An error means that the client can't be
// answered any more; the request then ends with Close.
type Sink interface {
	Write(r *Request, p []byte) error
	// Flush sends what was written on to the client.
	Flush(r *Request) error
	// Finish ends the body.
	Finish(r *Request) error
}

// BodyFilter is a Sink that changes the body and hands it to the next one.
type BodyFilter interface {
	Sink
	// Chain says which sink comes next; called once, before the body.
	Chain(next Sink)
}

// FilterCloser is a BodyFilter that holds what the garbage collector doesn't
// take care of. Close is called once, when the request ends, however it ends.
type FilterCloser interface {
	BodyFilter
	Close()
}

// FileSink is a Sink that takes a part of a file as the body's next piece
// without its being read into memory.
type FileSink interface {
	Sink
	// SendFile writes n bytes of a file from offset off.
	SendFile(r *Request, f *os.File, off, n int64) error
}

// Wire is how a request came and its answer goes: HTTP/1.x, an HTTP/2 stream, or
// the parent of a subrequest.
type Wire interface {
	Sink
	// SendHead takes r.Out as it left the header filters. It may be sent together with the body's first bytes.
	SendHead(r *Request) error
	// SendInterim sends a 1xx head at once: 100 (Continue), 103 with r.Out.Header's fields.
	SendInterim(r *Request, status int, h *Header) error
	// SendFile writes n bytes of a file from offset off; used when no filter wants the body.
	SendFile(r *Request, f *os.File, off, n int64) error
	// ReadBody reads the request's body, without its framing; io.EOF at its end. It sends 100 Continue first when
	// that is due. Other errors are StatusError (400, 408, 413) or the client's going.
	ReadBody(r *Request, p []byte) (int, error)
	// Discard begins to drop the request's body, as far as it has come.
	Discard(r *Request) error
	// BodyTrailer returns the fields behind a chunked request body once ReadBody gave io.EOF.
	BodyTrailer() *Header
	// Hijack gives the connection away for a tunnel: what was read too much comes first from Conn's reads. The answer's
	// head was sent before. Only HTTP/1.x has it; false elsewhere.
	Hijack(r *Request) (*tcp.Conn, bool)
	// Abandon gives up on the request: nothing more is sent, what was sent stays as it is and the connection ends.
	Abandon(r *Request)
}

// Splicer is a Wire that can move a body from a socket without looking at it.
type Splicer interface {
	// Splice moves n bytes of src's stream to the client as the body's next ones; stop is asked between
	// pieces and true ends it early. It returns how many went; the errors are src's and the client's.
	// tcp.ErrUnsupported in place of src's means that nothing was moved and the body has to be copied.
	Splice(r *Request, src *tcp.Conn, n int64, stop func() bool) (moved int64, srcErr, clientErr error)
}

// Blocker is a Wire that tells when the client takes an answer more slowly than it comes.
type Blocker interface {
	// OnWriteBlocked has f called, in the writer's goroutine, each time that what is written is about to wait for the
	// client: for the socket, or for a window of HTTP/2; nil ends that. f must not use the wire.
	OnWriteBlocked(f func())
}

// BodyWaiter is a Wire whose ReadBody can be parted into trying and waiting, so that
// somebody else can be waited for, too.
type BodyWaiter interface {
	// TryReadBody is ReadBody that doesn't wait: tcp.ErrWouldBlock when nothing has come. p isn't empty.
	TryReadBody(r *Request, p []byte) (int, error)
	// WaitBody waits until ReadBody doesn't have to, with tcp.ErrAnswered when there is something to read from peer before.
	// Other errors are ReadBody's.
	WaitBody(r *Request, peer *tcp.Conn) error
}

// Engine runs requests through servers and locations.
type Engine interface {
	// Run takes a request whose server is known to its end, log included.
	Run(r *Request)
	// Subrequest runs sub, made by Sub, with its body going to sink (nil: dropped), and returns its status.
	Subrequest(sub *Request, sink Sink) int
}

// StatusError is an error that has an HTTP status for the client.
type StatusError struct {
	Status int
	Msg    string // for the error log; "" when it was logged already
}

func (e *StatusError) Error() string { return e.Msg }

// AddFilter puts a body filter behind those added before; for header filter steps only.
func (r *Request) AddFilter(f BodyFilter) { r.filters = append(r.filters, f) }

// FilterOf returns the request's body filter of type T.
func FilterOf[T BodyFilter](r *Request) (f T, ok bool) {
	for _, have := range r.filters {
		if f, ok = have.(T); ok {
			return f, true
		}
	}
	return f, false
}

// DropFilters takes the body filters away: the request has ended, or its answer is replaced.
func (r *Request) DropFilters() {
	for _, f := range r.filters {
		if c, ok := f.(FilterCloser); ok {
			c.Close()
		}
	}
	clear(r.filters)
	r.filters = r.filters[:0]
}

// Outer returns the sink for the answers of the request's subrequests: they go
// past the filters that look at this request's own text, and through those that follow (gzip).
func (r *Request) Outer() Sink {
	if r.outer < len(r.filters) {
		return r.filters[r.outer]
	}
	return r.Wire
}

// PostponeModule returns the module that marks, in the order of header filters,
// where the answers of subrequests join: what stands behind it sees them, too.
func PostponeModule() Module {
	return Module{Name: "postpone", Scope: func(b *Build, s *Scope) error {
		s.Add(HeaderFilter, func(r *Request) Outcome {
			r.outer = len(r.filters)
			return Next
		})
		return nil
	}}
}

// HasFilters reports whether a filter wants the body, so that it can't go out as a file.
func (r *Request) HasFilters() bool { return len(r.filters) > 0 }

// errReplaced ends the way of an answer that a header filter replaced by an error.
var errReplaced = errors.New("answer replaced by a header filter")

// replace drops the answer at hand for an error with the given status.
func (r *Request) replace(status int) {
	r.Replaced = status
	r.HeadSent, r.HeaderOnly = false, false
	r.Out.ContentType = nil
	r.DropFilters()
}

// SendHead runs the header filters and hands the head to the wire. On an error the caller
// stops and returns Close: the client has gone, or a filter replaced the answer (Replaced).
func (r *Request) SendHead() error {
	if r.HeadSent {
		return nil
	}
	r.HeadSent = true
	if r.ErrorStatus != 0 {
		r.Out.Status, r.Out.Reason = r.ErrorStatus, nil
	}
	if string(r.Method) == "HEAD" {
		r.HeaderOnly = true
	}
	for _, step := range r.Scope.Steps[HeaderFilter] {
		switch out := step(r); {
		case out == Close:
			return tcp.ErrHangup
		case out.IsStatus():
			r.replace(int(out))
			return errReplaced
		}
	}
	if r.Out.Status == 204 || r.Out.Status == 304 {
		r.HeaderOnly = true
	}
	if r.Out.HasTrailer {
		r.Out.Length = -1
	}
	switch r.Out.Status {
	case 200, 206, 304:
	default:
		r.Out.LastModified = time.Time{}
	}
	if r.Status == 0 || r.IsMain() {
		r.Status = r.Out.Status
	}
	for i, f := range r.filters {
		if i+1 < len(r.filters) {
			f.Chain(r.filters[i+1])
		} else {
			f.Chain(r.Wire)
		}
	}
	return r.Wire.SendHead(r)
}

// sink is where the body goes: the first filter, else the wire.
func (r *Request) sink() Sink {
	if len(r.filters) > 0 {
		return r.filters[0]
	}
	return r.Wire
}

// Write writes a piece of the response's body; SendHead must have been called.
func (r *Request) Write(p []byte) error { return r.sink().Write(r, p) }

// Flush sends what was written.
func (r *Request) Flush() error { return r.sink().Flush(r) }

// Finish ends the response.
func (r *Request) Finish() error {
	err := r.sink().Finish(r)
	r.Complete = err == nil
	return err
}

// SendFile writes a part of a file as the body's next piece.
func (r *Request) SendFile(f *os.File, off, n int64) error {
	return SendFileTo(r.sink(), r, f, off, n)
}

// SendFileTo writes a part of a file to a sink: as a file where the sink takes one.
func SendFileTo(to Sink, r *Request, f *os.File, off, n int64) error {
	if fs, ok := to.(FileSink); ok {
		return fs.SendFile(r, f, off, n)
	}
	return CopyFile(to, r, f, off, n)
}

// fileBuffer is how much of a file is read at once to be written as bytes.
type fileBuffer [32 << 10]byte

func newFileBuffer() any { return new(fileBuffer) }

var fileBuffers = sync.Pool{New: newFileBuffer}

// CopyFile writes a part of a file to a sink as bytes. A file that ends early is io.ErrUnexpectedEOF.
func CopyFile(to Sink, r *Request, f *os.File, off, n int64) error {
	buf := fileBuffers.Get().(*fileBuffer)
	defer fileBuffers.Put(buf)
	for n > 0 {
		m, err := f.ReadAt(buf[:min(int64(len(buf)), n)], off)
		if m > 0 {
			if err := to.Write(r, buf[:m]); err != nil {
				return err
			}
			off, n = off+int64(m), n-int64(m)
			continue
		}
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return err
	}
	return nil
}

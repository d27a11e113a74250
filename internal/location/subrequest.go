package location

import (
	"io"
	"os"

	"limpet/internal/ngx"
	"limpet/internal/tcp"
)

// maxDepth bounds the nesting of subrequests, as in nginx.
const maxDepth = 50

// Subrequest implements ngx.Engine.
func (e *Engine) Subrequest(sub *ngx.Request, sink ngx.Sink) int {
	if sub.Depth > maxDepth {
		sub.Errorf(`subrequests cycle while processing "%s"`, sub.Path)
		return 500
	}
	if sub.Debugging() {
		sub.Debugf(`http subrequest "%s?%s"`, sub.Path, sub.Args)
	}
	if sink == nil {
		sink = drop{}
	}
	sub.Wire = &subWire{Sink: sink, parent: sub.Parent}
	var out ngx.Outcome
	switch name := sub.Named; {
	case sub.Clone:
		out = sub.Scope.Handler(sub)
	case name != "":
		sub.Named = ""
		out = e.toNamed(sub, name)
	default:
		out = e.server(sub)
	}
	e.end(sub, out)
	if sub.Scope.Core.LogSubrequest.V {
		logRequest(sub)
	}
	sub.DropFilters()
	return sub.Status
}

// subWire is the wire of a subrequest: its head goes nowhere, its body to the parent.
type subWire struct {
	ngx.Sink
	parent *ngx.Request // whose sink it is
}

// drop is a sink without end.
type drop struct{}

func (drop) Write(*ngx.Request, []byte) error { return nil }
func (drop) Flush(*ngx.Request) error         { return nil }
func (drop) Finish(*ngx.Request) error        { return nil }

func (w *subWire) SendHead(r *ngx.Request) error                          { r.Status = r.Out.Status; return nil }
func (w *subWire) SendInterim(r *ngx.Request, s int, h *ngx.Header) error { return nil }
func (w *subWire) ReadBody(r *ngx.Request, p []byte) (int, error)         { return 0, io.EOF }
func (w *subWire) Discard(r *ngx.Request) error                           { return nil }
func (w *subWire) BodyTrailer() *ngx.Header                               { return &ngx.Header{} }
func (w *subWire) Abandon(r *ngx.Request)                                 {}
func (w *subWire) Flush(r *ngx.Request) error                             { return w.Sink.Flush(w.parent) }
func (w *subWire) Finish(r *ngx.Request) error                            { return w.Sink.Flush(w.parent) }

func (w *subWire) Hijack(r *ngx.Request) (*tcp.Conn, bool) { return nil, false }

func (w *subWire) Write(r *ngx.Request, p []byte) error {
	if r.HeaderOnly {
		return nil
	}
	return w.Sink.Write(w.parent, p)
}

func (w *subWire) SendFile(r *ngx.Request, f *os.File, off, n int64) error {
	buf := make([]byte, 32<<10)
	for n > 0 {
		m, err := f.ReadAt(buf[:min(int64(len(buf)), n)], off)
		if m == 0 {
			return err
		}
		if err := w.Write(r, buf[:m]); err != nil {
			return err
		}
		off, n = off+int64(m), n-int64(m)
	}
	return nil
}

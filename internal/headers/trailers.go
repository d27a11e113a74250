package headers

import "limpet/internal/ngx"

// addTrailers has fields sent behind the body, which goes out in chunks for
// that; an answer that can't have them, to HTTP/1.0 or without a body, has none.
func addTrailers(r *ngx.Request, fields []Field, safe bool) {
	wanted := false
	for i := range fields {
		wanted = wanted || safe || fields[i].Always
	}
	status := r.Out.Status
	if !wanted || r.HeaderOnly || status < 200 || status == 204 || status == 304 ||
		r.Proto < ngx.HTTP11 || !r.Scope.Core.ChunkedEncoding.V {
		return
	}
	r.Out.HasTrailer = true
	r.AddFilter(&trailerFilter{fields: fields, safe: safe})
}

// trailerFilter evaluates the fields when the body has ended.
type trailerFilter struct {
	next   ngx.Sink
	fields []Field
	safe   bool
}

// Chain implements ngx.BodyFilter.
func (t *trailerFilter) Chain(next ngx.Sink) { t.next = next }

// Write implements ngx.Sink.
func (t *trailerFilter) Write(r *ngx.Request, p []byte) error { return t.next.Write(r, p) }

// Flush implements ngx.Sink.
func (t *trailerFilter) Flush(r *ngx.Request) error { return t.next.Flush(r) }

// Finish implements ngx.Sink.
func (t *trailerFilter) Finish(r *ngx.Request) error {
	for i := range t.fields {
		f := &t.fields[i]
		if !t.safe && !f.Always {
			continue
		}
		if value := f.Value.Bytes(r); len(value) > 0 {
			trailer := &r.Out.Trailer
			trailer.Fields = append(trailer.Fields, ngx.Field{Name: f.Name, Value: value, ID: f.ID})
		}
	}
	return t.next.Finish(r)
}

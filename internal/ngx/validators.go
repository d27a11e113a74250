package ngx

import (
	"bytes"
	"time"
)

// ClearETag takes the ETag away from an answer whose body a filter changes.
func (r *Request) ClearETag() { r.Out.Header.Hide(HeaderETag) }

// ClearLastModified takes the time of the last change away from an answer.
func (r *Request) ClearLastModified() {
	r.Out.LastModified = time.Time{}
	r.Out.Header.Hide(HeaderLastModified)
}

// WeakenETag makes the ETag of an answer weak: a filter changes the body's bytes, not its meaning.
// One that isn't a quoted string goes.
func (r *Request) WeakenETag() {
	f := r.Out.Header.Find(HeaderETag)
	if f == nil {
		return
	}
	switch v := f.Value; {
	case len(v) > 2 && v[0] == 'W' && v[1] == '/' && v[2] == '"':
	case len(v) < 1 || v[0] != '"':
		f.Hidden = true
	default:
		w := r.Alloc(len(v) + 2)
		copy(w[copy(w, "W/"):], v)
		f.Value = w
	}
}

// Changed prepares an answer for a filter that changes the body and its length.
func (r *Request) Changed() {
	r.Out.Length = -1
	r.Out.AcceptRanges = false
	r.Out.Header.Hide(HeaderAcceptRanges)
}

// AddVary adds Vary: Accept-Encoding before all other fields, once, where gzip_vary is on.
func AddVary(r *Request) {
	if !r.Scope.Core.Gzip.Vary.V {
		return
	}
	fields := r.Out.Header.Fields
	for i := range fields {
		f := &fields[i]
		if f.ID == HeaderVary && !f.Hidden && bytes.Equal(f.Value, []byte("Accept-Encoding")) {
			return
		}
	}
	r.Out.Header.Fields = append([]Field{{Name: []byte("Vary"), Value: []byte("Accept-Encoding"), ID: HeaderVary}}, fields...)
}

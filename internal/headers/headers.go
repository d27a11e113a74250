// Package headers sets fields of answers: add_header, add_trailer and expires
// of nginx's headers module.
// https://nginx.org/en/docs/http/ngx_http_headers_module.html
package headers

import (
	"strconv"
	"time"

	"limpet/internal/ngx"
	"limpet/nginxconf"
)

// Module returns the module.
func Module() ngx.Module {
	return ngx.Module{
		Name: "headers",
		Conf: func() nginxconf.Settings { return new(Conf) },
		Scope: func(_ *ngx.Build, s *ngx.Scope) error {
			s.Add(ngx.HeaderFilter, step(nginxconf.Of[*Conf](s.Level)))
			return nil
		},
	}
}

// step sets the fields of an answer; nil where there are none to set.
func step(c *Conf) ngx.Step {
	expires, headers, trailers := c.Expires.V, c.Headers.V, c.Trailers.V
	if expires.kind == expiresOff && expires.text == nil && len(headers) == 0 && len(trailers) == 0 {
		return nil
	}
	return func(r *ngx.Request) ngx.Outcome {
		if !r.IsMain() {
			return ngx.Next
		}
		safe := isSafe(r.Out.Status)
		if safe {
			expires.set(r)
		}
		for i := range headers {
			if f := &headers[i]; safe || f.Always {
				f.set(r)
			}
		}
		addTrailers(r, trailers, safe)
		return ngx.Next
	}
}

// isSafe reports the statuses for which fields are set without the word always.
func isSafe(status int) bool {
	switch status {
	case 200, 201, 204, 206, 301, 302, 303, 304, 307, 308:
		return true
	}
	return false
}

// set adds the field. Of Last-Modified and ETag there is one, which an empty value takes away.
func (f *Field) set(r *ngx.Request) {
	value := f.Value.Bytes(r)
	h := &r.Out.Header
	switch {
	case f.ID == ngx.HeaderLastModified:
		setLastModified(r, value)
	case f.ID == ngx.HeaderETag:
		h.Hide(ngx.HeaderETag)
		fallthrough
	default:
		if len(value) > 0 {
			h.Fields = append(h.Fields, ngx.Field{Name: f.Name, Value: value, ID: f.ID})
		}
	}
}

// setLastModified replaces the Last-Modified field. A value that isn't a date in
// its usual form is sent as it is and isn't known to If-Range.
func setLastModified(r *ngx.Request, value []byte) {
	h := &r.Out.Header
	h.Hide(ngx.HeaderLastModified)
	r.Out.LastModified = time.Time{}
	if len(value) == 0 {
		return
	}
	t, err := time.Parse(ngx.TimeFormat, string(value))
	if err == nil {
		r.Out.LastModified = t
		return
	}
	h.AddID(ngx.HeaderLastModified, value)
}

// set sets Expires and Cache-Control.
func (e Expires) set(r *ngx.Request) {
	if e.text != nil {
		var err error
		if e, err = readExpires(e.kind, string(e.text.Bytes(r))); err != nil {
			return
		}
	}
	if e.kind == expiresOff {
		return
	}
	expires, cache := e.values(r, time.Now())
	r.Out.Header.Set(ngx.HeaderExpires, expires)
	r.Out.Header.Set(ngx.HeaderCacheControl, cache)
}

// values returns the values of Expires and Cache-Control at a time.
func (e Expires) values(r *ngx.Request, now time.Time) (expires, cache []byte) {
	now = now.Truncate(time.Second)
	var at time.Time
	switch {
	case e.kind == expiresEpoch:
		return []byte("Thu, 01 Jan 1970 00:00:01 GMT"), []byte("no-cache")
	case e.kind == expiresMax:
		return []byte("Thu, 31 Dec 2037 23:55:55 GMT"), []byte("max-age=315360000")
	case e.kind == expiresDaily:
		at = next(now, e.time)
	case e.time == 0:
		at = now
	case e.kind == expiresModified && lastModified(r).IsZero(), e.kind == expiresAccess:
		at = now.Add(e.time)
	default:
		at = lastModified(r).Add(e.time)
	}
	expires = at.UTC().AppendFormat(r.Alloc(len(ngx.TimeFormat))[:0], ngx.TimeFormat)
	age := at.Sub(now)
	if e.time < 0 || age < 0 {
		return expires, []byte("no-cache")
	}
	cache = append(r.Alloc(32)[:0], "max-age="...)
	return expires, strconv.AppendInt(cache, int64(age/time.Second), 10)
}

// lastModified returns when what is sent was modified: also what a peer said.
func lastModified(r *ngx.Request) time.Time {
	if t := r.Out.LastModified; !t.IsZero() {
		return t
	}
	t, _ := time.Parse(ngx.TimeFormat, string(r.Out.Header.Get(ngx.HeaderLastModified)))
	return t
}

// next returns the next time that is so long behind midnight.
func next(now time.Time, at time.Duration) time.Time {
	year, month, day := now.Date()
	t := time.Date(year, month, day, 0, 0, int(at/time.Second), 0, now.Location())
	if !t.After(now) {
		t = time.Date(year, month, day+1, 0, 0, int(at/time.Second), 0, now.Location())
	}
	return t
}

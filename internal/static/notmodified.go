package static

import (
	"limpet/internal/ngx"
)

// notModified answers conditional requests: 412 or 304 in place of 200. The
// order of the conditions is RFC 9110 section 13.2.2's as nginx has it: both
// If-Unmodified-Since and If-Match must hold, and both If-Modified-Since and
// If-None-Match must fail to be answered in full.
func notModified(r *ngx.Request, since int) ngx.Outcome {
	if r.Out.Status != 200 || !r.IsMain() || r.Out.Unconditional {
		return ngx.Next
	}
	if h := r.In.Get(ngx.HeaderIfUnmodifiedSince); h != nil && !unmodified(r, h) {
		return failPrecondition(r)
	}
	if h := r.In.Get(ngx.HeaderIfMatch); h != nil && !etagMatches(r, h, false) {
		return failPrecondition(r)
	}
	modifiedSince, noneMatch := r.In.Get(ngx.HeaderIfModifiedSince), r.In.Get(ngx.HeaderIfNoneMatch)
	switch {
	case modifiedSince == nil && noneMatch == nil:
		return ngx.Next
	case modifiedSince != nil && modified(r, modifiedSince, since):
		return ngx.Next
	case noneMatch != nil && !etagMatches(r, noneMatch, true):
		return ngx.Next
	}
	o := &r.Out
	o.Status, o.Reason = 304, nil
	o.ContentType, o.Charset, o.Length = nil, nil, -1
	o.AcceptRanges = false
	o.Header.Hide(ngx.HeaderAcceptRanges)
	o.Header.Hide(ngx.HeaderContentEncoding)
	return ngx.Next
}

// failPrecondition replaces the answer by 412, without its fields.
func failPrecondition(r *ngx.Request) ngx.Outcome {
	header, trailer := r.Out.Header, r.Out.Trailer
	header.Reset()
	trailer.Reset()
	r.Out = ngx.Response{Length: -1, Header: header, Trailer: trailer}
	return ngx.Status(412)
}

func unmodified(r *ngx.Request, h []byte) bool {
	t, ok := ngx.ParseTime(h)
	return ok && !r.Out.LastModified.IsZero() && r.Out.LastModified.Unix() <= t.Unix()
}

func modified(r *ngx.Request, h []byte, since int) bool {
	if r.Out.LastModified.IsZero() || since == sinceOff {
		return true
	}
	t, ok := ngx.ParseTime(h)
	if !ok {
		return true
	}
	last := r.Out.LastModified.Unix()
	return t.Unix() != last && (since == sinceExact || t.Unix() < last)
}

// etagMatches reports whether the answer's ETag is in a list of If-Match or
// If-None-Match, RFC 9110 sections 13.1.1 and 13.1.2. A weak comparison takes W/ away from both.
func etagMatches(r *ngx.Request, list []byte, weak bool) bool {
	if string(list) == "*" {
		return true
	}
	etag := r.Out.Header.Get(ngx.HeaderETag)
	if etag == nil {
		return false
	}
	if weak {
		etag = strong(etag)
	}
	for len(list) > 0 {
		if weak {
			list = strong(list)
		}
		if len(list) < len(etag) {
			return false
		}
		if string(list[:len(etag)]) == string(etag) {
			rest := skipBlank(list[len(etag):])
			if len(rest) == 0 || rest[0] == ',' {
				return true
			}
		}
		_, list = cutByte(list, ',')
		list = skipBlank(list)
	}
	return false
}

func strong(etag []byte) []byte {
	if len(etag) > 2 && etag[0] == 'W' && etag[1] == '/' {
		return etag[2:]
	}
	return etag
}

func skipBlank(b []byte) []byte {
	for len(b) > 0 && (b[0] == ' ' || b[0] == '\t') {
		b = b[1:]
	}
	return b
}

package ngx

// HeaderID names a header field that some code looks for, so that a look-up is
// an integer comparison. Unknown fields have ID 0.
type HeaderID uint8

// The header fields with an ID of their own.
const (
	HeaderOther HeaderID = iota
	HeaderHost
	HeaderConnection
	HeaderKeepAlive
	HeaderProxyConnection
	HeaderTE
	HeaderTrailer
	HeaderUpgrade
	HeaderTransferEncoding
	HeaderContentLength
	HeaderContentType
	HeaderContentEncoding
	HeaderContentRange
	HeaderContentLanguage
	HeaderExpect
	HeaderCookie
	HeaderSetCookie
	HeaderUserAgent
	HeaderReferer
	HeaderOrigin
	HeaderAccept
	HeaderAcceptEncoding
	HeaderAcceptLanguage
	HeaderAcceptRanges
	HeaderAuthorization
	HeaderWWWAuthenticate
	HeaderRange
	HeaderIfRange
	HeaderIfMatch
	HeaderIfNoneMatch
	HeaderIfModifiedSince
	HeaderIfUnmodifiedSince
	HeaderVia
	HeaderXForwardedFor
	HeaderXRealIP
	HeaderServer
	HeaderDate
	HeaderLocation
	HeaderRefresh
	HeaderLastModified
	HeaderETag
	HeaderExpires
	HeaderCacheControl
	HeaderVary
	HeaderLink
	HeaderRetryAfter
	HeaderPriority
	HeaderHTTP2Settings
	HeaderXAccelRedirect
	HeaderXAccelExpires
	HeaderXAccelLimitRate
	HeaderXAccelBuffering
	HeaderXAccelCharset
	HeaderXPad
	NumHeaders
)

// headerNames are the canonical names by ID.
func headerName(id HeaderID) string {
	return [...]string{"", "Host", "Connection", "Keep-Alive", "Proxy-Connection", "TE", "Trailer", "Upgrade",
		"Transfer-Encoding", "Content-Length", "Content-Type", "Content-Encoding", "Content-Range", "Content-Language",
		"Expect", "Cookie", "Set-Cookie", "User-Agent", "Referer", "Origin", "Accept", "Accept-Encoding",
		"Accept-Language", "Accept-Ranges", "Authorization", "WWW-Authenticate", "Range", "If-Range", "If-Match",
		"If-None-Match", "If-Modified-Since", "If-Unmodified-Since", "Via", "X-Forwarded-For", "X-Real-IP", "Server",
		"Date", "Location", "Refresh", "Last-Modified", "ETag", "Expires", "Cache-Control", "Vary", "Link",
		"Retry-After", "Priority", "HTTP2-Settings", "X-Accel-Redirect", "X-Accel-Expires", "X-Accel-Limit-Rate",
		"X-Accel-Buffering", "X-Accel-Charset", "X-Pad"}[id]
}

// String returns the field's name as it is usually written.
func (id HeaderID) String() string { return headerName(id) }

// HeaderIDOf returns the ID of a field name in any case. The name's length and
// two of its bytes choose at most a few candidates, so that it takes about ten nanoseconds.
func HeaderIDOf(name []byte) HeaderID {
	if len(name) < 2 || len(name) > 19 {
		return HeaderOther
	}
	var a, b, c HeaderID
	first := name[0] | 0x20
	switch len(name) {
	case 2:
		a = HeaderTE
	case 3:
		a = HeaderVia
	case 4:
		switch first {
		case 'h':
			a = HeaderHost
		case 'd':
			a = HeaderDate
		case 'e':
			a = HeaderETag
		case 'v':
			a = HeaderVary
		case 'l':
			a = HeaderLink
		}
	case 5:
		a, b = HeaderRange, HeaderXPad
	case 6:
		switch first {
		case 'e':
			a = HeaderExpect
		case 'c':
			a = HeaderCookie
		case 'o':
			a = HeaderOrigin
		case 'a':
			a = HeaderAccept
		case 's':
			a = HeaderServer
		}
	case 7:
		switch first {
		case 't':
			a = HeaderTrailer
		case 'u':
			a = HeaderUpgrade
		case 'r':
			a, b = HeaderReferer, HeaderRefresh
		case 'e':
			a = HeaderExpires
		}
	case 8:
		switch first {
		case 'l':
			a = HeaderLocation
		case 'i':
			a, b = HeaderIfRange, HeaderIfMatch
		case 'p':
			a = HeaderPriority
		}
	case 9:
		a = HeaderXRealIP
	case 10:
		switch first {
		case 'c':
			a = HeaderConnection
		case 'k':
			a = HeaderKeepAlive
		case 's':
			a = HeaderSetCookie
		case 'u':
			a = HeaderUserAgent
		}
	case 11:
		a = HeaderRetryAfter
	case 12:
		a = HeaderContentType
	case 13:
		switch first {
		case 'a':
			a, b = HeaderAcceptRanges, HeaderAuthorization
		case 'c':
			a, b = HeaderContentRange, HeaderCacheControl
		case 'l':
			a = HeaderLastModified
		case 'i':
			a = HeaderIfNoneMatch
		}
	case 14:
		switch first {
		case 'c':
			a = HeaderContentLength
		case 'h':
			a = HeaderHTTP2Settings
		}
	case 15:
		switch first {
		case 'a':
			a, b = HeaderAcceptEncoding, HeaderAcceptLanguage
		case 'x':
			a, b, c = HeaderXForwardedFor, HeaderXAccelExpires, HeaderXAccelCharset
		}
	case 16:
		switch first {
		case 'p':
			a = HeaderProxyConnection
		case 'c':
			a, b = HeaderContentEncoding, HeaderContentLanguage
		case 'w':
			a = HeaderWWWAuthenticate
		case 'x':
			a = HeaderXAccelRedirect
		}
	case 17:
		switch first {
		case 't':
			a = HeaderTransferEncoding
		case 'i':
			a = HeaderIfModifiedSince
		case 'x':
			a = HeaderXAccelBuffering
		}
	case 18:
		a = HeaderXAccelLimitRate
	case 19:
		a = HeaderIfUnmodifiedSince
	}
	switch {
	case a != 0 && EqualFold(name, headerName(a)):
		return a
	case b != 0 && EqualFold(name, headerName(b)):
		return b
	case c != 0 && EqualFold(name, headerName(c)):
		return c
	}
	return HeaderOther
}

// Field is one header field. Name and Value are read-only and live as long as the request.
type Field struct {
	Name, Value []byte
	ID          HeaderID
	// Hidden fields stay in place, readable, and aren't passed on.
	Hidden bool
}

// Header is a list of fields in the order, case and number in which they came.
type Header struct {
	Fields []Field
}

// Reset empties the list and keeps its memory.
func (h *Header) Reset() {
	clear(h.Fields)
	h.Fields = h.Fields[:0]
}

// Add appends a field; name and value are kept, not copied.
func (h *Header) Add(name, value []byte) {
	h.Fields = append(h.Fields, Field{Name: name, Value: value, ID: HeaderIDOf(name)})
}

// AddID appends a field by its ID; the value is kept, not copied.
func (h *Header) AddID(id HeaderID, value []byte) {
	h.Fields = append(h.Fields, Field{Name: []byte(headerName(id)), Value: value, ID: id})
}

// Get returns the value of the first field with the ID that isn't hidden, or nil.
func (h *Header) Get(id HeaderID) []byte {
	if f := h.Find(id); f != nil {
		return f.Value
	}
	return nil
}

// Has reports whether there is a field with the ID that isn't hidden.
func (h *Header) Has(id HeaderID) bool { return h.Find(id) != nil }

// Find returns the first field with the ID that isn't hidden, or nil.
func (h *Header) Find(id HeaderID) *Field {
	for i := range h.Fields {
		if f := &h.Fields[i]; f.ID == id && !f.Hidden {
			return f
		}
	}
	return nil
}

// Name returns the first field of that name, in any case, that isn't hidden, or nil.
func (h *Header) Name(name string) *Field {
	for i := range h.Fields {
		if f := &h.Fields[i]; !f.Hidden && EqualFold(f.Name, name) {
			return f
		}
	}
	return nil
}

// Set replaces all fields with the ID by one at the first one's place.
func (h *Header) Set(id HeaderID, value []byte) {
	f := h.Find(id)
	if f == nil {
		h.AddID(id, value)
		return
	}
	h.Hide(id)
	f.Value, f.Hidden = value, false
}

// Hide hides all fields with the ID.
func (h *Header) Hide(id HeaderID) {
	for i := range h.Fields {
		if h.Fields[i].ID == id {
			h.Fields[i].Hidden = true
		}
	}
}

// EqualFold reports whether a and b are equal but for the case of ASCII letters.
func EqualFold(a []byte, b string) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range len(a) {
		if x, y := a[i], b[i]; x != y && (lower(x) != lower(y)) {
			return false
		}
	}
	return true
}

func lower(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		return c | 0x20
	}
	return c
}

package ngx

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
)

// BasicAuth returns the user and password of the request's Authorization field
// in the Basic scheme, RFC 7617; false where there are none. The bytes live as long as the request.
func (r *Request) BasicAuth() (user, password []byte, ok bool) {
	const scheme = "basic "
	v := r.In.Get(HeaderAuthorization)
	if len(v) < len(scheme) || !EqualFold(v[:len(scheme)], scheme) {
		return nil, nil, false
	}
	v = bytes.TrimLeft(v[len(scheme):], " ")
	// nginx stops at the padding and doesn't ask for it.
	if i := bytes.IndexByte(v, '='); i >= 0 {
		v = v[:i]
	}
	if len(v) == 0 {
		return nil, nil, false
	}
	plain := r.Alloc(base64.RawStdEncoding.DecodedLen(len(v)))
	n, err := base64.RawStdEncoding.Decode(plain, v)
	if err != nil {
		return nil, nil, false
	}
	return bytes.Cut(plain[:n], []byte{':'})
}

// ID returns the request's random identifier in 32 hexadecimal digits: $request_id. Subrequests share their client's request's.
func (r *Request) ID() []byte {
	m := r.Main
	if m.id == nil {
		var b [16]byte
		rand.Read(b[:])
		m.id = m.Alloc(2 * len(b))
		hex.Encode(m.id, b[:])
	}
	return m.id
}

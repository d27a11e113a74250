package rewrite

import (
	"bytes"

	"limpet/internal/ngx"
)

// textBytes returns a value; when quoted, captures are escaped if the client's URI had escapes or plus signs,
// so that what was decoded for matching can be part of a URI again.
func textBytes(t *ngx.Text, r *ngx.Request, quoted bool) []byte {
	if quoted && t.UsesCaptures() && cameEscaped(r) {
		return t.AppendQuoted(r, nil)
	}
	return t.Bytes(r)
}

// cameEscaped reports whether the path of the request's URI has escapes or plus signs.
func cameEscaped(r *ngx.Request) bool {
	if !r.IsMain() {
		return false
	}
	path, _, _ := bytes.Cut(r.URI, []byte("?"))
	return bytes.IndexByte(path, '%') >= 0 || bytes.IndexByte(path, '+') >= 0
}

// decodeTarget returns a target with the escapes in the path of a redirect's target
// that stand for printable bytes above the percent sign decoded. It stops at the first
// question mark, escaped or not: what follows it is left alone.
func decodeTarget(b []byte) []byte {
	if bytes.IndexByte(b, '%') < 0 {
		return b
	}
	out := make([]byte, 0, len(b))
	for i := 0; i < len(b); i++ {
		c := b[i]
		if c == '%' && i+2 < len(b) {
			hi, lo := ngx.Unhex(b[i+1]), ngx.Unhex(b[i+2])
			if hi >= 0 && lo >= 0 {
				c = byte(hi<<4 | lo)
				if c <= '%' || c >= 0x7f {
					out = append(out, b[i], b[i+1], b[i+2])
					i += 2
					continue
				}
				i += 2
			}
		}
		out = append(out, c)
		if c == '?' {
			return append(out, b[i+1:]...)
		}
	}
	return out
}

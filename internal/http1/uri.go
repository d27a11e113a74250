package http1

import (
	"bytes"

	"limpet/internal/ngx"
)

// normalize appends the path of a target to dst as $uri shows it: escapes
// decoded, /./ and /../ resolved, adjacent slashes merged if asked for. It stops
// at ? and #, decoded ones are plain bytes. args is what follows the ?. ok is
// false for a broken escape, an escaped NUL, and a path that climbs above the root.
// RFC 3986 section 5.2.4, on the decoded bytes as nginx does it.
func normalize(dst, target []byte, merge bool) (path, args []byte, ok bool) {
	base := len(dst)
	seg := base // where the segment at hand begins, behind its slash
	first := true
	i := 0
	for ; i < len(target); i++ {
		c := target[i]
		switch c {
		case '?', '#':
			if c == '?' {
				args = cutHash(target[i+1:])
			}
			dst, _, ok = closeSegment(dst, base, seg)
			return dst, args, ok
		case '%':
			if i+2 >= len(target) {
				return nil, nil, false
			}
			hi, lo := ngx.Unhex(target[i+1]), ngx.Unhex(target[i+2])
			if hi < 0 || lo < 0 || hi|lo == 0 {
				return nil, nil, false
			}
			c = byte(hi<<4 | lo)
			i += 2
		}
		if c != '/' {
			dst = append(dst, c)
			continue
		}
		empty, dots := len(dst) == seg, false
		if !first {
			if dst, dots, ok = closeSegment(dst, base, seg); !ok {
				return nil, nil, false
			}
		}
		if first || !dots && !(empty && merge) {
			dst = append(dst, '/')
		}
		first = false
		seg = len(dst)
	}
	dst, _, ok = closeSegment(dst, base, seg)
	return dst, nil, ok
}

// Unescape decodes the path of a URI that a peer names (X-Accel-Redirect), its
// arguments left as they are. ok is false for one that climbs above the root or has a NUL.
func Unescape(r *ngx.Request, uri []byte) (path []byte, ok bool) {
	out := r.Alloc(len(uri))[:0]
	i := 0
	for ; i < len(uri) && uri[i] != '?'; i++ {
		c := uri[i]
		if c == '%' && i+2 < len(uri) && ngx.Unhex(uri[i+1]) >= 0 && ngx.Unhex(uri[i+2]) >= 0 {
			c = byte(ngx.Unhex(uri[i+1])<<4 | ngx.Unhex(uri[i+2]))
			i += 2
		}
		if c == 0 {
			return nil, false
		}
		out = append(out, c)
	}
	if bytes.Contains(out, []byte("/../")) || bytes.HasSuffix(out, []byte("/..")) || bytes.HasPrefix(out, []byte("../")) || string(out) == ".." {
		return nil, false
	}
	return append(out, uri[i:]...), true
}

// closeSegment resolves the segment that begins at seg when it is . or .. and
// says whether it was one; dst then ends in the slash before it, or before its parent.
func closeSegment(dst []byte, base, seg int) (b []byte, dots, ok bool) {
	switch s := dst[seg:]; {
	case len(s) == 1 && s[0] == '.':
		return dst[:seg], true, true
	case len(s) == 2 && s[0] == '.' && s[1] == '.':
		end := seg - 1 // the slash before ..
		if end <= base {
			return nil, true, false
		}
		end--
		for end > base && dst[end] != '/' {
			end--
		}
		return dst[:end+1], true, true
	}
	return dst, false, true
}

func cutHash(b []byte) []byte {
	for i, c := range b {
		if c == '#' {
			return b[:i]
		}
	}
	return b
}

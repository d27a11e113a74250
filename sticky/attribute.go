package sticky

import (
	"strconv"
	"strings"
	"time"

	"limpet/internal/ngx"
)

// attribute is one attribute of a cookie, or one piece of text that may be several.
type attribute struct {
	kind attributeKind
	text string   // fixed text, or what stands before the value: "; domain="
	val  ngx.Text // of variableAttr, sameSiteAttr, verbatimAttr
	age  time.Duration
	form string // time format of expiresAttr
	// maxAge says on which side of the date max-age stands.
	maxAge maxAgeSide
}

type attributeKind uint8

const (
	fixedAttr    attributeKind = iota
	expiresAttr                // text + date [+ max-age]
	variableAttr               // text + val, left out when val is empty
	sameSiteAttr               // text + val, strict when val is no word of the attribute
	verbatimAttr               // "; " + val, left out when it is empty or ends in =
	secureAttr                 // text, where the request came by https
)

type maxAgeSide uint8

const (
	noMaxAge     maxAgeSide = iota
	maxAgeBehind            // ; expires=DATE; max-age=N
	maxAgeBefore            // ; Max-Age=N; Expires=DATE
)

// The formats of dates in cookies. Netscape's has two digits for the year, and
// nginx writes four from 2038 on.
// https://nginx.org/en/docs/http/ngx_http_upstream_module.html#sticky
const (
	netscapeDate = "Mon, 02-Jan-06 15:04:05 GMT"
	longDate     = "Mon, 02-Jan-2006 15:04:05 GMT"
)

// split parts the text at the attributes' begin that never changes from the rest.
func split(attrs []attribute) (fixed string, rest []attribute) {
	var b strings.Builder
	for i, a := range attrs {
		if a.kind != fixedAttr {
			return b.String(), attrs[i:]
		}
		b.WriteString(a.text)
	}
	return b.String(), nil
}

// append appends the attribute as it is for a request, at this time.
func (a *attribute) append(r *ngx.Request, b []byte) []byte {
	switch a.kind {
	case fixedAttr:
		return append(b, a.text...)
	case expiresAttr:
		return a.appendExpires(b)
	case secureAttr:
		if r.Scheme == "https" {
			b = append(b, a.text...)
		}
		return b
	}
	mark := len(b)
	b = append(b, a.text...)
	from := len(b)
	b = a.val.Append(r, b)
	v := b[from:]
	switch {
	case len(v) == 0, a.kind == verbatimAttr && v[len(v)-1] == '=':
		return b[:mark]
	case a.kind == sameSiteAttr && !isSameSite(v):
		return append(b[:from], "strict"...)
	}
	return b
}

func isSameSite(v []byte) bool {
	return ngx.EqualFold(v, "strict") || ngx.EqualFold(v, "lax") || ngx.EqualFold(v, "none")
}

func (a *attribute) appendExpires(b []byte) []byte {
	if a.maxAge == maxAgeBefore {
		b = strconv.AppendInt(append(b, "; Max-Age="...), int64(a.age/time.Second), 10)
	}
	at := time.Now().Add(a.age).UTC()
	form := a.form
	if form == netscapeDate && at.Year() > 2037 {
		form = longDate
	}
	b = at.AppendFormat(append(b, a.text...), form)
	if a.maxAge == maxAgeBehind {
		b = strconv.AppendInt(append(b, "; max-age="...), int64(a.age/time.Second), 10)
	}
	return b
}

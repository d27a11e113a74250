package static

import (
	"strconv"
	"time"
	"unicode/utf8"

	"limpet/internal/ngx"
)

// nameWidth is the width of the names' column of an HTML listing.
const nameWidth = 50

// appendHTML appends a listing as nginx's autoindex makes it, to the byte.
func (c *Conf) appendHTML(b []byte, r *ngx.Request, entries []entry) []byte {
	title := appendHTMLText(nil, string(r.Path))
	b = append(append(append(b, "<html>\r\n<head><title>Index of "...), title...), "</title></head>\r\n"...)
	b = append(append(append(b, "<body>\r\n<h1>Index of "...), title...), "</h1><hr><pre><a href=\"../\">../</a>\r\n"...)
	isUTF8 := ngx.EqualFold(r.Out.Charset, "utf-8")
	for i := range entries {
		b = c.appendHTMLEntry(b, &entries[i], isUTF8)
	}
	return append(b, "</pre><hr></body>\r\n</html>\r\n"...)
}

func (c *Conf) appendHTMLEntry(b []byte, e *entry, isUTF8 bool) []byte {
	slash := ""
	if e.dir {
		slash = "/"
	}
	b = append(b, "<a href=\""...)
	b = append(ngx.AppendEscaped(b, []byte(e.name), ngx.EscapeComponent), slash...)
	b = append(b, "\">"...)
	width := len(e.name)
	if isUTF8 {
		width = utf8.RuneCountInString(e.name)
	}
	if width += len(slash); width > nameWidth {
		b = append(appendHTMLText(b, firstChars(e.name, nameWidth-3, isUTF8)), "..&gt;</a>"...)
		width = nameWidth
	} else {
		b = append(append(appendHTMLText(b, e.name), slash...), "</a>"...)
	}
	for ; width < nameWidth; width++ {
		b = append(b, ' ')
	}
	t := e.mtime.UTC()
	if c.AutoindexLocaltime.V {
		t = e.mtime.Local()
	}
	b = t.AppendFormat(b, " 02-Jan-2006 15:04 ")
	var size [24]byte
	switch {
	case e.dir && c.AutoindexExactSize.V:
		b = appendRight(b, "-", 19)
	case e.dir:
		b = appendRight(b, "-", 7)
	case c.AutoindexExactSize.V:
		b = appendRight(b, string(strconv.AppendInt(size[:0], e.size, 10)), 19)
	default:
		b = appendRight(b, string(appendRounded(size[:0], e.size)), 7)
	}
	return append(b, "\r\n"...)
}

// firstChars returns the first n bytes or characters of s.
func firstChars(s string, n int, isUTF8 bool) string {
	if !isUTF8 {
		return s[:n]
	}
	for i := range s {
		if n == 0 {
			return s[:i]
		}
		n--
	}
	return s
}

func appendRight(b []byte, s string, width int) []byte {
	for i := len(s); i < width; i++ {
		b = append(b, ' ')
	}
	return append(b, s...)
}

// appendRounded appends a size in bytes, K, M or G.
func appendRounded(b []byte, n int64) []byte {
	const k, m, g = 1 << 10, 1 << 20, 1 << 30
	round := func(unit int64, suffix byte) []byte {
		q := n / unit
		if n%unit > unit/2-1 {
			q++
		}
		return append(strconv.AppendInt(b, q, 10), suffix)
	}
	switch {
	case n > g-1:
		return round(g, 'G')
	case n > m-1:
		return round(m, 'M')
	case n > 9999:
		return round(k, 'K')
	}
	return strconv.AppendInt(b, n, 10)
}

func appendHTMLText(b []byte, s string) []byte {
	for i := range len(s) {
		switch s[i] {
		case '<':
			b = append(b, "&lt;"...)
		case '>':
			b = append(b, "&gt;"...)
		case '&':
			b = append(b, "&amp;"...)
		case '"':
			b = append(b, "&quot;"...)
		default:
			b = append(b, s[i])
		}
	}
	return b
}

// appendJSON appends a listing in JSON, as the argument of a function when callback names one.
func appendJSON(b []byte, entries []entry, callback []byte) []byte {
	if len(callback) > 0 {
		b = append(append(append(b, "/* callback */\r\n"...), callback...), '(')
	}
	b = append(b, '[')
	for i := range entries {
		e := &entries[i]
		if i > 0 {
			b = append(b, ',')
		}
		b = appendJSONText(append(b, "\r\n{ \"name\":\""...), e.name)
		b = append(append(b, "\", \"type\":\""...), e.kind()...)
		b = e.mtime.UTC().AppendFormat(append(b, "\", \"mtime\":\""...), ngx.TimeFormat)
		b = append(b, '"')
		if e.file {
			b = strconv.AppendInt(append(b, ", \"size\":"...), e.size, 10)
		}
		b = append(b, " }"...)
	}
	b = append(b, "\r\n]"...)
	if len(callback) > 0 {
		b = append(b, ");"...)
	}
	return b
}

// kind is the word for what a name is.
func (e *entry) kind() string {
	switch {
	case e.dir:
		return "directory"
	case e.file:
		return "file"
	}
	return "other"
}

func appendJSONText(b []byte, s string) []byte {
	const hex = "0123456789ABCDEF"
	for i := range len(s) {
		switch c := s[i]; c {
		case '\n':
			b = append(b, `\n`...)
		case '\r':
			b = append(b, `\r`...)
		case '\t':
			b = append(b, `\t`...)
		case '\b':
			b = append(b, `\b`...)
		case '\f':
			b = append(b, `\f`...)
		case '"', '\\':
			b = append(b, '\\', c)
		default:
			if c < 0x20 {
				b = append(b, '\\', 'u', '0', '0', '0'+c>>4, hex[c&15])
			} else {
				b = append(b, c)
			}
		}
	}
	return b
}

// appendXML appends a listing in XML.
func appendXML(b []byte, entries []entry) []byte {
	b = append(b, "<?xml version=\"1.0\"?>\r\n<list>\r\n"...)
	for i := range entries {
		e := &entries[i]
		b = append(append(b, '<'), e.kind()...)
		b = e.mtime.UTC().AppendFormat(append(b, " mtime=\""...), time.RFC3339)
		if e.file {
			b = strconv.AppendInt(append(b, "\" size=\""...), e.size, 10)
		}
		b = appendHTMLText(append(b, "\">"...), e.name)
		b = append(append(append(b, "</"...), e.kind()...), ">\r\n"...)
	}
	return append(b, "</list>\r\n"...)
}

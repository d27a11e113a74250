package location

import (
	"strings"

	"limpet/internal/ngx"
)

// pageTitle returns the title of nginx's built-in page and its text for the
// few statuses that have one; "" where there is no page.
func pageTitle(status int) (title, text string) {
	switch status {
	case 301:
		return "301 Moved Permanently", ""
	case 302:
		return "302 Found", ""
	case 303:
		return "303 See Other", ""
	case 307:
		return "307 Temporary Redirect", ""
	case 308:
		return "308 Permanent Redirect", ""
	case 400:
		return "400 Bad Request", ""
	case 401:
		return "401 Authorization Required", ""
	case 402, 403, 404, 406, 409, 410, 411, 412, 415, 416, 421, 429, 500, 501, 502, 503, 504, 505, 507:
		return ngx.StatusLine(status), ""
	case 405:
		return "405 Not Allowed", ""
	case 408:
		return "408 Request Time-out", ""
	case 413:
		return "413 Request Entity Too Large", ""
	case 414:
		return "414 Request-URI Too Large", ""
	case 494:
		return "400 Request Header Or Cookie Too Large", "Request Header Or Cookie Too Large"
	case 495:
		return "400 The SSL certificate error", "The SSL certificate error"
	case 496:
		return "400 No required SSL certificate was sent", "No required SSL certificate was sent"
	case 497:
		return "400 The plain HTTP request was sent to HTTPS port", "The plain HTTP request was sent to HTTPS port"
	}
	return "", ""
}

// padding keeps MSIE and Chrome from showing a page of their own.
const padding = "<!-- a padding to disable MSIE and Chrome friendly error page -->\r\n"

// appendPage appends nginx's built-in page.
func appendPage(b []byte, r *ngx.Request, status int) []byte {
	title, text := pageTitle(status)
	if title == "" {
		return b
	}
	b = append(append(append(b, "<html>\r\n<head><title>"...), title...), "</title></head>\r\n<body>\r\n<center><h1>"...)
	head := title
	if text != "" {
		head = "400 Bad Request"
	}
	b = append(append(b, head...), "</h1></center>\r\n"...)
	if text != "" {
		b = append(append(append(b, "<center>"...), text...), "</center>\r\n"...)
	}
	b = append(b, "<hr><center>"...)
	b = append(b, ngx.ServerField(r.Scope.Core.ServerTokens.V)...)
	b = append(b, "</center>\r\n</body>\r\n</html>\r\n"...)
	if status >= 400 && r.Scope.Core.MSIEPadding.V && friendly(r) {
		for range 6 {
			b = append(b, padding...)
		}
	}
	return b
}

// refreshes reports whether msie_refresh answers in place of a redirect.
func refreshes(r *ngx.Request) bool {
	return r.Scope.Core.MSIERefresh.V && len(r.Out.Location) > 0 && msie(r.In.Get(ngx.HeaderUserAgent))
}

// appendRefresh appends the page that stands for a redirect under msie_refresh.
func appendRefresh(b, location []byte) []byte {
	b = append(b, `<html><head><meta http-equiv="Refresh" content="0; URL=`...)
	for _, c := range location {
		if c <= ' ' || c >= 0x7f || strings.IndexByte(`"'<>\`, c) >= 0 {
			b = append(b, '%', "0123456789ABCDEF"[c>>4], "0123456789ABCDEF"[c&15])
		} else {
			b = append(b, c)
		}
	}
	return append(b, "\"></head><body></body></html>\r\n"...)
}

// friendly reports the browsers that replace small error pages.
func friendly(r *ngx.Request) bool {
	ua := r.In.Get(ngx.HeaderUserAgent)
	return msie(ua) || contains(ua, "Chrome/")
}

// msie reports Microsoft's browser of old.
func msie(ua []byte) bool { return contains(ua, "MSIE ") && !contains(ua, "Opera") }

func contains(b []byte, word string) bool {
	for i := 0; i+len(word) <= len(b); i++ {
		if string(b[i:i+len(word)]) == word {
			return true
		}
	}
	return false
}

package ngx

import (
	"bytes"
	"time"

	"limpet/internal/rx"
	"limpet/nginxconf"
)

// Words of gzip_proxied.
const (
	gzipProxiedOff uint32 = 1 << iota
	gzipProxiedExpired
	gzipProxiedNoCache
	gzipProxiedNoStore
	gzipProxiedPrivate
	gzipProxiedNoLastModified
	gzipProxiedNoETag
	gzipProxiedAuth
	gzipProxiedAny
)

// Gzip says who takes compressed answers, for all that compress: gzip, gunzip and gzip_static.
// https://nginx.org/en/docs/http/ngx_http_gzip_module.html
type Gzip struct {
	Vary    nginxconf.Opt[bool]
	Version nginxconf.Opt[Proto]
	Proxied nginxconf.Opt[uint32]
	Disable nginxconf.List[GzipDisable]
}

// GzipDisable is one word of gzip_disable: browsers by a pattern, or the old MSIE.
type GzipDisable struct {
	MSIE6   bool
	Pattern *rx.Regexp
}

func (g *Gzip) directives() []nginxconf.Directive {
	return []nginxconf.Directive{
		nginxconf.Flag("gzip_vary", nginxconf.HTTPServerLocation, &g.Vary, "off", "Tells caches that answers vary by Accept-Encoding."),
		nginxconf.Enum("gzip_http_version", nginxconf.HTTPServerLocation, &g.Version, []nginxconf.Word[Proto]{{Name: "1.0", Value: HTTP10}, {Name: "1.1", Value: HTTP11}}, "1.1",
			"Sets the version from which on requests get compressed answers."),
		nginxconf.Mask("gzip_proxied", nginxconf.HTTPServerLocation, &g.Proxied, []nginxconf.Word[uint32]{
			{Name: "off", Value: gzipProxiedOff}, {Name: "expired", Value: gzipProxiedExpired}, {Name: "no-cache", Value: gzipProxiedNoCache},
			{Name: "no-store", Value: gzipProxiedNoStore}, {Name: "private", Value: gzipProxiedPrivate}, {Name: "no_last_modified", Value: gzipProxiedNoLastModified},
			{Name: "no_etag", Value: gzipProxiedNoETag}, {Name: "auth", Value: gzipProxiedAuth}, {Name: "any", Value: gzipProxiedAny},
		}, "off", "Says which answers are compressed for requests that came by a proxy, which tells of itself in Via."),
		nginxconf.Many("gzip_disable", nginxconf.HTTPServerLocation, nginxconf.Args1More, &g.Disable, parseGzipDisable, "", "Names browsers that get no compressed answers."),
	}
}

func parseGzipDisable(s *nginxconf.Setting) ([]GzipDisable, error) {
	var list []GzipDisable
	for i := range s.Args {
		switch s.Arg(i) {
		case "msie6":
			list = append(list, GzipDisable{MSIE6: true})
		case "degradation":
			// nginx's under shortage of memory, which it is never built to notice on Linux
		default:
			re, err := rx.Compile(s.Arg(i), rx.Caseless)
			if err != nil {
				return nil, err
			}
			list = append(list, GzipDisable{Pattern: re})
		}
	}
	return list, nil
}

// GzipVary reports whether gzip_vary is on.
func GzipVary(r *Request) bool { return r.Scope.Core.Gzip.Vary.V }

// GzipOK reports whether the client takes a compressed answer: by its
// Accept-Encoding, version and browser, and under gzip_proxied by the answer's header.
func GzipOK(r *Request) bool {
	g := &r.Scope.Core.Gzip
	if !r.IsMain() || r.Proto < g.Version.V || !acceptsGzip(r.In.Get(HeaderAcceptEncoding)) {
		return false
	}
	if r.In.Has(HeaderVia) && !g.proxied(r) {
		return false
	}
	if len(g.Disable.V) == 0 {
		return true
	}
	agent := r.In.Get(HeaderUserAgent)
	if agent == nil {
		return true
	}
	for i := range g.Disable.V {
		d := &g.Disable.V[i]
		if d.MSIE6 && OldMSIE(agent) || d.Pattern != nil && matches(d.Pattern, agent) {
			return false
		}
	}
	return true
}

func matches(re *rx.Regexp, b []byte) bool {
	_, ok := re.Match(b, nil)
	return ok
}

// OldMSIE reports MSIE 4 to 6, but not 6 of Windows XP SP2, nor Opera in its disguise.
func OldMSIE(agent []byte) bool {
	i := bytes.Index(agent, []byte("MSIE "))
	if i < 0 || bytes.Contains(agent, []byte("Opera")) || len(agent) < i+8 || agent[i+6] != '.' {
		return false
	}
	switch agent[i+5] {
	case '4', '5':
		return true
	case '6':
		return !bytes.Contains(agent[i+8:], []byte("SV1"))
	}
	return false
}

// proxied applies gzip_proxied to the answer's header.
func (g *Gzip) proxied(r *Request) bool {
	p, h := g.Proxied.V, &r.Out.Header
	switch {
	case p&gzipProxiedOff != 0:
		return false
	case p&gzipProxiedAny != 0, p&gzipProxiedAuth != 0 && r.In.Has(HeaderAuthorization):
		return true
	}
	if e := h.Get(HeaderExpires); e != nil {
		if p&gzipProxiedExpired == 0 {
			return false
		}
		t, err := time.Parse(TimeFormat, string(e))
		return err == nil && !t.After(time.Now())
	}
	if h.Has(HeaderCacheControl) {
		return p&gzipProxiedNoCache != 0 && hasDirective(h, "no-cache") ||
			p&gzipProxiedNoStore != 0 && hasDirective(h, "no-store") ||
			p&gzipProxiedPrivate != 0 && hasDirective(h, "private")
	}
	return !(p&gzipProxiedNoLastModified != 0 && !r.Out.LastModified.IsZero() || p&gzipProxiedNoETag != 0 && h.Has(HeaderETag))
}

// hasDirective reports whether a Cache-Control field has a directive.
func hasDirective(h *Header, name string) bool {
	for i := range h.Fields {
		f := &h.Fields[i]
		if f.ID != HeaderCacheControl || f.Hidden {
			continue
		}
		for _, d := range bytes.Split(f.Value, []byte(",")) {
			d, _, _ = bytes.Cut(bytes.TrimSpace(d), []byte("="))
			if EqualFold(d, name) {
				return true
			}
		}
	}
	return false
}

// acceptsGzip reports whether Accept-Encoding has gzip with a weight above 0, RFC 9110 section 12.5.3.
func acceptsGzip(h []byte) bool {
	for i := 0; i+4 <= len(h); i++ {
		if h[i]|0x20 != 'g' || !EqualFold(h[i:i+4], "gzip") || i > 0 && h[i-1] != ',' && h[i-1] != ' ' {
			continue
		}
		rest := bytes.TrimLeft(h[i+4:], " ")
		switch {
		case len(rest) == 0 || rest[0] == ',':
			return true
		case rest[0] == ';':
			return weighty(rest[1:])
		}
	}
	return false
}

// weighty reports whether a parameter q is well-formed and above 0.
func weighty(b []byte) bool {
	b, _, _ = bytes.Cut(b, []byte(","))
	b = bytes.Trim(b, " ")
	if len(b) < 3 || b[0]|0x20 != 'q' || b[1] != '=' || b[2] != '0' && b[2] != '1' {
		return false
	}
	digits := b[3:]
	if len(digits) > 0 && digits[0] != '.' || len(digits) > 4 {
		return false
	}
	positive := b[2] == '1'
	for i, c := range digits {
		switch {
		case i == 0:
		case c < '0' || c > '9' || b[2] == '1' && c != '0':
			return false
		case c != '0':
			positive = true
		}
	}
	return positive
}

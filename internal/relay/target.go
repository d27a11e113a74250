package relay

import (
	"bytes"
	"errors"
	"net/netip"
	"strconv"
	"strings"

	"limpet/internal/ngx"
	"limpet/internal/tcp"
	"limpet/nginxconf"
	"limpet/upstream"
)

// Target is where a place's requests go.
type Target struct {
	Group  *upstream.Group // nil when the URL has variables
	URL    string          // as written
	Host   []byte          // host[:port] as written: $proxy_host
	Port   []byte          // $proxy_port
	URI    []byte          // from the first slash behind the host on
	HasURI bool
	// Text is the URL with variables.
	Text ngx.Text
	// Value is the kind's, compiled.
	Value ngx.Text
	// groups are those of the configuration, found by name when the URL is known.
	groups *upstream.Groups
	kind   *Kind
	scheme *Scheme // nil when the URL has variables
}

const errPrefix = "invalid URL prefix"

func (k *Kind) parseTarget(s *nginxconf.Setting) (*Target, error) {
	url := s.Arg(0)
	t := &Target{URL: url, kind: k}
	var err error
	if t.Value, err = ngx.ParseText(s, k.Value); err != nil {
		return nil, err
	}
	text, err := ngx.ParseText(s, url)
	if err != nil {
		return nil, err
	}
	if _, static := text.Static(); !static {
		t.Text = text
		return t, nil
	}
	rest, ok := t.parseScheme(url)
	if !ok {
		return nil, errors.New(errPrefix)
	}
	host, uri, hasURI := t.split(rest)
	if err := t.place(s, hasURI); err != nil {
		return nil, err
	}
	if !k.URI && !strings.HasPrefix(host, "unix:") && strings.ContainsAny(host, "/?") {
		return nil, errors.New(`invalid host in upstream "` + host + `"`)
	}
	t.URI, t.HasURI = []byte(uri), hasURI
	t.name(host)
	t.Group, err = upstream.Add(s, host, t.scheme.Port)
	return t, err
}

// parseScheme takes the scheme off, in any case.
func (t *Target) parseScheme(url string) (rest string, ok bool) {
	for i := range t.kind.Schemes {
		if c := &t.kind.Schemes[i]; len(url) >= len(c.Prefix) && strings.EqualFold(url[:len(c.Prefix)], c.Prefix) {
			t.scheme = c
			return url[len(c.Prefix):], true
		}
	}
	return "", false
}

// split parts what follows the scheme into the address and the URI, where the kind has one.
func (t *Target) split(rest string) (host, uri string, hasURI bool) {
	if !t.kind.URI {
		return rest, "", false
	}
	return splitURL(rest)
}

// splitURL parts what follows the scheme into the address and the URI. A unix
// socket's path ends at a colon.
func splitURL(rest string) (host, uri string, hasURI bool) {
	if path, ok := strings.CutPrefix(rest, "unix:"); ok {
		if i := strings.IndexByte(path, ':'); i >= 0 {
			return rest[:5+i], path[i+1:], i+1 < len(path)
		}
		return rest, "", false
	}
	if i := strings.IndexAny(rest, "/?"); i >= 0 {
		return rest[:i], rest[i:], true
	}
	return rest, "", false
}

// name sets what $proxy_host and $proxy_port show.
func (t *Target) name(host string) {
	if strings.HasPrefix(host, "unix:") {
		t.Host, t.Port = []byte("localhost"), nil
		return
	}
	t.Host = []byte(host)
	t.Port = strconv.AppendInt(nil, int64(t.scheme.Port), 10)
	if i := strings.LastIndexByte(host, ':'); i >= 0 && i > strings.IndexByte(host, ']') {
		t.Port = []byte(host[i+1:])
		if p, _ := nginxconf.ParseNum(host[i+1:]); p == t.scheme.Port {
			t.Host = []byte(host[:i])
		}
	}
}

// place refuses a URI where it can't replace a location's name.
func (t *Target) place(s *nginxconf.Setting, hasURI bool) error {
	if !hasURI {
		return nil
	}
	plain := s.Level.Context == nginxconf.Location
	if p, ok := s.Level.Data.(ngx.Place); ok && plain {
		plain = p.IsPrefix()
	}
	if !plain {
		return errors.New(`"` + s.Name + `" cannot have URI part in location given by regular expression, or inside named location, or inside "if" statement, or inside "limit_except" block`)
	}
	return nil
}

// Resolved is where a request goes.
type Resolved struct {
	Host   []byte
	Port   []byte
	scheme *Scheme
	group  *upstream.Group
	uri    []byte
	hasURI bool
	// whole says that uri replaces the request's whole, as in a URL with variables.
	whole bool
	// name is what group is looked for by where it isn't known yet.
	name string
}

// resolve finds where a request goes, but for the group of a target with variables. A status other than 0 ends the request.
func (t *Target) resolve(r *ngx.Request, to *Resolved) (status int) {
	if t.Group != nil {
		*to = Resolved{scheme: t.scheme, group: t.Group, Host: t.Host, Port: t.Port, uri: t.URI, hasURI: t.HasURI}
		return 0
	}
	url := t.Text.Bytes(r)
	v := Target{kind: t.kind}
	rest, ok := v.parseScheme(string(url))
	if !ok {
		r.Errorf(`invalid URL prefix in "%s"`, url)
		return 500
	}
	host, uri, hasURI := v.split(rest)
	if host == "" {
		r.Errorf(`no host in upstream "%s"`, rest)
		return 500
	}
	v.name(host)
	*to = Resolved{scheme: v.scheme, Host: v.Host, Port: v.Port, uri: []byte(uri), hasURI: hasURI, whole: hasURI}
	if hasURI && uri[0] == '?' {
		to.uri = append([]byte{'/'}, uri...)
	}
	to.name = host
	return 0
}

// locate finds the group of a target that came by variables. A status other than 0 ends the request.
func (t *Target) locate(r *ngx.Request, to *Resolved) (status int) {
	to.group, status = t.find(r, to.name, to.scheme.Port)
	return status
}

// find returns the group of a host that came by variables: one of the
// configuration, or one made of a literal address.
func (t *Target) find(r *ngx.Request, host string, port int) (*upstream.Group, int) {
	if g := t.groups.Named(host); g != nil {
		return g, 0
	}
	if strings.HasPrefix(host, "unix:") {
		return upstream.Single(host, host), 0
	}
	name := host
	if i := strings.LastIndexByte(host, ':'); i >= 0 && i > strings.IndexByte(host, ']') {
		p, ok := nginxconf.ParseNum(host[i+1:])
		if !ok || p < 1 || p > 65535 {
			r.Errorf(`invalid port in upstream "%s"`, host)
			return nil, 500
		}
		name, port = host[:i], p
	}
	if g := t.groups.At(name, port); g != nil {
		return g, 0
	}
	if port == 0 {
		r.Errorf(`no port in upstream "%s"`, host)
		return nil, 500
	}
	addr, err := netip.ParseAddr(strings.Trim(name, "[]"))
	if err != nil {
		return t.lookup(r, name, port)
	}
	return upstream.Single(host, netip.AddrPortFrom(addr, uint16(port)).String()), 0
}

// lookup asks the location's resolver for a name that came by variables.
func (t *Target) lookup(r *ngx.Request, name string, port int) (*upstream.Group, int) {
	addrs, err := r.Resolve(name)
	switch {
	case err == nil:
	case err == ngx.ErrNoResolver:
		r.Errorf("no resolver defined to resolve %s", name)
		return nil, 502
	case errors.Is(err, tcp.ErrHangup), errors.Is(err, tcp.ErrAborted):
		r.Infof("epoll_wait() reported that client prematurely closed connection while resolving")
		return nil, 499
	default:
		r.Errorf("%s could not be resolved (%s)", name, err)
		return nil, 502
	}
	texts := make([]string, len(addrs))
	for i, a := range addrs {
		texts[i] = netip.AddrPortFrom(a, uint16(port)).String()
	}
	return upstream.Single(name, texts...), 0
}

// AppendURI appends the URI passed on: the client's as it came where nothing
// changed it, else made of the path, with the location's name replaced by the target's URI.
func (to *Resolved) AppendURI(b []byte, r *ngx.Request, location string) []byte {
	if to.whole {
		return append(b, to.uri...)
	}
	if !to.hasURI && !r.PathChanged {
		return append(b, r.URI...)
	}
	path := r.Path
	if to.hasURI && !r.PathFree {
		b = append(b, to.uri...)
		path = path[min(len(location), len(path)):]
	}
	if r.Internal || r.PathChanged || bytes.IndexByte(r.URI, '%') >= 0 {
		b = ngx.AppendEscaped(b, path, ngx.EscapeURI)
	} else {
		b = append(b, path...)
	}
	if len(r.Args) > 0 {
		b = append(append(b, '?'), r.Args...)
	}
	return b
}

package healthcheck

import (
	"crypto/tls"
	"net"
	"sync"
	"time"

	"limpet/internal/ngx"
	"limpet/internal/tcp"
	"limpet/nginxconf"
	"limpet/upstream"
)

// Location is how a location reaches its group. The module that proxies tells
// it to Proxied, so that the probes of health_check and upstream_probe are shaped
// by the location's own directives.
type Location struct {
	Group *upstream.Group
	// Head appends the head of a request without a body to b, its final empty line
	// included, with the location's own version of HTTP and fields. r is a request without
	// a client: most variables are empty. Keep-alive is asked for where keep is true.
	Head func(b []byte, r *ngx.Request, method, uri string, keep bool) []byte
	// TLS is nil for plain connections. A peer's name to verify is in it.
	TLS *tls.Config
	// Connect, Send and Read bound the steps of a probe, each as a whole.
	Connect, Send, Read time.Duration
	// Fails reports whether the rules of the next upstream take a status for a failure; nil: none is.
	Fails func(status int) bool
}

// locations are the locations that proxy, by level.
type locations map[*nginxconf.Level]Location

// Proxied tells how the location of a level reaches its group. The module that
// proxies calls it from its Scope, which runs before this package's.
func Proxied(b *ngx.Build, lv *nginxconf.Level, l Location) {
	ls := ngx.Shared[locations](b)
	if *ls == nil {
		*ls = make(locations)
	}
	(*ls)[lv] = l
}

// scope builds what a server or location has of this package.
func (m *module) scope(b *ngx.Build, s *ngx.Scope) error {
	c := nginxconf.Of[*Conf](s.Level)
	checks := ngx.Shared[Checks](b)
	if c.Status.IsSet() && s.Level.Context&nginxconf.ServerLocation != 0 {
		s.Handler = checks.statusHandler(c.Status.V)
	}
	for _, p := range c.probes {
		if p.level != s.Level {
			continue
		}
		l, ok := (*ngx.Shared[locations](b))[s.Level]
		if !ok || l.Group == nil {
			return nginxconf.Errorf(p.at.File, p.at.Line, `"%s" directive needs a "proxy_pass" to a group of servers without variables in its location`, p.at.Name)
		}
		if err := buildProbe(b, s, p, l); err != nil {
			return err
		}
	}
	return nil
}

// buildProbe builds a check of a location.
func buildProbe(b *ngx.Build, s *ngx.Scope, p *probeSpec, l Location) error {
	h := &locationHTTP{spec: p, location: l, scope: s}
	if p.matchName != "" {
		h.match = nginxconf.Of[*Conf](s.Level.Up(nginxconf.HTTP)).matches[p.matchName]
		if h.match == nil {
			return nginxconf.Errorf(p.at.File, p.at.Line, `unknown match "%s"`, p.matchName)
		}
	}
	h.wantBody = h.match != nil && len(h.match.bodies) > 0 || p.test != nil
	c := &Check{
		Group: l.Group, Dialect: p.at.Name, Name: p.label(), Type: "http", Interval: p.interval, Jitter: p.jitter,
		Fall: p.fails, Rise: p.passes, Port: p.port, protocol: h, words: p.words(), tls: l.TLS, log: s.Core.ErrorLog,
		timeouts:  timeouts{connect: l.Connect, send: l.Send, read: l.Read},
		startDown: p.mandatory, requests: 1, life: p.keepalive, when: p.when,
	}
	if p.keepalive > 0 {
		c.requests = 1 << 30
	}
	checks := ngx.Shared[Checks](b)
	checks.add(b, c, p.identity()+" "+s.Name, false, each)
	return nil
}

// locationHTTP is the HTTP of health_check and upstream_probe.
type locationHTTP struct {
	spec     *probeSpec
	location Location
	scope    *ngx.Scope
	match    *match // nil without
	wantBody bool

	once    sync.Once
	request []byte
}

// probing is what variables show of a probe under way.
type probing struct {
	name string
	body []byte
}

// ask implements protocol.
func (h *locationHTTP) ask(x *exchange) bool {
	// The request is made once: without a client its variables don't change.
	h.once.Do(func() {
		h.request = h.location.Head(nil, x.request(h.scope, h.spec.name, nil), h.spec.method, h.spec.uri, h.spec.keepalive > 0)
	})
	if !x.send(h.request) {
		return false
	}
	noBody := h.spec.method == "HEAD"
	for from := 0; ; from = x.answer.end {
		if !x.readHead(from, noBody) {
			return false
		}
		if s := x.answer.status; s >= 200 || s == 101 {
			break
		}
	}
	return h.judge(x, noBody)
}

func (h *locationHTTP) judge(x *exchange, noBody bool) bool {
	a := &x.answer
	if h.spec.name == "" && !h.match.status(a.status) || h.location.Fails != nil && h.spec.name != "" && h.location.Fails(a.status) {
		return x.judge(Status, nil)
	}
	whole := noBody || a.length == 0
	if !whole && (h.wantBody || h.spec.keepalive > 0) {
		var ok bool
		if whole, ok = x.readBody(h.spec.maxBody); !ok {
			return false
		}
	}
	x.keep = whole && !a.close && h.spec.keepalive > 0
	switch {
	case h.match != nil && !h.match.header(&a.header):
		return x.judge(Mismatch, errMatchHeader)
	case h.match != nil && !h.match.body(a.body):
		return x.judge(Mismatch, errMatchBody)
	case !h.variables(x):
		return x.judge(Mismatch, errMatchRequire)
	}
	x.at = stepJudge
	return true
}

// variables evaluates require and test.
func (h *locationHTTP) variables(x *exchange) bool {
	if h.spec.test == nil && (h.match == nil || len(h.match.require) == 0) {
		return true
	}
	r := x.request(h.scope, h.spec.name, x.answer.body)
	r.Status, r.UpHead = x.answer.status, x.answer.header
	r.Tries = append(r.Tries, ngx.Try{Peer: x.target.name(), Status: x.answer.status, Length: int64(len(x.answer.body))})
	ok := h.spec.test == nil || holds(h.spec.test.Bytes(r))
	if h.match != nil {
		for i := range h.match.require {
			ok = ok && holds(h.match.require[i].Bytes(r))
		}
	}
	r.UpHead = ngx.Header{}
	return ok
}

// request returns a request without a client, for variables.
func (x *exchange) request(s *ngx.Scope, name string, body []byte) *ngx.Request {
	if x.req == nil {
		nobody, _ := net.Pipe()
		x.req = &ngx.Request{Client: &ngx.Client{Conn: tcp.New(nobody), Text: []byte("unix:"), Unix: true}}
	}
	r := x.req
	r.Reset()
	r.Scope, r.Scheme, r.Start = s, "http", time.Now()
	x.probing = probing{name, body}
	r.Passed = &x.probing
	return r
}

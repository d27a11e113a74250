// Package relay passes requests on to peers and answers back, whatever protocol is spoken with them: the choice of a
// peer, connections, tries and the next peer after a failure, the request's body read ahead or passed as it comes, the
// response read ahead of a slow client, kept in a cache or saved, headers hidden, X-Accel fields obeyed.
//
// A module (proxy, fastcgi, ...) brings its Kind, by which its directives are named, and for each place a Protocol.
// It stands for nginx's ngx_http_upstream.c.
// https://nginx.org/en/docs/http/ngx_http_upstream_module.html
package relay

import (
	"hash/fnv"
	"strings"
	"sync"

	"limpet/healthcheck"
	"limpet/internal/ngx"
	"limpet/internal/tcp"
	"limpet/nginxconf"
	"limpet/upstream"
)

// Kind is what a module that passes requests on is called and what its directives can say.
type Kind struct {
	// Name is the module's, in front of its directives' underscore.
	Name string
	// Schemes are the ways to write a target.
	Schemes []Scheme
	// URI says that a target may have a URI.
	URI bool
	// Next are the words of its _next_upstream and _cache_use_stale.
	Next []nginxconf.Word[uint32]
	// Hidden are the fields of answers that don't go to the client unless _pass_header names them.
	Hidden []string
	// Value is a text with variables whose value the protocol needs of each request; "" where it needs none.
	Value string
	// OwnServer says that where the peer's Server or Date pass, an answer without them goes on without them.
	OwnServer bool
	// Conf returns the module's settings of a level.
	Conf func(*nginxconf.Level) *Conf
}

// Scheme is one way to write a target.
type Scheme struct {
	Prefix string // such as "http://"; "" where none is written
	Shown  string // as the error log shows it
	TLS    bool
	Port   int // the default; 0 where a port must be written
}

// Protocol is how the requests of one place are written and the answers read. Its methods are called by one goroutine
// a request; what belongs to a request is kept in the Exchange, its own part in Exchange.State.
type Protocol interface {
	// NewState returns the protocol's part of an Exchange, which many requests use one after another.
	NewState() any
	// AppendRequest appends what goes out in front of the request's body, and notes in x.URI where a URI is in it.
	AppendRequest(b []byte, x *Exchange) []byte
	// Send sends the request to the peer at hand.
	Send(x *Exchange) Failure
	// Frame puts n bytes of the request's body, at x.In[FrameRoom:], into the protocol's framing, in place; at the
	// body's end what ends it follows. It may take FrameRoom bytes in front and FrameTail behind.
	Frame(x *Exchange, n int, end bool) []byte
	// ReadHead reads the answer's head: x.Status, x.R.UpHead, x.Length, x.Framed, x.NoBody and x.Keep.
	ReadHead(x *Exchange) Failure
	// ParseHead parses the head at x.In[x.Rd:x.Wr], of a peer or as it was kept in a cache; done is false while bytes
	// are missing. Behind it x.HeadAt and x.Rd are where it begins and ends.
	ParseHead(x *Exchange) (done bool, fail Failure)
	// Decode takes the framing off b, which is x.In[x.Rd:x.Wr], and moves x.Rd; io.EOF comes with or behind the last
	// piece. Only answers with x.Framed need it.
	Decode(x *Exchange, b []byte) ([]byte, error)
}

// Place is a place that passes requests on, as its module describes it.
type Place struct {
	Kind     *Kind
	Protocol Protocol
	// Body replaces the request's; nil for none.
	Body *ngx.Text
	// Rewrite changes a Location, Refresh or Set-Cookie of an answer on its way to the client; false leaves it as it
	// is. Nil where there is nothing to change.
	Rewrite func(x *Exchange, f *ngx.Field) bool
	// Upgrades says that an answer with status 101 joins the connections.
	Upgrades bool
	// Chunks says that a body without length can be passed on as it comes.
	Chunks bool
	// BodyAlways says that the request's body is passed on, the module having no _pass_request_body.
	BodyAlways bool
	// NoBody says that requests have no body towards peers.
	NoBody bool
	// OwnError is a status of answers that limpet's own page stands for; 0 for none.
	OwnError int
	// Trailers says that fields behind an answer go to the client.
	Trailers bool
	// Probe appends the head of a health check's request; nil where the protocol has none.
	Probe func(b []byte, r *ngx.Request, method, uri string, keep bool) []byte
}

// Handler passes the requests of one place on.
type Handler struct {
	Place
	conf     *Conf
	target   *Target
	location string // the name that a target's URI replaces
	// key tells kept connections apart that may not be shared.
	key       uint64
	passesOwn bool // the peer's Server or Date pass
	hide      fieldSet
	tls       *clientTLS
	temp      *ngx.TempDir
	cache     *cacher // nil without a cache
	store     *storer // nil where nothing is saved
	exchanges *pool
	poller    *tcp.Poller
	slots     *ngx.Slots
}

// pools are the pools of a configuration by the names of kinds.
type pools map[string]*pool

// pool is the exchanges of a kind's handlers, and the buffers of tunnels.
type pool struct {
	sync.Pool
	tunnels sync.Pool
}

// poolOf returns the pool of a kind.
func poolOf(b *ngx.Build, kind string) *pool {
	all := ngx.Shared[pools](b)
	if *all == nil {
		*all = make(pools)
	}
	p := (*all)[kind]
	if p == nil {
		p = new(pool)
		(*all)[kind] = p
	}
	return p
}

// Target returns where a scope's requests go: what the kind's _pass says there or, in an if or limit_except, in the
// enclosing location. It is nil where another module answers.
func (k *Kind) Target(s *ngx.Scope) *Target {
	conf := k.Conf(s.Level)
	target, own := conf.Pass.V, conf.Pass.IsSet()
	if !own && s.Level.Context&(nginxconf.LocationIf|nginxconf.LimitExcept) != 0 {
		for lv := s.Level.Parent; lv != nil && target == nil; lv = lv.Parent {
			target = k.Conf(lv).Pass.V
			if lv.Context == nginxconf.Location {
				break
			}
		}
	}
	if !own && s.Handler != nil {
		return nil
	}
	return target
}

// Handle makes the place's handler the scope's.
func Handle(b *ngx.Build, s *ngx.Scope, t *Target, p Place) error {
	k := p.Kind
	conf := k.Conf(s.Level)
	t.groups = ngx.Shared[upstream.Groups](b)
	if conf.TempPath.IsSet() {
		b.TempDir(conf.TempPath.V.Dir)
	}
	h := &Handler{
		Place: p, conf: conf, target: t, cache: conf.cacher(b), store: conf.storer(), location: s.Name, hide: conf.hiddenFields(),
		temp: &ngx.TempDir{Path: conf.TempPath.V}, exchanges: poolOf(b, k.Name), poller: b.Poller, slots: &b.Stats.Slots,
	}
	h.passesOwn = k.OwnServer && (h.hide.ids&(1<<ngx.HeaderServer) == 0 || h.hide.ids&(1<<ngx.HeaderDate) == 0)
	var err error
	if h.tls, err = conf.SSL.client(b, k.Name, t); err != nil {
		return err
	}
	h.key = h.keptKey(s)
	if conf.Pass.IsSet() && t.Group != nil && p.Probe != nil {
		h.checked(b, s)
	}
	s.Handler = h.serve
	s.AutoRedirect = strings.HasSuffix(s.Name, "/")
	return nil
}

// checked tells package healthcheck how the location reaches its group, for health_check and upstream_probe.
func (h *Handler) checked(b *ngx.Build, s *ngx.Scope) {
	l := healthcheck.Location{
		Group: h.target.Group, Head: h.Probe,
		Connect: h.conf.ConnectTimeout.V, Send: h.conf.SendTimeout.V, Read: h.conf.ReadTimeout.V,
		Fails: func(status int) bool { return statusClass(status)&h.conf.NextUpstream.V != 0 },
	}
	if h.tls != nil {
		l.TLS = h.tls.probe(h.target)
	}
	healthcheck.Proxied(b, s.Level, l)
}

// keptKey is the same over reloads for the same place and TLS settings; without
// `local`, places share connections.
func (h *Handler) keptKey(s *ngx.Scope) uint64 {
	f := fnv.New64a()
	if h.Kind.Name != "proxy" {
		f.Write([]byte(h.Kind.Name))
	}
	if g := h.target.Group; g != nil && (g.Conf == nil || g.Conf.Keepalive.V.Local) {
		f.Write(s.Server.ServerName)
		f.Write([]byte{0})
		f.Write([]byte(s.Name))
	}
	if h.tls != nil {
		f.Write([]byte(h.tls.key))
	}
	return f.Sum64()
}

// Probing returns an Exchange for writing a health check's request to a target: one without a client or a body.
func Probing(r *ngx.Request, t *Target) *Exchange {
	x := &Exchange{R: r, BodyLength: -1}
	t.resolve(r, &x.To)
	return x
}

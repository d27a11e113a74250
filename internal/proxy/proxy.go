package proxy

import (
	"hash/fnv"
	"strings"
	"sync"
	"time"

	"limpet/internal/http1"
	"limpet/internal/ngx"
	"limpet/internal/tcp"
	"limpet/nginxconf"
	"limpet/upstream"
)

// Module returns the proxy module.
func Module() ngx.Module {
	return ngx.Module{
		Name: "proxy", Conf: func() nginxconf.Settings { return new(Conf) },
		Vars: Vars, Config: buildCaches, Scope: buildScope,
	}
}

// handler passes the requests of one place on.
type handler struct {
	conf     *Conf
	target   *Target
	head     *headPlan
	location string // the name that proxy_pass' URI replaces
	// key tells kept connections apart that may not be shared.
	key       uint64
	redirects []redirect
	cookies   bool // some rule may change Set-Cookie
	passesOwn bool // the peer's Server or Date pass
	hide      fieldSet
	tls       *clientTLS
	temp      *ngx.TempDir
	cache     *cacher // nil without proxy_cache
	store     *storer // nil without proxy_store
	exchanges *pool
	poller    *tcp.Poller
	slots     *ngx.Slots
}

// pool is the exchanges of a configuration, shared by its handlers, and the buffers of tunnels.
type pool struct {
	sync.Pool
	tunnels sync.Pool
}

// buildScope makes the handler of a place that has a proxy_pass, its own or, in an
// if or limit_except, the enclosing location's.
func buildScope(b *ngx.Build, s *ngx.Scope) error {
	conf := nginxconf.Of[*Conf](s.Level)
	target, own := conf.Pass.V, conf.Pass.IsSet()
	if !own && s.Level.Context&(nginxconf.LocationIf|nginxconf.LimitExcept) != 0 {
		for lv := s.Level.Parent; lv != nil && target == nil; lv = lv.Parent {
			target = nginxconf.Of[*Conf](lv).Pass.V
			if lv.Context == nginxconf.Location {
				break
			}
		}
	}
	if target == nil || !own && s.Handler != nil {
		return nil
	}
	target.groups = ngx.Shared[upstream.Groups](b)
	b.TempDir(conf.TempPath.V.Dir)
	h := &handler{
		conf: conf, target: target, head: compileHead(conf, false), cache: conf.cacher(b), store: conf.storer(), location: s.Name,
		hide: hiddenFields(conf), cookies: len(conf.CookieDomain.V)+len(conf.CookiePath.V)+len(conf.CookieFlags.V) > 0,
		temp: &ngx.TempDir{Path: conf.TempPath.V}, exchanges: ngx.Shared[pool](b), poller: b.Poller, slots: &b.Stats.Slots,
	}
	h.passesOwn = h.hide.ids&(1<<ngx.HeaderServer) == 0 || h.hide.ids&(1<<ngx.HeaderDate) == 0
	for _, rule := range conf.Redirect.V {
		switch {
		case !rule.isDefault:
			h.redirects = append(h.redirects, rule)
		case target.Group != nil:
			h.redirects = append(h.redirects, target.defaultRule(s.Name))
		}
	}
	var err error
	if h.tls, err = conf.SSL.client(b, s, target); err != nil {
		return err
	}
	h.key = h.keptKey(s)
	if own && target.Group != nil {
		h.checked(b, s)
	}
	s.Handler = h.serve
	s.AutoRedirect = strings.HasSuffix(s.Name, "/")
	return nil
}

// keptKey is the same over reloads for the same place and TLS settings; without
// `local`, places share connections.
func (h *handler) keptKey(s *ngx.Scope) uint64 {
	f := fnv.New64a()
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

// exchange is one request's dealing with its upstream, reused by others.
type exchange struct {
	h  *handler
	r  *ngx.Request
	to resolved
	s  upstream.Session

	out         []byte // the request's head
	uri         [2]int // the URI in out
	body        []byte // of proxy_set_body
	bodyLength  int64  // -1: none, or chunks
	bodyChunked bool
	streaming   bool // the body goes on as it comes
	ahead       int  // bytes of a streamed body at in[chunkRoom:], which came with the head
	bodySent    bool // some of a streamed body was sent
	cut         bool // the peer answered before it had the whole request

	link upstream.Link
	kept bool  // link served a request before
	sent int64 // bytes, this try
	in   []byte
	rd   int // in[rd:wr] is unread
	wr   int
	got  int64 // bytes, this try

	line      http1.StatusLine
	length    int64 // of the answer's body; -1: not known
	chunked   bool
	keep      bool // the connection can be kept
	noBody    bool
	buffering bool
	dec       http1.ChunkDecoder
	src       source
	fields    respFields
	spool     *spool
	c         *caching // nil where the cache has no part in the request
	tee       *tee     // nil where the answer isn't kept
	headAt    int      // where the answer's head begins in in
	asGet     bool     // a HEAD passed on as GET
	muted     bool     // the client gets no more
	blocked   func()   // startSpool

	first time.Time // of the first try
	begun time.Time // of this try
	ended time.Time // when the whole answer was there, or the try failed
	head  time.Time // when a part of the answer's head had come
}

// EndRequest implements ngx.Ender: what log lines looked at is free again.
func (x *exchange) EndRequest() {
	p := x.h.exchanges
	x.close()
	x.s.Done(upstream.Failed) // of a request that panicked; else it is done
	x.c.end()
	in, out, blocked := x.in, x.out, x.blocked
	if cap(out) > 16<<10 {
		out = nil
	}
	*x = exchange{in: in, out: out[:0], blocked: blocked}
	p.Put(x)
}

// bodyBuffer is how much of a response is read at once.
const bodyBuffer = 16 << 10

// serve is the content handler.
func (h *handler) serve(r *ngx.Request) ngx.Outcome {
	x, ok := h.exchanges.Get().(*exchange)
	if !ok {
		x = &exchange{}
		x.blocked = x.startSpool
	}
	x.h, x.r = h, r
	if r.Clone {
		x.c = takeUpdate(r)
	}
	r.Passed = x
	r.OnEnd(x)
	if size := int(max(bodyBuffer, h.conf.BufferSize.V+bodyBuffer/2)); len(x.in) < size {
		x.in = make([]byte, size)
	}
	if status := h.target.resolve(r, &x.to); status != 0 {
		return ngx.Status(status)
	}
	if out := x.prepareBody(); out != ngx.Next {
		return out
	}
	if h.cache != nil {
		if out := x.lookup(); out != ngx.Next {
			return out
		}
	}
	if x.to.group == nil {
		if status := h.target.locate(r, &x.to); status != 0 {
			return ngx.Status(status)
		}
	}
	x.to.group.Begin(&x.s, r) // may change the request's header
	x.out = h.appendHead(x.out[:0], x)
	r.Up.Scheme, r.Up.URI = scheme(x.to.tls), x.out[x.uri[0]:x.uri[1]]
	if n := h.conf.NextTries.V; n > 0 {
		x.s.Tries, x.s.MaxTries = min(x.s.Tries, n), n
	}
	return x.run()
}

func scheme(tls bool) string {
	if tls {
		return "https://"
	}
	return "http://"
}

// prepareBody reads the request's body where it is passed on whole, and decides its framing.
func (x *exchange) prepareBody() ngx.Outcome {
	r, c := x.r, x.h.conf
	x.bodyLength, x.bodyChunked = r.Length, false
	switch {
	case c.SetBody.IsSet():
		if out := x.readAll(); out != ngx.Next {
			return out
		}
		x.body = c.SetBody.V.Bytes(r) // $request_body among it
		x.bodyLength = int64(len(x.body))
		return ngx.Next
	case !r.IsMain():
		x.bodyLength = -1
		if m := r.Main; r.HasBody() && m.Body.Read && m.Body.Size > 0 {
			x.bodyLength = m.Body.Size
		}
		return ngx.Next
	case !c.RequestBuffering.V && c.PassBody.V && !r.Body.Read && r.HasBody() && (!r.Chunked || c.HTTPVersion.V == ngx.HTTP11):
		if out := x.preread(); out != ngx.Next || !r.Body.Read {
			x.streaming, x.bodyChunked = true, r.Chunked
			return out
		}
	}
	if out := x.readAll(); out != ngx.Next {
		return out
	}
	if r.HasBody() {
		x.bodyLength = r.Body.Size
	}
	return ngx.Next
}

func (x *exchange) readAll() ngx.Outcome {
	if x.r.Body.Read {
		return ngx.Next
	}
	return x.r.ReadAll()
}

// failure is why a try failed: the class that proxy_next_upstream may name, and
// the status for the client when no other peer is asked.
type failure struct {
	class  uint32
	status int
	stale  bool // a kept connection was closed before a byte of an answer came
}

// run asks peers until one has answered or none is left.
func (x *exchange) run() ngx.Outcome {
	for {
		p := x.s.Next()
		if p == nil {
			p = x.s.Wait(x.guard)
		}
		if p == nil {
			return x.noPeer()
		}
		out, fail := x.try(p, x.s.At)
		for fail.stale && x.mayRepeat() {
			x.close()
			x.r.Tries = x.r.Tries[:len(x.r.Tries)-1]
			out, fail = x.try(p, time.Now())
		}
		if fail.class == 0 {
			x.s.Done(upstream.Good)
			return out
		}
		if out := x.failed(p, fail); out != ngx.Next {
			return out
		}
	}
}

// noPeer ends a request that no peer may be asked for.
func (x *exchange) noPeer() ngx.Outcome {
	r := x.r
	r.Tries = append(r.Tries, ngx.Try{Peer: []byte(x.to.group.Name), Status: 502, Queue: x.s.Queued, Connect: -1, Header: -1, GroupChanged: x.changed()})
	if status := x.s.Refusal; status != 0 {
		r.Tries[len(r.Tries)-1].Status = status
		return ngx.Status(status)
	}
	r.Up.Peer = []byte(x.to.group.Name)
	r.Errorf("%s while connecting to upstream", x.s.Why())
	if x.c != nil {
		return x.c.failed(x, failure{class: nextError, status: 502})
	}
	return ngx.Status(502)
}

// changed reports whether the try at hand is the first one of another group.
func (x *exchange) changed() bool { return x.s.Number == 1 && len(x.r.Tries) > 0 }

// mayRepeat reports whether the request can be sent again as it was, after a kept
// connection was found closed: when nothing of it went out, or by nginx's rule.
func (x *exchange) mayRepeat() bool {
	if x.sent == 0 {
		return true
	}
	return !x.bodySent && x.idempotent() && x.h.conf.NextUpstream.V&(nextOff|nextError) == nextError
}

// idempotent reports the methods that are repeated after a request was sent, by nginx's rule.
func (x *exchange) idempotent() bool {
	switch string(x.r.Method) {
	case "POST", "LOCK", "PATCH":
		return false
	}
	return true
}

// failed ends a try that failed and says how the request goes on: Next asks the next peer.
func (x *exchange) failed(p *upstream.Peer, fail failure) ngx.Outcome {
	requestSent := x.sent > 0
	x.close()
	x.endTry(fail.status)
	how := upstream.Failed
	switch fail.class {
	case next403, next404:
		how = upstream.Next
	case nextOff: // the client's doing, or an answer that broke off: nothing against the peer
		how = upstream.Good
	}
	x.s.Done(how)
	if fail.class == nextOff || !x.mayAsk(fail.class, requestSent, 0) {
		if x.c != nil {
			return x.c.failed(x, fail)
		}
		return ngx.Status(fail.status)
	}
	x.r.Up.Peer = nil
	return ngx.Next
}

// mayAsk reports whether another peer may be asked after a failure of a class;
// atHand is 1 while the try at hand counts among those that are left.
func (x *exchange) mayAsk(class uint32, requestSent bool, atHand int) bool {
	c := x.h.conf
	if requestSent && !x.idempotent() {
		class |= nextNonIdempotent
	}
	mask := c.NextUpstream.V
	if mask&nextOff != 0 || mask&class != class || x.s.Tries <= atHand || x.bodySent {
		return false
	}
	return c.NextTimeout.V == 0 || time.Since(x.first) < c.NextTimeout.V
}

// try asks one peer from now on. A zero failure means that the outcome is the request's.
func (x *exchange) try(p *upstream.Peer, now time.Time) (ngx.Outcome, failure) {
	r := x.r
	x.begun = now
	if x.first.IsZero() {
		x.first = x.begun
	}
	if x.s.Asked.Recreate {
		x.s.Asked.Recreate = false
		x.out = x.h.appendHead(x.out[:0], x)
		r.Up.URI = x.out[x.uri[0]:x.uri[1]]
	}
	x.sent, x.got, x.rd, x.wr, x.cut = 0, 0, 0, 0, false
	x.src, x.ended, x.head = source{}, time.Time{}, time.Time{}
	r.Up.Peer = p.Name
	r.Tries = append(r.Tries, ngx.Try{Peer: p.Name, Queue: x.s.Queued, Connect: -1, Header: -1, Response: -1, GroupChanged: x.changed()})
	x.s.While = whileConnecting
	if fail := x.connect(p); fail.class != 0 {
		return 0, fail
	}
	x.s.While = whileSending
	t := x.lastTry()
	t.Connect = 0
	if !x.kept {
		t.Connect = time.Since(x.begun)
	}
	if fail := x.send(); fail.class != 0 {
		return 0, fail
	}
	x.s.While = whileHead
	if fail := x.readHead(); fail.class != 0 {
		return 0, fail
	}
	x.lastTry().Header = time.Since(x.begun)
	x.s.Headed()
	if class := statusClass(x.line.Status); class != 0 && x.mayAsk(class, true, 1) {
		return 0, failure{class: class, status: x.line.Status}
	}
	x.count(p)
	if x.c != nil {
		if out, ok := x.c.answered(x); ok {
			return out, failure{}
		}
	}
	return x.deliver(p), failure{}
}

func (x *exchange) lastTry() *ngx.Try { return &x.r.Tries[len(x.r.Tries)-1] }

// count notes an answer for metrics.
func (x *exchange) count(p *upstream.Peer) {
	if class := x.line.Status / 100; class < len(p.Stats.Classes) {
		p.Stats.Classes[class].Add(1)
	}
}

// endTry completes the try's part of the $upstream_ lists; status 0 keeps the peer's own.
func (x *exchange) endTry(status int) {
	if len(x.r.Tries) == 0 {
		return
	}
	t := x.lastTry()
	if t.Response >= 0 {
		return
	}
	if x.ended.IsZero() {
		x.ended = time.Now()
	}
	t.Response = x.ended.Sub(x.begun)
	t.Sent, t.Received, t.Length = x.sent, x.got, x.src.read
	if status != 0 {
		t.Status = status
	}
	if p := x.s.Peer; p != nil {
		p.Stats.Requests.Add(1)
		p.Stats.Sent.Add(x.sent)
		p.Stats.Received.Add(x.got)
		p.Stats.Observe(t.Response)
	}
}

func statusClass(status int) uint32 {
	switch status {
	case 500:
		return next500
	case 502:
		return next502
	case 503:
		return next503
	case 504:
		return next504
	case 403:
		return next403
	case 404:
		return next404
	case 429:
		return next429
	}
	return 0
}

package relay

import (
	"time"

	"limpet/internal/ngx"
	"limpet/upstream"
)

// Exchange is one request's dealing with its upstream, reused by others. A Protocol uses what is exported.
type Exchange struct {
	H  *Handler
	R  *ngx.Request
	To Resolved
	// State is what Protocol.NewState returned.
	State any
	s     upstream.Session

	Out         []byte // what AppendRequest made
	URI         [2]int // where a URI lies in Out
	body        []byte // in place of the request's
	BodyLength  int64  // of the request; -1: none, or not known
	BodyChunked bool   // the body goes on as it comes, its length not known
	streaming   bool   // the body goes on as it comes
	ahead       int    // bytes of a streamed body at In[FrameRoom:], which came with the head
	bodySent    bool   // some of a streamed body was sent
	Cut         bool   // the peer answered before it had the whole request

	link upstream.Link
	kept bool  // link served a request before
	sent int64 // bytes, this try
	In   []byte
	Rd   int // In[Rd:Wr] is unread
	Wr   int
	got  int64 // bytes, this try

	Status    int    // of the answer
	Reason    []byte // the number and the text as they came; nil for the usual text
	Length    int64  // of its body; -1: not known
	Framed    bool   // the body has the protocol's framing
	Keep      bool   // the connection can be kept
	NoBody    bool   // there is no body, whatever Length says
	Fields    Fields
	Trailer   ngx.Header // the fields behind the body, for Decode to add to
	Stored    bool       // the head at hand comes from the cache
	refused   int        // the status of a request that the protocol can't write
	HeadAt    int        // where the answer's head begins in In
	AsGet     bool       // a HEAD passed on as GET, for the cache
	buffering bool
	src       source
	spool     *spool
	c         *caching // nil where the cache has no part in the request
	tee       *tee     // nil where the answer isn't kept
	muted     bool     // the client gets no more
	blocked   func()   // startSpool

	first time.Time // of the first try
	begun time.Time // of this try
	ended time.Time // when the whole answer was there, or the try failed
	head  time.Time // when a part of the answer's head had come
}

// Of returns the Exchange of a request that is being passed on by a kind of module; nil where there is none.
func Of(r *ngx.Request, kind string) *Exchange {
	if x, ok := r.Passed.(*Exchange); ok && x.R == r && x.H.Kind.Name == kind {
		return x
	}
	return nil
}

// Location returns the name of the location that passes the request on.
func (x *Exchange) Location() string { return x.H.location }

// wanted reports whether the body of an answer is read although the client has asked by HEAD: to be kept.
func (x *Exchange) wanted() bool { return x.Keeping() || x.H.store != nil }

// Keeping reports whether the answer may be kept in the cache.
func (x *Exchange) Keeping() bool { return x.c != nil && x.c.keep }

// EndRequest implements ngx.Ender: what log lines looked at is free again.
func (x *Exchange) EndRequest() {
	p := x.H.exchanges
	x.close()
	x.s.Done(upstream.Failed) // of a request that panicked; else it is done
	x.c.end()
	in, out, blocked, state := x.In, x.Out, x.blocked, x.State
	if cap(out) > 16<<10 {
		out = nil
	}
	*x = Exchange{In: in, Out: out[:0], blocked: blocked, State: state}
	p.Put(x)
}

// bodyBuffer is how much of a response is read at once.
const bodyBuffer = 16 << 10

// serve is the content handler.
func (h *Handler) serve(r *ngx.Request) ngx.Outcome {
	x, ok := h.exchanges.Get().(*Exchange)
	if !ok {
		x = &Exchange{State: h.Protocol.NewState()}
		x.blocked = x.startSpool
	}
	x.H, x.R = h, r
	if r.Clone {
		x.c = takeUpdate(r)
	}
	r.Passed = x
	r.OnEnd(x)
	if size := int(max(bodyBuffer, h.conf.BufferSize.V+bodyBuffer/2)); len(x.In) < size {
		x.In = make([]byte, size)
	}
	if status := h.target.resolve(r, &x.To); status != 0 {
		return ngx.Status(status)
	}
	if out := x.prepareBody(); out != ngx.Next {
		return out
	}
	if h.cache != nil {
		out := x.lookup()
		if x.c != nil && r.Debugging() {
			x.debugCache(out)
		}
		if out != ngx.Next {
			return out
		}
	}
	if x.To.group == nil {
		if status := h.target.locate(r, &x.To); status != 0 {
			return ngx.Status(status)
		}
	}
	if r.Debugging() {
		r.Debugf("http init upstream, client timer: 0")
	}
	x.To.group.Begin(&x.s, r) // may change the request's header
	if x.write(); x.refused != 0 {
		return ngx.Status(x.refused)
	}
	r.Up.Scheme = x.To.scheme.Shown
	if n := h.conf.NextTries.V; n > 0 {
		x.s.Tries, x.s.MaxTries = min(x.s.Tries, n), n
	}
	return x.run()
}

// Refuse has a request end with a status that AppendRequest can't write.
func (x *Exchange) Refuse(status int) { x.refused = status }

// write has the protocol write the request.
func (x *Exchange) write() {
	x.URI = [2]int{}
	x.Out = x.H.Protocol.AppendRequest(x.Out[:0], x)
	x.R.Up.URI = x.Out[x.URI[0]:x.URI[1]]
	if x.R.Debugging() {
		x.debugRequest()
	}
}

// prepareBody reads the request's body where it is passed on whole, and decides its framing.
func (x *Exchange) prepareBody() ngx.Outcome {
	r, h := x.R, x.H
	x.BodyLength, x.BodyChunked = r.Length, false
	switch {
	case h.NoBody:
		x.BodyLength = -1
		return r.DiscardBody()
	case h.Body != nil:
		if out := x.readAll(); out != ngx.Next {
			return out
		}
		x.body = h.Body.Bytes(r) // $request_body among it
		x.BodyLength = int64(len(x.body))
		return ngx.Next
	case !r.IsMain():
		x.BodyLength = -1
		if m := r.Main; r.HasBody() && m.Body.Read && m.Body.Size > 0 {
			x.BodyLength = m.Body.Size
		}
		return ngx.Next
	case !h.conf.RequestBuffering.V && x.passesBody() && !r.Body.Read && r.HasBody() && (!r.Chunked || h.Chunks):
		if out := x.preread(); out != ngx.Next || !r.Body.Read {
			x.streaming, x.BodyChunked = true, r.Chunked
			return out
		}
	}
	if out := x.readAll(); out != ngx.Next {
		return out
	}
	if r.HasBody() {
		x.BodyLength = r.Body.Size
	}
	return ngx.Next
}

func (x *Exchange) readAll() ngx.Outcome {
	if x.R.Body.Read {
		return ngx.Next
	}
	return x.R.ReadAll()
}

// Failure is why a try failed: the class that _next_upstream may name, and
// the status for the client when no other peer is asked.
type Failure struct {
	Class  uint32
	Status int
	Stale  bool // a kept connection was closed before a byte of an answer came
}

// run asks peers until one has answered or none is left.
func (x *Exchange) run() ngx.Outcome {
	for {
		p := x.s.Next()
		if p == nil {
			p = x.s.Wait(x.guard)
		}
		if p == nil {
			return x.noPeer()
		}
		out, fail := x.try(p, x.s.At)
		for fail.Stale && x.mayRepeat() {
			if x.R.Debugging() {
				x.debugKept(x.link, false)
			}
			x.close()
			x.R.Tries = x.R.Tries[:len(x.R.Tries)-1]
			out, fail = x.try(p, time.Now())
		}
		if fail.Class == 0 {
			x.s.Done(upstream.Good)
			if x.R.Debugging() {
				x.debugFinal(0)
			}
			return out
		}
		if out := x.failed(p, fail); out != ngx.Next {
			return out
		}
	}
}

// noPeer ends a request that no peer may be asked for.
func (x *Exchange) noPeer() ngx.Outcome {
	r := x.R
	r.Tries = append(r.Tries, ngx.Try{Peer: []byte(x.To.group.Name), Status: 502, Queue: x.s.Queued, Connect: -1, Header: -1, GroupChanged: x.changed()})
	if status := x.s.Refusal; status != 0 {
		r.Tries[len(r.Tries)-1].Status = status
		return ngx.Status(status)
	}
	r.Up.Peer = []byte(x.To.group.Name)
	r.Errorf("%s while connecting to upstream", x.s.Why())
	if x.c != nil {
		return x.c.failed(x, Failure{Class: NextError, Status: 502})
	}
	return ngx.Status(502)
}

// changed reports whether the try at hand is the first one of another group.
func (x *Exchange) changed() bool { return x.s.Number == 1 && len(x.R.Tries) > 0 }

// mayRepeat reports whether the request can be sent again as it was, after a kept
// connection was found closed: when nothing of it went out, or by nginx's rule.
func (x *Exchange) mayRepeat() bool {
	if x.sent == 0 {
		return true
	}
	return !x.bodySent && x.idempotent() && x.H.conf.NextUpstream.V&(NextOff|NextError) == NextError
}

// idempotent reports the methods that are repeated after a request was sent, by nginx's rule.
func (x *Exchange) idempotent() bool {
	switch string(x.R.Method) {
	case "POST", "LOCK", "PATCH":
		return false
	}
	return true
}

// failed ends a try that failed and says how the request goes on: Next asks the next peer.
func (x *Exchange) failed(p *upstream.Peer, fail Failure) ngx.Outcome {
	requestSent := x.sent > 0
	if x.R.Debugging() {
		x.debugNext(fail)
	}
	x.close()
	x.endTry(fail.Status)
	how := upstream.Failed
	switch fail.Class {
	case Next403, Next404:
		how = upstream.Next
	case NextOff: // the client's doing, or an answer that broke off: nothing against the peer
		how = upstream.Good
	}
	x.s.Done(how)
	if fail.Class == NextOff || !x.mayAsk(fail.Class, requestSent, 0) {
		if x.R.Debugging() {
			x.debugFinal(fail.Status)
		}
		if x.c != nil {
			return x.c.failed(x, fail)
		}
		return ngx.Status(fail.Status)
	}
	x.R.Up.Peer = nil
	return ngx.Next
}

// mayAsk reports whether another peer may be asked after a failure of a class;
// atHand is 1 while the try at hand counts among those that are left.
func (x *Exchange) mayAsk(class uint32, requestSent bool, atHand int) bool {
	c := x.H.conf
	if requestSent && !x.idempotent() {
		class |= NextNonIdempotent
	}
	mask := c.NextUpstream.V
	if mask&NextOff != 0 || mask&class != class || x.s.Tries <= atHand || x.bodySent {
		return false
	}
	return c.NextTimeout.V == 0 || time.Since(x.first) < c.NextTimeout.V
}

// try asks one peer from now on. A zero failure means that the outcome is the request's.
func (x *Exchange) try(p *upstream.Peer, now time.Time) (ngx.Outcome, Failure) {
	r := x.R
	x.begun = now
	if x.first.IsZero() {
		x.first = x.begun
	}
	if x.s.Asked.Recreate {
		x.s.Asked.Recreate = false
		x.write()
	}
	x.sent, x.got, x.Rd, x.Wr, x.Cut = 0, 0, 0, 0, false
	x.Trailer.Reset()
	x.src, x.ended, x.head = source{}, time.Time{}, time.Time{}
	r.Up.Peer = p.Name
	r.Tries = append(r.Tries, ngx.Try{Peer: p.Name, Queue: x.s.Queued, Connect: -1, Header: -1, Response: -1, GroupChanged: x.changed()})
	x.s.While = WhileConnecting
	if fail := x.connect(p); fail.Class != 0 {
		return 0, fail
	}
	x.s.While = WhileSending
	t := x.lastTry()
	t.Connect = 0
	if !x.kept {
		t.Connect = time.Since(x.begun)
	}
	if r.Debugging() {
		r.Debugf("http upstream send request")
	}
	if fail := x.H.Protocol.Send(x); fail.Class != 0 {
		return 0, fail
	}
	x.s.While = WhileHead
	if r.Debugging() {
		r.Debugf("http upstream process header")
	}
	if fail := x.H.Protocol.ReadHead(x); fail.Class != 0 {
		return 0, fail
	}
	x.lastTry().Header = time.Since(x.begun)
	if r.Debugging() {
		x.debugHead()
	}
	x.s.Headed()
	if class := statusClass(x.Status); class != 0 && x.mayAsk(class, true, 1) {
		return 0, Failure{Class: class, Status: x.Status}
	}
	x.count(p)
	if x.c != nil {
		if out, ok := x.c.answered(x); ok {
			return out, Failure{}
		}
	}
	return x.deliver(p), Failure{}
}

func (x *Exchange) lastTry() *ngx.Try { return &x.R.Tries[len(x.R.Tries)-1] }

// count notes an answer for metrics.
func (x *Exchange) count(p *upstream.Peer) {
	if class := x.Status / 100; class < len(p.Stats.Classes) {
		p.Stats.Classes[class].Add(1)
	}
}

// endTry completes the try's part of the $upstream_ lists; status 0 keeps the peer's own.
func (x *Exchange) endTry(status int) {
	if len(x.R.Tries) == 0 {
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
	if x.R.Debugging() {
		x.debugTry(t)
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
		return Next500
	case 502:
		return Next502
	case 503:
		return Next503
	case 504:
		return Next504
	case 403:
		return Next403
	case 404:
		return Next404
	case 429:
		return Next429
	}
	return 0
}

package http1

import (
	"errors"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"limpet/internal/errlog"
	"limpet/internal/ngx"
	"limpet/internal/tcp"
)

// Server serves connections. One lives as long as the process; what a
// configuration says comes with each connection's Listener.
type Server struct {
	// Log takes what belongs to no request; it may change at a reload.
	Log func() *errlog.Log
	// HTTP2 makes what serves a connection that speaks HTTP/2; nil where it isn't built in.
	HTTP2 func(c *ngx.Client, endpoint *ngx.Endpoint) HTTP2Conn
	Stats ngx.Stats

	mu      sync.Mutex
	conns   map[*conn]struct{} // guarded by mu
	closing atomic.Bool
	idle    sync.WaitGroup
	serial  atomic.Uint64
}

// conn is a client's connection. It implements ngx.Wire for the request at hand.
type conn struct {
	srv      *Server
	tc       *tcp.Conn
	client   ngx.Client
	x        *exchange // nil while idle
	busy     atomic.Bool
	under    atomic.Pointer[ngx.Endpoint] // of the running request; &aborted when it was cut
	acquired *ngx.Endpoint                // to be released when the request panics
	stage    *atomic.Int64                // of Stats: what the request counts in
	eof      bool                         // the client won't send more
	broken   bool                         // nothing can be sent any more
	linger   bool                         // the client may still be sending: read on before closing
	reset    bool                         // close with a reset (444 and time-outs under reset_timedout_connection)
	opening  atomic.Bool                  // TLS or what is in front of it is under way
	spared   bool                         // was closed to make room; guarded by srv.mu
	idle     func() bool                  // becomeIdle, made once
	http2    HTTP2Conn                    // nil unless it speaks HTTP/2; guarded by srv.mu
}

// exchange is what a connection needs while it serves a request, from a pool.
type exchange struct {
	req  ngx.Request
	body bodyReader
	in   []byte // buffer; in[r:w] is unread
	r, w int
	out  []byte // to be sent
	// of the answer being written
	chunked  bool
	inChunk  bool // the line end behind the last chunk is still due
	headLen  int
	sent     int64 // bytes of this answer on their way, head included
	hijacked bool
	woken    bool // in holds the first bytes of a request that was waited for, not of a pipelined one
	// held says that the whole answer is in out and is sent as the wait for the next request begins.
	held bool
}

const (
	inSize  = 4 << 10
	outSize = 8 << 10
)

func newExchange() any {
	x := &exchange{in: make([]byte, inSize), out: make([]byte, 0, outSize)}
	x.req.Reset()
	return x
}

var exchanges = sync.Pool{New: newExchange}

// Serve serves a connection until it ends and closes it. It is called in the connection's own goroutine.
func (s *Server) Serve(tc *tcp.Conn, l *ngx.Listener) {
	c := &conn{srv: s, tc: tc}
	c.client = ngx.Client{Conn: tc, ID: s.serial.Add(1), Listener: l, Start: time.Now()}
	s.Stats.Accepted.Add(1)
	if !s.Stats.Slots.Take(s.Log()) {
		s.Log().Write(errlog.Alert, 0, s.Stats.Slots.Short())
		tc.Close()
		return
	}
	defer s.Stats.Slots.Give()
	if !s.add(c) {
		tc.Close()
		return
	}
	s.Stats.Handled.Add(1)
	s.Stats.Active.Add(1)
	defer s.end(c)
	if c.open() {
		for c.serve() {
		}
	}
}

// giveBack releases what a request that panicked held.
func (c *conn) giveBack() {
	if c.stage != nil {
		c.stage.Add(-1)
	}
	if c.acquired != nil {
		defer c.acquired.Release()
		defer func() {
			if p := recover(); p != nil {
				c.log().Printf(errlog.Alert, c.client.ID, "panic behind a panic: %v", p)
			}
		}()
		c.x.req.End()
		c.x.req.Body.Close()
	}
}

// enter counts the request in a stage of Stats, nil for none, and out of the one before.
func (c *conn) enter(stage *atomic.Int64) {
	if c.stage != nil {
		c.stage.Add(-1)
	}
	if c.stage = stage; stage != nil {
		stage.Add(1)
	}
}

func (s *Server) add(c *conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing.Load() {
		return false
	}
	if s.conns == nil {
		s.conns = make(map[*conn]struct{})
	}
	s.conns[c] = struct{}{}
	s.idle.Add(1)
	return true
}

// Spare closes some of the idle connections, to make room for others: an eighth, at most 32. It returns how many.
// nginx takes those that have been idle longest, here it is any; those that speak HTTP/2 are left out.
func (s *Server) Spare() (n int) {
	idle := s.Stats.Waiting()
	if idle == 0 {
		return 0
	}
	most := max(min(int(idle/8), 32), 1)
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.conns {
		if n == most {
			break
		}
		if c.spared || c.http2 != nil || c.busy.Load() || c.opening.Load() {
			continue
		}
		c.spared = true
		c.tc.Abort()
		n++
	}
	return n
}

// end closes the connection, and keeps a panic to it.
func (s *Server) end(c *conn) {
	if p := recover(); p != nil {
		s.Stats.Panics.Add(1)
		s.Log().Printf(errlog.Alert, c.client.ID, "panic: %v\n%s", p, debug.Stack())
		c.giveBack()
	}
	s.Stats.Active.Add(-1) // before the client sees the end, as in nginx
	c.close()
	s.mu.Lock()
	delete(s.conns, c)
	s.mu.Unlock()
	s.idle.Done()
}

// Shutdown closes idle connections at once and the others behind their running
// request. It returns when none is left, or after Abort.
func (s *Server) Shutdown() {
	s.closing.Store(true)
	s.mu.Lock()
	for c := range s.conns {
		if c.http2 != nil {
			go c.http2.Leave()
		} else if !c.busy.Load() {
			c.tc.Abort()
		}
	}
	s.mu.Unlock()
	s.idle.Wait()
}

// Abort closes all connections whatever they do.
func (s *Server) Abort() {
	s.closing.Store(true)
	s.mu.Lock()
	for c := range s.conns {
		c.tc.Abort()
	}
	s.mu.Unlock()
}

// CloseGone closes the idle connections whose address no configuration has any
// more; the others follow behind their running request.
func (s *Server) CloseGone() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.conns {
		if c.client.Listener.Gone() && !c.busy.Load() {
			c.tc.Abort()
		}
	}
}

// AbortUnder closes the connections whose running request is under one of the endpoints.
func (s *Server) AbortUnder(is func(*ngx.Endpoint) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.conns {
		if ep := c.under.Load(); ep != nil && ep != &aborted && is(ep) && c.under.CompareAndSwap(ep, &aborted) {
			c.tc.Abort()
		}
	}
}

// aborted marks a connection that AbortUnder has cut, so that it ends even when
// the request did so in the same moment.
var aborted ngx.Endpoint

// open makes the connection ready for its first request: PROXY protocol, TLS.
func (c *conn) open() bool {
	tc := c.tc
	ep := c.client.Listener.Acquire()
	if ep == nil {
		return false
	}
	defer ep.Release()
	ep.Meet(&c.client)
	core := ep.Default.Core
	c.client.Addr, c.client.Local = tc.Remote(), tc.Local()
	c.client.Text = tc.RemoteIP()
	c.client.Unix = !c.client.Addr.IsValid()
	if c.client.Debugging() {
		c.client.Debugf(errlog.DebugEvent, "accept: %s fd:%d", tc.RemoteText(), tc.FD())
	}
	tc.SetWriteTimeout(core.SendTimeout.V)
	tc.SetReadTimeout(core.ClientHeaderTimeout.V)
	tc.Watch()
	c.opening.Store(true)
	defer c.opening.Store(false)
	if ep.Proxy && !c.readProxy(ep) {
		return false
	}
	if ep.TLS != nil && !c.startTLS(ep) {
		return false
	}
	if c.client.HTTP2 || ep.TLS == nil && (ep.HTTP2 || ep.Default.HTTP2) && c.speaksHTTP2() {
		c.serveHTTP2(ep)
		return false
	}
	return true
}

// serve waits for a request, serves it and says whether the connection lives on.
func (c *conn) serve() bool {
	if (c.x == nil || c.x.held) && !c.wait() {
		return false
	}
	ep := c.client.Listener.Acquire()
	if ep == nil {
		return false
	}
	c.under.Store(ep)
	c.acquired = ep
	ep.Meet(&c.client)
	again := c.request(ep)
	c.acquired = nil
	ep.Release()
	if !c.under.CompareAndSwap(ep, nil) {
		return false
	}
	if again && c.srv.closing.Load() {
		c.unhold()
		return false
	}
	return again
}

// becomeIdle gives everything back that only a request needs. False means that the
// connection is to be closed instead.
func (c *conn) becomeIdle() bool {
	c.release()
	c.busy.Store(false)
	return !c.srv.closing.Load() && !c.client.Listener.Gone()
}

// wait sends an answer that was held, waits without a buffer for a request, and reads its first bytes.
func (c *conn) wait() bool {
	for {
		var err error
		if c.x != nil {
			if c.idle == nil {
				c.idle = c.becomeIdle
			}
			err = c.tc.WriteWait(c.x.out, c.idle)
		} else if !c.becomeIdle() {
			return false
		} else {
			err = c.tc.Wait()
		}
		c.busy.Store(true)
		if err != nil {
			c.left(err)
			return false
		}
		x := exchanges.Get().(*exchange)
		x.r, x.woken = 0, true
		x.w, err = c.tc.TryRead(x.in)
		if x.w > 0 {
			c.x = x
			if c.client.Debugging() {
				c.woke()
			}
			return true
		}
		exchanges.Put(x)
		if err != tcp.ErrWouldBlock { // the poller may have spoken of bytes that were read since
			c.left(err)
			return false
		}
	}
}

// left logs why a connection ended between requests, as nginx does.
func (c *conn) left(err error) {
	switch {
	case errors.Is(err, tcp.ErrAborted):
	case c.client.Requests == 0 && errors.Is(err, tcp.ErrTimeout):
		c.waiting("client timed out (110: Connection timed out)")
	case !errors.Is(err, tcp.ErrTimeout):
		c.leftIdle(c.client.Requests)
	}
}

// log returns the log for lines about the connection: where that of its last request went with its configuration, the
// main one.
func (c *conn) log() *errlog.Log {
	if c.client.ErrorLog.Closed() {
		return c.srv.Log()
	}
	return c.client.Log()
}

// leftIdle logs a client that closed its connection behind that many requests.
func (c *conn) leftIdle(requests int) {
	if requests == 0 {
		c.waiting("client closed connection")
		return
	}
	c.log().Printf(errlog.Info, c.client.ID, "client %s closed keepalive connection", c.client.Text)
}

// waiting logs what became of a client that sent nothing.
func (c *conn) waiting(what string) {
	c.log().Printf(errlog.Info, c.client.ID, "%s while waiting for request, client: %s, server: %s", what, c.client.Text, c.client.Listener.Addr)
}

// request reads and serves one request.
func (c *conn) request(ep *ngx.Endpoint) bool {
	x := c.x
	r := &x.req
	if r.Client != nil { // the request before was answered from the same buffer
		r.Reset()
	}
	r.Client, r.Wire, r.Engine, r.Main = &c.client, c, ep.Engine, r
	x.startAnswer()
	ep.Begin(r)
	r.Start = time.Now()
	if ep.TLS != nil {
		r.Scheme = "https"
	} else {
		r.Scheme = "http"
	}
	c.enter(&c.srv.Stats.Reading)
	err := c.readHead(ep, r)
	if err == nil && ep.TLS != nil {
		if status := ep.TLS.Refuse(r); status != 0 {
			err = &parseError{status, ""}
		}
	}
	c.enter(nil)
	if err != nil && !c.refuse(r, err) {
		return false
	}
	c.srv.Stats.Requests.Add(1)
	c.enter(&c.srv.Stats.Writing)
	ep.Engine.Run(r)
	c.enter(nil)
	return c.finish(r)
}

// finish ends the exchange: what is left of the body is read, the connection kept or not.
func (c *conn) finish(r *ngx.Request) bool {
	x := c.x
	if x.held && !x.body.done {
		c.unhold()
	}
	keep := r.KeepAlive && !c.broken && !c.eof && !x.hijacked
	core := r.Scope.Core
	c.client.ErrorLog = core.ErrorLog
	if r.Debugging() {
		what := "http close request"
		if keep {
			what = "set http keepalive handler"
		}
		r.Debugf("%s", what)
	}
	r.End()
	r.Body.Close()
	if !x.hijacked && !x.body.done && !c.broken && !c.eof {
		// The body is read on as long as the client sends it, so that it gets to
		// read the answer; by nginx also with lingering_close off.
		if !x.body.broken {
			keep = c.discardBody(core) && keep
		} else {
			c.linger, keep = true, false
		}
	}
	if !keep {
		c.unhold()
		c.linger = c.linger || x.w > x.r && !x.hijacked
		if core.LingeringClose.V == ngx.LingerAlways {
			c.linger = true
		}
		if core.LingeringClose.V == ngx.LingerOff {
			c.linger = false
		}
		if c.linger && !c.broken {
			c.lingerClose(core)
		}
		return false
	}
	if x.w > x.r {
		x.w = copy(x.in, x.in[x.r:x.w])
		x.r, x.woken = 0, false
		return !x.held || c.unhold() == nil
	}
	c.tc.SetReadTimeout(core.KeepAliveTimeout.V.Timeout)
	if !x.held {
		c.release()
	}
	return true
}

// release gives the exchange back to the pool.
func (c *conn) release() {
	x := c.x
	c.x = nil
	if x == nil || x.hijacked {
		return
	}
	if len(x.in) > inSize {
		x.in = make([]byte, inSize)
	}
	x.req.Reset()
	x.req.Client, x.req.Wire, x.req.Engine, x.req.Main = nil, nil, nil, nil
	exchanges.Put(x)
}

func (c *conn) close() {
	if c.client.Debugging() {
		c.client.Debugf(errlog.DebugHTTP, "close http connection: %d", c.tc.FD())
	}
	if c.reset {
		c.tc.Reset()
		return
	}
	if c.x != nil && c.x.hijacked {
		return
	}
	c.tc.Close()
}

// lingerClose reads and drops what the client still sends, so that it gets to read the answer.
func (c *conn) lingerClose(core *ngx.Core) {
	if c.tc.CloseWrite() != nil {
		return
	}
	if c.client.Debugging() {
		c.client.Debugf(errlog.DebugHTTP, "http lingering close handler")
	}
	c.tc.SetReadTimeout(core.LingeringTimeout.V)
	until := time.Now().Add(core.LingeringTime.V)
	for time.Now().Before(until) {
		n, err := c.tc.Read(c.x.in)
		if c.client.Debugging() {
			c.client.Debugf(errlog.DebugHTTP, "lingering read: %d", n)
		}
		if n == 0 || err != nil {
			return
		}
	}
}

package http2

import (
	"bufio"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/net/http2"

	"limpet/internal/errlog"
	"limpet/internal/ngx"
	"limpet/internal/tcp"
	conf "limpet/nginxconf"
)

const (
	maxWindow     = 1<<31 - 1
	defaultWindow = 1<<16 - 1
	// connWindow bounds what all streams of a connection hold of bodies that nobody has read yet.
	connWindow = 8 << 20
	// maxReadFrame bounds a client's frames.
	maxReadFrame = 64 << 10
	// queueLimit is how much a stream may leave to be sent by another one's write before it waits.
	queueLimit = 256 << 10
)

// Conn is a client's connection that speaks HTTP/2. One goroutine reads, each stream has its own.
type Conn struct {
	client *ngx.Client
	tc     *tcp.Conn
	ep     *ngx.Endpoint
	core   *ngx.Core
	conf   *Conf
	stats  *ngx.Stats

	// the reader's
	fr         *http2.Framer
	in         *bufio.Reader
	hpack      *decoder
	block      headerBlock
	lastID     uint32 // of the streams that were taken
	seenID     uint32 // of the streams that the client opened
	recvWindow int64
	refused    int
	returned   int64        // to the window and not announced; guarded by mu, as is recvWindow
	frames     atomic.Int64 // bytes of all frames, and of those that matter: a flood of others ends the connection
	payload    atomic.Int64

	streamsDone sync.WaitGroup

	mu         sync.Mutex
	changed    sync.Cond // on mu: windows, room to write, ends
	streams    map[uint32]*stream
	running    int // streams whose goroutine hasn't ended
	requests   int
	sendWindow int64
	initWindow int64 // of the client's, for new streams
	maxFrame   int
	tableSize  bool // the next header block has to announce an empty table
	settled    bool // the client has our settings
	out, spare []byte
	writing    bool
	goaway     bool // was sent: no new streams
	headerLate bool // the header at hand took too long
	// headerTimer bounds the time of the header at hand.
	headerTimer *time.Timer
	closing     bool // nothing is sent any more: what comes is dropped
	gone        error
	idle        *time.Timer
}

// New returns a connection for a client that speaks HTTP/2 under an endpoint, which it holds no longer than Serve runs.
func New(c *ngx.Client, ep *ngx.Endpoint, stats *ngx.Stats) *Conn {
	scope := ep.Default
	if c.ServerName != nil {
		r := &ngx.Request{Client: c}
		r.Reset()
		ep.Begin(r)
		scope = r.Scope
	}
	co := &Conn{
		client: c, tc: c.Conn, ep: ep, core: scope.Core, conf: conf.Of[*Conf](scope.Level), stats: stats,
		streams: make(map[uint32]*stream), sendWindow: defaultWindow, initWindow: defaultWindow, maxFrame: 16 << 10,
		recvWindow: connWindow,
	}
	co.changed.L = &co.mu
	co.in = bufio.NewReaderSize(co.tc, 4<<10)
	co.fr = http2.NewFramer(nil, co.in)
	co.fr.SetReuseFrames()
	co.fr.SetMaxReadFrameSize(maxReadFrame)
	co.hpack = newDecoder(co.field)
	return co
}

// Serve serves the connection until it ends. The caller closes it.
func (c *Conn) Serve() {
	c.client.HTTP2 = true
	c.tc.SetWriteTimeout(c.core.SendTimeout.V)
	c.tc.SetReadTimeout(c.core.ClientHeaderTimeout.V)
	c.mu.Lock()
	c.settings()
	c.armIdle(c.core.ClientHeaderTimeout.V)
	c.mu.Unlock()
	if c.preface() {
		c.send()
		c.read()
	}
	c.mu.Lock()
	c.end(tcp.ErrHangup)
	if c.idle != nil {
		c.idle.Stop()
	}
	if c.headerTimer != nil {
		c.headerTimer.Stop()
	}
	c.mu.Unlock()
	c.streamsDone.Wait()
}

// preface reads the client's connection preface, RFC 9113 section 3.4.
func (c *Conn) preface() bool {
	b := make([]byte, len(http2.ClientPreface))
	for n := 0; n < len(b); {
		m, err := c.in.Read(b[n:])
		if n += m; m == 0 || err != nil {
			return false
		}
		if string(b[:n]) != http2.ClientPreface[:n] {
			c.log("invalid connection preface")
			c.fail(http2.ErrCodeProtocol)
			return false
		}
	}
	return true
}

// log writes a line about the connection, as nginx's "while processing HTTP/2 connection".
func (c *Conn) log(format string, args ...any) {
	args = append(args, c.client.Text, c.client.Listener.Addr)
	c.client.Log().Printf(errlog.Info, c.client.ID, format+" while processing HTTP/2 connection, client: %s, server: %s", args...)
}

// Leave has the client open no more streams here: what runs ends, then the connection. It may be called at any time by any goroutine.
func (c *Conn) Leave() {
	c.mu.Lock()
	c.sendGoAway(http2.ErrCodeNo)
	if c.running == 0 {
		c.close()
	}
	c.flushLocked()
	c.mu.Unlock()
}

// sendGoAway sends GOAWAY once. mu is held.
func (c *Conn) sendGoAway(code http2.ErrCode) {
	if c.goaway && code == http2.ErrCodeNo || c.closing {
		return
	}
	c.goaway = true
	c.appendGoAway(code)
}

// fail ends the connection for an error of the client, RFC 9113 section 5.4.1.
func (c *Conn) fail(code http2.ErrCode) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closing {
		return
	}
	c.sendGoAway(code)
	c.close()
	c.hangStreams(tcp.ErrHangup)
	c.flushLocked()
}

// close lets nothing be added to what is sent; when that is out the connection is closed for writing and the
// client's last words are read for a while, so that it gets to read ours. mu is held.
func (c *Conn) close() {
	c.closing = true
	if c.idle != nil {
		c.idle.Stop()
	}
}

// finish ends the sending side when all is out. mu is held; it is released meanwhile.
func (c *Conn) finish() {
	d := c.core.LingeringTimeout.V
	if c.core.LingeringClose.V == ngx.LingerOff {
		d = time.Millisecond
	}
	c.mu.Unlock()
	c.tc.CloseWrite()
	time.AfterFunc(d, c.tc.Abort)
	c.mu.Lock()
}

// end marks the client as gone for all streams. mu is held.
func (c *Conn) end(why error) {
	if c.gone == nil {
		c.gone = why
	}
	c.hangStreams(c.gone)
}

func (c *Conn) hangStreams(why error) {
	for _, s := range c.streams {
		s.hangup(why)
	}
	c.changed.Broadcast()
}

// armIdle starts the time that the connection may be without streams. mu is held.
func (c *Conn) armIdle(d time.Duration) {
	if c.idle == nil {
		c.idle = time.AfterFunc(d, c.idleExpired)
		return
	}
	c.idle.Reset(d)
}

// rest starts the time without streams when there are none. mu is held.
func (c *Conn) rest() {
	if c.running == 0 && !c.closing {
		c.armIdle(c.core.KeepAliveTimeout.V.Timeout)
	}
}

// idleExpired ends a connection without streams.
func (c *Conn) idleExpired() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.running > 0 || c.closing {
		return
	}
	c.sendGoAway(http2.ErrCodeNo)
	c.close()
	c.flushLocked()
}

// start runs a stream's request in a goroutine of its own. mu is held.
func (c *Conn) start(s *stream) {
	c.running++
	c.idle.Stop()
	c.streamsDone.Add(1)
	go func() {
		defer c.streamsDone.Done()
		whole := c.run(s)
		c.ended(s)
		if whole {
			s.release()
		}
	}()
}

// run serves a stream's request. False says that it panicked.
func (c *Conn) run(s *stream) (whole bool) {
	defer func() {
		if p := recover(); p != nil {
			c.stats.Panics.Add(1)
			c.core.ErrorLog.Printf(errlog.Alert, c.client.ID, "panic: %v\n%s", p, debug.Stack())
		}
	}()
	s.run()
	return true
}

// ended takes a stream out whose goroutine has ended.
func (c *Conn) ended(s *stream) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.gone != nil || s.reset:
	case !s.outClosed && s.r.Status == 408:
		c.appendReset(s.id, http2.ErrCodeProtocol)
	case !s.outClosed:
		c.appendReset(s.id, http2.ErrCodeInternal)
	case !s.inClosed:
		c.appendReset(s.id, http2.ErrCodeNo)
	}
	s.reset = true
	delete(c.streams, s.id)
	c.credit(len(s.in) - s.at)
	c.running--
	if c.running == 0 {
		switch d := c.core.KeepAliveTimeout.V.Timeout; {
		case c.closing:
		case c.goaway:
			c.close()
		case d == 0:
			c.sendGoAway(http2.ErrCodeNo)
			c.close()
		default:
			c.armIdle(d)
		}
	}
	c.flushLocked()
}

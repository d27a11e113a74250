package http2

import (
	"sync"
	"time"

	"limpet/internal/ngx"
	"limpet/internal/tcp"
)

// stream is a request and its answer, with memory from a pool. It implements ngx.Wire.
type stream struct {
	r     ngx.Request
	block []byte // header block to be sent
	pend  []byte // of the body; pend[offered:] is still to be offered
	in    []byte // of the request's body; in[at:] is unread; guarded by c.mu
	// changed, on c.mu, wakes the stream's goroutine, the only one that waits: part of the body, an end, room, lateness.
	changed sync.Cond
	streamState
}

// streamState is what begins anew with each stream.
type streamState struct {
	c         *Conn
	id        uint32
	refused   error
	scheme    []byte
	authority bool // :authority was sent
	fields    int

	// the stream's goroutine's
	offered    int    // so much of pend was handed to queue
	hasHead    bool   // block is to be sent
	expects100 bool   // the client waits for 100 (Continue)
	got        int64  // of the request's body
	blocked    func() // see ngx.Blocker; nil for nothing

	// guarded by c.mu
	node       node
	queue      []byte // of pend: what may be sent when it is the stream's turn and the windows let it
	enough     int    // when no more is left of queue, changed is signalled
	filling    bool   // woken to get more to send
	last       bool   // nothing follows behind queue
	all        bool   // queue is sent to its end, not only in whole frames
	chunk      int64  // http2_chunk_size, bounded by what pend holds
	headLen    int64
	sent       int64 // head and body
	sendWindow int64
	recvWindow int64
	at         int
	received   int64
	hadBody    bool // a DATA frame came
	inClosed   bool
	outClosed  bool
	reset      bool  // either side reset it
	gone       error // nobody reads the answer
	wanted     bool  // the body is being read
	dropped    bool  // the body is not
	answered   bool  // by the peer that WaitBody looks at
	guarded    *tcp.Conn
	deadline   time.Time     // when what is waited for is late; zero: nothing is
	patience   time.Duration // how far progress moves deadline; 0: it doesn't
	late       bool          // a wait took too long
	total      int64         // of the body that came
	declared   int64         // by Content-Length; -1: not
	misfit     bool          // it isn't as long as declared
}

func newStreamMemory() any { return new(stream) }

var streams = sync.Pool{New: newStreamMemory}

func (c *Conn) newStream(id uint32) *stream {
	s := streams.Get().(*stream)
	s.streamState = streamState{c: c, id: id, sendWindow: c.initWindow, recvWindow: min(c.conf.PrereadSize.V, maxWindow), declared: -1}
	s.changed.L = &c.mu
	client := new(ngx.Client) // the connection's, for modules to change
	*client = *c.client
	client.Stream = s
	r := &s.r
	r.Client, r.Wire, r.Engine = client, s, c.ep.Engine
	r.Reset()
	r.Main = r
	r.Start = time.Now()
	r.Proto = ngx.HTTP20
	r.Scheme = "http"
	if c.client.TLS != nil {
		r.Scheme = "https"
	}
	c.ep.Begin(r)
	return s
}

// release gives the memory of a stream back that has ended.
func (s *stream) release() {
	s.r.Reset()
	s.r.Client, s.r.Wire, s.r.Engine, s.r.Main = nil, nil, nil, nil
	s.streamState = streamState{}
	s.block, s.pend, s.in = s.block[:0], s.pend[:0], s.in[:0]
	if cap(s.in) > pendSize {
		s.in = nil
	}
	streams.Put(s)
}

// run serves the request.
func (s *stream) run() {
	c, r := s.c, &s.r
	c.stats.Requests.Add(1)
	c.stats.Writing.Add(1)
	defer c.stats.Writing.Add(-1)
	err := s.head()
	r.Received = s.received
	if err == nil && c.ep.TLS != nil {
		if status := c.ep.TLS.Refuse(r); status != 0 {
			err = &refusal{status, ""}
		}
	}
	if err != nil {
		e := err.(*refusal)
		if e.msg != "" {
			r.Infof("%s while reading client request headers", e.msg)
		}
		r.Refused = e.status
		r.Length, r.Chunked = -1, false
	}
	if h := r.In.Get(ngx.HeaderExpect); h != nil && ngx.EqualFold(h, "100-continue") {
		s.expects100 = true
	}
	r.Engine.Run(r)
	r.End()
	r.Body.Close()
}

// hangup has the stream's waits end: nobody reads its answer any more. c.mu is held.
func (s *stream) hangup(why error) {
	if s.gone == nil {
		s.gone = why
	}
	s.queue = nil
	s.filled()
	s.c.tree.leave(&s.node)
	s.changed.Signal()
	if s.guarded != nil {
		s.guarded.Hangup()
	}
}

// Guard implements tcp.Guard.
func (s *stream) Guard(conn *tcp.Conn) {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	s.guarded = conn
	if conn != nil && s.gone != nil {
		conn.Hangup()
	}
}

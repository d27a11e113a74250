package healthcheck

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"strconv"
	"sync"
	"syscall"
	"time"

	"limpet/internal/ngx"
	"limpet/internal/tcp"
)

const (
	bufSize  = 4 << 10  // an exchange's first buffer
	maxLine  = 64 << 10 // of a status line
	maxHead  = 64 << 10 // of a response's head
	maxKeep  = 64 << 10 // of a buffer that is kept for other exchanges
	maxDrain = 64 << 10 // of a body that is read only to keep the connection
)

// step is what a probe was doing when it failed.
type step uint8

const (
	stepConnect step = iota
	stepTLS
	stepSend
	stepReceive
	stepJudge // the answer was there and isn't good
)

// protocol is what is said to a peer over an open connection and how its answer
// is judged. One value serves all targets of a check at once.
type protocol interface {
	// ask makes one exchange over x. It says whether the peer passed; if not,
	// x.fail was called. It sets x.keep when the connection can be used again.
	ask(x *exchange) bool
}

// exchange is a probe under way, with the worker's memory.
type exchange struct {
	target   *target
	conn     *tcp.Conn
	deadline time.Time
	in       []byte // what was received
	keep     bool   // the connection can be used again
	reused   bool   // the connection served a probe before
	answer   answer
	req      *ngx.Request  // for variables; made on first use
	probing  probing       // of req
	work     chan struct{} // tells an idle worker that there is work

	// How it failed.
	at      step
	result  Result
	err     error
	status  int
	lacking bool // of descriptors or memory: not the peer's fault, and not counted

	mu      sync.Mutex // guards dialled and aborted
	dialled *tcp.Conn
	aborted bool
	opened  func(*tcp.Conn)
}

// newExchange returns a worker's memory.
func newExchange() *exchange {
	x := &exchange{in: make([]byte, 0, bufSize), work: make(chan struct{}, 1)}
	x.opened = x.open
	return x
}

// open notes the connection that is being made, so that it can be aborted.
func (x *exchange) open(c *tcp.Conn) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.dialled = c
	if x.aborted && c != nil {
		c.Abort()
	}
}

// abort ends the probe under way and all that the worker would make after it.
func (x *exchange) abort() {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.aborted = true
	if x.dialled != nil {
		x.dialled.Abort()
	}
}

// stopped reports whether abort was called.
func (x *exchange) stopped() bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.aborted
}

// fail says how the probe failed; an error that is a timeout is one whatever result says. It returns false.
func (x *exchange) fail(r Result, err error) bool {
	x.result, x.err = r, err
	if r != Status && isTimeout(err) {
		x.result = TimedOut
	}
	return false
}

func isTimeout(err error) bool {
	var ne net.Error
	return errors.As(err, &ne) && ne.Timeout()
}

// probe asks the target once, over its kept connection if there is one. A kept
// connection that turns out to have been closed says nothing of the peer: a fresh one is tried.
func (x *exchange) probe(p *prober, t *target) bool {
	x.reset(t)
	if t.conn != nil {
		if t.reusable() {
			x.conn, x.reused = t.conn, true
			x.open(t.conn)
			x.begin(t.check.timeouts.total)
			if x.exchange() {
				return true
			}
			if x.at == stepJudge || x.result == TimedOut {
				return false
			}
			x.reset(t)
		} else {
			t.close()
		}
	}
	x.begin(t.check.timeouts.total)
	return x.connect(p) && x.exchange()
}

func (x *exchange) reset(t *target) {
	x.target, x.conn, x.keep, x.reused = t, nil, false, false
	x.at, x.result, x.err, x.status, x.lacking = stepConnect, Passed, nil, 0, false
	x.in = x.in[:0]
}

// reusable reports whether the kept connection may serve another probe.
func (t *target) reusable() bool {
	c := t.check
	return t.uses < c.requests && (c.life == 0 || time.Since(t.opened) <= c.life)
}

// close closes the target's kept connection.
func (t *target) close() {
	if t.conn != nil {
		t.conn.Close()
		t.conn = nil
	}
}

// begin starts the time of a step, or of the whole probe; 0 leaves the deadline as it is.
func (x *exchange) begin(d time.Duration) {
	if d > 0 {
		x.deadline = time.Now().Add(d)
	}
}

// begins starts a step that has d unless the probe's time is bounded as a whole.
func (x *exchange) begins(s step, d time.Duration) {
	x.at = s
	if x.target.check.timeouts.total == 0 {
		x.deadline = time.Now().Add(d)
	}
}

// rest returns the time that is left of the step, always positive.
func (x *exchange) rest() time.Duration { return max(time.Until(x.deadline), time.Microsecond) }

// connect opens a connection to the target, and TLS on it where the check has it.
func (x *exchange) connect(p *prober) bool {
	t := x.target
	x.begins(stepConnect, t.check.timeouts.connect)
	if t.to == nil {
		if to, err := tcp.ParseAddress(t.network, t.addr); err == nil {
			t.to = to
		}
	}
	// Without TLS a probe waits for an answer after each write.
	c, err := p.dial(t.network, t.addr, tcp.DialOptions{Timeout: x.rest(), Opened: x.opened, To: t.to, Delay: t.check.tls == nil})
	if err != nil {
		x.open(nil)
		x.lacking = isLack(err)
		return x.fail(Refused, err)
	}
	x.conn, t.conn, t.uses, t.opened = c, c, 0, time.Now()
	if t.check.tls == nil {
		return true
	}
	x.begins(stepTLS, t.check.timeouts.connect)
	if err := c.ClientTLS(t.check.tls, x.rest()); err != nil {
		x.drop()
		return x.fail(Handshake, err)
	}
	return true
}

// isLack reports whether an error of connecting is this process' own trouble.
func isLack(err error) bool {
	for _, e := range []syscall.Errno{syscall.EMFILE, syscall.ENFILE, syscall.ENOMEM, syscall.ENOBUFS} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// exchange lets the protocol speak and keeps or closes the connection.
func (x *exchange) exchange() bool {
	t := x.target
	ok := t.check.protocol.ask(x)
	t.uses++
	if !x.keep || t.uses >= t.check.requests {
		x.drop()
	}
	x.open(nil)
	return ok
}

// drop closes the connection.
func (x *exchange) drop() {
	x.open(nil)
	x.target.close()
	x.conn = nil
}

// send sends all of b and waits for the first bytes in answer. A kept connection
// that the peer has closed, or on which it spoke unasked, is a failure with tcp.ErrStale.
func (x *exchange) send(b []byte) bool {
	x.begins(stepSend, x.target.check.timeouts.send)
	x.conn.SetWriteTimeout(x.rest())
	x.begins(stepReceive, x.target.check.timeouts.read)
	x.conn.SetReadTimeout(x.rest())
	sent, n, err := x.conn.Exchange(b, nil, x.in[len(x.in):cap(x.in)], x.reused)
	if sent < len(b) {
		x.at = stepSend
	}
	if err != nil {
		return x.fail(Broken, err)
	}
	x.in = x.in[:len(x.in)+n]
	return true
}

// receive waits for more bytes; the end of the stream is a failure with io.EOF.
func (x *exchange) receive() bool {
	if len(x.in) == cap(x.in) {
		x.in = append(x.in, 0)[:len(x.in)]
	}
	x.conn.SetReadTimeout(x.rest())
	n, err := x.conn.Read(x.in[len(x.in):cap(x.in)])
	if err != nil {
		return x.fail(Broken, err)
	}
	x.in = x.in[:len(x.in)+n]
	return true
}

// receiveAll waits until at least n bytes are there.
func (x *exchange) receiveAll(n int) bool {
	for len(x.in) < n {
		if !x.receive() {
			return false
		}
	}
	return true
}

// line waits for a line and returns its end, behind the LF.
func (x *exchange) line(from int) (end int, ok bool) {
	seen := from
	for {
		if i := bytes.IndexByte(x.in[seen:], '\n'); i >= 0 {
			return seen + i + 1, true
		}
		seen = len(x.in)
		if seen-from > maxLine {
			return 0, x.judge(Malformed, errors.New("line too long"))
		}
		if !x.receive() {
			return 0, false
		}
	}
}

// judge says that the answer is there and isn't good. It returns false.
func (x *exchange) judge(r Result, err error) bool {
	x.at = stepJudge
	return x.fail(r, err)
}

// errnoText is the system's word for an error as Lua's sockets give it: connection refused.
func errnoText(err error) string {
	var errno syscall.Errno
	switch {
	case isTimeout(err):
		return "timeout"
	case errors.Is(err, io.EOF):
		return "closed"
	case errors.As(err, &errno):
		return errno.Error()
	}
	return err.Error()
}

// withPort returns an address with another port.
func withPort(addr string, port int) string {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return addr
	}
	return net.JoinHostPort(host, strconv.Itoa(port))
}

// probeTLS returns a TLS configuration for probes.
func probeTLS(c *tls.Config) *tls.Config {
	c = c.Clone()
	c.MinVersion = tls.VersionTLS10 // old backends are asked, too
	return c
}

package chaos

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// sizes lie around the borders of the buffers that bodies pass through.
var sizes = []int{0, 1, 100, 4095, 4096, 4097, 8191, 8192, 8193, 16383, 16384, 16385, 64<<10 - 1, 64 << 10, 64<<10 + 1, 1 << 20}

func pick[T any](of ...T) T { return of[rand.IntN(len(of))] }

func someSize() int {
	if rand.IntN(60) == 0 {
		return 10 << 20
	}
	n := pick(sizes...)
	if n > 200_000 && rand.IntN(3) > 0 {
		n = pick(sizes[:12]...)
	}
	return n
}

var serial atomic.Int64

// wish is one request and what is to come of it.
type wish struct {
	ask
	place  string
	method string
	proto  string
	up     int  // bytes of the request's body
	upCh   bool // in chunks
	gzip   bool
	last   bool // Connection: close
}

var places = []string{"buf", "nobuf", "noreq", "small", "temp", "sub", "gz", "rate", "readrate", "err", "sticky", "http10"}

func someWish() wish {
	w := wish{place: pick(places...), method: "GET", proto: "HTTP/1.1"}
	w.id = strconv.FormatInt(serial.Add(1), 10)
	w.size, w.framing = someSize(), pick("length", "length", "chunked", "close")
	w.act = "ok"
	if rand.IntN(3) == 0 {
		w.act = pick("close", "reset", "status502", "early", "earlyclose", "interim", "s204", "s304", "s404", "cuthead", "cutbody", "resetbody", "slow", "closeafter", "accel")
	}
	switch rand.IntN(5) {
	case 0:
		w.method = "HEAD"
	case 1, 2:
		w.method, w.up, w.upCh = "POST", someSize(), rand.IntN(2) == 0
		w.size = min(w.size, 100_000)
	}
	if w.act == "slow" || w.place == "rate" || w.place == "readrate" {
		w.size = min(w.size, 70_000)
	}
	if w.act == "earlyclose" && w.up > 0 {
		w.size = min(w.size, 5000)
	}
	if rand.IntN(10) == 0 {
		w.proto, w.upCh, w.last = "HTTP/1.0", false, true
	}
	w.gzip = rand.IntN(2) == 0
	w.last = w.last || rand.IntN(8) == 0
	return w
}

// bytes is the request on the wire: its head, and its body.
func (w *wish) bytes() (head, body []byte) {
	h := fmt.Appendf(nil, "%s /%s/?%s %s\r\nHost: chaos\r\nX-Id: %s\r\nX-Body: %d\r\n", w.method, w.place, w.query(), w.proto, w.id, w.up)
	if w.gzip {
		h = append(h, "Accept-Encoding: gzip\r\n"...)
	}
	if w.last {
		h = append(h, "Connection: close\r\n"...)
	}
	if w.method == "POST" {
		body = pattern("up"+w.id, w.up)
		if w.upCh {
			h, body = append(h, "Transfer-Encoding: chunked\r\n"...), chunks(body)
		} else {
			h = fmt.Appendf(h, "Content-Length: %d\r\n", w.up)
		}
	}
	return append(h, "\r\n"...), body
}

// whole says whether the request must be answered as a peer that does what it should answers.
func (w *wish) whole() bool {
	switch w.act {
	case "close", "reset", "status502":
		return w.method != "POST"
	case "early", "earlyclose":
		return w.up == 0
	case "cuthead", "cutbody", "resetbody":
		return false
	}
	return true
}

// reply is an answer as far as it came.
type reply struct {
	status   int
	fields   map[string]string
	body     []byte
	complete bool
	close    bool
}

// readReply reads an answer. An error means that not even a head came.
func readReply(r *bufio.Reader, head bool) (*reply, error) {
	for {
		m, err := readMessage(r)
		if err != nil {
			return nil, err
		}
		if len(m.first) < 12 || !strings.HasPrefix(m.first, "HTTP/1.1 ") {
			return nil, fmt.Errorf("bad status line %.60q", m.first)
		}
		p := &reply{fields: m.fields}
		if p.status, err = strconv.Atoi(m.first[9:12]); err != nil {
			return nil, fmt.Errorf("bad status line %.60q", m.first)
		}
		if p.status < 200 && p.status != 101 {
			continue
		}
		p.close = m.fields["connection"] == "close"
		length, sized := m.fields["content-length"]
		switch {
		case head || p.status == 204 || p.status == 304 || p.status == 101:
			p.complete = true
		case m.fields["transfer-encoding"] == "chunked":
			if p.body, err = readChunks(r); err != nil && strings.Contains(err.Error(), "chunk") {
				return nil, err
			}
			p.complete = err == nil
		case sized:
			n, err := strconv.Atoi(length)
			if err != nil {
				return nil, fmt.Errorf("bad length %q", length)
			}
			p.body = make([]byte, n)
			m, err := io.ReadFull(r, p.body)
			p.body, p.complete = p.body[:m], err == nil
		default:
			p.body, _ = io.ReadAll(r)
			p.close = true
		}
		return p, nil
	}
}

// check compares an answer with the wish.
func (w *wish) check(p *reply, fails *faults) {
	name := fmt.Sprintf("%s /%s/?%s %s up %d chunked %v", w.method, w.place, w.query(), w.proto, w.up, w.upCh)
	id, theirs := p.fields["x-id"]
	if theirs && id != w.id {
		fails.addf("%s got the answer of %s", name, id)
		return
	}
	want := pattern(w.id, w.size)
	if theirs && w.method != "HEAD" && p.status == 200 || p.status == 404 && theirs && w.place != "err" && w.method != "HEAD" {
		got := p.body
		if p.fields["content-encoding"] == "gzip" {
			z, err := gzip.NewReader(bytes.NewReader(got))
			if err == nil {
				got, err = io.ReadAll(z)
			}
			if err != nil && p.complete {
				fails.addf("%s: broken gzip: %v", name, err)
				return
			}
		}
		switch {
		case w.framing == "close" && !w.whole() && bytes.HasPrefix(want, got): // who knows?
		case p.complete && !bytes.Equal(got, want):
			fails.addf("%s: %d bytes that differ from the %d wanted at %d", name, len(got), len(want), firstDiff(got, want))
		case !p.complete && !bytes.HasPrefix(want, got):
			fails.addf("%s: %d bytes of a cut answer differ at %d", name, len(got), firstDiff(got, want))
		case w.whole() && !p.complete && p.fields["content-length"] != "" || w.whole() && len(got) < len(want):
			fails.addf("%s: %d of %d bytes", name, len(got), len(want))
		}
	}
	ok := p.status == 200
	switch {
	case w.act == "s204":
		ok = p.status == 204
	case w.act == "s304":
		ok = p.status == 304
	case w.act == "s404":
		ok = p.status == 404 || w.place == "err" && p.status == 200
	}
	if w.whole() && w.method == "POST" && p.status == 502 {
		// The peer closed the kept connection as the request went out: it isn't sent again.
		fails.lost.Add(1)
		return
	}
	if w.whole() && (!ok || !theirs) {
		fails.addf("%s: status %d, id %q", name, p.status, id)
	}
}

func firstDiff(a, b []byte) int {
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			return i
		}
	}
	return min(len(a), len(b))
}

// client goes through requests of every kind until the time is over.
func client(addr string, until time.Time, fails *faults, done *atomic.Int64) {
	for time.Now().Before(until) {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			fails.addf("connect: %v", err)
			return
		}
		c.SetDeadline(time.Now().Add(60 * time.Second))
		switch n := rand.IntN(20); {
		case n < 8:
			oneByOne(c, fails, done)
		case n < 12:
			pipelined(c, fails, done)
		case n < 15:
			slowReader(c, fails, done)
		case n < 18:
			goesAway(c)
		default:
			tunnel(c, fails, done)
		}
		c.Close()
	}
}

// send writes a request in one piece or in some.
func send(c net.Conn, p []byte) error {
	for len(p) > 0 {
		n := len(p)
		if rand.IntN(3) == 0 {
			n = 1 + rand.IntN(n)
		}
		if _, err := c.Write(p[:n]); err != nil {
			return err
		}
		if p = p[n:]; len(p) > 0 {
			pause(time.Duration(rand.IntN(2000)) * time.Microsecond)
		}
	}
	return nil
}

// oneByOne sends some requests over a connection, each behind the answer before.
func oneByOne(c net.Conn, fails *faults, done *atomic.Int64) {
	r := bufio.NewReaderSize(c, 64<<10)
	for range 1 + rand.IntN(12) {
		w := someWish()
		head, body := w.bytes()
		sent := make(chan error, 1)
		go func() { sent <- send(c, append(head, body...)) }()
		p, err := readReply(r, w.method == "HEAD")
		if !w.judge(p, err, fails, done) || p.close || w.last {
			c.Close()
			<-sent
			return
		}
		if <-sent != nil {
			return
		}
		if rand.IntN(4) == 0 {
			pause(time.Duration(rand.IntN(20)) * time.Millisecond)
		}
	}
}

// judge checks what came and says whether the connection goes on.
func (w *wish) judge(p *reply, err error, fails *faults, done *atomic.Int64) bool {
	if err != nil {
		if w.whole() || !isNet(err) && err != io.EOF && err != io.ErrUnexpectedEOF {
			fails.addf("%s /%s/?%s up %d: no answer: %v", w.method, w.place, w.query(), w.up, err)
		}
		return false
	}
	done.Add(1)
	w.check(p, fails)
	return p.complete
}

// pipelined sends several requests at once, then reads the answers in order.
func pipelined(c net.Conn, fails *faults, done *atomic.Int64) {
	var all []byte
	var ws []wish
	for range 2 + rand.IntN(6) {
		w := someWish()
		w.up, w.size, w.last = min(w.up, 9000), min(w.size, 70_000), false
		if w.proto == "HTTP/1.0" || !w.whole() || w.act == "early" || w.act == "earlyclose" {
			continue
		}
		head, body := w.bytes()
		all = append(append(all, head...), body...)
		ws = append(ws, w)
	}
	if len(ws) == 0 {
		return
	}
	sent := make(chan error, 1)
	go func() { sent <- send(c, all) }()
	r := bufio.NewReader(c)
	for i := range ws {
		p, err := readReply(r, ws[i].method == "HEAD")
		if !ws[i].judge(p, err, fails, done) || p.close {
			break
		}
	}
	c.Close()
	<-sent
}

// slowReader takes an answer in small pieces.
func slowReader(c net.Conn, fails *faults, done *atomic.Int64) {
	c.(*net.TCPConn).SetReadBuffer(32 << 10)
	w := someWish()
	if w.method == "POST" {
		w.method, w.up = "GET", 0
	}
	w.size = pick(100_000, 1<<20, 4<<20)
	if w.place == "rate" || w.place == "readrate" || w.act == "slow" {
		w.size = 100_000
	}
	head, _ := w.bytes()
	c.Write(head)
	p, err := readReply(bufio.NewReader(&sluggish{Conn: c}), w.method == "HEAD")
	w.judge(p, err, fails, done)
}

// sluggish is a connection that is read with pauses.
type sluggish struct {
	net.Conn
	read int
}

func (s *sluggish) Read(p []byte) (int, error) {
	n, err := s.Conn.Read(p)
	if s.read += n; s.read > 64<<10 {
		s.read = 0
		pause(time.Duration(rand.IntN(8)) * time.Millisecond)
	}
	return n, err
}

// goesAway leaves in the middle of something.
func goesAway(c net.Conn) {
	w := someWish()
	if rand.IntN(3) == 0 {
		w.act = "stall"
	}
	head, body := w.bytes()
	all := append(head, body...)
	if rand.IntN(2) == 0 {
		all = all[:rand.IntN(len(all)+1)]
	}
	go io.CopyN(io.Discard, c, int64(rand.IntN(w.size+200)))
	c.SetWriteDeadline(time.Now().Add(time.Second))
	c.Write(all)
	pause(time.Duration(rand.IntN(30)) * time.Millisecond)
	switch tc := c.(*net.TCPConn); rand.IntN(3) {
	case 0:
		tc.SetLinger(0)
	case 1:
		tc.CloseWrite()
		pause(time.Duration(rand.IntN(30)) * time.Millisecond)
	}
}

// tunnel upgrades and has its bytes echoed.
func tunnel(c net.Conn, fails *faults, done *atomic.Int64) {
	w := wish{place: "up", method: "GET", proto: "HTTP/1.1"}
	w.id, w.act = strconv.FormatInt(serial.Add(1), 10), "tunnel"
	data := pattern(w.id, someSize()+1)
	first := rand.IntN(len(data))
	fmt.Fprintf(c, "GET /up/?%s HTTP/1.1\r\nHost: chaos\r\nX-Id: %s\r\nX-Body: 0\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n%s", w.query(), w.id, data[:first])
	r := bufio.NewReader(c)
	p, err := readReply(r, false)
	if err != nil || p.status != 101 {
		fails.addf("upgrade: %v %v", p, err)
		return
	}
	sent := make(chan error, 1)
	go func() { sent <- send(c, data[first:]) }()
	got := make([]byte, len(data))
	if n, err := io.ReadFull(r, got); err != nil || !bytes.Equal(got, data) {
		fails.addf("tunnel: %d of %d bytes, %v", n, len(data), err)
	}
	<-sent
	done.Add(1)
	if rand.IntN(2) == 0 {
		c.(*net.TCPConn).CloseWrite()
		io.Copy(io.Discard, r)
	}
}

package chaos

import (
	"bufio"
	"bytes"
	"fmt"
	"hash/crc32"
	"io"
	"math/rand/v2"
	"net"
	"net/url"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// text is what bodies are cut from.
var text = sync.OnceValue(func() []byte {
	b := make([]byte, 10<<20+1<<16)
	rng := rand.New(rand.NewPCG(1, 2))
	for i := range b {
		b[i] = "abcdefghijklmnop"[rng.Uint32()&15]
	}
	return b
})

// pattern is the body that belongs to an id: n bytes that no other id has.
func pattern(id string, n int) []byte {
	at := int(crc32.ChecksumIEEE([]byte(id)) & (1<<16 - 1))
	b := append([]byte(nil), text()[at:at+n]...)
	copy(b, id)
	return b
}

// ask is what a request's query asks the backend to do.
type ask struct {
	id      string
	size    int    // of the answer's body
	framing string // length, chunked, close
	act     string
}

func (a ask) query() string {
	return fmt.Sprintf("id=%s&size=%d&framing=%s&act=%s", a.id, a.size, a.framing, a.act)
}

// backend is a peer that does what each request asks it to.
type backend struct {
	name  string
	ln    net.Listener
	fails *faults
	seen  *ledger
	conns atomic.Int64
	wg    sync.WaitGroup
}

// ledger counts how often the backends got each request.
type ledger struct {
	mu    sync.Mutex
	times map[string]int
}

func (l *ledger) note(id string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.times[id]++
	return l.times[id]
}

// faults collects what must not happen.
type faults struct {
	mu    sync.Mutex
	list  []string
	count int
	lost  atomic.Int64 // requests that a peer lost by closing a kept connection, and that aren't repeated
}

func (f *faults) addf(format string, args ...any) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.count++; len(f.list) < 30 {
		f.list = append(f.list, fmt.Sprintf(format, args...))
	}
}

// report fails for each fault, with the lines of the error log about its request.
func (f *faults) report(t *testing.T, log string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	lines, _ := os.ReadFile(log)
	for _, s := range f.list {
		t.Error(s)
		_, id, ok := strings.Cut(s, "?id=")
		if id, _, _ = strings.Cut(id, "&"); !ok {
			continue
		}
		for line := range strings.Lines(string(lines)) {
			if strings.Contains(line, "?id="+id+"&") {
				t.Log(line)
			}
		}
	}
	if f.count > len(f.list) {
		t.Errorf("and %d more", f.count-len(f.list))
	}
}

func startBackend(t *testing.T, name string, fails *faults, seen *ledger) *backend {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	b := &backend{name: name, ln: ln, fails: fails, seen: seen}
	b.wg.Add(1)
	go func() {
		defer b.wg.Done()
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			b.conns.Add(1)
			b.wg.Add(1)
			go func() {
				defer b.wg.Done()
				defer b.conns.Add(-1)
				defer c.Close()
				b.serve(c.(*net.TCPConn))
			}()
		}
	}()
	return b
}

func (b *backend) addr() string { return b.ln.Addr().String() }

// message is a head, read strictly: anything odd is a fault of limpet's.
type message struct {
	first  string
	fields map[string]string
}

func readMessage(r *bufio.Reader) (*message, error) {
	m := &message{fields: map[string]string{}}
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			if line == "" && m.first == "" {
				return nil, io.EOF
			}
			return nil, io.ErrUnexpectedEOF
		}
		line = strings.TrimRight(line, "\r\n")
		switch {
		case m.first == "":
			m.first = line
		case line == "":
			return m, nil
		default:
			name, value, ok := strings.Cut(line, ": ")
			if !ok {
				return nil, fmt.Errorf("bad line %q", line)
			}
			m.fields[strings.ToLower(name)] = value
		}
	}
}

func (b *backend) serve(c *net.TCPConn) {
	r := bufio.NewReaderSize(c, 32<<10)
	for {
		m, err := readMessage(r)
		if err != nil {
			if err != io.EOF && err != io.ErrUnexpectedEOF && !isNet(err) {
				b.fails.addf("a backend got no request: %v", err)
			}
			return
		}
		if !b.answer(c, r, m) {
			return
		}
	}
}

func isNet(err error) bool { _, ok := err.(*net.OpError); return ok }

// answer serves one request and says whether the connection lives on.
func (b *backend) answer(c *net.TCPConn, r *bufio.Reader, m *message) bool {
	word := strings.Split(m.first, " ")
	if len(word) != 3 || !strings.HasPrefix(word[2], "HTTP/1.") {
		b.fails.addf("a backend got the request line %.80q", m.first)
		return false
	}
	u, err := url.Parse(word[1])
	if err != nil {
		b.fails.addf("a backend got the target %q", word[1])
		return false
	}
	q := u.Query()
	a := ask{id: q.Get("id"), framing: q.Get("framing"), act: q.Get("act")}
	a.size, _ = strconv.Atoi(q.Get("size"))
	if m.fields["x-id"] != a.id {
		b.fails.addf("the head of %q names %q: two requests were mixed", a.id, m.fields["x-id"])
		return false
	}
	key := a.id
	if a.act == "followed" { // X-Accel-Redirect led here
		key += " again"
	}
	times := b.seen.note(key)
	if times > 1 && !mayRepeat(word[0], a.act) && !strings.HasPrefix(word[1], "/err/") {
		b.fails.addf("%s %s with act=%s came %d times", word[0], a.id, a.act, times)
	}
	if times == 1 {
		switch a.act {
		case "close":
			return false
		case "reset":
			c.SetLinger(0)
			return false
		case "status502":
			c.Write([]byte("HTTP/1.1 502 Bad\r\nContent-Length: 0\r\n\r\n"))
			return b.body(r, m, a)
		}
	}
	switch a.act {
	case "stall":
		io.Copy(io.Discard, r)
		return false
	case "early":
		ok := b.respond(c, word, a)
		return b.body(r, m, a) && ok
	case "earlyclose":
		b.respond(c, word, a)
		return false
	case "tunnel":
		c.Write([]byte("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n"))
		io.Copy(c, r)
		return false
	}
	return b.body(r, m, a) && b.respond(c, word, a)
}

// mayRepeat says whether nginx may ask a second peer what a first one was asked.
func mayRepeat(method, act string) bool {
	switch act {
	case "close", "reset", "status502", "stall", "cuthead":
		return method != "POST"
	}
	return false
}

// body reads the request's body and compares it with the id's.
func (b *backend) body(r *bufio.Reader, m *message, a ask) bool {
	var got []byte
	if n := m.fields["content-length"]; n != "" {
		size, err := strconv.Atoi(n)
		if err != nil {
			b.fails.addf("%s came with Content-Length %q", a.id, n)
			return false
		}
		got = make([]byte, size)
		if _, err := io.ReadFull(r, got); err != nil {
			return false
		}
	} else if m.fields["transfer-encoding"] == "chunked" {
		var err error
		if got, err = readChunks(r); err != nil {
			if !isNet(err) && err != io.EOF && err != io.ErrUnexpectedEOF {
				b.fails.addf("the body of %s: %v", a.id, err)
			}
			return false
		}
	}
	want, _ := strconv.Atoi(m.fields["x-body"])
	if a.act != "followed" && !bytes.Equal(got, pattern("up"+a.id, want)) {
		b.fails.addf("the body of %s differs: %d bytes, want %d", a.id, len(got), want)
	}
	return true
}

// readChunks reads a chunked body as strictly as RFC 9112 section 7.1 writes it.
func readChunks(r *bufio.Reader) ([]byte, error) {
	var body []byte
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return body, err
		}
		n, err := strconv.ParseUint(strings.TrimSuffix(line, "\r\n"), 16, 31)
		if err != nil {
			return body, fmt.Errorf("bad chunk %.40q", line)
		}
		at := len(body)
		body = append(body, make([]byte, int(n)+2)...)
		if m, err := io.ReadFull(r, body[at:]); err != nil {
			return body[:at+min(m, int(n))], err
		}
		if string(body[at+int(n):]) != "\r\n" {
			return body, fmt.Errorf("a chunk ends with %q", body[at+int(n):])
		}
		if body = body[:at+int(n)]; n == 0 {
			return body, nil
		}
	}
}

// respond sends the id's answer.
func (b *backend) respond(c *net.TCPConn, word []string, a ask) bool {
	var h bytes.Buffer
	if a.act == "interim" {
		h.WriteString("HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n")
	}
	status, body := "200 OK", pattern(a.id, a.size)
	switch a.act {
	case "s204":
		status, body, a.framing = "204 No Content", nil, "none"
	case "s304":
		status, body, a.framing = "304 Not Modified", nil, "none"
	case "s404":
		status = "404 Not Found"
	}
	fmt.Fprintf(&h, "HTTP/1.1 %s\r\nX-Id: %s\r\nContent-Type: text/html\r\n", status, a.id)
	if a.act == "accel" {
		a.act = "followed"
		fmt.Fprintf(&h, "X-Accel-Redirect: /internal/?%s\r\nContent-Length: 3\r\n\r\nabc", a.query())
		_, err := c.Write(h.Bytes())
		return err == nil
	}
	switch a.framing {
	case "length":
		fmt.Fprintf(&h, "Content-Length: %d\r\n", len(body))
	case "chunked":
		h.WriteString("Transfer-Encoding: chunked\r\n")
	}
	h.WriteString("\r\n")
	if word[0] == "HEAD" {
		body = nil
	} else if a.framing == "chunked" {
		body = chunks(body)
	}
	all := append(h.Bytes(), body...)
	switch a.act {
	case "cuthead":
		c.Write(all[:h.Len()/2])
		return false
	case "cutbody":
		c.Write(all[:h.Len()+len(body)/2])
		return false
	case "resetbody":
		c.Write(all[:h.Len()+len(body)/2])
		c.SetLinger(0)
		return false
	case "slow":
		for len(all) > 0 {
			n := min(1+rand.IntN(1+len(all)/4), len(all))
			if _, err := c.Write(all[:n]); err != nil {
				return false
			}
			all = all[n:]
			pause(3 * time.Millisecond)
		}
	default:
		if _, err := c.Write(all); err != nil {
			return false
		}
	}
	return a.framing != "close" && a.act != "closeafter"
}

// chunks frames a body in chunks of random sizes.
func chunks(b []byte) []byte {
	var out []byte
	for len(b) > 0 {
		n := min(1+rand.IntN(20_000), len(b))
		if rand.IntN(4) == 0 {
			n = min(n, 1+n%7)
		}
		out = fmt.Appendf(out, "%x\r\n%s\r\n", n, b[:n])
		b = b[n:]
	}
	return append(out, "0\r\n\r\n"...)
}

// pause lets some time pass: chaos is about timing, and asserts none.
func pause(d time.Duration) { <-time.After(d) }

func (b *backend) stop() {
	b.ln.Close()
}

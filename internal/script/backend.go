package script

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"
)

// backend is a server behind the one under test. It answers as it is told and
// keeps the requests that it got.
type backend struct {
	name string
	body string // what it answers unless told otherwise
	ln   net.Listener
	wait sync.WaitGroup

	mu       sync.Mutex
	answers  map[string]*answer // by path; "" is for any other
	requests []*message
	count    int // connections that were accepted
	conns    map[net.Conn]bool
	stopped  bool
}

// answer is what a backend does with a request.
type answer struct {
	times     int // requests that it is for; 0 for any number
	status    int
	body      string
	headers   []string
	delay     time.Duration // before the head
	bodyDelay time.Duration // between head and body
	raw       string        // the bytes of the whole response, "" for none
	hasRaw    bool
	mode      string // hang, reset, close, echo
	chunked   bool
	noKeep    bool
}

const backendUsage = usageError("usage: backend [-stop | -set] BACKEND1 [name=N] [path=P] [times=N] [status=N] [body=TEXT] [header='K: v']... " +
	"[delay=D] [body-delay=D] [raw=FILE] [chunked] [hang | reset | close | echo] [keepalive=off] [tls=CERT]")

// runBackend starts, changes or stops a backend.
func runBackend(r *run, args []string) (string, error) {
	if len(args) == 0 {
		return "", backendUsage
	}
	switch args[0] {
	case "-stop":
		if len(args) != 2 || r.backends[args[1]] == nil {
			return "", backendUsage
		}
		r.backends[args[1]].stop()
		return "", nil
	case "-set":
		if len(args) < 2 || r.backends[args[1]] == nil {
			return "", backendUsage
		}
		b := r.backends[args[1]]
		return "", b.set(r, args[2:])
	}
	name := args[0]
	old := r.backends[name]
	if old != nil && !old.stopped {
		return "", usageError("backend: " + name + " runs already; change it with -set")
	}
	b := &backend{name: name, body: name + "\n", answers: make(map[string]*answer), conns: make(map[net.Conn]bool)}
	if old != nil {
		b.requests = old.requests
	}
	for _, a := range args[1:] {
		if v, ok := strings.CutPrefix(a, "name="); ok {
			b.body = r.real(v) + "\n"
		}
	}
	if err := b.set(r, args[1:]); err != nil {
		return "", err
	}
	if err := b.listen(r, args[1:]); err != nil {
		return "", err
	}
	r.backends[name] = b
	return "", nil
}

func (b *backend) listen(r *run, args []string) error {
	network, address := "tcp", r.real(b.name)
	switch {
	case strings.HasPrefix(address, "unix:"):
		network, address = "unix", address[len("unix:"):]
	case !strings.Contains(address, ":"):
		address = "127.0.0.1:" + address
	}
	var err error
	if b.ln, err = net.Listen(network, address); err != nil {
		return err
	}
	if network == "unix" {
		os.Chmod(address, 0o777) // for a worker process of another user
	}
	for _, a := range args {
		if name, ok := strings.CutPrefix(a, "tls="); ok {
			cert, err := tls.LoadX509KeyPair(r.MkAbs(name+".crt"), r.MkAbs(name+".key"))
			if err != nil {
				return err
			}
			b.ln = tls.NewListener(b.ln, &tls.Config{Certificates: []tls.Certificate{cert}})
		}
	}
	b.wait.Add(1)
	go b.accept()
	return nil
}

// set reads words into an answer and puts it in force.
func (b *backend) set(r *run, args []string) error {
	a := &answer{status: 200, body: b.body}
	path := ""
	for _, arg := range args {
		k, v, hasValue := strings.Cut(arg, "=")
		if err := a.word(r, k, r.real(v), hasValue, &path); err != nil {
			return err
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if a.times > 0 && b.answers[path] != nil {
		next := b.answers[path]
		b.answers[path] = a
		b.answers["\x00"+path] = next
		return nil
	}
	delete(b.answers, "\x00"+path)
	b.answers[path] = a
	return nil
}

func (a *answer) word(r *run, k, v string, hasValue bool, path *string) (err error) {
	switch k {
	case "name":
		a.body = v + "\n"
	case "path":
		*path = v
	case "times":
		a.times, err = strconv.Atoi(v)
	case "status":
		a.status, err = strconv.Atoi(v)
	case "body":
		a.body = v
		if name, ok := strings.CutPrefix(v, "@"); ok {
			a.body = r.ReadFile(name)
		}
	case "header":
		a.headers = append(a.headers, v)
	case "delay":
		a.delay, err = time.ParseDuration(v)
	case "body-delay":
		a.bodyDelay, err = time.ParseDuration(v)
	case "raw":
		a.raw, a.hasRaw = crlf(r.ReadFile(v)), true
	case "raw-bytes":
		a.raw, a.hasRaw = r.ReadFile(v), true
	case "hang", "reset", "close", "echo":
		a.mode = k
	case "chunked":
		a.chunked = true
	case "keepalive":
		a.noKeep = v == "off"
	case "tls":
	default:
		return backendUsage
	}
	if err != nil {
		return usageError(err.Error())
	}
	return nil
}

func (b *backend) accept() {
	defer b.wait.Done()
	for {
		c, err := b.ln.Accept()
		if err != nil {
			return
		}
		b.mu.Lock()
		b.count++
		b.conns[c] = true
		stopped := b.stopped
		b.mu.Unlock()
		if stopped {
			c.Close()
			continue
		}
		b.wait.Add(1)
		go b.serve(c)
	}
}

// stop closes the listener and every connection.
func (b *backend) stop() {
	b.mu.Lock()
	b.stopped = true
	b.ln.Close()
	for c := range b.conns {
		c.Close()
	}
	b.mu.Unlock()
	b.wait.Wait()
}

func (b *backend) serve(c net.Conn) {
	defer b.wait.Done()
	defer func() {
		c.Close()
		b.mu.Lock()
		delete(b.conns, c)
		b.mu.Unlock()
	}()
	r := bufio.NewReader(c)
	for {
		m, err := readRequest(r)
		if len(m.head) > 0 {
			b.mu.Lock()
			b.requests = append(b.requests, m)
			b.mu.Unlock()
		}
		if err != nil || !b.answer(c, r, m) {
			return
		}
	}
}

// choose returns the answer for a request.
func (b *backend) choose(m *message) answer {
	target := strings.Fields(m.line() + " ")
	path := ""
	if len(target) > 1 {
		path, _, _ = strings.Cut(target[1], "?")
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.answers[path] == nil {
		path = ""
	}
	a := b.answers[path]
	if a == nil {
		return answer{status: 404}
	}
	result := *a
	if a.times > 0 {
		if a.times--; a.times == 0 {
			b.answers[path] = b.answers["\x00"+path]
			delete(b.answers, "\x00"+path)
		}
	}
	return result
}

// answer answers one request and reports whether the connection goes on.
func (b *backend) answer(c net.Conn, r *bufio.Reader, m *message) bool {
	a := b.choose(m)
	time.Sleep(a.delay)
	switch a.mode {
	case "hang":
		io.Copy(io.Discard, r)
		return false
	case "reset":
		if t, ok := c.(*net.TCPConn); ok {
			t.SetLinger(0)
		}
		return false
	case "close":
		if !a.hasRaw {
			return false
		}
	case "echo":
		a.body = string(m.head) + string(m.wire)
		a.body = text([]byte(a.body))
	}
	if m.has("Expect", "100-continue") {
		io.WriteString(c, "HTTP/1.1 100 Continue\r\n\r\n")
		if m.readBody(r, m.bodyLength(0)) != nil {
			return false
		}
	}
	if a.hasRaw {
		_, err := io.WriteString(c, a.raw)
		return err == nil && a.mode != "close" && !a.noKeep
	}
	if up, ok := m.field("Upgrade"); ok && m.has("Connection", "upgrade") {
		fmt.Fprintf(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: %s\r\n\r\n", up)
		io.Copy(c, r)
		return false
	}
	return a.write(c, m)
}

// write writes the response and reports whether the connection goes on.
func (a *answer) write(c net.Conn, m *message) bool {
	var h strings.Builder
	fmt.Fprintf(&h, "HTTP/1.1 %d %s\r\n", a.status, reason(a.status))
	keep := m.keepsAlive() && !a.noKeep
	hasLength := a.status < 200 || a.status == 204 || a.status == 304
	for _, f := range a.headers {
		h.WriteString(f + "\r\n")
		if name, _, _ := strings.Cut(f, ":"); strings.EqualFold(name, "Content-Length") {
			hasLength = true
		}
	}
	body := a.body
	switch {
	case a.chunked:
		h.WriteString("Transfer-Encoding: chunked\r\n")
		body = fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", len(body), body)
	case !hasLength:
		fmt.Fprintf(&h, "Content-Length: %d\r\n", len(body))
	}
	if !keep {
		h.WriteString("Connection: close\r\n")
	}
	h.WriteString("\r\n")
	if strings.HasPrefix(m.line(), "HEAD ") || a.status == 204 || a.status == 304 {
		body = ""
	}
	var err error
	if a.bodyDelay > 0 {
		_, err = io.WriteString(c, h.String())
		time.Sleep(a.bodyDelay)
		h.Reset()
	}
	if err == nil {
		_, err = io.WriteString(c, h.String()+body)
	}
	return err == nil && keep
}

// received prints the requests that a backend got, and forgets them.
func received(r *run, args []string) (string, error) {
	const usage = usageError("usage: received [-count | -lines | -connections] [-wait N] BACKEND1")
	mode, n := "", 0
	for len(args) > 1 {
		switch args[0] {
		case "-count", "-lines", "-connections":
			mode = args[0]
			args = args[1:]
		case "-wait":
			var err error
			if n, err = strconv.Atoi(args[1]); err != nil {
				return "", usage
			}
			args = args[2:]
		default:
			return "", usage
		}
	}
	if len(args) != 1 || r.backends[args[0]] == nil {
		return "", usage
	}
	b := r.backends[args[0]]
	err := within(patience, func() error {
		b.mu.Lock()
		defer b.mu.Unlock()
		if len(b.requests) < n {
			return fmt.Errorf("received: %s got %d requests of %d", b.name, len(b.requests), n)
		}
		return nil
	})
	if err != nil {
		return "", err
	}
	return b.report(mode), nil
}

func (b *backend) report(mode string) string {
	b.mu.Lock()
	defer b.mu.Unlock()
	var out strings.Builder
	switch mode {
	case "-connections":
		fmt.Fprintf(&out, "%d\n", b.count)
		b.count = 0
		return out.String()
	case "-count":
		fmt.Fprintf(&out, "%d\n", len(b.requests))
	default:
		for _, m := range b.requests {
			if mode == "-lines" {
				out.WriteString(m.line() + "\n")
				continue
			}
			out.WriteString(text(m.head) + text(m.wire))
		}
	}
	b.requests = nil
	return out.String()
}

// reason returns a reason phrase of the backends' own, to tell them from the server's.
func reason(status int) string {
	switch {
	case status < 200:
		return "Informational"
	case status == 200:
		return "OK"
	case status < 300:
		return "Success"
	case status < 400:
		return "Redirection"
	case status < 500:
		return "Client Error"
	}
	return "Server Error"
}

package script

import (
	"bufio"
	"cmp"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// backend is a server behind the one under test. It answers as it is told and
// keeps the requests that it got.
type backend struct {
	name   string
	body   string // what it answers unless told otherwise
	speaks speaker
	ln     net.Listener
	wait   sync.WaitGroup

	mu       sync.Mutex
	answers  map[string]*answer // by path; "" is for any other
	requests []*message
	count    int // connections that were accepted
	conns    map[net.Conn]bool
	stopped  bool

	deaf bool          // nothing is read
	done chan struct{} // closed by stop
	held []net.Conn    // connections that fill the queue
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
	mode      string // hang, reset, close, echo, echo-connection
	chunked   bool
	noKeep    bool
	stderr    string   // of FastCGI
	records   []record // of FastCGI, in place of the answer
}

// speaker is a protocol that a backend speaks.
type speaker interface {
	// read reads a request.
	read(r *bufio.Reader) (*message, error)
	// write answers a request, the rest of which can be read from r, and reports whether the connection goes on.
	write(c io.Writer, r *bufio.Reader, a *answer, m *message) bool
}

// speakers returns the protocols of backends by their names.
func speakers() map[string]speaker {
	return map[string]speaker{"http": httpSpeaker{}, "fastcgi": fastCGI{}, "scgi": scgi{}, "uwsgi": uwsgi{}, "memcached": memcached{}}
}

const backendUsage = usageError("usage: backend [-stop | -set] BACKEND1 [name=N] [path=P] [times=N] [status=N] [body=TEXT] [header='K: v']... " +
	"[delay=D] [body-delay=D] [raw=FILE] [chunked] [hang | reset | close | echo | echo-connection] [keepalive=off] [tls=CERT] [deaf | full] [speaks=PROTOCOL] [stderr=TEXT] [records=FILE]")

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
	b := &backend{name: name, body: name + "\n", speaks: speakers()[cmp.Or(r.kind.speaks, "http")], answers: make(map[string]*answer), conns: make(map[net.Conn]bool), done: make(chan struct{}), deaf: slices.Contains(args, "deaf")}
	if old != nil {
		b.requests = old.requests
	}
	for _, a := range args[1:] {
		if v, ok := strings.CutPrefix(a, "name="); ok {
			b.body = r.real(v) + "\n"
		}
		if v, ok := strings.CutPrefix(a, "speaks="); ok {
			if b.speaks = speakers()[v]; b.speaks == nil {
				return "", usageError("backend: no protocol " + v)
			}
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
	if slices.Contains(args, "full") {
		return b.fillQueue()
	}
	for _, a := range args {
		if name, ok := strings.CutPrefix(a, "tls="); ok {
			cert, err := tls.LoadX509KeyPair(r.MkAbs(name+".crt"), r.MkAbs(name+".key"))
			if err != nil {
				return err
			}
			b.ln = tls.NewListener(b.ln, &tls.Config{Certificates: []tls.Certificate{cert}, ClientAuth: tls.RequestClientCert})
		}
	}
	b.wait.Add(1)
	go b.accept()
	return nil
}

// fillQueue makes the queue of connections as short as can be and fills it, so that another connection gets no answer.
func (b *backend) fillQueue() error {
	raw, err := b.ln.(*net.TCPListener).SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	err = raw.Control(func(fd uintptr) { failed = syscall.Listen(int(fd), 0) })
	for err == nil && failed == nil {
		c, timeout := net.DialTimeout("tcp", b.ln.Addr().String(), 100*time.Millisecond)
		if timeout != nil {
			return nil
		}
		b.held = append(b.held, c)
	}
	return errors.Join(err, failed)
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
	case "stderr":
		a.stderr = v
	case "records":
		a.records, err = parseRecords(r.ReadFile(v))
	case "hang", "reset", "close", "echo", "echo-connection":
		a.mode = k
	case "chunked":
		a.chunked = true
	case "keepalive":
		a.noKeep = v == "off"
	case "tls", "speaks", "deaf", "full":
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
	if !b.stopped {
		close(b.done)
	}
	b.stopped = true
	b.ln.Close()
	for _, c := range b.held {
		c.Close()
	}
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
	if b.deaf {
		<-b.done
		return
	}
	r := bufio.NewReader(c)
	for {
		m, err := b.speaks.read(r)
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
	path, _, _ := strings.Cut(m.target(), "?")
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
		if !a.hasRaw && a.records == nil {
			return false
		}
	case "echo":
		a.body = text(slices.Concat(m.head, m.wire))
	case "echo-connection":
		a.body = connection(c)
	}
	return b.speaks.write(c, r, &a, m)
}

// connection tells what a backend knows of a connection.
func connection(c net.Conn) string {
	from, _, _ := net.SplitHostPort(c.RemoteAddr().String())
	out := "from=" + from + "\n"
	t, ok := c.(*tls.Conn)
	if !ok {
		return out
	}
	s := t.ConnectionState()
	client := ""
	if len(s.PeerCertificates) > 0 {
		client = s.PeerCertificates[0].Subject.String()
	}
	return fmt.Sprintf("%sversion=%s\ncipher=%s\nname=%s\nclient=%s\nresumed=%v\n",
		out, tls.VersionName(s.Version), tls.CipherSuiteName(s.CipherSuite), s.ServerName, client, s.DidResume)
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

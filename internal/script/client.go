package script

import (
	"bufio"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// client is a connection of the script's to the server.
type client struct {
	conn net.Conn
	r    *bufio.Reader
	sent []string // methods of the requests that were not answered yet
}

// dialing says how to connect.
type dialing struct {
	tls  bool
	sni  string
	from string
}

// dial connects to PORT1, HOST:PORT1 or unix:PATH.
func (r *run) dial(address string, d dialing) (*client, error) {
	address = r.real(address)
	network := "tcp"
	switch {
	case strings.HasPrefix(address, "unix:"):
		network, address = "unix", address[len("unix:"):]
	case !strings.Contains(address, ":"):
		address = "127.0.0.1:" + address
	}
	dialer := net.Dialer{Timeout: patience}
	if d.from != "" {
		dialer.LocalAddr = &net.TCPAddr{IP: net.ParseIP(d.from)}
	}
	conn, err := dialer.Dial(network, address)
	if err != nil {
		return nil, err
	}
	if d.tls {
		t := tls.Client(conn, &tls.Config{ServerName: d.sni, InsecureSkipVerify: true})
		t.SetDeadline(time.Now().Add(patience))
		if err := t.Handshake(); err != nil {
			conn.Close()
			return nil, err
		}
		conn = t
	}
	return &client{conn: conn, r: bufio.NewReader(conn)}, nil
}

// requestOptions are the options of request.
type requestOptions struct {
	dialing
	times   int
	same    bool // all on one connection
	jar     string
	status  bool
	body    bool
	head    bool
	wire    bool
	open    bool
	raw     bool
	data    string
	hasData bool
	masks   []string
	timeout time.Duration
}

const requestUsage = usageError("usage: request [options] PORT1 FILE | request [options] PORT1 METHOD TARGET [Header: value]...")

// parse reads options and returns the words behind them.
func (o *requestOptions) parse(r *run, args []string) ([]string, error) {
	o.times, o.timeout = 1, patience
	flags := map[string]*bool{"-same": &o.same, "-status": &o.status, "-body": &o.body, "-head": &o.head, "-wire": &o.wire,
		"-open": &o.open, "-raw": &o.raw, "-tls": &o.tls}
	var err error
	for len(args) > 0 && strings.HasPrefix(args[0], "-") {
		if f := flags[args[0]]; f != nil {
			*f = true
			args = args[1:]
			continue
		}
		if len(args) < 2 {
			return nil, requestUsage
		}
		switch v := args[1]; args[0] {
		case "-times":
			o.times, err = strconv.Atoi(v)
		case "-timeout":
			o.timeout, err = time.ParseDuration(v)
		case "-jar":
			o.jar = v
		case "-mask":
			o.masks = append(o.masks, strings.Split(v, ",")...)
		case "-from":
			o.from = v
		case "-sni":
			o.sni, o.tls = v, true
		case "-data":
			o.data, o.hasData = r.real(v), true
			if strings.HasPrefix(v, "@") {
				o.data = r.ReadFile(v[1:])
			}
		default:
			return nil, requestUsage
		}
		if err != nil {
			return nil, usageError(err.Error())
		}
		args = args[2:]
	}
	return args, nil
}

// request sends requests and prints the responses.
func request(r *run, args []string) (string, error) {
	var o requestOptions
	args, err := o.parse(r, args)
	if err != nil {
		return "", err
	}
	if len(args) < 2 {
		return "", requestUsage
	}
	var out strings.Builder
	var c *client
	for i := range o.times {
		bytes, err := r.compose(&o, args[1:])
		if err != nil {
			return "", err
		}
		if c == nil {
			if c, err = r.dial(args[0], o.dialing); err != nil {
				return out.String() + "# " + endWord(err) + "\n", err
			}
		}
		err = r.exchange(c, &o, bytes, &out)
		if err != nil || !o.same || i == o.times-1 {
			c.conn.Close()
			c = nil
		}
		if err != nil {
			return out.String(), err
		}
	}
	return out.String(), nil
}

// compose returns the bytes to send.
func (r *run) compose(o *requestOptions, args []string) (string, error) {
	if len(args) == 1 {
		s := r.ReadFile(args[0])
		if !o.raw {
			s = crlf(s)
		}
		return s, nil
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s HTTP/1.1\r\n", args[0], r.real(args[1]))
	host := "Host: localhost\r\n"
	for _, h := range args[2:] {
		if name, _, ok := strings.Cut(h, ":"); !ok {
			return "", requestUsage
		} else if strings.EqualFold(name, "Host") {
			host = ""
		}
	}
	b.WriteString(host)
	for _, h := range args[2:] {
		b.WriteString(r.real(h) + "\r\n")
	}
	if o.jar != "" {
		b.WriteString(r.jar(o.jar).header())
	}
	if o.hasData {
		fmt.Fprintf(&b, "Content-Length: %d\r\n", len(o.data))
	}
	return b.String() + "\r\n" + o.data, nil
}

// crlf ends the lines of heads and of chunked bodies with CR LF. A body with a
// Content-Length stays as it is; the file's last newline behind it goes.
func crlf(s string) string {
	var b strings.Builder
	for s != "" {
		head, rest, ok := strings.Cut(s, "\n\n")
		if !ok {
			b.WriteString(strings.ReplaceAll(s, "\n", "\r\n"))
			break
		}
		b.WriteString(strings.ReplaceAll(head, "\n", "\r\n") + "\r\n\r\n")
		s = rest
		m := &message{head: []byte(head)}
		if n := m.bodyLength(0); n > 0 {
			n = min(n, len(s))
			b.WriteString(s[:n])
			if s = s[n:]; s == "\n" {
				s = ""
			}
		}
	}
	return b.String()
}

// exchange sends bytes and reads the responses to the requests that they hold.
func (r *run) exchange(c *client, o *requestOptions, bytes string, out *strings.Builder) error {
	c.conn.SetDeadline(time.Now().Add(o.timeout))
	go io.WriteString(c.conn, bytes)
	closed := false
	for _, method := range methods(bytes) {
		m, err := c.response(method, func(m *message) { r.print(out, m, o) })
		if err != nil {
			r.print(out, m, o)
			fmt.Fprintf(out, "# %s\n", endWord(err))
			return fmt.Errorf("no complete response: %w", err)
		}
		if o.jar != "" {
			r.jar(o.jar).take(m)
		}
		r.print(out, m, o)
		if closed = !m.keepsAlive() || m.bodyLength(-2) == -2 && m.readsToEnd(method); closed {
			break
		}
	}
	if closed {
		if err := c.awaitClose(out); err != nil {
			return err
		}
	}
	if o.open {
		fmt.Fprintf(out, "# %s\n", c.state(closed))
	}
	return nil
}

// readsToEnd reports whether a response without a length ends with the connection.
func (m *message) readsToEnd(method string) bool {
	s := m.status()
	return method != "HEAD" && s >= 200 && s != 204 && s != 304
}

// response reads a final response, and shows those before it.
func (c *client) response(method string, interim func(m *message)) (*message, error) {
	for {
		m, err := readResponse(c.r, method)
		if err != nil || m.status() == 101 || m.status() >= 200 || m.status() == 0 {
			return m, err
		}
		interim(m)
	}
}

// awaitClose reads the end that a response announced.
func (c *client) awaitClose(out *strings.Builder) error {
	rest, err := io.ReadAll(c.r)
	out.WriteString(text(rest))
	if err != nil && endWord(err) != "reset" {
		fmt.Fprintf(out, "# %s\n", endWord(err))
		return fmt.Errorf("the connection wasn't closed as announced: %w", err)
	}
	return nil
}

// state tells whether the connection is open: nothing comes for a while.
func (c *client) state(closed bool) string {
	if closed {
		return "closed"
	}
	c.conn.SetReadDeadline(time.Now().Add(200 * time.Millisecond))
	_, err := c.r.Peek(1)
	switch {
	case err == nil:
		return "more bytes"
	case endWord(err) == "timeout":
		return "open"
	}
	return endWord(err)
}

// methods returns the method of each request in bytes that are sent; one at
// least, and one for what can't be parsed.
func methods(s string) []string {
	var ms []string
	r := bufio.NewReader(strings.NewReader(s))
	for {
		m := &message{}
		err := m.readHead(r)
		if err != nil && len(m.head) == 0 {
			break
		}
		method, _, _ := strings.Cut(m.line(), " ")
		ms = append(ms, method)
		if err != nil || m.has("Upgrade", "websocket") || m.readBody(r, m.bodyLength(0)) != nil {
			break
		}
	}
	if ms == nil {
		ms = []string{""}
	}
	return ms
}

// print prints a response as the options want it.
func (r *run) print(out *strings.Builder, m *message, o *requestOptions) {
	if o.status {
		if len(m.head) > 0 {
			out.WriteString(m.line() + "\n")
		}
		return
	}
	if !o.body {
		out.WriteString(maskFields(text(m.head), o.masks))
	}
	switch {
	case o.head:
	case o.wire:
		out.WriteString(text(m.wire))
	default:
		out.WriteString(text(m.body))
	}
}

var dateField = regexp.MustCompile(`(?mi)^(date): .*$`)

// maskFields masks the time, and the fields that the script names.
func maskFields(head string, names []string) string {
	head = dateField.ReplaceAllString(head, "$1: DATE")
	for _, n := range names {
		re := regexp.MustCompile(`(?mi)^(` + regexp.QuoteMeta(n) + `): .*$`)
		head = re.ReplaceAllString(head, "$1: MASKED")
	}
	return head
}

// jar is the cookies of a browser, without domains and paths.
type jar map[string]string

func (r *run) jar(name string) jar {
	if r.jars[name] == nil {
		r.jars[name] = make(jar)
	}
	return r.jars[name]
}

// take keeps what a response sets, and forgets what it expires.
func (j jar) take(m *message) {
	for _, v := range m.fields("Set-Cookie") {
		pair, attributes, _ := strings.Cut(v, ";")
		name, value, _ := strings.Cut(pair, "=")
		j[name] = value
		if strings.Contains(strings.ToLower(attributes), "max-age=0") {
			delete(j, name)
		}
	}
}

func (j jar) header() string {
	var pairs []string
	for name, value := range j {
		pairs = append(pairs, name+"="+value)
	}
	if pairs == nil {
		return ""
	}
	return "Cookie: " + strings.Join(pairs, "; ") + "\r\n"
}

// connect opens a connection that send, recv and close name.
func connect(r *run, args []string) (string, error) {
	var o requestOptions
	args, err := o.parse(r, args)
	if err != nil {
		return "", err
	}
	if len(args) != 2 {
		return "", usageError("usage: connect [-tls] [-sni NAME] [-from IP] NAME PORT1")
	}
	if c := r.clients[args[0]]; c != nil {
		c.conn.Close()
		delete(r.clients, args[0])
	}
	c, err := r.dial(args[1], o.dialing)
	if err != nil {
		return "# " + endWord(err) + "\n", err
	}
	r.clients[args[0]] = c
	return "", nil
}

func (r *run) client(name string) (*client, error) {
	if c := r.clients[name]; c != nil {
		return c, nil
	}
	return nil, usageError("no connection " + name)
}

// send sends a file, or words as they are with \r and \n.
func send(r *run, args []string) (string, error) {
	const usage = usageError(`usage: send NAME [-raw] FILE | send NAME -text TEXT`)
	if len(args) < 2 {
		return "", usage
	}
	c, err := r.client(args[0])
	if err != nil {
		return "", err
	}
	var s string
	switch args = args[1:]; {
	case len(args) == 1:
		s = crlf(r.ReadFile(args[0]))
	case len(args) == 2 && args[0] == "-raw":
		s = r.ReadFile(args[1])
	case len(args) == 2 && args[0] == "-text":
		s = strings.NewReplacer(`\r`, "\r", `\n`, "\n", `\t`, "\t", `\\`, `\`).Replace(r.real(args[1]))
	default:
		return "", usage
	}
	for _, m := range methods(s) {
		if m == "HEAD" {
			c.sent = append(c.sent, m)
		}
	}
	c.conn.SetWriteDeadline(time.Now().Add(patience))
	if _, err = io.WriteString(c.conn, s); err != nil {
		return "# " + endWord(err) + "\n", err
	}
	return "", nil
}

// recv reads from a connection.
func recv(r *run, args []string) (string, error) {
	const usage = usageError("usage: recv NAME [-bytes N | -eof | -until REGEXP | -open] [-timeout D] [-mask NAME] [-status] [-body]")
	if len(args) < 1 {
		return "", usage
	}
	c, err := r.client(args[0])
	if err != nil {
		return "", err
	}
	c.conn.SetReadDeadline(time.Now().Add(patience))
	if len(args) > 1 {
		switch args[1] {
		case "-bytes":
			if len(args) != 3 {
				return "", usage
			}
			n, err := strconv.Atoi(args[2])
			if err != nil {
				return "", usage
			}
			return c.read(func(b []byte) bool { return len(b) >= n })
		case "-eof":
			out, err := c.read(func(b []byte) bool { return false })
			if errors.Is(err, io.EOF) {
				err = nil
			}
			return out, err
		case "-until":
			if len(args) != 3 {
				return "", usage
			}
			re, err := regexp.Compile(r.real(args[2]))
			if err != nil {
				return "", usageError(err.Error())
			}
			return c.read(re.Match)
		case "-open":
			return "# " + c.state(false) + "\n", nil
		}
	}
	var o requestOptions
	if rest, err := o.parse(r, args[1:]); err != nil || len(rest) > 0 {
		return "", usage
	}
	c.conn.SetReadDeadline(time.Now().Add(o.timeout))
	return c.recvResponse(r, &o)
}

func (c *client) recvResponse(r *run, o *requestOptions) (string, error) {
	method := ""
	if len(c.sent) > 0 {
		method, c.sent = c.sent[0], c.sent[1:]
	}
	var out strings.Builder
	m, err := readResponse(c.r, method)
	r.print(&out, m, o)
	if err != nil {
		fmt.Fprintf(&out, "# %s\n", endWord(err))
	}
	return out.String(), err
}

// read reads byte by byte until there is enough.
func (c *client) read(enough func(b []byte) bool) (string, error) {
	var b []byte
	for !enough(b) {
		x, err := c.r.ReadByte()
		if err != nil {
			return text(b) + "# " + endWord(err) + "\n", err
		}
		b = append(b, x)
	}
	return text(b), nil
}

// closeClient closes a connection.
func closeClient(r *run, args []string) (string, error) {
	const usage = usageError("usage: close NAME [-half | -reset]")
	if len(args) < 1 || len(args) > 2 {
		return "", usage
	}
	c, err := r.client(args[0])
	if err != nil {
		return "", err
	}
	if len(args) == 1 {
		delete(r.clients, args[0])
		return "", c.conn.Close()
	}
	switch args[1] {
	case "-half":
		half, ok := c.conn.(interface{ CloseWrite() error })
		if !ok {
			return "", os.ErrInvalid
		}
		return "", half.CloseWrite()
	case "-reset":
		delete(r.clients, args[0])
		conn := c.conn
		if t, ok := conn.(*tls.Conn); ok {
			conn = t.NetConn()
		}
		if t, ok := conn.(*net.TCPConn); ok {
			t.SetLinger(0)
		}
		return "", conn.Close()
	}
	return "", usage
}

package script

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/textproto"
	"strconv"
	"strings"
	"syscall"
)

// message is an HTTP/1.x request or response as it was read, or a request of another protocol.
type message struct {
	head []byte // with its empty line; of a request with parameters one NAME=VALUE a line
	body []byte // decoded
	wire []byte // the body as it was on the wire

	params map[string]string // of a request that has parameters
}

// line returns the request or status line; of a request with parameters what makes one.
func (m *message) line() string {
	if m.params != nil {
		return m.params["REQUEST_METHOD"] + " " + m.params["REQUEST_URI"] + " " + m.params["SERVER_PROTOCOL"]
	}
	line, _, _ := strings.Cut(string(m.head), "\n")
	return strings.TrimSuffix(line, "\r")
}

// target returns what a request asks for.
func (m *message) target() string {
	if m.params != nil {
		return m.params["REQUEST_URI"]
	}
	if words := strings.Fields(m.line()); len(words) > 1 {
		return words[1]
	}
	return ""
}

// field returns the first field of a name.
func (m *message) field(name string) (string, bool) {
	for _, v := range m.fields(name) {
		return v, true
	}
	return "", false
}

// fields returns the fields of a name.
func (m *message) fields(name string) []string {
	var vs []string
	for _, line := range strings.Split(string(m.head), "\n")[1:] {
		k, v, ok := strings.Cut(line, ":")
		if ok && strings.EqualFold(k, name) {
			vs = append(vs, textproto.TrimString(v))
		}
	}
	return vs
}

// has reports whether a field's comma-separated list has a word.
func (m *message) has(name, token string) bool {
	for _, v := range m.fields(name) {
		for _, t := range strings.Split(v, ",") {
			if strings.EqualFold(strings.TrimSpace(t), token) {
				return true
			}
		}
	}
	return false
}

// keepsAlive reports whether the connection goes on behind this message.
func (m *message) keepsAlive() bool {
	if strings.Contains(m.line(), "HTTP/1.1") {
		return !m.has("Connection", "close")
	}
	return m.has("Connection", "keep-alive")
}

// readHead reads to the empty line. What came before an error is kept.
func (m *message) readHead(r *bufio.Reader) error {
	for {
		line, err := r.ReadBytes('\n')
		m.head = append(m.head, line...)
		if err != nil {
			return err
		}
		if len(bytes.TrimRight(line, "\r\n")) == 0 && len(m.head) > len(line) {
			return nil
		}
		if len(bytes.TrimRight(line, "\r\n")) == 0 {
			m.head = m.head[:0] // empty lines in front
		}
	}
}

// readBody reads a body of n bytes, of chunks when n is -1, to the end when n is -2.
func (m *message) readBody(r *bufio.Reader, n int) error {
	switch n {
	case -2:
		b, err := io.ReadAll(r)
		m.body, m.wire = b, b
		return err
	case -1:
		return m.readChunks(r)
	}
	b := make([]byte, n)
	k, err := io.ReadFull(r, b)
	m.body, m.wire = b[:k], b[:k]
	return err
}

func (m *message) readChunks(r *bufio.Reader) error {
	for {
		line, err := r.ReadString('\n')
		m.wire = append(m.wire, line...)
		if err != nil {
			return err
		}
		word, _, _ := strings.Cut(strings.TrimSpace(line), ";")
		n, err := strconv.ParseUint(word, 16, 31)
		if err != nil {
			return fmt.Errorf("bad chunk size %q", line)
		}
		if n == 0 {
			return m.readTrailer(r)
		}
		b := make([]byte, n+2)
		k, err := io.ReadFull(r, b)
		m.wire = append(m.wire, b[:k]...)
		m.body = append(m.body, b[:min(k, int(n))]...)
		if err != nil {
			return err
		}
	}
}

func (m *message) readTrailer(r *bufio.Reader) error {
	for {
		line, err := r.ReadString('\n')
		m.wire = append(m.wire, line...)
		if err != nil || strings.TrimSpace(line) == "" {
			return err
		}
	}
}

// bodyLength returns how a message says its body is framed, none when it doesn't say.
func (m *message) bodyLength(none int) int {
	if m.has("Transfer-Encoding", "chunked") {
		return -1
	}
	if v, ok := m.field("Content-Length"); ok {
		if n, err := strconv.Atoi(v); err == nil && n >= 0 {
			return n
		}
	}
	return none
}

// readRequest reads one request.
func readRequest(r *bufio.Reader) (*message, error) {
	m := &message{}
	if err := m.readHead(r); err != nil {
		return m, err
	}
	if m.has("Expect", "100-continue") {
		return m, nil // the body follows when asked for
	}
	return m, m.readBody(r, m.bodyLength(0))
}

// readResponse reads one response to a request of a method.
func readResponse(r *bufio.Reader, method string) (*message, error) {
	m := &message{}
	if err := m.readHead(r); err != nil {
		return m, err
	}
	status := m.status()
	if method == "HEAD" || status < 200 || status == 204 || status == 304 {
		return m, nil
	}
	return m, m.readBody(r, m.bodyLength(-2))
}

// status returns a response's status, 0 when it has none.
func (m *message) status() int {
	words := strings.Fields(m.line())
	if len(words) < 2 {
		return 0
	}
	n, _ := strconv.Atoi(words[1])
	return n
}

// endWord tells in one word how a connection ended.
func endWord(err error) string {
	var timeout interface{ Timeout() bool }
	switch {
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return "reset"
	case errors.Is(err, syscall.ECONNREFUSED):
		return "refused"
	case errors.As(err, &timeout) && timeout.Timeout():
		return "timeout"
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "closed"
	}
	return err.Error()
}

// text returns lines without their carriage returns, with a newline at the end.
func text(b []byte) string {
	s := strings.ReplaceAll(string(b), "\r\n", "\n")
	if s != "" && !strings.HasSuffix(s, "\n") {
		s += "\n"
	}
	return s
}

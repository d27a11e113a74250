package script

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"
)

// param adds a parameter of a request.
func (m *message) param(name, value string) {
	if m.params == nil {
		m.params = make(map[string]string)
	}
	m.params[name] = value
	m.head = fmt.Appendf(m.head, "%s=%s\n", name, value)
}

// readLength reads a body as long as CONTENT_LENGTH says.
func (m *message) readLength(r *bufio.Reader) error {
	n, err := strconv.Atoi(m.params["CONTENT_LENGTH"])
	if err != nil {
		return nil
	}
	return m.readBody(r, n)
}

// malformed is what a backend keeps in place of a request that breaks the protocol.
func malformed(m *message, err error) (*message, error) {
	m.params = nil
	m.head = fmt.Appendf(nil, "malformed request: %v\n\n", err)
	return m, err
}

// cgi returns an answer's head and body as CGI has them; line is what its first line begins with in front of the status.
func (a *answer) cgi(line string, m *message) (head, body string) {
	var h strings.Builder
	fmt.Fprintf(&h, "%s%d %s\r\n", line, a.status, reason(a.status))
	hasLength := a.chunked || a.status < 200 || a.status == 204 || a.status == 304
	for _, f := range a.headers {
		h.WriteString(f + "\r\n")
		if name, _, _ := strings.Cut(f, ":"); strings.EqualFold(name, "Content-Length") {
			hasLength = true
		}
	}
	if !hasLength {
		fmt.Fprintf(&h, "Content-Length: %d\r\n", len(a.body))
	}
	h.WriteString("\r\n")
	if m.params["REQUEST_METHOD"] == "HEAD" || a.status == 204 || a.status == 304 {
		return h.String(), ""
	}
	return h.String(), a.body
}

// writeCGI writes an answer that the connection's end ends.
func (a *answer) writeCGI(c io.Writer, line string, m *message) bool {
	if a.hasRaw {
		io.WriteString(c, a.raw)
		return false
	}
	head, body := a.cgi(line, m)
	if a.bodyDelay > 0 {
		io.WriteString(c, head)
		time.Sleep(a.bodyDelay)
		head = ""
	}
	io.WriteString(c, head+body)
	return false
}

// scgi is SCGI as backends speak it.
// https://python.ca/scgi/protocol.txt
type scgi struct{}

func (scgi) read(r *bufio.Reader) (*message, error) {
	m := new(message)
	size, err := r.ReadString(':')
	if err != nil {
		return m, err
	}
	n, err := strconv.Atoi(strings.TrimSuffix(size, ":"))
	if err != nil {
		return malformed(m, err)
	}
	b := make([]byte, n+1)
	if _, err := io.ReadFull(r, b); err != nil {
		return malformed(m, err)
	}
	if b[n] != ',' {
		return malformed(m, errors.New("no comma behind the netstring"))
	}
	words := strings.Split(string(b[:n]), "\x00")
	if len(words)%2 != 1 || words[len(words)-1] != "" {
		return malformed(m, fmt.Errorf("the names and values are %d", len(words)-1))
	}
	if words[0] != "CONTENT_LENGTH" {
		return malformed(m, errors.New("the first name is "+words[0]))
	}
	for i := 0; i+1 < len(words); i += 2 {
		m.param(words[i], words[i+1])
	}
	m.head = append(m.head, '\n')
	return m, m.readLength(r)
}

func (scgi) write(c io.Writer, _ *bufio.Reader, a *answer, m *message) bool {
	return a.writeCGI(c, "Status: ", m)
}

// uwsgi is the uwsgi protocol as backends speak it. As uWSGI does, they begin answers with HTTP's first line.
// https://uwsgi-docs.readthedocs.io/en/latest/Protocol.html
type uwsgi struct{}

func (uwsgi) read(r *bufio.Reader) (*message, error) {
	m := new(message)
	var h [4]byte
	if _, err := io.ReadFull(r, h[:]); err != nil {
		return m, err
	}
	m.param("uwsgi.modifiers", fmt.Sprint(h[0], " ", h[3]))
	b := make([]byte, binary.LittleEndian.Uint16(h[1:]))
	if _, err := io.ReadFull(r, b); err != nil {
		return malformed(m, err)
	}
	next := func() (string, bool) {
		if len(b) < 2 || len(b)-2 < int(binary.LittleEndian.Uint16(b)) {
			return "", false
		}
		end := 2 + int(binary.LittleEndian.Uint16(b))
		s := string(b[2:end])
		b = b[end:]
		return s, true
	}
	var rest []byte
	for len(b) > 0 {
		name, ok := next()
		if !ok && h[0] != 0 { // a packet that isn't of names and values alone
			rest = b
			break
		}
		value, also := next()
		if !ok || !also {
			return malformed(m, errors.New("a name or a value is cut"))
		}
		m.param(name, value)
	}
	m.head = append(m.head, '\n')
	err := m.readLength(r)
	m.wire = slices.Concat(rest, m.wire)
	return m, err
}

func (uwsgi) write(c io.Writer, _ *bufio.Reader, a *answer, m *message) bool {
	return a.writeCGI(c, "HTTP/1.1 ", m)
}

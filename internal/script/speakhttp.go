package script

import (
	"bufio"
	"fmt"
	"io"
	"strings"
	"time"
)

// httpSpeaker is HTTP/1.1 as backends speak it.
type httpSpeaker struct{}

func (httpSpeaker) read(r *bufio.Reader) (*message, error) { return readRequest(r) }

func (httpSpeaker) write(c io.Writer, r *bufio.Reader, a *answer, m *message) bool {
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
func (a *answer) write(c io.Writer, m *message) bool {
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

package hostile

import (
	"bytes"
	"errors"
	"net"
	"os"
	"strconv"
	"strings"
	"time"
)

// seen is what the client got.
type seen struct {
	statuses []string
	answers  []answer
	closed   *bool // nil: the client itself went away
}

// exchange plays the client's steps and reads what comes back until the server closes or is silent for settle.
func exchange(addr string, steps []step, settle time.Duration, heads []int) (*seen, error) {
	c, err := net.Dial("tcp", addr)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	gone := make(chan bool, 1)
	go func() {
		left := false
		for _, s := range steps {
			if s.close || s.reset {
				left = true
			}
		}
		if !play(c, steps) {
			c.Close()
		}
		gone <- left
	}()
	var in []byte
	buf := make([]byte, 64<<10)
	closed, left, sent := false, false, false
	for {
		c.SetReadDeadline(time.Now().Add(settle))
		n, err := c.Read(buf)
		in = append(in, buf[:n]...)
		if err == nil {
			continue
		}
		if errors.Is(err, os.ErrDeadlineExceeded) {
			if !sent {
				select {
				case left = <-gone:
					sent = true
				default:
				}
				continue // silent only once everything was sent, and then for settle
			}
			break
		}
		closed = true
		break
	}
	if !sent {
		left = <-gone
	}
	s := &seen{}
	if !left {
		s.closed = &closed
	}
	s.parse(in, closed, heads)
	return s, nil
}

// parse takes the answers apart as their framing says.
func (s *seen) parse(in []byte, closed bool, heads []int) {
	finals := 0
	for len(in) > 0 {
		if !bytes.HasPrefix(in, []byte("HTTP/")) {
			s.statuses = append(s.statuses, "raw")
			s.answers = append(s.answers, answer{Framing: "close", Complete: closed, Body: in})
			return
		}
		end := bytes.Index(in, []byte("\r\n\r\n"))
		if end < 0 {
			s.statuses = append(s.statuses, "partial")
			return
		}
		lines := bytes.Split(in[:end], []byte("\r\n"))
		in = in[end+4:]
		a := answer{Line: lines[0], Framing: "close"}
		length, chunked := -1, false
		for _, l := range lines[1:] {
			a.Headers = append(a.Headers, l)
			name, value, _ := bytes.Cut(l, []byte(": "))
			switch strings.ToLower(string(name)) {
			case "content-length":
				length, _ = strconv.Atoi(string(value))
			case "transfer-encoding":
				chunked = true
			}
		}
		status := ""
		if f := strings.Fields(string(a.Line)); len(f) > 1 {
			status = f[1][:min(3, len(f[1]))]
		}
		s.statuses = append(s.statuses, status)
		head := false
		if !strings.HasPrefix(status, "1") {
			for _, h := range heads {
				head = head || h == finals
			}
			finals++
		}
		switch {
		case status == "101":
			a.Framing, a.Complete, a.Body = "tunnel", true, in
			in = nil
		case head, strings.HasPrefix(status, "1"), status == "204", status == "304":
			a.Framing, a.Complete = "none", true
		case chunked:
			a.Framing = "chunked"
			a.Body, in, a.Complete = unchunk(in)
		case length >= 0:
			a.Framing = "length"
			n := min(length, len(in))
			a.Body, in, a.Complete = in[:n], in[n:], n == length
		default:
			a.Body, in, a.Complete = in, nil, closed
		}
		s.answers = append(s.answers, a)
		if !a.Complete {
			return
		}
	}
}

func unchunk(in []byte) (body, rest []byte, complete bool) {
	for {
		i := bytes.Index(in, []byte("\r\n"))
		if i < 0 {
			return body, nil, false
		}
		n, err := strconv.ParseInt(string(in[:i]), 16, 64)
		if err != nil {
			return body, nil, false
		}
		in = in[i+2:]
		if n == 0 {
			end := bytes.Index(append([]byte("\r\n"), in...), []byte("\r\n\r\n"))
			if end < 0 {
				return body, nil, false
			}
			return body, in[end+2:], true
		}
		if int64(len(in)) < n+2 {
			return append(body, in...), nil, false
		}
		body = append(body, in[:n]...)
		in = in[n+2:]
	}
}

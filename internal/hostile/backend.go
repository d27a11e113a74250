package hostile

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"time"
)

// backend is the scripted server behind limpet. It records every complete request
// that it gets, byte for byte, and closes its connections between rows.
type backend struct {
	ln net.Listener

	mu       sync.Mutex
	conns    map[net.Conn]bool
	complete [][]byte // requests, in order
	partial  [][]byte // bytes of requests that never became complete
	reply    []step   // for the first request of the row; nil: the normal answer
	replied  bool
	first    net.Conn // the connection that the first request came by
	requests int      // before /second
	reused   bool     // /second came by first
	running  sync.WaitGroup
}

func newBackend() (*backend, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	b := &backend{ln: ln, conns: make(map[net.Conn]bool)}
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			b.mu.Lock()
			b.conns[c] = true
			b.running.Add(1)
			b.mu.Unlock()
			go b.serve(c)
		}
	}()
	return b, nil
}

func (b *backend) port() string { return strconv.Itoa(b.ln.Addr().(*net.TCPAddr).Port) }

// begin starts a row.
func (b *backend) begin(reply []step) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.complete, b.partial, b.reply, b.replied, b.first, b.requests, b.reused = nil, nil, reply, false, nil, 0, false
}

// end closes the kept connections and waits until all of them are done.
func (b *backend) end() {
	b.mu.Lock()
	for c := range b.conns {
		c.Close()
	}
	b.mu.Unlock()
	b.running.Wait()
}

func (b *backend) serve(c net.Conn) {
	defer b.running.Done()
	defer func() {
		c.Close()
		b.mu.Lock()
		delete(b.conns, c)
		b.mu.Unlock()
	}()
	var in []byte
	buf := make([]byte, 64<<10)
	for {
		for {
			n := requestLength(in)
			if n == 0 {
				break
			}
			req := bytes.Clone(in[:n])
			in = in[n:]
			if !b.answer(c, req) {
				return
			}
		}
		n, err := c.Read(buf)
		in = append(in, buf[:n]...)
		if err != nil {
			if len(in) > 0 {
				b.mu.Lock()
				b.partial = append(b.partial, in)
				b.mu.Unlock()
			}
			return
		}
	}
}

// answer records a request and answers it; false ends the connection.
func (b *backend) answer(c net.Conn, req []byte) bool {
	line, _, _ := bytes.Cut(req, []byte("\r\n"))
	second := bytes.Contains(line, []byte(" /second "))
	b.mu.Lock()
	b.complete = append(b.complete, req)
	scripted := b.reply != nil && !b.replied && !second
	steps := b.reply
	if scripted {
		b.replied, b.first = true, c
	}
	if second {
		b.reused = c == b.first
	} else {
		b.requests++
	}
	b.mu.Unlock()
	if scripted {
		return play(c, steps)
	}
	head := strings.ToLower(string(req[:bytes.Index(req, []byte("\r\n\r\n"))+2]))
	if strings.Contains(head, "\r\nupgrade: echo\r\n") && bytes.Contains(line, []byte(" /ws ")) {
		io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: echo\r\nConnection: upgrade\r\n\r\n")
		b.echo(c)
		return false
	}
	name, body := "first", "ok\n"
	if second {
		name, body = "second", "second\n"
	}
	text := fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\nX-Backend: %s\r\n\r\n", len(body), name)
	if !bytes.HasPrefix(line, []byte("HEAD ")) {
		text += body
	}
	io.WriteString(c, text)
	return !bytes.HasSuffix(line, []byte("HTTP/1.0")) && !strings.Contains(head, "\r\nconnection: close\r\n")
}

func (b *backend) echo(c net.Conn) {
	buf := make([]byte, 4096)
	for {
		n, err := c.Read(buf)
		if n > 0 {
			b.mu.Lock()
			b.complete = append(b.complete, bytes.Clone(buf[:n]))
			b.mu.Unlock()
			c.Write(buf[:n])
		}
		if err != nil {
			return
		}
	}
}

// play does the steps on a connection; false when one of them ended it.
func play(c net.Conn, steps []step) bool {
	for _, s := range steps {
		switch {
		case s.close:
			return false
		case s.reset:
			c.(*net.TCPConn).SetLinger(0)
			c.Close()
			return false
		case s.shutdown:
			c.(*net.TCPConn).CloseWrite()
		case s.wait > 0:
			time.Sleep(s.wait)
		default:
			if _, err := c.Write(s.bytes); err != nil {
				return true
			}
		}
	}
	return true
}

// requestLength returns the length of the complete request at the start of b, 0 when there is none.
func requestLength(b []byte) int {
	end := bytes.Index(b, []byte("\r\n\r\n"))
	if end < 0 {
		return 0
	}
	end += 4
	length, chunked := 0, false
	for _, line := range bytes.Split(b[:end-4], []byte("\r\n"))[1:] {
		name, value, _ := bytes.Cut(line, []byte(":"))
		switch strings.ToLower(string(name)) {
		case "content-length":
			length, _ = strconv.Atoi(strings.TrimSpace(string(value)))
		case "transfer-encoding":
			chunked = strings.EqualFold(strings.TrimSpace(string(value)), "chunked")
		}
	}
	if !chunked {
		if len(b) < end+length {
			return 0
		}
		return end + length
	}
	at := end
	for {
		i := bytes.Index(b[at:], []byte("\r\n"))
		if i < 0 {
			return 0
		}
		word, _, _ := bytes.Cut(b[at:at+i], []byte(";"))
		n, err := strconv.ParseInt(strings.TrimSpace(string(word)), 16, 64)
		if err != nil {
			return 0
		}
		at += i + 2
		if n == 0 {
			for {
				i := bytes.Index(b[at:], []byte("\r\n"))
				if i < 0 {
					return 0
				}
				at += i + 2
				if i == 0 {
					return at
				}
			}
		}
		if at += int(n) + 2; at > len(b) {
			return 0
		}
	}
}

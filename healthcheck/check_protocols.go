package healthcheck

import (
	"bytes"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"time"

	"limpet/internal/tcp"
)

// The protocols of the check directive.
// https://github.com/yaoweibin/nginx_upstream_check_module#check

var errProtocol = errors.New("protocol error")

// checkTCP is type=tcp: the connection is open.
type checkTCP struct{}

// ask implements protocol.
func (checkTCP) ask(x *exchange) bool {
	x.at = stepReceive
	if x.reused {
		if !x.conn.Fresh() {
			return x.fail(Broken, tcp.ErrStale)
		}
		x.keep = true
		return true
	}
	var b [1]byte
	n, err := x.conn.TryRead(b[:])
	if n == 0 && err != tcp.ErrWouldBlock {
		return x.fail(Broken, orEOF(err))
	}
	x.keep = true
	return true
}

func orEOF(err error) error {
	if err == nil {
		return io.EOF
	}
	return err
}

// checkHTTP is type=http: the class of the status is accepted.
type checkHTTP struct {
	request []byte
	alive   uint8 // a bit for each accepted class: 1<<2 is 2xx
	head    bool  // the answer has no body
}

// ask implements protocol. The answer is read whole only to keep the connection.
func (h *checkHTTP) ask(x *exchange) bool {
	if !x.send(h.request) {
		return false
	}
	end, ok := x.line(0)
	if !ok {
		return false
	}
	code, _, ok := statusLine(x.in[:end])
	if !ok {
		return x.judge(Malformed, errStatusLine)
	}
	if x.status = code; code >= 800 || h.alive&(1<<(code/100)) == 0 {
		return x.judge(Status, nil)
	}
	if x.target.check.requests > 1 && code < 400 && x.readHead(0, h.head) && !x.answer.close {
		x.keep, _ = x.readBody(maxDrain)
	}
	return true
}

// checkHello is type=ssl_hello: the answer to a ClientHello is a ServerHello.
// The hello is one that servers of these days answer; Tengine's asks for SSL 3.
type checkHello struct{ hello []byte }

// newHello makes the hello once for all probes: no session comes of it.
func newHello() *checkHello {
	var c helloConn
	conf := &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS10}
	_ = tls.Client(&c, conf).Handshake() // fails when it comes to read
	return &checkHello{c.sent}
}

// helloConn takes what is written and reads nothing.
type helloConn struct {
	net.Conn
	sent []byte
}

func (c *helloConn) Write(p []byte) (int, error)      { c.sent = append(c.sent, p...); return len(p), nil }
func (c *helloConn) Read([]byte) (int, error)         { return 0, io.EOF }
func (c *helloConn) SetWriteDeadline(time.Time) error { return nil }

// ask implements protocol.
func (h *checkHello) ask(x *exchange) bool {
	if !x.send(h.hello) || !x.receiveAll(6) {
		return false
	}
	const handshake, serverHello = 22, 2 // RFC 8446 sections 5.1 and 4
	if x.in[0] != handshake || x.in[5] != serverHello {
		return x.judge(Malformed, errProtocol)
	}
	return true
}

// checkMySQL is type=mysql: the server greets with packet number 0.
type checkMySQL struct{}

// ask implements protocol.
func (checkMySQL) ask(x *exchange) bool {
	x.begins(stepReceive, x.target.check.timeouts.read)
	if !x.receiveAll(5) {
		return false
	}
	if x.in[3] != 0 {
		return x.judge(Malformed, errProtocol)
	}
	return true
}

// checkAJP is type=ajp: a CPing is answered by a CPong.
// https://tomcat.apache.org/connectors-doc/ajp/ajpv13a.html
type checkAJP struct{}

// ask implements protocol.
func (checkAJP) ask(x *exchange) bool {
	if !x.send([]byte("\x12\x34\x00\x01\x0a")) || !x.receiveAll(5) {
		return false
	}
	if string(x.in[:5]) != "AB\x00\x01\x09" {
		return x.judge(Malformed, errProtocol)
	}
	x.keep = true
	return true
}

// checkFastCGI is type=fastcgi: a request is answered on the standard output,
// with an accepted class of status if it has one.
// https://fastcgi-archives.github.io/FastCGI_Specification.html
type checkFastCGI struct {
	request []byte
	alive   uint8 // 0: no status is looked at
}

// The record types of FastCGI.
const (
	fcgiBegin  = 1
	fcgiParams = 4
	fcgiStdin  = 5
	fcgiStdout = 6
)

// newFastCGI makes the request from pairs of names and values.
func newFastCGI(params []string, alive uint8) *checkFastCGI {
	var pairs []byte
	for i := 0; i < len(params); i += 2 {
		pairs = fcgiLength(pairs, params[i])
		pairs = fcgiLength(pairs, params[i+1])
		pairs = append(append(pairs, params[i]...), params[i+1]...)
	}
	req := fcgiRecord(nil, fcgiBegin, []byte{0, 1, 0, 0, 0, 0, 0, 0}) // responder; the connection is closed
	for part := pairs; len(part) > 0; {
		n := min(len(part), 1<<15)
		req = fcgiRecord(req, fcgiParams, part[:n])
		part = part[n:]
	}
	req = fcgiRecord(req, fcgiParams, nil)
	return &checkFastCGI{fcgiRecord(req, fcgiStdin, nil), alive}
}

func fcgiLength(b []byte, s string) []byte {
	if len(s) < 128 {
		return append(b, byte(len(s)))
	}
	return binary.BigEndian.AppendUint32(b, uint32(len(s))|1<<31)
}

func fcgiRecord(b []byte, kind byte, content []byte) []byte {
	pad := -len(content) & 7
	b = append(b, 1, kind, 0, 1, byte(len(content)>>8), byte(len(content)), byte(pad), 0)
	b = append(b, content...)
	return append(b, make([]byte, pad)...)
}

// ask implements protocol.
func (f *checkFastCGI) ask(x *exchange) bool {
	if !x.send(f.request) || !x.receiveAll(8) {
		return false
	}
	if x.in[0] != 1 || x.in[1] != fcgiStdout {
		return x.judge(Malformed, errProtocol)
	}
	length := int(binary.BigEndian.Uint16(x.in[4:]))
	if length == 0 {
		return x.judge(Malformed, errProtocol)
	}
	if f.alive == 0 {
		return true
	}
	if !x.receiveAll(8 + length) {
		return false
	}
	code, found := fcgiStatus(x.in[8 : 8+length])
	if found && f.alive&(1<<(code/100&7)) == 0 {
		x.status = code
		return x.judge(Status, nil)
	}
	return true
}

// fcgiStatus finds the Status field of a CGI response's head.
func fcgiStatus(head []byte) (code int, found bool) {
	for line := range bytes.Lines(head) {
		line = bytes.TrimRight(line, "\r\n")
		if len(line) == 0 {
			break
		}
		name, value, _ := bytes.Cut(line, []byte(":"))
		value = bytes.TrimLeft(value, " ")
		if bytes.EqualFold(name, []byte("Status")) && len(value) >= 3 && digits(value[:3]) {
			return int(value[0]-'0')*100 + int(value[1]-'0')*10 + int(value[2]-'0'), true
		}
	}
	return 0, false
}

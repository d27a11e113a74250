package relay

import (
	"time"

	"limpet/internal/errlog"
	"limpet/internal/ngx"
	"limpet/internal/openssl"
	"limpet/upstream"
)

// The functions here write debug lines, nginx's where it has them; whoever calls them has asked R.Debugging.

// debugRequest tells what goes to the peers, without the request's body.
func (x *Exchange) debugRequest() {
	x.R.Debugf("http %s header:\n\"%s\"", x.H.Kind.Name, x.Out)
}

// debugKept tells what became of an idle connection; it is at hand where it is used.
func (x *Exchange) debugKept(l upstream.Link, used bool) {
	if !used {
		x.R.Debugf("get keepalive peer: connection %d was closed by the peer", l.Conn.FD())
		return
	}
	x.R.Debugf("get keepalive peer: using connection %d, requests: %d, age: %s", l.Conn.FD(), l.Requests, time.Since(l.Opened).Round(time.Millisecond))
	x.R.Debugf("http upstream connect: -4")
}

// debugConnected tells how connecting went.
func (x *Exchange) debugConnected(p *upstream.Peer, fd int, err error) {
	if err != nil {
		x.R.DebugfOf(errlog.DebugEvent, "connect to %s: %s", p.Name, err)
		x.R.Debugf("http upstream connect: -5")
		return
	}
	x.R.DebugfOf(errlog.DebugEvent, "connect to %s, fd:%d", p.Name, fd)
	x.R.Debugf("http upstream connect: 0")
}

// debugTLS tells of a TLS session with a peer.
func (x *Exchange) debugTLS(name string) {
	state := x.link.Conn.TLS()
	x.R.Debugf(`upstream SSL server name: "%s"`, name)
	x.R.DebugfOf(errlog.DebugEvent, "SSL_do_handshake: 1")
	x.R.DebugfOf(errlog.DebugEvent, `SSL: %s, cipher: "%s"`, openssl.VersionName(state.Version), openssl.CipherName(state.CipherSuite))
	if state.DidResume {
		x.R.DebugfOf(errlog.DebugEvent, "SSL reused session")
	}
}

// debugHead tells of an answer's head that was read.
func (x *Exchange) debugHead() {
	r, kind := x.R, x.H.Kind.Name
	r.DebugfOf(errlog.DebugEvent, "recv: fd:%d %d of %d", x.link.Conn.FD(), x.got, len(x.In))
	r.Debugf(`http %s status %d "%s"`, kind, x.Status, x.Reason)
	for i := range r.UpHead.Fields {
		r.Debugf(`http %s header: "%s: %s"`, kind, r.UpHead.Fields[i].Name, r.UpHead.Fields[i].Value)
	}
	r.Debugf("http %s header done", kind)
}

// debugAnswer tells how the answer at hand is passed on.
func (x *Exchange) debugAnswer() {
	x.R.Debugf("http cacheable: %d", digit(x.Keeping()))
	x.R.Debugf("http %s filter init s:%d h:%d c:%d l:%d", x.H.Kind.Name, x.Status, digit(x.NoBody), digit(x.Framed), x.Length)
}

func digit(b bool) int {
	if b {
		return 1
	}
	return 0
}

// debugCache tells what the cache has for the request; out is Next where a peer is to be asked.
func (x *Exchange) debugCache(out ngx.Outcome) {
	rc := 0
	if out == ngx.Next {
		rc = -5
	}
	x.R.Debugf(`http upstream cache: %d, status: %s, key: "%s"`, rc, x.c.status, x.c.text)
}

// debugNext tells why a try failed, by the number that nginx has for it and by the word of _next_upstream.
func (x *Exchange) debugNext(fail Failure) {
	number, word := uint32(0x80000000), "off"
	switch fail.Class {
	case NextError:
		number, word = 0x2, "error"
	case NextTimeout:
		number, word = 0x4, "timeout"
	case NextInvalidHeader:
		number, word = 0x8, "invalid_header"
	case Next500:
		number, word = 0x10, "http_500"
	case Next502:
		number, word = 0x20, "http_502"
	case Next503:
		number, word = 0x40, "http_503"
	case Next504:
		number, word = 0x80, "http_504"
	case Next403:
		number, word = 0x100, "http_403"
	case Next404:
		number, word = 0x200, "http_404"
	case Next429:
		number, word = 0x400, "http_429"
	}
	x.R.Debugf("http next upstream, %x (%s)", number, word)
}

// debugFinal tells with which status a request ends for which no other peer is asked, 0 for one that was answered.
func (x *Exchange) debugFinal(status int) {
	x.R.Debugf("finalize http upstream request: %d", status)
}

// debugTry tells what a try moved and how long it took.
func (x *Exchange) debugTry(t *ngx.Try) {
	x.R.Debugf("http upstream: peer %s, sent: %d, received: %d, body: %d, connect: %s, header: %s, response: %s",
		t.Peer, t.Sent, t.Received, t.Length, span(t.Connect), span(t.Header), span(t.Response))
}

// span writes the time to a step, which wasn't reached where it is negative.
func span(d time.Duration) string {
	if d < 0 {
		return "-"
	}
	return d.String()
}

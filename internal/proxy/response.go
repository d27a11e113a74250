package proxy

import (
	"bytes"
	"io"

	"limpet/internal/http1"
	"limpet/internal/ngx"
	"limpet/upstream"
	"time"
)

// fieldSet is a set of field names: a bit an ID, and the names without one.
type fieldSet struct {
	ids   uint64
	names []string
}

func (s *fieldSet) add(name string) {
	if id := ngx.HeaderIDOf([]byte(name)); id != ngx.HeaderOther {
		s.ids |= 1 << id
		return
	}
	s.names = append(s.names, name)
}

func (s *fieldSet) has(f *ngx.Field) bool {
	if f.ID != ngx.HeaderOther {
		return s.ids&(1<<f.ID) != 0
	}
	for _, n := range s.names {
		if ngx.EqualFold(f.Name, n) {
			return true
		}
	}
	return false
}

// hiddenFields are those that don't go to the client: nginx's list less
// proxy_pass_header, and proxy_hide_header.
func hiddenFields(c *Conf) fieldSet {
	var s fieldSet
	for _, name := range []string{"Date", "Server", "X-Pad", "X-Accel-Expires", "X-Accel-Redirect", "X-Accel-Limit-Rate", "X-Accel-Buffering", "X-Accel-Charset"} {
		s.add(name)
	}
	for _, name := range c.PassHeader.V {
		if id := ngx.HeaderIDOf([]byte(name)); id != ngx.HeaderOther {
			s.ids &^= 1 << id
		}
	}
	for _, name := range c.HideHeader.V {
		s.add(name)
	}
	return s
}

// respFields are the fields of an answer that have an effect here.
type respFields struct {
	seen                            uint64 // IDs
	redirect, limitRate, buffering  []byte
	charset                         []byte
	connectionClose, connectionKeep bool
}

// onceOnly are the fields of which a second one is ignored with a warning.
const onceOnly uint64 = 1<<ngx.HeaderContentType | 1<<ngx.HeaderDate | 1<<ngx.HeaderLastModified | 1<<ngx.HeaderETag | 1<<ngx.HeaderServer |
	1<<ngx.HeaderLocation | 1<<ngx.HeaderRefresh | 1<<ngx.HeaderExpires | 1<<ngx.HeaderAcceptRanges | 1<<ngx.HeaderContentEncoding |
	1<<ngx.HeaderXAccelRedirect | 1<<ngx.HeaderXAccelExpires | 1<<ngx.HeaderXAccelLimitRate | 1<<ngx.HeaderXAccelBuffering | 1<<ngx.HeaderXAccelCharset

// readHead reads the answer's head, skipping interim ones.
func (x *exchange) readHead() failure {
	r := x.r
	limit := int(x.h.conf.BufferSize.V)
	for {
		r.UpHead.Reset()
		x.fields = respFields{}
		x.length, x.chunked = -1, false
		done, fail := x.parseHead()
		if fail.class != 0 {
			return fail
		}
		if !done {
			if x.wr >= limit {
				r.Errorf("upstream sent too big header while %s", whileHead)
				return failure{class: nextInvalidHeader, status: 502}
			}
			if fail := x.fill(); fail.class != 0 {
				return fail
			}
			continue
		}
		if s := x.line.Status; s >= 200 || s == 101 {
			break
		}
		if x.early() != nil {
			return x.clientGone(whileHead)
		}
	}
	return x.framing()
}

// fill reads more of the head. What is left of it must come within proxy_read_timeout, however many reads it takes.
func (x *exchange) fill() failure {
	conn, timeout := x.link.Conn, x.readTimeout()
	if x.wr > 0 && timeout > 0 {
		now := time.Now()
		if x.head.IsZero() {
			x.head = now
		}
		left := timeout - now.Sub(x.head)
		if left <= 0 {
			return x.timedOut(whileHead)
		}
		conn.SetReadTimeout(left)
		defer conn.SetReadTimeout(timeout)
	}
	n, err := conn.Read(x.in[x.wr:])
	x.wr += n
	x.got += int64(n)
	if n == 0 {
		if err == nil {
			err = io.EOF
		}
		return x.ioError(err, "recv", whileHead)
	}
	return failure{}
}

// parseHead parses a head from x.rd on; done is false while bytes are missing.
func (x *exchange) parseHead() (done bool, fail failure) {
	at := x.rd
	n, ok := x.line.ParseStatusLine(x.in[at:x.wr])
	if !ok {
		return false, x.invalid("upstream sent no valid HTTP/1.0 header")
	}
	if n == 0 {
		return false, failure{}
	}
	at += n
	for {
		f, n, res := http1.ParseField(x.in[at:x.wr])
		switch res {
		case http1.FieldMore:
			return false, failure{}
		case http1.FieldBad:
			line := x.in[at : at+n]
			return false, x.invalid(`upstream sent invalid header: "%s\x%02x..."`, line, x.in[at+n])
		case http1.FieldEnd:
			x.headAt, x.rd = x.rd, at+n
			if x.rd > int(x.h.conf.BufferSize.V) {
				x.r.Errorf("upstream sent too big header while %s", whileHead)
				return false, failure{class: nextInvalidHeader, status: 502}
			}
			return true, failure{}
		}
		at += n
		if fail := x.field(&f); fail.class != 0 {
			return false, fail
		}
	}
}

// field takes one field of the answer.
func (x *exchange) field(f *ngx.Field) failure {
	bit := uint64(1) << f.ID
	if f.ID != ngx.HeaderOther && x.fields.seen&bit != 0 {
		prev := x.r.UpHead.Find(f.ID)
		switch {
		case f.ID == ngx.HeaderContentLength || f.ID == ngx.HeaderTransferEncoding:
			return x.invalid(`upstream sent duplicate header line: "%s: %s", previous value: "%s: %s"`, f.Name, f.Value, prev.Name, prev.Value)
		case onceOnly&bit != 0:
			x.r.Warnf(`upstream sent duplicate header line: "%s: %s", previous value: "%s: %s", ignored while %s`, f.Name, f.Value, prev.Name, prev.Value, whileHead)
			return failure{}
		}
	}
	x.fields.seen |= bit
	switch f.ID {
	case ngx.HeaderContentLength:
		n, ok := http1.ParseLength(f.Value)
		if !ok {
			return x.invalid(`upstream sent invalid "Content-Length" header: "%s: %s"`, f.Name, f.Value)
		}
		if x.chunked {
			return x.both()
		}
		x.length = n
	case ngx.HeaderTransferEncoding:
		if !ngx.EqualFold(f.Value, "chunked") {
			return x.invalid(`upstream sent unknown "Transfer-Encoding": "%s"`, f.Value)
		}
		if x.length >= 0 {
			return x.both()
		}
		x.chunked = true
	case ngx.HeaderConnection:
		x.fields.connectionClose = x.fields.connectionClose || http1.ContainsFold(f.Value, "close")
		x.fields.connectionKeep = x.fields.connectionKeep || http1.ContainsFold(f.Value, "keep-alive")
	case ngx.HeaderXAccelRedirect:
		x.fields.redirect = f.Value
	case ngx.HeaderXAccelLimitRate:
		x.fields.limitRate = f.Value
	case ngx.HeaderXAccelBuffering:
		x.fields.buffering = f.Value
	case ngx.HeaderXAccelCharset:
		x.fields.charset = f.Value
	}
	x.r.UpHead.Fields = append(x.r.UpHead.Fields, *f)
	return failure{}
}

func (x *exchange) both() failure {
	return x.invalid(`upstream sent "Content-Length" and "Transfer-Encoding" headers at the same time`)
}

// framing decides how the answer's body ends and checks what of a chunked one is
// here already, while the request can still be answered otherwise.
func (x *exchange) framing() failure {
	status := x.line.Status
	x.keep = !x.fields.connectionClose && (!x.line.Old || x.fields.connectionKeep) && x.h.conf.HTTPVersion.V != ngx.HTTP10 ||
		x.h.conf.HTTPVersion.V == ngx.HTTP10 && x.fields.connectionKeep
	if x.cut || status == 101 {
		x.keep = false // what is sent next would be the rest of this request, or isn't HTTP any more
	}
	x.noBody = status == 204 || status == 304 || status == 101 || bytes.Equal(x.method(), []byte("HEAD"))
	x.dec = http1.ChunkDecoder{KeepTrailer: true}
	if x.chunked && !x.noBody {
		dec := x.dec
		for b := x.in[x.rd:x.wr]; len(b) > 0 && !dec.Done(); {
			_, n, err := dec.Next(b, len(b))
			if err != nil {
				x.r.Errorf("upstream sent invalid chunked response while %s", whileBody)
				return failure{class: nextOff, status: 502}
			}
			b = b[n:]
		}
	}
	return failure{}
}

// method is the one that the peer got.
func (x *exchange) method() []byte {
	n := bytes.IndexByte(x.out, ' ')
	return x.out[:max(n, 0)]
}

// deliver hands the answer to the client.
func (x *exchange) deliver(p *upstream.Peer) ngx.Outcome {
	r, c := x.r, x.h.conf
	x.lastTry().Status = x.line.Status
	if status := x.line.Status; c.InterceptErrors.V && status >= 300 && r.Scope.HasErrorPage(status) && (!r.ErrorPage || r.Scope.Core.RecursiveErrorPages.V) {
		if status == 401 {
			for i := range r.UpHead.Fields {
				if f := r.UpHead.Fields[i]; f.ID == ngx.HeaderWWWAuthenticate {
					r.Out.Header.Fields = append(r.Out.Header.Fields, f)
				}
			}
		}
		if x.c != nil {
			x.c.intercepted(status)
		}
		x.discard()
		return ngx.Status(status)
	}
	if x.fields.redirect != nil && c.IgnoreHeaders.V&ignoreRedirect == 0 {
		x.c.release()
		return x.accelRedirect()
	}
	x.takeHead()
	if s := x.s.Peers.Sticky; s != nil {
		s.Answered(&x.s, p)
	}
	if x.line.Status == 101 {
		return x.upgrade()
	}
	if r.SendHead() != nil {
		x.discard()
		return ngx.Close
	}
	if x.c != nil || x.h.store != nil {
		return x.relayKept()
	}
	return x.relay()
}

// discard ends a try whose answer's body nobody wants.
func (x *exchange) discard() {
	if x.noBody && x.rd == x.wr {
		x.release()
	} else if !x.noBody && x.length >= 0 && int64(x.wr-x.rd) == x.length {
		x.rd = x.wr
		x.release()
	} else {
		x.close()
	}
	x.endTry(0)
}

// takeHead makes the response's head of the answer's.
func (x *exchange) takeHead() {
	r, c := x.r, x.h.conf
	o := &r.Out
	o.Status, o.Reason = x.line.Status, x.line.Text
	o.Length = x.length
	o.AcceptRanges, o.SingleRange = c.ForceRanges.V, c.ForceRanges.V
	o.Unconditional = true // the peer saw the conditions
	x.buffering = c.Buffering.V
	if x.h.passesOwn {
		x.ownFields()
	}
	if c.ForceRanges.V {
		x.lastModified()
	}
	for i := range r.UpHead.Fields {
		f := &r.UpHead.Fields[i]
		if x.h.hide.has(f) {
			continue
		}
		switch f.ID {
		case ngx.HeaderOther:
		case ngx.HeaderContentLength, ngx.HeaderTransferEncoding, ngx.HeaderConnection, ngx.HeaderKeepAlive:
			continue
		case ngx.HeaderUpgrade:
			if x.line.Status != 101 {
				o.Header.Fields = append(o.Header.Fields, *f)
				continue
			}
		case ngx.HeaderContentType:
			o.ContentType = f.Value
			continue
		case ngx.HeaderServer:
			o.Server = f.Value
			continue
		case ngx.HeaderDate:
			o.Date = f.Value
			continue
		case ngx.HeaderLocation, ngx.HeaderRefresh:
			x.redirectField(f)
			continue
		case ngx.HeaderSetCookie:
			if x.h.cookies {
				g := *f
				g.Value = x.h.rewriteCookie(r, f.Value)
				o.Header.Fields = append(o.Header.Fields, g)
				continue
			}
		}
		o.Header.Fields = append(o.Header.Fields, *f)
	}
	x.accel()
	if x.c != nil {
		x.c.dress(x)
	}
}

// ownFields leaves Server and Date out where the peer's pass; takeHead finds them.
func (x *exchange) ownFields() {
	o, hide := &x.r.Out, x.h.hide.ids
	if hide&(1<<ngx.HeaderServer) == 0 {
		o.Server = []byte{}
	}
	if hide&(1<<ngx.HeaderDate) == 0 {
		o.Date = []byte{}
	}
}

// lastModified tells filters when the answer was last changed: ranges of it are answered here.
func (x *exchange) lastModified() {
	if f := x.r.UpHead.Find(ngx.HeaderLastModified); f != nil && !x.h.hide.has(f) {
		x.r.Out.LastModified, _ = ngx.ParseTime(f.Value)
	}
}

// redirectField passes Location or Refresh on as proxy_redirect has it.
func (x *exchange) redirectField(f *ngx.Field) {
	g := *f
	if f.ID == ngx.HeaderRefresh {
		g.Value = rewriteRefresh(x.h.redirects, x.r, f.Value)
	} else if v, ok := rewriteURL(x.h.redirects, x.r, f.Value); ok {
		if g.Value = v; len(v) > 0 && v[0] == '/' {
			x.r.Out.Location = v // made absolute by the wire
			return
		}
	}
	x.r.Out.Header.Fields = append(x.r.Out.Header.Fields, g)
}

// accel obeys the X-Accel-* fields that aren't ignored.
func (x *exchange) accel() {
	r, ignore := x.r, x.h.conf.IgnoreHeaders.V
	if v := x.fields.limitRate; v != nil && ignore&ignoreLimitRate == 0 {
		if n, ok := http1.ParseLength(v); ok {
			r.LimitRate, r.LimitRateSet = n, true
		}
	}
	if v := x.fields.buffering; v != nil && ignore&ignoreBuffering == 0 {
		switch {
		case ngx.EqualFold(v, "no"):
			x.buffering = false
		case ngx.EqualFold(v, "yes"):
			x.buffering = true
		}
	}
	if v := x.fields.charset; v != nil && ignore&ignoreCharset == 0 {
		r.Out.OverrideCharset = v
	}
}

// accelRedirect follows X-Accel-Redirect: some fields stay, the body is dropped.
func (x *exchange) accelRedirect() ngx.Outcome {
	r := x.r
	uri := r.Copy(x.fields.redirect)
	for i := range r.UpHead.Fields {
		f := r.UpHead.Fields[i]
		if x.h.hide.has(&f) {
			continue
		}
		switch f.ID {
		case ngx.HeaderContentType:
			r.Out.ContentType = f.Value
		case ngx.HeaderSetCookie, ngx.HeaderCacheControl, ngx.HeaderExpires, ngx.HeaderAcceptRanges:
			r.Out.Header.Fields = append(r.Out.Header.Fields, f)
		case ngx.HeaderOther:
			if ngx.EqualFold(f.Name, "Content-Disposition") {
				r.Out.Header.Fields = append(r.Out.Header.Fields, f)
			}
		}
	}
	x.accel()
	x.discard()
	if len(uri) > 0 && uri[0] == '@' {
		r.Named = string(uri)
		return ngx.Redirect
	}
	path, ok := http1.Unescape(r, uri)
	if !ok {
		r.Errorf(`unsafe URI "%s" was detected while %s`, uri, whileHead)
		return ngx.Status(404)
	}
	if string(r.Method) != "HEAD" {
		r.Method = []byte("GET")
	}
	r.SetTarget(path)
	return ngx.Redirect
}

func hopByHop(id ngx.HeaderID) bool {
	switch id {
	case ngx.HeaderContentLength, ngx.HeaderTransferEncoding, ngx.HeaderConnection, ngx.HeaderKeepAlive, ngx.HeaderUpgrade:
		return true
	}
	return false
}

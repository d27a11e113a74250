package relay

import (
	"io"
	"slices"
	"strings"

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

// hiddenFields are those that don't go to the client: the kind's list less _pass_header, and _hide_header.
func (c *Conf) hiddenFields() fieldSet {
	var s fieldSet
	for _, name := range c.kind.Hidden {
		s.add(name)
	}
	for _, name := range c.PassHeader.V {
		if id := ngx.HeaderIDOf([]byte(name)); id != ngx.HeaderOther {
			s.ids &^= 1 << id
			continue
		}
		s.names = slices.DeleteFunc(s.names, func(n string) bool { return strings.EqualFold(n, name) })
	}
	for _, name := range c.HideHeader.V {
		s.add(name)
	}
	return s
}

// Fields are the fields of an answer that have an effect here.
type Fields struct {
	seen                           uint64 // IDs
	redirect, limitRate, buffering []byte
	charset                        []byte
	Close, KeepAlive               bool   // words of Connection
	Chunked                        bool   // Transfer-Encoding says so
	Line                           []byte // Status of a CGI answer
}

// onceOnly are the fields of which a second one is ignored with a warning.
const onceOnly uint64 = 1<<ngx.HeaderContentType | 1<<ngx.HeaderDate | 1<<ngx.HeaderLastModified | 1<<ngx.HeaderETag | 1<<ngx.HeaderServer |
	1<<ngx.HeaderLocation | 1<<ngx.HeaderRefresh | 1<<ngx.HeaderExpires | 1<<ngx.HeaderAcceptRanges | 1<<ngx.HeaderContentEncoding |
	1<<ngx.HeaderXAccelRedirect | 1<<ngx.HeaderXAccelExpires | 1<<ngx.HeaderXAccelLimitRate | 1<<ngx.HeaderXAccelBuffering | 1<<ngx.HeaderXAccelCharset

// AwaitHead reads until the protocol has parsed a head.
func (x *Exchange) AwaitHead() Failure {
	limit := int(x.H.conf.BufferSize.V)
	for {
		x.ResetHead()
		done, fail := x.H.Protocol.ParseHead(x)
		if done || fail.Class != 0 {
			return fail
		}
		if x.Wr >= limit {
			return x.TooBig()
		}
		if fail := x.fill(); fail.Class != 0 {
			return fail
		}
	}
}

// ResetHead forgets what of a head was parsed, to parse it anew.
func (x *Exchange) ResetHead() {
	x.R.UpHead.Reset()
	x.Fields, x.Reason = Fields{}, nil
	x.Length = -1
}

// Fits reports whether the buffer is large enough for a head that ends at In[end].
func (x *Exchange) Fits(end int) bool { return end <= int(x.H.conf.BufferSize.V) }

// TooBig logs a head that the buffer is too small for.
func (x *Exchange) TooBig() Failure {
	x.R.Errorf("upstream sent too big header while %s", WhileHead)
	return Failure{Class: NextInvalidHeader, Status: 502}
}

// fill reads more of the head. What is left of it must come within proxy_read_timeout, however many reads it takes.
func (x *Exchange) fill() Failure {
	conn, timeout := x.link.Conn, x.readTimeout()
	if x.Wr > 0 && timeout > 0 {
		now := time.Now()
		if x.head.IsZero() {
			x.head = now
		}
		left := timeout - now.Sub(x.head)
		if left <= 0 {
			return x.timedOut(WhileHead)
		}
		conn.SetReadTimeout(left)
		defer conn.SetReadTimeout(timeout)
	}
	n, err := conn.Read(x.In[x.Wr:])
	x.Wr += n
	x.got += int64(n)
	if n == 0 {
		if err == nil {
			err = io.EOF
		}
		return x.ioError(err, "recv", WhileHead)
	}
	return Failure{}
}

// ParseFields parses the fields of a head, which begins at x.Rd, from at on, and takes them; at the empty line it moves
// x.HeadAt and x.Rd. done is false while bytes are missing.
func (x *Exchange) ParseFields(at int) (done bool, fail Failure) {
	for {
		f, n, res := http1.ParseField(x.In[at:x.Wr])
		switch res {
		case http1.FieldMore:
			return false, Failure{}
		case http1.FieldBad:
			line := x.In[at : at+n]
			return false, x.Invalid(`upstream sent invalid header: "%s\x%02x..."`, line, x.In[at+n])
		case http1.FieldEnd:
			x.HeadAt, x.Rd = x.Rd, at+n
			if !x.Fits(x.Rd) {
				return false, x.TooBig()
			}
			return true, Failure{}
		}
		at += n
		if fail := x.field(&f); fail.Class != 0 {
			return false, fail
		}
	}
}

// field takes one field of the answer.
func (x *Exchange) field(f *ngx.Field) Failure {
	bit := uint64(1) << f.ID
	if f.ID != ngx.HeaderOther && x.Fields.seen&bit != 0 {
		prev := x.R.UpHead.Find(f.ID)
		switch {
		case f.ID == ngx.HeaderContentLength || f.ID == ngx.HeaderTransferEncoding:
			return x.Invalid(`upstream sent duplicate header line: "%s: %s", previous value: "%s: %s"`, f.Name, f.Value, prev.Name, prev.Value)
		case onceOnly&bit != 0:
			x.R.Warnf(`upstream sent duplicate header line: "%s: %s", previous value: "%s: %s", ignored while %s`, f.Name, f.Value, prev.Name, prev.Value, WhileHead)
			return Failure{}
		}
	}
	x.Fields.seen |= bit
	switch f.ID {
	case ngx.HeaderContentLength:
		n, ok := http1.ParseLength(f.Value)
		if !ok {
			return x.Invalid(`upstream sent invalid "Content-Length" header: "%s: %s"`, f.Name, f.Value)
		}
		if x.Fields.Chunked {
			return x.both()
		}
		x.Length = n
	case ngx.HeaderTransferEncoding:
		if !ngx.EqualFold(f.Value, "chunked") {
			return x.Invalid(`upstream sent unknown "Transfer-Encoding": "%s"`, f.Value)
		}
		if x.Length >= 0 {
			return x.both()
		}
		x.Fields.Chunked = true
	case ngx.HeaderConnection:
		x.Fields.Close = x.Fields.Close || http1.ContainsFold(f.Value, "close")
		x.Fields.KeepAlive = x.Fields.KeepAlive || http1.ContainsFold(f.Value, "keep-alive")
	case ngx.HeaderXAccelRedirect:
		x.Fields.redirect = f.Value
	case ngx.HeaderXAccelLimitRate:
		x.Fields.limitRate = f.Value
	case ngx.HeaderXAccelBuffering:
		x.Fields.buffering = f.Value
	case ngx.HeaderXAccelCharset:
		x.Fields.charset = f.Value
	}
	x.R.UpHead.Fields = append(x.R.UpHead.Fields, *f)
	return Failure{}
}

func (x *Exchange) both() Failure {
	return x.Invalid(`upstream sent "Content-Length" and "Transfer-Encoding" headers at the same time`)
}

// deliver hands the answer to the client.
func (x *Exchange) deliver(p *upstream.Peer) ngx.Outcome {
	r, c := x.R, x.H.conf
	x.lastTry().Status = x.Status
	if status := x.Status; c.InterceptErrors.V && status >= 300 && r.Scope.HasErrorPage(status) && (!r.ErrorPage || r.Scope.Core.RecursiveErrorPages.V) {
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
	if own := x.H.OwnError; own != 0 && x.Status == own {
		x.discard()
		return ngx.Status(own)
	}
	if x.Fields.redirect != nil && c.IgnoreHeaders.V&IgnoreRedirect == 0 {
		x.c.release()
		return x.accelRedirect()
	}
	x.takeHead()
	if s := x.s.Peers.Sticky; s != nil {
		s.Answered(&x.s, p)
	}
	if x.Status == 101 && x.H.Upgrades {
		return x.upgrade()
	}
	if r.Debugging() {
		x.debugAnswer()
	}
	if r.SendHead() != nil {
		x.discard()
		return ngx.Close
	}
	switch {
	case x.c != nil || x.H.store != nil:
		return x.relayKept()
	case x.Framed && x.NoBody: // nobody waits for the end of what isn't read
		x.discard()
		return x.finish()
	}
	return x.relay()
}

// discard ends a try whose answer's body nobody wants.
func (x *Exchange) discard() {
	if x.NoBody && x.Rd == x.Wr && !x.Framed {
		x.release()
	} else if !x.NoBody && !x.Framed && x.Length >= 0 && int64(x.Wr-x.Rd) == x.Length {
		x.Rd = x.Wr
		x.release()
	} else {
		x.close()
	}
	x.endTry(0)
}

// takeHead makes the response's head of the answer's.
func (x *Exchange) takeHead() {
	r, c := x.R, x.H.conf
	o := &r.Out
	o.Status, o.Reason = x.Status, x.Reason
	o.Length = x.Length
	o.AcceptRanges, o.SingleRange = c.ForceRanges.V, c.ForceRanges.V
	o.Unconditional = true // the peer saw the conditions
	x.buffering = c.Buffering.V
	if x.H.passesOwn {
		x.ownFields()
	}
	if c.ForceRanges.V {
		x.lastModified()
	}
	for i := range r.UpHead.Fields {
		f := &r.UpHead.Fields[i]
		if x.H.hide.has(f) {
			continue
		}
		switch f.ID {
		case ngx.HeaderOther:
		case ngx.HeaderContentLength, ngx.HeaderTransferEncoding, ngx.HeaderConnection, ngx.HeaderKeepAlive:
			continue
		case ngx.HeaderUpgrade:
			if x.Status != 101 {
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
		case ngx.HeaderLocation, ngx.HeaderRefresh, ngx.HeaderSetCookie:
			if x.H.Rewrite != nil && x.H.Rewrite(x, f) {
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
func (x *Exchange) ownFields() {
	o, hide := &x.R.Out, x.H.hide.ids
	if hide&(1<<ngx.HeaderServer) == 0 {
		o.Server = []byte{}
	}
	if hide&(1<<ngx.HeaderDate) == 0 {
		o.Date = []byte{}
	}
}

// lastModified tells filters when the answer was last changed: ranges of it are answered here.
func (x *Exchange) lastModified() {
	if f := x.R.UpHead.Find(ngx.HeaderLastModified); f != nil && !x.H.hide.has(f) {
		x.R.Out.LastModified, _ = ngx.ParseTime(f.Value)
	}
}

// accel obeys the X-Accel-* fields that aren't ignored.
func (x *Exchange) accel() {
	r, ignore := x.R, x.H.conf.IgnoreHeaders.V
	if v := x.Fields.limitRate; v != nil && ignore&ignoreLimitRate == 0 {
		if n, ok := http1.ParseLength(v); ok {
			r.LimitRate, r.LimitRateSet = n, true
		}
	}
	if v := x.Fields.buffering; v != nil && ignore&ignoreBuffering == 0 {
		switch {
		case ngx.EqualFold(v, "no"):
			x.buffering = false
		case ngx.EqualFold(v, "yes"):
			x.buffering = true
		}
	}
	if v := x.Fields.charset; v != nil && ignore&ignoreCharset == 0 {
		r.Out.OverrideCharset = v
	}
}

// accelRedirect follows X-Accel-Redirect: some fields stay, the body is dropped.
func (x *Exchange) accelRedirect() ngx.Outcome {
	r := x.R
	uri := r.Copy(x.Fields.redirect)
	for i := range r.UpHead.Fields {
		f := r.UpHead.Fields[i]
		if x.H.hide.has(&f) {
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
		r.Errorf(`unsafe URI "%s" was detected while %s`, uri, WhileHead)
		return ngx.Status(404)
	}
	if string(r.Method) != "HEAD" {
		r.Method = []byte("GET")
	}
	r.SetTarget(path)
	return ngx.Redirect
}

// Early passes an interim answer with status 103 on where early_hints says so; others are dropped. An error says that
// the client is gone.
func (x *Exchange) Early() error {
	r := x.R
	if r.Debugging() {
		r.Debugf("http upstream early hints: %d", x.Status)
	}
	if x.Status != 103 || !r.IsMain() || !ngx.Holds(r.Scope.Core.EarlyHints.V, r) {
		return nil
	}
	var h ngx.Header
	for i := range r.UpHead.Fields {
		if f := &r.UpHead.Fields[i]; !x.H.hide.has(f) && !hopByHop(f.ID) {
			h.Fields = append(h.Fields, *f)
		}
	}
	return r.Wire.SendInterim(r, 103, &h)
}

func hopByHop(id ngx.HeaderID) bool {
	switch id {
	case ngx.HeaderContentLength, ngx.HeaderTransferEncoding, ngx.HeaderConnection, ngx.HeaderKeepAlive, ngx.HeaderUpgrade:
		return true
	}
	return false
}

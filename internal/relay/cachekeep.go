package relay

import (
	"bytes"
	"io"
	"os"
	"time"

	"limpet/internal/ngx"
)

// answered looks at an answer's head while another could be given. It is true with an
// outcome when the file at hand was served in its place.
func (c *caching) answered(x *Exchange) (ngx.Outcome, bool) {
	c.judge(x, time.Now().Unix())
	status := x.Status
	if class := statusClass(status); class != 0 && c.status == cacheExpired && c.conf.UseStale.V&class != 0 {
		x.discard()
		return c.instead(x, class, false)
	}
	if status == 304 && c.status == cacheExpired && c.conf.Revalidate.V && c.file != nil {
		return c.fresh(x), true
	}
	if c.noCache || c.expired {
		c.keep = false
	}
	return 0, false
}

// maxVary bounds the length of Vary, as in nginx.
const maxVary = 128

// judge reads how long an answer is fresh and whether it may be kept, from its fields in their
// order. X-Accel-Expires comes before Cache-Control, and that before Expires.
func (c *caching) judge(x *Exchange, now int64) {
	ignore := x.H.conf.IgnoreHeaders.V
	m := &c.meta
	m.Valid, m.Updating, m.Error = 0, 0, 0
	m.Vary = nil
	c.noCache, c.expired = false, false
	accel := false
	fields := x.R.UpHead.Fields
	for i := range fields {
		f := &fields[i]
		switch f.ID {
		case ngx.HeaderXAccelExpires:
			if ignore&ignoreAccelExpires == 0 {
				accel = true
				c.accelExpires(f.Value, now)
			}
		case ngx.HeaderExpires:
			if ignore&ignoreExpires == 0 && m.Valid == 0 {
				t, ok := ngx.ParseTime(f.Value)
				if c.expired = !ok || t.Unix() < now; !c.expired {
					m.Valid = t.Unix()
				}
			}
		case ngx.HeaderCacheControl:
			if ignore&ignoreCacheControl == 0 {
				c.cacheControl(f.Value, now, accel && m.Valid != 0)
			}
		case ngx.HeaderSetCookie:
			if ignore&ignoreSetCookie == 0 {
				c.keep = false
			}
		case ngx.HeaderVary:
			if ignore&ignoreVary == 0 {
				c.vary(f.Value)
			}
		}
	}
	m.LastModified, m.ETag = 0, nil
	if s := x.Status; s == 200 || s == 206 {
		if t, ok := ngx.ParseTime(x.R.UpHead.Get(ngx.HeaderLastModified)); ok {
			m.LastModified = t.Unix()
		}
		if e := x.R.UpHead.Get(ngx.HeaderETag); len(e) <= maxVary {
			m.ETag = e
		}
	}
}

// accelExpires obeys X-Accel-Expires: seconds, or the time itself behind @.
func (c *caching) accelExpires(v []byte, now int64) {
	at := len(v) > 0 && v[0] == '@'
	if at {
		v = v[1:]
	}
	n, rest, ok := digits(v)
	switch {
	case !ok || len(rest) > 0:
		return
	case at:
		c.meta.Valid = n
	case n == 0:
		c.keep = false
		return
	default:
		c.meta.Valid = now + n
	}
	c.noCache, c.expired = false, false
}

// cacheControl obeys one Cache-Control field; settled says that X-Accel-Expires decided how long the answer is fresh.
func (c *caching) cacheControl(v []byte, now int64, settled bool) {
	v = bytes.ToLower(v)
	if !settled {
		for _, word := range [...]string{"no-cache", "no-store", "private"} {
			if bytes.Contains(v, []byte(word)) {
				c.noCache = true
				return
			}
		}
		n, found, ok := c.argument(v, "s-maxage=")
		if !found {
			n, found, ok = c.argument(v, "max-age=")
		}
		switch {
		case !ok:
			return
		case found && n == 0:
			c.noCache = true
			return
		case found:
			c.meta.Valid, c.expired = now+n, false
		}
	}
	n, found, ok := c.argument(v, "stale-while-revalidate=")
	if found && ok {
		c.meta.Updating, c.meta.Error = n, n
	}
	if !ok {
		return
	}
	if n, found, ok = c.argument(v, "stale-if-error="); found && ok {
		c.meta.Error = n
	}
}

// argument returns the seconds behind a word of Cache-Control. What isn't a number keeps the answer from being kept.
func (c *caching) argument(v []byte, word string) (n int64, found, ok bool) {
	_, v, found = bytes.Cut(v, []byte(word))
	if !found {
		return 0, false, true
	}
	n, rest, _ := digits(v)
	if len(rest) > 0 && bytes.IndexByte([]byte(",; "), rest[0]) < 0 {
		c.keep = false
		return 0, true, false
	}
	return n, true, true
}

// digits reads a number; one too large for a time is a very long one.
func digits(v []byte) (n int64, rest []byte, ok bool) {
	const most = 1 << 50
	i := 0
	for ; i < len(v) && '0' <= v[i] && v[i] <= '9'; i++ {
		n = min(n*10+int64(v[i]-'0'), most)
	}
	return n, v[i:], i > 0
}

// vary takes one Vary field; several are one list.
func (c *caching) vary(v []byte) {
	if m := &c.meta; len(m.Vary) > 0 {
		v = bytes.Join([][]byte{m.Vary, v}, []byte(", "))
	}
	if len(v) > maxVary || string(v) == "*" {
		c.keep = false
		return
	}
	c.meta.Vary = v
}

// dress changes the response's head as it was made of an answer: one that is kept, or was, has ranges of its own, and
// the client's conditions are for it.
func (c *caching) dress(x *Exchange) {
	o := &x.R.Out
	served := c.file != nil && c.status != cacheExpired
	if !served && !c.keep {
		return
	}
	o.Unconditional = false
	x.lastModified()
	if o.Header.Has(ngx.HeaderAcceptRanges) || o.AcceptRanges {
		o.AcceptRanges, o.SingleRange = true, !served
		o.Header.Hide(ngx.HeaderAcceptRanges)
	}
}

// keeper takes an answer's body to keep it.
type keeper interface {
	Write(p []byte) error
	Commit() error // the body was whole
	Abort()
}

// tee hands a body to a keeper as it is read.
type tee struct {
	keeper
	r *ngx.Request
}

// take takes a piece and what was said with it: io.EOF at the body's end, another error when it broke off.
func (t *tee) take(p []byte, err error) {
	if t.keeper == nil {
		return
	}
	if len(p) > 0 {
		if e := t.Write(p); e != nil {
			t.r.Critf("%s while %s", e, WhileBody)
			t.drop()
			return
		}
	}
	switch err {
	case nil, errClient:
	case io.EOF:
		if e := t.Commit(); e != nil {
			t.r.Critf("%s while %s", e, WhileBody)
		}
		t.keeper = nil
	default:
		t.drop()
	}
}

func (t *tee) drop() {
	if t.keeper != nil {
		t.Abort()
		t.keeper = nil
	}
}

// next returns the body's next piece, a part of x.In that is good until the next call; io.EOF at its end.
func (x *Exchange) next() ([]byte, error) {
	p, err := x.nextPiece()
	if x.tee != nil {
		if err == io.EOF && x.Length > 0 && x.src.read == 0 {
			x.tee.drop() // an answer to HEAD without the body that one to GET has
		}
		x.tee.take(p, err)
	}
	return p, err
}

// keeping begins to keep the answer at hand, where that is to be.
func (x *Exchange) keeping() {
	if x.H.store != nil {
		if k := x.H.store.begin(x); k != nil {
			x.tee = &tee{k, x.R}
		}
		return
	}
	if k := x.c.begin(x); k != nil {
		x.tee = &tee{k, x.R}
		return
	}
	x.c.release()
}

// begin begins a file for the answer at hand; nil where it isn't to be kept.
func (c *caching) begin(x *Exchange) keeper {
	r := x.R
	c.file.Close()
	c.file = nil
	if !x.buffering || ngx.Holds(c.conf.NoCache.V, r) {
		c.keep = false
	}
	if !c.keep {
		return nil
	}
	now := time.Now().Unix()
	if c.meta.Valid == 0 {
		t := c.validFor(x.Status)
		if t == 0 {
			return nil
		}
		c.meta.Valid = now + t
	}
	c.meta.Date = now
	if len(c.meta.Vary) > 0 {
		c.meta.Variant = c.variant(r, c.meta.Vary)
	}
	if c.key != c.main && (len(c.meta.Vary) == 0 || c.meta.Variant != c.key) {
		c.hold.Release() // it answers more than the variant that was asked for
		c.key, c.hold = c.main, nil
	}
	if c.hold == nil {
		c.hold, _ = c.store.Get(c.key, 0)
	}
	return c.hold.Create(&c.meta, c.text, x.In[x.HeadAt:x.Rd], func() (*os.File, error) { return x.H.temp.Create(r) })
}

// relayKept is relay for an answer that may be kept: it is read to its end whatever becomes of the client, and put in
// place before the client has all of it.
func (x *Exchange) relayKept() ngx.Outcome {
	r := x.R
	x.keeping()
	if x.tee == nil {
		if r.HeaderOnly && !x.NoBody || x.Framed && x.NoBody {
			x.discard()
			return x.finish()
		}
		return x.relay()
	}
	x.begin()
	if !x.limit() && !x.Framed && x.Length >= 0 && int64(x.Wr-x.Rd) >= x.Length {
		x.tee.take(x.In[x.Rd:x.Rd+int(x.Length)], io.EOF)
		x.c.release()
		return x.relayBuffered()
	}
	x.muted = r.HeaderOnly && r.Flush() != nil
	err := x.copyKept()
	x.spool.stop()
	x.spool = nil
	x.tee.drop()
	x.c.release()
	if err != io.EOF {
		x.bodyError(err)
		x.close()
	}
	x.release()
	x.takeTrailer()
	x.endTry(0)
	if x.muted || err != io.EOF && !r.HeaderOnly {
		r.KeepAlive = false
		return ngx.Close
	}
	return x.finish()
}

func (x *Exchange) finish() ngx.Outcome {
	if x.R.Finish() != nil {
		return ngx.Close
	}
	return ngx.OK
}

// copyKept copies the body to the client as long as it takes it, and returns how the body ended.
func (x *Exchange) copyKept() error {
	r := x.R
	if w, ok := r.Wire.(ngx.Blocker); ok && r.IsMain() && !r.HeaderOnly {
		w.OnWriteBlocked(x.blocked)
		defer w.OnWriteBlocked(nil)
	}
	for {
		var p []byte
		var err error
		if x.spool != nil {
			if x.src.pending && !r.HasFilters() && !x.spool.ready() {
				x.muted = x.flush() != nil || x.muted
			}
			p, err = x.spool.take()
		} else {
			p, err = x.next()
		}
		if len(p) > 0 && !x.muted && !r.HeaderOnly {
			x.muted = r.Write(p) != nil
			x.src.pending = true
		}
		switch err {
		case nil:
		case errClient:
			x.muted = true
		default:
			return err
		}
	}
}

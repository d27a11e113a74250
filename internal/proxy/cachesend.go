package proxy

import (
	"time"

	"limpet/internal/http1"
	"limpet/internal/ngx"
)

// load parses the head of the file at hand in place of an answer's; false when it is broken.
func (c *caching) load(x *exchange) bool {
	r := x.r
	head, body, err := c.file.Load(x.in)
	if err != nil {
		x.logFile(err)
		return c.broken()
	}
	x.rd, _ = c.file.Head()
	x.wr = x.rd + len(head)
	r.UpHead.Reset()
	x.fields = respFields{}
	x.line = http1.StatusLine{}
	x.length, x.chunked = -1, false
	if done, fail := x.parseHead(); !done || fail.class != 0 {
		r.Critf(`cache file "%s" contains invalid header`, c.file.Name)
		return c.broken()
	}
	x.rd, x.wr = x.wr, x.wr+len(body)
	return true
}

func (c *caching) broken() bool {
	c.file.Close()
	c.file = nil
	return false
}

// deliver answers with the file whose head was loaded.
func (c *caching) deliver(x *exchange) ngx.Outcome {
	r := x.r
	c.release()
	if x.fields.redirect != nil && x.h.conf.IgnoreHeaders.V&ignoreRedirect == 0 {
		return x.accelRedirect()
	}
	if x.chunked {
		x.length = -1
	}
	x.takeHead()
	off, n := c.file.Body()
	if x.length >= 0 && x.length != n && !r.HeaderOnly && string(r.Method) != "HEAD" {
		r.KeepAlive = false // the answer to another method: its length isn't that of what follows
	}
	if r.SendHead() != nil {
		return ngx.Close
	}
	if !c.body(x, off, n) || r.Finish() != nil {
		return ngx.Close
	}
	return ngx.OK
}

// body sends the file's body: from memory where it came with the head, else as a file.
func (c *caching) body(x *exchange, off, n int64) bool {
	r := x.r
	if r.HeaderOnly || n == 0 {
		return true
	}
	if p := x.in[x.rd:x.wr]; int64(len(p)) == n {
		x.rd = x.wr
		return r.Write(p) == nil
	}
	f := c.file.Take()
	defer f.Close()
	return r.SendFile(f, off, n) == nil
}

// fresh makes the file at hand fresh again after a 304, whose fields say for how long, else the file's own do.
func (c *caching) fresh(x *exchange) ngx.Outcome {
	x.discard()
	if !c.load(x) {
		return ngx.Status(502)
	}
	c.status = cacheRevalidated
	now := time.Now().Unix()
	if c.meta.Valid == 0 {
		c.judge(x, now)
	}
	if c.meta.Valid == 0 {
		if t := c.validFor(x.line.Status); t > 0 {
			c.meta.Valid = now + t
		}
	}
	if c.meta.Valid != 0 {
		m := c.old
		m.Valid, m.Updating, m.Error, m.Date = c.meta.Valid, c.meta.Updating, c.meta.Error, now
		if err := c.hold.Renew(&m); err != nil {
			x.logFile(err)
		}
	}
	c.keep = true
	return c.deliver(x)
}

// instead serves the stale file in place of a failure, where it may.
func (c *caching) instead(x *exchange, class uint32, mayError bool) (ngx.Outcome, bool) {
	if c.status != cacheExpired || c.file == nil || c.conf.UseStale.V&class == 0 && !(mayError && c.staleError) {
		return 0, false
	}
	if !c.load(x) {
		return 0, false
	}
	c.status = cacheStale
	c.keep = true
	return c.deliver(x), true
}

// failed ends a request for which no other peer is asked.
func (c *caching) failed(x *exchange, fail failure) ngx.Outcome {
	if fail.class != nextOff {
		if out, ok := c.instead(x, fail.class, true); ok {
			return out
		}
	}
	if fail.status == 502 || fail.status == 504 {
		c.remember(fail.status, c.validFor(fail.status))
	}
	c.release()
	return ngx.Status(fail.status)
}

// remember has a status answered for a while without asking.
func (c *caching) remember(status int, seconds int64) {
	if c.keep && c.hold != nil && seconds > 0 {
		c.hold.Fail(status, time.Now().Unix()+seconds)
	}
}

// intercepted notes an answer that an error_page takes the place of.
func (c *caching) intercepted(status int) {
	seconds := c.validFor(status)
	if c.meta.Valid != 0 {
		seconds = c.meta.Valid - time.Now().Unix()
	}
	c.remember(status, seconds)
	c.release()
}

// validFor returns how many seconds proxy_cache_valid gives a status.
func (c *caching) validFor(status int) int64 {
	for _, v := range c.conf.Valid.V {
		if v.status == 0 || v.status == status {
			return v.time
		}
	}
	return 0
}

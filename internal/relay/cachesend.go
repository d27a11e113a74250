package relay

import (
	"time"

	"limpet/internal/ngx"
)

// load parses the head of the file at hand in place of an answer's; false when it is broken.
func (c *caching) load(x *Exchange) bool {
	r := x.R
	head, body, err := c.file.Load(x.In)
	if err != nil {
		x.logFile(err)
		return c.broken()
	}
	x.Rd, _ = c.file.Head()
	x.Wr = x.Rd + len(head)
	r.UpHead.Reset()
	x.Fields, x.Status, x.Reason = Fields{}, 0, nil
	x.Length, x.Framed = -1, false
	x.Stored = true
	done, fail := x.H.Protocol.ParseHead(x)
	x.Stored = false
	if !done || fail.Class != 0 {
		r.Critf(`cache file "%s" contains invalid header`, c.file.Name)
		return c.broken()
	}
	x.Rd, x.Wr = x.Wr, x.Wr+len(body)
	return true
}

func (c *caching) broken() bool {
	c.file.Close()
	c.file = nil
	return false
}

// deliver answers with the file whose head was loaded.
func (c *caching) deliver(x *Exchange) ngx.Outcome {
	r := x.R
	c.release()
	if x.Fields.redirect != nil && x.H.conf.IgnoreHeaders.V&IgnoreRedirect == 0 {
		return x.accelRedirect()
	}
	if x.Fields.Chunked {
		x.Length = -1
	}
	x.takeHead()
	off, n := c.file.Body()
	if x.Length >= 0 && x.Length != n && !r.HeaderOnly && string(r.Method) != "HEAD" {
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
func (c *caching) body(x *Exchange, off, n int64) bool {
	r := x.R
	if r.HeaderOnly || n == 0 {
		return true
	}
	if p := x.In[x.Rd:x.Wr]; int64(len(p)) == n {
		x.Rd = x.Wr
		return r.Write(p) == nil
	}
	f := c.file.Take()
	defer f.Close()
	return r.SendFile(f, off, n) == nil
}

// fresh makes the file at hand fresh again after a 304, whose fields say for how long, else the file's own do.
func (c *caching) fresh(x *Exchange) ngx.Outcome {
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
		if t := c.validFor(x.Status); t > 0 {
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

// instead serves the stale file in place of a Failure, where it may.
func (c *caching) instead(x *Exchange, class uint32, mayError bool) (ngx.Outcome, bool) {
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
func (c *caching) failed(x *Exchange, fail Failure) ngx.Outcome {
	if fail.Class != NextOff {
		if out, ok := c.instead(x, fail.Class, true); ok {
			return out
		}
	}
	if fail.Status == 502 || fail.Status == 504 {
		c.remember(fail.Status, c.validFor(fail.Status))
	}
	c.release()
	return ngx.Status(fail.Status)
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

// validFor returns how many seconds _cache_valid gives a status.
func (c *caching) validFor(status int) int64 {
	for _, v := range c.conf.Valid.V {
		if v.status == 0 || v.status == status {
			return v.time
		}
	}
	return 0
}

package relay

import (
	"bytes"
	"crypto/md5"
	"strconv"
	"time"

	"limpet/internal/cache"
	"limpet/internal/errlog"
	"limpet/internal/ngx"
	"limpet/nginxconf"
)

// caches are a configuration's caches by the names of their kinds and zones.
type caches map[string]*cache.Store

// Caches makes the caches of all _cache_path of a kind, or takes them over. One with the same folder, levels and zone
// is the same.
func (k *Kind) Caches(b *ngx.Build) error {
	all := ngx.Shared[caches](b)
	if *all == nil {
		*all = make(caches)
	}
	for _, lv := range b.Config.Root.Inner {
		if lv.Context != nginxconf.HTTP {
			continue
		}
		for _, p := range k.Conf(lv).Cached.paths {
			key := k.Name + "_cache " + p.Zone + " " + p.Dir
			for _, l := range p.Levels {
				key += " " + strconv.Itoa(l)
			}
			s := ngx.Keep(b, key, func() *cache.Store { return cache.New(p) })
			(*all)[k.Name+" "+p.Zone] = s
			b.TempDir(p.Dir)
			b.OnStart(func() { s.Start(p, b.Log) })
			b.OnRetire(s.Stop)
		}
	}
	return nil
}

// cacher is the caching of a place.
type cacher struct {
	conf   *CacheConf
	kind   string
	stores caches
}

// cacher returns the caching of a place, nil where there is none.
func (c *Conf) cacher(b *ngx.Build) *cacher {
	if !c.Cached.Cache.V.on {
		return nil
	}
	return &cacher{&c.Cached, c.kind.Name, *ngx.Shared[caches](b)}
}

// The values of $upstream_cache_status.
const (
	cacheMiss        = "MISS"
	cacheBypass      = "BYPASS"
	cacheExpired     = "EXPIRED"
	cacheStale       = "STALE"
	cacheUpdating    = "UPDATING"
	cacheRevalidated = "REVALIDATED"
	cacheHit         = "HIT"
)

// caching is one request's dealing with the cache.
type caching struct {
	*cacher
	store  *cache.Store
	hold   *cache.Hold
	file   *cache.File // what is there already
	text   []byte      // the key
	main   cache.Key   // its MD5
	key    cache.Key   // main, or the variant's
	status string      // $upstream_cache_status; "" for none
	keep   bool        // the answer may be kept
	// meta is what is kept with the answer, old what was kept with the one in file.
	meta, old cache.Meta
	// staleError says that the file may be served in place of an error by stale-if-error.
	staleError bool
	noCache    bool // by the answer's fields
	expired    bool
	late       bool // _cache_lock_timeout is over
	// update is handed to the request that updates the file in the background.
	update *caching
}

// update is what a background request finds in Request.Passed.
type update struct{ c *caching }

// forever is longer than any update of a file takes.
const forever = 24 * time.Hour

// lookup answers from the cache, or says by Next that a peer is to be asked.
func (x *Exchange) lookup() ngx.Outcome {
	r := x.R
	if r.Clone {
		x.AsGet = x.H.cache.conf.ConvertHead.V && string(r.Method) == "HEAD"
		x.c.open(x)
		return ngx.Next
	}
	if out := x.enterCache(); out != ngx.Next || x.c == nil {
		return out
	}
	c := x.c
	if ngx.Holds(c.conf.Bypass.V, r) {
		c.status = cacheBypass
		return ngx.Next
	}
	c.status = cacheMiss
	out := c.find(x)
	if out == ngx.Next && c.keep && !c.rangeWithin(r) {
		c.keep = false
	}
	return out
}

// enterCache begins the request's dealing with the cache; x.c stays nil where it has none.
func (x *Exchange) enterCache() ngx.Outcome {
	r, at := x.R, x.H.cache
	var bit uint32
	switch string(r.Method) {
	case "GET":
		bit = methodGET
	case "HEAD":
		bit = methodHEAD
	case "POST":
		bit = methodPOST
	}
	if bit&at.conf.Methods.V == 0 {
		return ngx.Next
	}
	zone := &at.conf.Cache.V
	name := zone.text.Bytes(r)
	if len(name) == 0 || string(name) == "off" {
		return ngx.Next
	}
	store := at.stores[at.kind+" "+string(name)]
	if store == nil {
		r.Errorf(`cache "%s" not found`, name)
		return ngx.Status(500)
	}
	x.AsGet = bit == methodHEAD && at.conf.ConvertHead.V
	c := &caching{cacher: at, store: store, keep: true}
	if key := &at.conf.Key.V; key.own {
		c.text = key.text.Bytes(r)
	} else {
		c.text = x.defaultKey()
	}
	c.main = md5.Sum(c.text)
	c.key = c.main
	x.c = c
	return ngx.Next
}

// defaultKey is nginx's key where the file names none: the URL asked of the peer.
func (x *Exchange) defaultKey() []byte {
	b := append(x.Out[:0], x.To.scheme.Shown...)
	b = append(b, x.To.Host...)
	b = x.To.AppendURI(b, x.R, x.H.location)
	x.Out = b[:0]
	return x.R.Copy(b)
}

// find looks the key up, and waits for another request's answer where _cache_lock says so.
func (c *caching) find(x *Exchange) ngx.Outcome {
	r := x.R
	minUses := c.conf.MinUses.V
	var found cache.Found
	c.hold, found = c.store.Get(c.key, minUses)
	var deadline time.Time
	for {
		if found == cache.Present {
			f := c.open(x)
			switch {
			case f != nil && c.other(r, f):
				c.hold.Release()
				c.hold, found = c.store.Get(c.key, minUses)
				continue
			case f != nil:
				return c.use(x)
			case !c.hold.MayKeep(minUses):
				found = cache.Scarce
			}
		}
		switch {
		case found == cache.Failed:
			c.status = cacheHit
			return ngx.Status(c.hold.Status)
		case found == cache.Scarce || c.late:
			c.keep = false
			return ngx.Next
		case !c.conf.Lock.V || c.hold.Own(c.conf.LockAge.V):
			return ngx.Next
		}
		if deadline.IsZero() {
			deadline = time.Now().Add(c.conf.LockTimeout.V)
		}
		if c.wait(r, deadline) != nil {
			r.Infof("client prematurely closed connection")
			return ngx.Status(499)
		}
		found = c.hold.Again()
	}
}

// wait waits until the key's update by another request ends, or may be done by this one, too, or the deadline comes.
func (c *caching) wait(r *ngx.Request, deadline time.Time) error {
	done, left := c.hold.Busy()
	if done == nil {
		return nil
	}
	until := time.Until(deadline)
	if until <= 0 {
		r.Infof("cache lock timeout")
		c.late = true
		return nil
	}
	if conn := r.Client.Conn; conn != nil {
		return conn.Await(done, min(left, until))
	}
	timer := time.NewTimer(min(left, until))
	defer timer.Stop()
	select {
	case <-done:
	case <-timer.C:
	}
	return nil
}

// open opens the key's file; nil where there is none that can be used.
func (c *caching) open(x *Exchange) *cache.File {
	f, err := c.hold.Open(c.text, x.In)
	if err != nil {
		x.R.Critf("%s", err)
	}
	if f == nil {
		return nil
	}
	c.file, c.old = f, f.Meta
	c.old.ETag = x.R.Copy(f.ETag) // the file's is in a buffer that is used again
	return f
}

// other reports whether the file is a variant that doesn't answer the request; c.key is then that of the one that does.
func (c *caching) other(r *ngx.Request, f *cache.File) bool {
	if len(f.Vary) == 0 {
		return false
	}
	variant := c.variant(r, f.Vary)
	if variant == f.Variant {
		return false
	}
	if c.key != c.main {
		r.Critf(`cache file "%s" has incorrect vary hash`, f.Name)
	}
	c.file.Close()
	c.file = nil
	c.key = variant
	return true
}

// use serves the file, or notes that a peer has to be asked first.
func (c *caching) use(x *Exchange) ngx.Outcome {
	now := time.Now().Unix()
	f := c.file
	if f.Valid >= now {
		c.status = cacheHit
		return c.serve(x)
	}
	c.staleError = f.Valid+f.Error >= now
	may := (c.conf.UseStale.V&NextUpdating != 0 || f.Valid+f.Updating >= now) && !x.R.Background
	switch own := c.hold.Own(forever); {
	case own && may && c.conf.BackgroundUpdate.V:
		c.inBackground(x.R)
		c.status = cacheStale
		return c.serve(x)
	case !own && may:
		c.status = cacheUpdating
		return c.serve(x)
	}
	c.status = cacheExpired
	return ngx.Next
}

// serve serves a file that can be served as it is. One whose head is broken is a miss.
func (c *caching) serve(x *Exchange) ngx.Outcome {
	if c.update == nil {
		c.hold.Release()
	}
	if !c.load(x) {
		c.status = cacheMiss
		return ngx.Next
	}
	if out := x.R.DiscardBody(); out != ngx.Next {
		return out
	}
	return c.deliver(x)
}

// inBackground has the file updated by a request of its own, once this one is answered.
func (c *caching) inBackground(r *ngx.Request) {
	c.update = &caching{cacher: c.cacher, store: c.store, hold: c.hold, text: c.text, main: c.main, key: c.key, status: cacheExpired, keep: true}
	c.hold = nil
	sub := r.Sub(r.Path, r.Args)
	sub.Scope, sub.Method, sub.PathChanged, sub.PathFree, sub.Internal = r.Scope, r.Method, r.PathChanged, r.PathFree, r.Internal
	sub.Clone, sub.Background, sub.HeaderOnly = true, true, true
	sub.Passed = &update{c.update}
	r.Main.Later = append(r.Main.Later, sub)
}

// takeUpdate makes what a background request was handed its own.
func takeUpdate(r *ngx.Request) *caching {
	if u, ok := r.Passed.(*update); ok {
		c := *u.c
		u.c.hold = nil
		return &c
	}
	return nil
}

// release ends the request's part in updating the key. A nil caching has none.
func (c *caching) release() {
	if c != nil {
		c.hold.Release()
	}
}

// end frees all.
func (c *caching) end() {
	if c != nil {
		c.hold.Release()
		c.file.Close()
		c.update.release()
	}
}

// rangeWithin reports whether the range asked for begins early enough to read the whole answer for it, by
// _cache_max_range_offset.
func (c *caching) rangeWithin(r *ngx.Request) bool {
	limit := &c.conf.MaxRangeOffset
	h := r.In.Get(ngx.HeaderRange)
	if h == nil || !limit.IsSet() {
		return true
	}
	if limit.V > 0 && (len(h) < 7 || !ngx.EqualFold(h[:6], "bytes=")) {
		return true
	}
	if limit.V == 0 {
		return false
	}
	h = bytes.TrimLeft(h[6:], " ")
	start, _, _ := digits(h)
	return (len(h) == 0 || h[0] != '-') && start < limit.V
}

// variant is the key of the answer to the request among those that differ by the fields of vary.
func (c *caching) variant(r *ngx.Request, vary []byte) cache.Key {
	b := append([]byte(nil), c.main[:]...)
	for len(vary) > 0 {
		var name []byte
		name, vary, _ = bytes.Cut(vary, []byte(","))
		if name = bytes.Trim(name, " \t"); len(name) == 0 {
			continue
		}
		b = append(append(b, bytes.ToLower(name)...), ':')
		b = appendNormal(b, r, string(name))
		b = append(b, "\r\n"...)
	}
	return md5.Sum(b)
}

// appendNormal appends the elements of all fields of a name, without empty ones and the blanks around them.
func appendNormal(b []byte, r *ngx.Request, name string) []byte {
	mark := len(b)
	for i := range r.In.Fields {
		f := &r.In.Fields[i]
		if !ngx.EqualFold(f.Name, name) {
			continue
		}
		for v := f.Value; len(v) > 0; {
			var e []byte
			e, v, _ = bytes.Cut(v, []byte(","))
			if e = bytes.Trim(e, " \t"); len(e) == 0 {
				continue
			}
			if len(b) > mark {
				b = append(b, ',')
			}
			b = append(b, e...)
		}
	}
	return b
}

// logFile notes what went wrong with a file.
func (x *Exchange) logFile(err error) { x.R.Logf(errlog.Crit, "%s", err) }

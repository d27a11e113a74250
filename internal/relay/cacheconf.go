package relay

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"limpet/internal/cache"
	"limpet/internal/ngx"
	"limpet/nginxconf"
)

// Bits of _cache_methods.
const (
	methodGET uint32 = 1 << iota
	methodHEAD
	methodPOST
)

// CacheConf holds _cache* and _store*.
type CacheConf struct {
	Cache            nginxconf.Opt[cacheZone]
	Key              nginxconf.Opt[cacheKey]
	Bypass, NoCache  nginxconf.List[ngx.Text]
	Valid            nginxconf.List[validity]
	MinUses          nginxconf.Opt[int]
	MaxRangeOffset   nginxconf.Opt[int64]
	UseStale         nginxconf.Opt[uint32]
	Methods          nginxconf.Opt[uint32]
	Lock             nginxconf.Opt[bool]
	LockTimeout      nginxconf.Opt[time.Duration]
	LockAge          nginxconf.Opt[time.Duration]
	Revalidate       nginxconf.Opt[bool]
	ConvertHead      nginxconf.Opt[bool]
	BackgroundUpdate nginxconf.Opt[bool]
	Store            nginxconf.Opt[storeTo]
	StoreAccess      nginxconf.Opt[os.FileMode]

	// DefaultKey is what the key is said to be where the file names none; "" where it must.
	DefaultKey string

	paths []*cache.Config // of http{} alone
}

// On reports whether answers are kept.
func (c *CacheConf) On() bool { return c.Cache.V.on }

// cacheZone is what _cache says; the zero value is off.
type cacheZone struct {
	on   bool
	name string   // without variables
	text ngx.Text // with variables
}

// cacheKey is what _cache_key says.
type cacheKey struct {
	text ngx.Text
	// own is false for nginx's default, the URL asked of the peer, which the documented text comes close to.
	own bool
}

// validity is how long answers of a status are fresh.
type validity struct {
	status int // 0 for any
	time   int64
}

func (c *CacheConf) rows(k *Kind) []nginxconf.Directive {
	const hsl = nginxconf.HTTPServerLocation
	p := k.Name
	parse := func(s *nginxconf.Setting) (cacheZone, error) { return c.parseCache(p, s) }
	store := func(s *nginxconf.Setting) (storeTo, error) { return c.parseStore(p, s) }
	return []nginxconf.Directive{
		nginxconf.Custom(p+"_cache", hsl, nginxconf.Args1, &c.Cache, parse, "off", "Names the zone of the cache that keeps responses."),
		nginxconf.Call(p+"_cache_path", nginxconf.HTTP, nginxconf.Args2More, c.addPath, "Makes a cache: its folder, keys zone and bounds."),
		nginxconf.Custom(p+"_cache_key", hsl, nginxconf.Args1, &c.Key, parseCacheKey, c.DefaultKey, "Says which requests share a cached response."),
		nginxconf.Many(p+"_cache_bypass", hsl, nginxconf.Args1More, &c.Bypass, ngx.ParseConditions, "", "Says when a response isn't taken from the cache."),
		nginxconf.Many(p+"_no_cache", hsl, nginxconf.Args1More, &c.NoCache, ngx.ParseConditions, "", "Says when a response isn't put into the cache."),
		nginxconf.Many(p+"_cache_valid", hsl, nginxconf.Args1More, &c.Valid, parseValidity, "", "Says by status how long responses are fresh that don't say it themselves."),
		nginxconf.Num(p+"_cache_min_uses", hsl, &c.MinUses, "1", "Sets after how many requests a response is kept."),
		nginxconf.Offset(p+"_cache_max_range_offset", hsl, &c.MaxRangeOffset, "", "Sets the offset from which on a range is passed on and its response not kept."),
		nginxconf.Mask(p+"_cache_use_stale", hsl, &c.UseStale, k.Next, "off", "Says after which failures a stale response is served."),
		nginxconf.Mask(p+"_cache_methods", hsl, &c.Methods, []nginxconf.Word[uint32]{
			{Name: "GET", Value: methodGET}, {Name: "HEAD", Value: methodHEAD}, {Name: "POST", Value: methodPOST}},
			"GET HEAD", "Names the methods whose responses are kept; GET and HEAD always are."),
		nginxconf.Flag(p+"_cache_lock", hsl, &c.Lock, "off", "Lets one request at a time fetch a response that isn't in the cache."),
		nginxconf.Msec(p+"_cache_lock_timeout", hsl, &c.LockTimeout, "5s", "Bounds the wait for another request's response, which then isn't kept."),
		nginxconf.Msec(p+"_cache_lock_age", hsl, &c.LockAge, "5s", "Sets the time after which another request may fetch the response, too."),
		nginxconf.Flag(p+"_cache_revalidate", hsl, &c.Revalidate, "off", "Asks by If-Modified-Since and If-None-Match for responses that aren't fresh."),
		nginxconf.Flag(p+"_cache_background_update", hsl, &c.BackgroundUpdate, "off", "Updates a stale response behind the client's back while it is served."),
		nginxconf.Custom(p+"_store", hsl, nginxconf.Args1, &c.Store, store, "off", "Saves responses as files."),
		nginxconf.Custom(p+"_store_access", hsl, nginxconf.Args123, &c.StoreAccess, parseAccess, "user:rw", "Sets the permissions of saved files."),
	}
}

func (c *CacheConf) parseCache(p string, s *nginxconf.Setting) (cacheZone, error) {
	if s.Arg(0) == "off" {
		return cacheZone{}, nil
	}
	if c.Store.Own && c.Store.V.on {
		return cacheZone{}, nginxconf.Brief(`is incompatible with "` + p + `_store"`)
	}
	t, err := ngx.ParseText(s, s.Arg(0))
	name, _ := t.Static()
	return cacheZone{true, string(name), t}, err
}

func parseCacheKey(s *nginxconf.Setting) (cacheKey, error) {
	t, err := ngx.ParseText(s, s.Arg(0))
	return cacheKey{t, !s.IsDefault}, err
}

// addPath takes one _cache_path.
func (c *CacheConf) addPath(s *nginxconf.Setting) error {
	p, err := cache.Parse(s)
	if err != nil {
		return err
	}
	for _, have := range c.paths {
		switch {
		case have.Dir == p.Dir:
			return fmt.Errorf(`the same path name "%s" used in %s:%d and`, p.Dir, have.File, have.Line)
		case have.Zone != p.Zone:
		case have.ZoneSize != p.ZoneSize:
			return fmt.Errorf(`the size %d of shared memory zone "%s" conflicts with already declared size %d`, p.ZoneSize, p.Zone, have.ZoneSize)
		default:
			return fmt.Errorf(`duplicate zone "%s"`, p.Zone)
		}
	}
	c.paths = append(c.paths, p)
	return nil
}

// parseValidity reads `[code]... time`; without a code it is that of 200, 301 and 302.
func parseValidity(s *nginxconf.Setting) ([]validity, error) {
	last := len(s.Args) - 1
	d, ok := nginxconf.ParseTime(s.Arg(last), false)
	if !ok {
		return nil, fmt.Errorf(`invalid time value "%s"`, s.Arg(last))
	}
	seconds := int64(d / time.Second)
	if last == 0 {
		return []validity{{200, seconds}, {301, seconds}, {302, seconds}}, nil
	}
	var list []validity
	for i := range last {
		word := s.Arg(i)
		status := 0
		if word != "any" {
			if status, ok = nginxconf.ParseNum(word); !ok || status < 100 || status > 599 {
				return nil, fmt.Errorf(`invalid status "%s"`, word)
			}
		}
		list = append(list, validity{status, seconds})
	}
	return list, nil
}

func (c *CacheConf) parseStore(p string, s *nginxconf.Setting) (storeTo, error) {
	switch s.Arg(0) {
	case "off":
		return storeTo{}, nil
	case "on":
	default:
		name := s.Arg(0)
		if !strings.HasPrefix(name, "$") {
			name = s.Loader.PrefixPath(name)
		}
		t, err := ngx.ParseText(s, name)
		return storeTo{on: true, text: t, named: true}, errors.Join(err, c.besideCache(p))
	}
	return storeTo{on: true}, c.besideCache(p)
}

func (c *CacheConf) besideCache(p string) error {
	if c.Cache.Own && c.Cache.V.on {
		return nginxconf.Brief(`is incompatible with "` + p + `_cache"`)
	}
	return nil
}

// parseAccess reads user:, group: and all: with r or rw. The user may always read and write.
func parseAccess(s *nginxconf.Setting) (os.FileMode, error) {
	mode := os.FileMode(0o600)
	for i := range s.Args {
		who, what, _ := strings.Cut(s.Arg(i), ":")
		shift, known := map[string]int{"user": 6, "group": 3, "all": 0}[who]
		bits, right := map[string]os.FileMode{"r": 4, "rw": 6}[what]
		if !known || !right {
			return 0, fmt.Errorf(`invalid value "%s"`, s.Arg(i))
		}
		mode |= bits << shift
	}
	return mode, nil
}

// check settles what inner and outer blocks say of _cache and _store, which
// exclude each other, and finds the zone.
func (c *CacheConf) check(k *Kind, lv *nginxconf.Level) error {
	switch {
	case c.Store.Own && c.Store.V.on:
		c.Cache.V = cacheZone{}
	case c.Cache.Own && c.Cache.V.on:
		c.Store.V = storeTo{}
	}
	if c.UseStale.V&NextOff != 0 {
		c.UseStale.V = 0
	}
	c.Methods.V |= methodGET | methodHEAD
	if !c.Cache.V.on {
		return nil
	}
	_, static := c.Cache.V.text.Static()
	for _, p := range k.Conf(lv.Up(nginxconf.HTTP)).Cached.paths {
		static = static && p.Zone != c.Cache.V.name
	}
	switch {
	case static:
	case c.Key.IsSet():
		return nil
	case lv.Context != nginxconf.HTTP:
		lv.Loader().WarnAtEnd(`no "%s_cache_key" for "%s_cache"`, k.Name, k.Name)
		return nil
	default:
		return nil
	}
	if lv.Context == nginxconf.HTTP && len(lv.Inner) == 0 {
		return nginxconf.Errorf("", 0, `zero size shared memory zone "%s"`, c.Cache.V.name)
	}
	return fmt.Errorf(`"%s_cache" zone "%s" is unknown`, k.Name, c.Cache.V.name)
}

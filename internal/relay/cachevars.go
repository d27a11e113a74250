package relay

import (
	"time"

	"limpet/internal/ngx"
)

// Module returns the part that all kinds of modules share: the variables of the cache.
func Module() ngx.Module {
	return ngx.Module{Name: "relay", Vars: cacheVars}
}

// cacheVars are the variables of the cache.
// https://nginx.org/en/docs/http/ngx_http_upstream_module.html#var_upstream_cache_status
func cacheVars() []ngx.Variable {
	return []ngx.Variable{
		{Name: "upstream_cache_status", Doc: "What part the cache had: MISS, BYPASS, EXPIRED, STALE, UPDATING, REVALIDATED or HIT.",
			Get: cacheVar(func(x *Exchange, b []byte) ([]byte, bool) { return append(b, x.c.status...), x.c.status != "" })},
		{Name: "upstream_cache_last_modified", Doc: "Last-Modified of the cached response that is asked for again.", Get: cacheVar((*Exchange).AppendModified)},
		{Name: "upstream_cache_etag", Doc: "ETag of the cached response that is asked for again.", Get: cacheVar((*Exchange).AppendETag)},
	}
}

// cacheVar is a variable that exists where the cache has a part in the request.
func cacheVar(get func(x *Exchange, b []byte) ([]byte, bool)) ngx.Getter {
	return func(r *ngx.Request, b []byte) ([]byte, bool) {
		if x, ok := r.Passed.(*Exchange); ok && x.R == r && x.c != nil {
			return get(x, b)
		}
		return b, false
	}
}

// revalidating reports whether the peer is asked whether the file at hand is still good.
func (c *caching) revalidating() bool {
	return c != nil && c.status == cacheExpired && c.conf.Revalidate.V && c.file != nil
}

// AppendModified appends the last change of the kept answer that is asked for again, as If-Modified-Since has it; false
// where there is none.
func (x *Exchange) AppendModified(b []byte) ([]byte, bool) {
	if c := x.c; c.revalidating() && c.old.LastModified != 0 {
		return time.Unix(c.old.LastModified, 0).UTC().AppendFormat(b, ngx.TimeFormat), true
	}
	return b, false
}

// AppendETag appends the ETag of the kept answer that is asked for again; false where there is none.
func (x *Exchange) AppendETag(b []byte) ([]byte, bool) {
	if c := x.c; c.revalidating() && len(c.old.ETag) > 0 {
		return append(b, c.old.ETag...), true
	}
	return b, false
}

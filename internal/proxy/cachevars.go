package proxy

import (
	"time"

	"limpet/internal/ngx"
)

// cacheVars are the variables of the cache.
// https://nginx.org/en/docs/http/ngx_http_upstream_module.html#var_upstream_cache_status
func cacheVars() []ngx.Variable {
	return []ngx.Variable{
		{Name: "upstream_cache_status", Doc: "What part the cache had: MISS, BYPASS, EXPIRED, STALE, UPDATING, REVALIDATED or HIT.",
			Get: cacheVar(func(c *caching, b []byte) ([]byte, bool) { return append(b, c.status...), c.status != "" })},
		{Name: "upstream_cache_last_modified", Doc: "Last-Modified of the cached response that is asked for again.",
			Get: cacheVar(func(c *caching, b []byte) ([]byte, bool) {
				if !c.revalidating() || c.old.LastModified == 0 {
					return b, false
				}
				return time.Unix(c.old.LastModified, 0).UTC().AppendFormat(b, ngx.TimeFormat), true
			})},
		{Name: "upstream_cache_etag", Doc: "ETag of the cached response that is asked for again.",
			Get: cacheVar(func(c *caching, b []byte) ([]byte, bool) {
				if !c.revalidating() || len(c.old.ETag) == 0 {
					return b, false
				}
				return append(b, c.old.ETag...), true
			})},
	}
}

// cacheVar is a variable that exists where the cache has a part in the request.
func cacheVar(get func(c *caching, b []byte) ([]byte, bool)) ngx.Getter {
	return func(r *ngx.Request, b []byte) ([]byte, bool) {
		if x, ok := r.Passed.(*exchange); ok && x.r == r && x.c != nil {
			return get(x.c, b)
		}
		return b, false
	}
}

// revalidating reports whether the peer is asked whether the file at hand is still good.
func (c *caching) revalidating() bool {
	return c != nil && c.status == cacheExpired && c.conf.Revalidate.V && c.file != nil
}

// appendValidator appends If-Modified-Since or If-None-Match of the file at hand.
func (c *caching) appendValidator(b []byte, op *headOp) []byte {
	switch {
	case !c.revalidating():
		return b
	case op.kind == headSince && c.old.LastModified != 0:
		b = append(b, op.literal...)
		b = time.Unix(c.old.LastModified, 0).UTC().AppendFormat(b, ngx.TimeFormat)
	case op.kind == headNoneMatch && len(c.old.ETag) > 0:
		b = append(append(b, op.literal...), c.old.ETag...)
	default:
		return b
	}
	return append(b, "\r\n"...)
}

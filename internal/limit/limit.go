// Package limit bounds connections and the rate of requests by a key: nginx's
// limit_conn and limit_req modules.
// https://nginx.org/en/docs/http/ngx_http_limit_conn_module.html
// https://nginx.org/en/docs/http/ngx_http_limit_req_module.html
//
// A zone lives on over reloads while its name, size and key stay; nginx refuses
// to reload where the key changes, here the zone then begins anew. It holds as many keys as nginx's
// zone of that size would on a 64-bit platform.
package limit

import (
	"fmt"

	"limpet/internal/ngx"
	"limpet/nginxconf"
)

// Module returns the module.
func Module() ngx.Module {
	return ngx.Module{
		Name:   "limit_req",
		Conf:   func() nginxconf.Settings { return new(Conf) },
		Vars:   Vars,
		Config: openZones,
		Scope: func(_ *ngx.Build, s *ngx.Scope) error {
			c := nginxconf.Of[*Conf](s.Level)
			s.Add(ngx.PreAccess, reqStep(c))
			s.Add(ngx.PreAccess, connStep(c))
			return nil
		},
	}
}

// Vars lists the variables of both modules.
func Vars() []ngx.Variable {
	status := func(get func(r *ngx.Request) ngx.LimitStatus) ngx.Getter {
		return func(r *ngx.Request, b []byte) ([]byte, bool) {
			s := get(r.Main)
			return append(b, s.String()...), s != ngx.LimitNone
		}
	}
	return []ngx.Variable{
		{Name: "limit_conn_status", Doc: "What limit_conn decided.", Get: status(func(r *ngx.Request) ngx.LimitStatus { return r.LimitConn })},
		{Name: "limit_req_status", Doc: "What limit_req decided.", Get: status(func(r *ngx.Request) ngx.LimitStatus { return r.LimitReq })},
	}
}

// openZones makes the zones, or takes over those of the configuration before.
func openZones(b *ngx.Build) error {
	for _, lv := range b.Config.Root.Inner {
		if lv.Context != nginxconf.HTTP {
			continue
		}
		for _, z := range nginxconf.Of[*Conf](lv).zones {
			if z.size == 0 {
				return nginxconf.Errorf("", 0, `zero size shared memory zone "%s"`, z.name)
			}
			id := fmt.Sprintf("%s %s %d %s", z.kind, z.name, z.size, z.text)
			if z.kind == "limit_conn" {
				z.conn = ngx.Keep(b, id, func() *connZone { return newConnZone(z.size) })
			} else {
				z.req = ngx.Keep(b, id, func() *reqZone { return newReqZone(z.size) })
			}
		}
	}
	return nil
}

// budget returns how many bytes of a zone are left for its keys: two pages are nginx's own.
func budget(size int64) int64 { return size - 2*4096 }

// cost returns what a node with a key of n bytes takes of a zone: nginx's
// allocator gives powers of two.
func cost(node, n int) int64 {
	c := int64(8)
	for c < int64(node+n) {
		c *= 2
	}
	return c
}

// value returns a request's key of a zone; nil where it isn't counted.
func (z *zoneConf) value(r *ngx.Request, longest int) []byte {
	key := z.key.Bytes(r)
	if len(key) > longest {
		r.Errorf(`the value of the "%s" key is more than %d bytes: "%s"`, z.text, longest, key)
		return nil
	}
	return key
}

// dryRun is what log lines say of a limit that does nothing.
func dryRun(on bool) string {
	if on {
		return ", dry run"
	}
	return ""
}

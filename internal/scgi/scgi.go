// Package scgi passes requests to SCGI servers.
//
// It stands for nginx's ngx_http_scgi_module.
// https://nginx.org/en/docs/http/ngx_http_scgi_module.html
// https://python.ca/scgi/protocol.txt
//
// Not done: scgi_cache_purge, which is NGINX Plus's; it is refused by name.
package scgi

import (
	"strconv"

	"limpet/internal/ngx"
	"limpet/internal/relay"
	"limpet/nginxconf"
)

// Conf is the SCGI module's configuration at one level.
type Conf struct {
	relay.Conf
	Param nginxconf.List[relay.Param]
}

// Directives lists the directives of the SCGI module.
func (c *Conf) Directives() []nginxconf.Directive {
	rows := c.PeerRows(kind(), nginxconf.Location|nginxconf.LocationIf)
	rows = append(rows, c.HeaderRows()...)
	rows = append(rows, c.BodyRows()...)
	return append(rows,
		nginxconf.Each("scgi_param", nginxconf.HTTPServerLocation, nginxconf.Args23, &c.Param, relay.ParseParam, "Sets a parameter that is passed to the server."),
	)
}

// kind is the SCGI module's.
func kind() *relay.Kind {
	return &relay.Kind{
		Name: "scgi", Schemes: []relay.Scheme{{Shown: "scgi://"}}, Value: relay.HostParam,
		Next:   relay.CGIWords(),
		Hidden: relay.AccelFields("Status"),
		Conf:   func(lv *nginxconf.Level) *relay.Conf { return &nginxconf.Of[*Conf](lv).Conf },
	}
}

// Module returns the SCGI module.
func Module() ngx.Module {
	k := kind()
	return ngx.Module{
		Name: "scgi", Conf: func() nginxconf.Settings { return new(Conf) }, Config: k.Caches,
		Scope: func(b *ngx.Build, s *ngx.Scope) error {
			target := k.Target(s)
			if target == nil {
				return nil
			}
			return relay.Handle(b, s, target, relay.Place{Kind: k, Protocol: newPlace(nginxconf.Of[*Conf](s.Level), target.Value)})
		},
	}
}

// place is SCGI as one place speaks it.
type place struct{ relay.CGI }

func newPlace(c *Conf, host ngx.Text) *place {
	return &place{relay.CGI{Params: relay.NewParams(c.Param.V, &c.Conf, host)}}
}

// AppendRequest implements relay.Protocol: a netstring of names and values, the body's length first. The body follows.
func (p *place) AppendRequest(b []byte, x *relay.Exchange) []byte {
	pairs := p.Pairs(x)
	var digits [20]byte
	length := strconv.AppendInt(digits[:0], max(x.BodyLength, 0), 10)
	const first = "CONTENT_LENGTH\x00"
	size := len(first) + len(length) + 1
	for _, pair := range pairs {
		size += len(pair.Name) + len(pair.Value) + 2
	}
	b = append(strconv.AppendInt(b, int64(size), 10), ':')
	b = append(append(append(b, first...), length...), 0)
	for _, pair := range pairs {
		b = append(append(b, pair.Name...), 0)
		b = append(append(b, pair.Value...), 0)
	}
	clear(pairs)
	return append(b, ',')
}

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

	"limpet/internal/http1"
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
		Next:   relay.WordsBut(relay.HTTPWords(), "http_502", "http_504"),
		Hidden: []string{"Status", "X-Accel-Expires", "X-Accel-Redirect", "X-Accel-Limit-Rate", "X-Accel-Buffering", "X-Accel-Charset"},
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
type place struct {
	relay.CGI
	params, kept *relay.Params // kept: of requests whose answers may be kept
}

func newPlace(c *Conf, host ngx.Text) *place {
	p := &place{params: relay.NewParams(c.Param.V, &c.Conf, host, false)}
	if c.Cached.On() {
		p.kept = relay.NewParams(c.Param.V, &c.Conf, host, true)
	}
	return p
}

// state is what a request keeps of the protocol.
type state struct {
	line  http1.StatusLine
	pairs []relay.Pair
}

// NewState implements relay.Protocol.
func (p *place) NewState() any { return new(state) }

// AppendRequest implements relay.Protocol: a netstring of names and values, the body's length first. The body follows.
func (p *place) AppendRequest(b []byte, x *relay.Exchange) []byte {
	s, list := x.State.(*state), p.params
	if x.Keeping() {
		list = p.kept
	}
	s.pairs = list.Append(s.pairs[:0], x)
	var digits [20]byte
	length := strconv.AppendInt(digits[:0], max(x.BodyLength, 0), 10)
	const first = "CONTENT_LENGTH\x00"
	size := len(first) + len(length) + 1
	for _, pair := range s.pairs {
		size += len(pair.Name) + len(pair.Value) + 2
	}
	b = append(strconv.AppendInt(b, int64(size), 10), ':')
	b = append(append(append(b, first...), length...), 0)
	for _, pair := range s.pairs {
		b = append(append(b, pair.Name...), 0)
		b = append(append(b, pair.Value...), 0)
	}
	clear(s.pairs)
	return append(b, ',')
}

// ParseHead implements relay.Protocol.
func (p *place) ParseHead(x *relay.Exchange) (done bool, fail relay.Failure) {
	return x.ParseCGIOrHTTP(&x.State.(*state).line)
}

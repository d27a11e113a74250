// Package uwsgi passes requests to uwsgi servers.
//
// It stands for nginx's ngx_http_uwsgi_module.
// https://nginx.org/en/docs/http/ngx_http_uwsgi_module.html
// https://uwsgi-docs.readthedocs.io/en/latest/Protocol.html
//
// Not done: uwsgi_cache_purge, which is NGINX Plus's; it is refused by name.
package uwsgi

import (
	"encoding/binary"
	"errors"

	"limpet/internal/errlog"
	"limpet/internal/ngx"
	"limpet/internal/relay"
	"limpet/nginxconf"
)

// Conf is the uwsgi module's configuration at one level.
type Conf struct {
	relay.Conf
	Param                nginxconf.List[relay.Param]
	Modifier1, Modifier2 nginxconf.Opt[int]
	String               nginxconf.Opt[string]
}

// Directives lists the directives of the uwsgi module.
func (c *Conf) Directives() []nginxconf.Directive {
	const hsl = nginxconf.HTTPServerLocation
	rows := c.PeerRows(kind(), nginxconf.Location|nginxconf.LocationIf)
	rows = append(rows, c.HeaderRows()...)
	rows = append(rows, c.BodyRows()...)
	rows = append(rows, c.SSLRows()...)
	return append(rows,
		nginxconf.Each("uwsgi_param", hsl, nginxconf.Args23, &c.Param, relay.ParseParam, "Sets a parameter that is passed to the server."),
		nginxconf.Custom("uwsgi_modifier1", hsl, nginxconf.Args1, &c.Modifier1, modifier, "0", "Sets the first modifier of a packet."),
		nginxconf.Custom("uwsgi_modifier2", hsl, nginxconf.Args1, &c.Modifier2, modifier, "0", "Sets the second modifier of a packet."),
		nginxconf.Str("uwsgi_string", hsl, &c.String, "", "Is sent at the packet's end, behind the parameters."),
	)
}

// modifier reads a byte.
func modifier(s *nginxconf.Setting) (int, error) {
	n, ok := nginxconf.ParseNum(s.Arg(0))
	switch {
	case !ok:
		return 0, nginxconf.Brief("invalid number")
	case n > 255:
		return 0, errors.New("value must be between 0 and 255")
	}
	return n, nil
}

// kind is the uwsgi module's.
func kind() *relay.Kind {
	return &relay.Kind{
		Name: "uwsgi", Value: relay.HostParam,
		Schemes: []relay.Scheme{
			{Prefix: "uwsgi://", Shown: "uwsgi://"}, {Prefix: "suwsgi://", Shown: "suwsgi://", TLS: true}, {Shown: "uwsgi://"},
		},
		Next:   relay.CGIWords(),
		Hidden: relay.AccelFields(),
		Conf:   func(lv *nginxconf.Level) *relay.Conf { return &nginxconf.Of[*Conf](lv).Conf },
	}
}

// Module returns the uwsgi module.
func Module() ngx.Module {
	k := kind()
	return ngx.Module{
		Name: "uwsgi", Conf: func() nginxconf.Settings { return new(Conf) }, Config: k.Caches,
		Scope: func(b *ngx.Build, s *ngx.Scope) error {
			target := k.Target(s)
			if target == nil {
				return nil
			}
			return relay.Handle(b, s, target, relay.Place{Kind: k, Protocol: newPlace(nginxconf.Of[*Conf](s.Level), target.Value)})
		},
	}
}

// place is uwsgi as one place speaks it.
type place struct {
	relay.CGI
	conf *Conf
}

func newPlace(c *Conf, host ngx.Text) *place {
	return &place{relay.CGI{Params: relay.NewParams(c.Param.V, &c.Conf, host)}, c}
}

// maxPacket is how long names and values may be together.
const maxPacket = 0xffff

// AppendRequest implements relay.Protocol: a packet of names and values. The body follows.
func (p *place) AppendRequest(b []byte, x *relay.Exchange) []byte {
	pairs := p.Pairs(x)
	from := len(b)
	b = append(b, byte(p.conf.Modifier1.V), 0, 0, byte(p.conf.Modifier2.V))
	for _, pair := range pairs {
		b = appendText(b, pair.Name)
		b = appendText(b, pair.Value)
	}
	clear(pairs)
	b = append(b, p.conf.String.V...)
	size := len(b) - from - 4
	if size > maxPacket {
		x.R.Logf(errlog.Alert, "uwsgi request is too big: %d", size)
		x.Refuse(500)
		return b
	}
	binary.LittleEndian.PutUint16(b[from+1:], uint16(size))
	return b
}

func appendText(b, text []byte) []byte {
	b = binary.LittleEndian.AppendUint16(b, uint16(len(text)))
	return append(b, text...)
}

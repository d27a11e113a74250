package fastcgi

import (
	"limpet/internal/ngx"
	"limpet/internal/relay"
	"limpet/nginxconf"
)

// kind is the FastCGI module's.
func kind() *relay.Kind {
	return &relay.Kind{
		Name: "fastcgi", Schemes: []relay.Scheme{{Shown: "fastcgi://"}}, Value: relay.HostParam,
		Next:   relay.CGIWords(),
		Hidden: relay.AccelFields("Status"),
		Conf:   func(lv *nginxconf.Level) *relay.Conf { return &nginxconf.Of[*Conf](lv).Conf },
	}
}

// Module returns the FastCGI module.
func Module() ngx.Module {
	k := kind()
	return ngx.Module{
		Name: "fastcgi", Conf: func() nginxconf.Settings { return new(Conf) }, Vars: Vars, Config: k.Caches,
		Scope: func(b *ngx.Build, s *ngx.Scope) error {
			target := k.Target(s)
			if target == nil {
				return nil
			}
			return relay.Handle(b, s, target, relay.Place{Kind: k, Protocol: newPlace(nginxconf.Of[*Conf](s.Level), target.Value), Chunks: true})
		},
	}
}

// place is FastCGI as one place speaks it.
type place struct {
	conf   *Conf
	params *relay.Params
}

func newPlace(c *Conf, host ngx.Text) *place {
	return &place{conf: c, params: relay.NewParams(c.Param.V, &c.Conf, host)}
}

// state is what a request keeps of the protocol.
type state struct {
	pairs []relay.Pair
	// Of the record at hand:
	kind    byte
	left    int // of its content
	padding int
	// ready is how many bytes at x.In[x.Rd:] are of the body without framing: they came with the head.
	ready int
	rest  int64 // of a body with Content-Length; -1: not known
	// mayLack says that the body may be missing although Content-Length says otherwise: the answer is one to HEAD.
	mayLack bool
	over    bool // the stream of the answer has ended
	// stderr is what came of standard error and wasn't logged yet; caught that fastcgi_catch_stderr wants the answer away.
	stderr []byte
	caught bool
}

// NewState implements relay.Protocol.
func (p *place) NewState() any { return new(state) }

// Send implements relay.Protocol.
func (p *place) Send(x *relay.Exchange) relay.Failure {
	s := x.State.(*state)
	*s = state{pairs: s.pairs, stderr: s.stderr[:0]}
	return x.SendFramed()
}

// ReadHead implements relay.Protocol.
func (p *place) ReadHead(x *relay.Exchange) relay.Failure {
	if fail := x.AwaitHead(); fail.Class != 0 {
		p.flush(x, relay.WhileHead) // of a record that was cut
		return fail
	}
	s := x.State.(*state)
	s.rest, s.mayLack = x.Length, string(x.R.Method) == "HEAD"
	x.NoBody = x.Bodiless()
	x.Framed = true
	x.Keep = p.conf.KeepConn.V && !x.Cut
	return relay.Failure{}
}

// Package memcached answers requests with what a memcached server keeps under $memcached_key.
//
// It stands for nginx's ngx_http_memcached_module.
// https://nginx.org/en/docs/http/ngx_http_memcached_module.html
// https://github.com/memcached/memcached/blob/master/doc/protocol.txt
package memcached

import (
	"bytes"
	"io"
	"math"
	"strconv"

	"limpet/internal/ngx"
	"limpet/internal/relay"
	"limpet/nginxconf"
)

// Conf is the memcached module's configuration at one level.
type Conf struct {
	relay.Conf
	GzipFlag nginxconf.Opt[uint32]
}

// Directives lists the directives of the memcached module.
func (c *Conf) Directives() []nginxconf.Directive {
	return append(c.PeerRows(kind(), nginxconf.Location|nginxconf.LocationIf),
		nginxconf.Custom("memcached_gzip_flag", nginxconf.HTTPServerLocation, nginxconf.Args1, &c.GzipFlag, parseFlag, "", "Names the flags of values that are compressed by gzip."),
	)
}

func parseFlag(s *nginxconf.Setting) (uint32, error) {
	n, ok := nginxconf.ParseNum(s.Arg(0))
	if !ok || n > math.MaxUint32 {
		return 0, nginxconf.Brief("invalid number")
	}
	return uint32(n), nil
}

// kind is the memcached module's.
func kind() *relay.Kind {
	return &relay.Kind{
		Name: "memcached", Schemes: []relay.Scheme{{Shown: "memcached://"}}, Value: "$memcached_key",
		Next: []nginxconf.Word[uint32]{
			{Name: "error", Value: relay.NextError}, {Name: "timeout", Value: relay.NextTimeout}, {Name: "invalid_response", Value: relay.NextInvalidHeader},
			{Name: "not_found", Value: relay.Next404}, {Name: "off", Value: relay.NextOff},
		},
		Conf: func(lv *nginxconf.Level) *relay.Conf { return &nginxconf.Of[*Conf](lv).Conf },
	}
}

// Module returns the memcached module.
func Module() ngx.Module {
	k := kind()
	return ngx.Module{
		Name: "memcached", Conf: func() nginxconf.Settings { return new(Conf) },
		Scope: func(b *ngx.Build, s *ngx.Scope) error {
			target := k.Target(s)
			if target == nil {
				return nil
			}
			p := &place{flag: nginxconf.Of[*Conf](s.Level).GzipFlag.V, key: &target.Value}
			if err := relay.Handle(b, s, target, relay.Place{Kind: k, Protocol: p, NoBody: true, OwnError: 404}); err != nil {
				return err
			}
			pass := s.Handler
			s.Handler = func(r *ngx.Request) ngx.Outcome {
				if string(r.Method) != "GET" && string(r.Method) != "HEAD" {
					return ngx.Status(405)
				}
				return pass(r)
			}
			return nil
		},
	}
}

// place is memcached's protocol as one place speaks it.
type place struct {
	key  *ngx.Text
	flag uint32
}

// state is what a request keeps of the protocol.
type state struct {
	key  []byte // as it was asked for
	rest int64  // of the value
	tail int    // bytes of trailer that were seen
}

// trailer is what follows a value.
const trailer = "\r\nEND\r\n"

// NewState implements relay.Protocol.
func (p *place) NewState() any { return new(state) }

// AppendRequest implements relay.Protocol.
func (p *place) AppendRequest(b []byte, x *relay.Exchange) []byte {
	key := p.key.Bytes(x.R)
	if len(key) == 0 {
		x.R.Errorf(`the "$memcached_key" variable is not set`)
		x.Refuse(500)
		return b
	}
	b = append(b, "get "...)
	mark := len(b)
	b = ngx.AppendEscaped(b, key, ngx.EscapeMemcached)
	x.State.(*state).key = x.R.Copy(b[mark:])
	return append(b, "\r\n"...)
}

// Send implements relay.Protocol.
func (p *place) Send(x *relay.Exchange) relay.Failure { return x.Send() }

// Frame implements relay.Protocol; there are no bodies.
func (p *place) Frame(x *relay.Exchange, n int, _ bool) []byte {
	return x.In[relay.FrameRoom : relay.FrameRoom+n]
}

// ReadHead implements relay.Protocol.
func (p *place) ReadHead(x *relay.Exchange) relay.Failure {
	if fail := x.AwaitHead(); fail.Class != 0 {
		return fail
	}
	s := x.State.(*state)
	x.Framed, x.Keep, x.NoBody = x.Status == 200, true, string(x.R.Method) == "HEAD"
	s.rest, s.tail = x.Length, 0
	if x.Status == 200 {
		x.R.SetType()
	} else {
		x.NoBody = true
	}
	return relay.Failure{}
}

// ParseHead implements relay.Protocol: VALUE, the key, the flags and the length, or END where there is no such value.
func (p *place) ParseHead(x *relay.Exchange) (done bool, fail relay.Failure) {
	b := x.In[x.Rd:x.Wr]
	i := bytes.IndexByte(b, '\n')
	switch {
	case i < 0:
		return false, fail
	case !x.Fits(x.Rd + i + 1):
		return false, x.TooBig()
	}
	s := x.State.(*state)
	line, ok := bytes.CutSuffix(b[:i], []byte("\r"))
	if ok && string(line) == "END" {
		x.R.Infof(`key: "%s" was not found by memcached while %s`, s.key, relay.WhileHead)
		x.Status, x.Length = 404, 0
		x.Rd += i + 1
		return true, fail
	}
	rest, value := bytes.CutPrefix(line, []byte("VALUE "))
	if !ok || !value {
		return false, x.Invalid("memcached sent invalid response: \"%s\"", line)
	}
	if rest, ok = bytes.CutPrefix(rest, s.key); !ok {
		return false, x.Invalid("memcached sent invalid key in response \"%s\" for key \"%s\"", line, s.key)
	}
	rest, space := bytes.CutPrefix(rest, []byte(" "))
	flags, length, ok := bytes.Cut(rest, []byte(" "))
	if !space || !ok {
		return false, x.Invalid("memcached sent invalid response: \"%s\"", line)
	}
	if p.flag != 0 {
		f, err := strconv.ParseUint(string(flags), 10, 32)
		if err != nil {
			return false, x.Invalid("memcached sent invalid flags in response \"%s\" for key \"%s\"", line, s.key)
		}
		if uint32(f)&p.flag != 0 {
			x.R.UpHead.AddID(ngx.HeaderContentEncoding, []byte("gzip"))
		}
	}
	n, err := strconv.ParseInt(string(length), 10, 64)
	if err != nil || n < 0 {
		return false, x.Invalid("memcached sent invalid length in response \"%s\" for key \"%s\"", line, s.key)
	}
	x.Status, x.Length = 200, n
	x.HeadAt, x.Rd = x.Rd, x.Rd+i+1
	return true, fail
}

// Decode implements relay.Protocol: the value, and the trailer behind it.
func (p *place) Decode(x *relay.Exchange, b []byte) ([]byte, error) {
	s := x.State.(*state)
	piece := b[:min(int64(len(b)), s.rest)]
	s.rest -= int64(len(piece))
	x.Rd += len(piece)
	if s.rest > 0 {
		return piece, nil
	}
	b = b[len(piece):]
	n := min(len(b), len(trailer)-s.tail)
	if string(b[:n]) != trailer[s.tail:s.tail+n] {
		x.R.Errorf("memcached sent invalid trailer while %s", relay.WhileBody)
		x.Keep = false
		x.Rd = x.Wr
		return piece, io.EOF
	}
	x.Rd += n
	if s.tail += n; s.tail < len(trailer) {
		return piece, nil
	}
	if x.Rd < x.Wr { // what nobody asked for
		x.Keep = false
		x.Rd = x.Wr
	}
	return piece, io.EOF
}

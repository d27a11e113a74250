// Package realip takes the client's address from what a trusted proxy says of
// it: nginx's realip module.
// https://nginx.org/en/docs/http/ngx_http_realip_module.html
//
// The address replaces that of the connection until the request has ended; the
// first place that finds one decides, the server before the location.
package realip

import (
	"bytes"
	"net/netip"
	"strconv"
	"strings"

	"limpet/internal/ngx"
	"limpet/nginxconf"
)

// Module returns the module.
func Module() ngx.Module {
	return ngx.Module{
		Name:  "realip",
		Conf:  func() nginxconf.Settings { return new(Conf) },
		Vars:  Vars,
		Scope: addSteps,
	}
}

// addSteps adds the server's step behind the reading of the header, and a
// location's where it has directives of its own.
func addSteps(_ *ngx.Build, s *ngx.Scope) error {
	c := nginxconf.Of[*Conf](s.Level)
	switch {
	case s == s.Server:
		s.Add(ngx.PostRead, step(c))
	case c != nginxconf.Of[*Conf](s.Server.Level):
		s.Add(ngx.PreAccess, step(c))
	}
	return nil
}

// Vars lists the variables of the module.
func Vars() []ngx.Variable {
	return []ngx.Variable{
		{Name: "realip_remote_addr", Doc: "The connection's own address of the client.", Get: func(r *ngx.Request, b []byte) ([]byte, bool) {
			return append(b, r.Client.Conn.RemoteIP()...), true
		}},
		{Name: "realip_remote_port", Doc: "The connection's own port of the client.", Get: func(r *ngx.Request, b []byte) ([]byte, bool) {
			if p := r.Client.Conn.Remote().Port(); p != 0 {
				b = strconv.AppendUint(b, uint64(p), 10)
			}
			return b, true
		}},
	}
}

func step(c *Conf) ngx.Step {
	trusted, recursive, h := trust(c.From.V), c.Recursive.V, c.Header.V
	if len(trusted) == 0 {
		return nil
	}
	return func(r *ngx.Request) ngx.Outcome {
		if !r.IsMain() || r.Client.Addr != r.Client.Conn.Remote() {
			return ngx.Next // a place before this one has decided
		}
		addr, ok := address(r, h, trusted, recursive)
		if r.Debugging() {
			r.Debugf(`realip: "%s", from: %s`, addr.Addr(), r.Client.Text)
		}
		if ok {
			replace(r, addr)
		}
		return ngx.Next
	}
}

// address returns the client's address by the header, false where it says nothing.
func address(r *ngx.Request, h Header, trusted trust, recursive bool) (netip.AddrPort, bool) {
	from := r.Client.Addr
	if h.source == fromProxyProtocol {
		p := r.Client.Proxy
		if p == nil || !trusted.holds(from) || !p.Source.IsValid() {
			return from, false
		}
		return p.Source, true
	}
	return forwarded(from, fieldsOf(&r.In, h), trusted, recursive)
}

// fieldsOf returns the values of the header's fields in order.
func fieldsOf(in *ngx.Header, h Header) [][]byte {
	var values [][]byte
	for i := range in.Fields {
		f := &in.Fields[i]
		if f.Hidden || len(f.Name) != len(h.name) || !isField(f.Name, h.name) {
			continue
		}
		values = append(values, f.Value)
		if h.once {
			break
		}
	}
	return values
}

// isField compares a field's name with one in the form of variables.
func isField(name []byte, want string) bool {
	for i, c := range name {
		if 'A' <= c && c <= 'Z' {
			c |= 0x20
		}
		if c == '-' {
			c = '_'
		}
		if c != want[i] {
			return false
		}
	}
	return true
}

// trust are the addresses that may say who the client is.
type trust []Trusted

func (t trust) holds(a netip.AddrPort) bool {
	addr := a.Addr().Unmap()
	for i := range t {
		if t[i].Unix && !addr.IsValid() || !t[i].Unix && addr.IsValid() && t[i].Net.Contains(addr) {
			return true
		}
	}
	return false
}

// forwarded walks the addresses of the fields from the last one on: an address
// that is trusted may name the one before it. ok is false where from isn't
// trusted or names nothing that is an address.
func forwarded(from netip.AddrPort, fields [][]byte, trusted trust, recursive bool) (addr netip.AddrPort, ok bool) {
	addr = from
	for i := len(fields) - 1; i >= 0; i-- {
		for list := fields[i]; ; {
			if !trusted.holds(addr) {
				return addr, ok
			}
			var word []byte
			word, list = lastWord(list)
			next, err := parseAddr(word)
			if err != nil {
				return addr, ok
			}
			addr, ok = next, true
			if !recursive {
				return addr, ok
			}
			if len(list) == 0 {
				break
			}
		}
	}
	return addr, ok
}

// lastWord takes the last address off a list parted by commas and blanks.
func lastWord(list []byte) (word, rest []byte) {
	list = bytes.TrimRight(list, " ,")
	if i := bytes.LastIndexAny(list, " ,"); i >= 0 {
		return list[i+1:], bytes.TrimRight(list[:i], " ,")
	}
	return list, nil
}

// parseAddr reads an address with or without a port; one of IPv6 may be in brackets.
func parseAddr(word []byte) (netip.AddrPort, error) {
	s := string(word)
	if a, err := netip.ParseAddr(s); err == nil {
		return netip.AddrPortFrom(a, 0), nil
	}
	if inner, ok := strings.CutPrefix(s, "["); ok && strings.HasSuffix(inner, "]") {
		a, err := netip.ParseAddr(inner[:len(inner)-1])
		return netip.AddrPortFrom(a, 0), err
	}
	return netip.ParseAddrPort(s)
}

// replace makes addr the client's address until the request has ended.
func replace(r *ngx.Request, addr netip.AddrPort) {
	c := r.Client
	c.Addr = addr
	c.Unix = false
	text := r.Alloc(len("ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255"))
	c.Text = addr.Addr().AppendTo(text[:0])
	r.OnEnd(restore{c})
}

// restore gives the connection its own address back.
type restore struct{ c *ngx.Client }

// EndRequest implements ngx.Ender.
func (e restore) EndRequest() {
	c := e.c
	c.Addr, c.Text = c.Conn.Remote(), c.Conn.RemoteIP()
	c.Unix = !c.Addr.IsValid()
}

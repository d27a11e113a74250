package location

import (
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"limpet/internal/tcp"
	"limpet/nginxconf"
)

// Listen is one address of a listen directive.
type Listen struct {
	// Addr is the address as nginx writes it: 0.0.0.0:80, [::]:80, unix:/path.
	Addr    string
	Network string // tcp or unix
	Sock    string // what to bind: 0.0.0.0:80 or the path
	Default bool
	SSL     bool
	HTTP2   bool
	Proxy   bool
	// Bind says that the socket has options of its own or was asked for by bind.
	Bind    bool
	Options tcp.ListenOptions
	// Set says that a parameter of the socket was given: it may be given once an address.
	Set bool
}

// Wildcard reports whether the address is any address of its family.
func (l *Listen) Wildcard() bool {
	return strings.HasPrefix(l.Addr, "0.0.0.0:") || strings.HasPrefix(l.Addr, "[::]:")
}

// Remap changes a listen address before it is used (--listen FROM=TO).
type Remap func(addr string) string

// parseListen reads a listen directive; a range of ports gives several addresses.
func (c *Conf) parseListen(s *nginxconf.Setting) ([]Listen, error) {
	base := Listen{Network: "tcp", Options: tcp.ListenOptions{Backlog: 511, IPv6Only: true}}
	for i := 1; i < len(s.Args); i++ {
		if err := base.param(s, s.Arg(i)); err != nil {
			return nil, err
		}
	}
	addrs, err := listenAddrs(s)
	if err != nil {
		return nil, err
	}
	seen := nginxconf.Own[*Conf](s.Level.Up(nginxconf.HTTP))
	var ls []Listen
	for _, a := range addrs {
		l := base
		if c.remap != nil {
			a = c.remap(a)
		}
		l.Addr, l.Sock = a, a
		if path, ok := strings.CutPrefix(a, "unix:"); ok {
			l.Network, l.Sock = "unix", path
		}
		if err := seen.noteListen(&l, s.Level); err != nil {
			return nil, err
		}
		ls = append(ls, l)
	}
	return ls, nil
}

// noted is what the listen directives read so far say of an address.
type noted struct {
	servers    []*nginxconf.Level
	set, deflt bool
}

// noteListen refuses what contradicts an earlier listen directive for the address, in nginx's order.
func (c *Conf) noteListen(l *Listen, server *nginxconf.Level) error {
	if c.listens == nil {
		c.listens = make(map[string]*noted)
	}
	n := c.listens[l.Addr]
	if n == nil {
		n = &noted{}
		c.listens[l.Addr] = n
	}
	for _, have := range n.servers {
		if have == server {
			return fmt.Errorf("a duplicate listen %s", l.Addr)
		}
	}
	n.servers = append(n.servers, server)
	if l.Set && n.set {
		return fmt.Errorf("duplicate listen options for %s", l.Addr)
	}
	if l.Default && n.deflt {
		return fmt.Errorf("a duplicate default server for %s", l.Addr)
	}
	n.set, n.deflt = n.set || l.Set, n.deflt || l.Default
	return nil
}

// listenAddrs reads the address of a listen directive in nginx's forms.
func listenAddrs(s *nginxconf.Setting) ([]string, error) {
	spec := s.Arg(0)
	bad := func(why string) error { return fmt.Errorf(`%s in "%s" of the "listen" directive`, why, spec) }
	if path, ok := strings.CutPrefix(spec, "unix:"); ok {
		if path == "" {
			return nil, bad("no path in the unix domain socket")
		}
		if len(path) >= 108 {
			return nil, bad("too long path in the unix domain socket")
		}
		return []string{spec}, nil
	}
	if strings.ContainsAny(spec, "/?") {
		return nil, bad("invalid host")
	}
	host, port, hasPort := splitListen(spec)
	first, last := 80, 80
	if hasPort {
		var ok bool
		if first, last, ok = portRange(port); !ok {
			return nil, bad("invalid port")
		}
		if first > last {
			return nil, bad("invalid port range")
		}
	}
	hosts, why := listenHosts(s, host)
	if why != "" {
		return nil, bad(why)
	}
	var addrs []string
	for _, h := range hosts {
		for p := first; p <= last; p++ {
			addrs = append(addrs, netip.AddrPortFrom(h, uint16(p)).String())
		}
	}
	return addrs, nil
}

// splitListen parts host and port; a bare number is a port.
func splitListen(spec string) (host, port string, hasPort bool) {
	if strings.HasPrefix(spec, "[") {
		if end := strings.IndexByte(spec, ']'); end > 0 {
			rest := spec[end+1:]
			if rest != "" && rest[0] != ':' {
				return spec, "", false
			}
			return spec[:end+1], strings.TrimPrefix(rest, ":"), rest != ""
		}
		return spec, "", false
	}
	if i := strings.IndexByte(spec, ':'); i >= 0 {
		return spec[:i], spec[i+1:], true
	}
	if _, _, ok := portRange(spec); ok || spec != "" && strings.Trim(spec, "0123456789") == "" {
		return "*", spec, true
	}
	return spec, "", false
}

func portRange(s string) (first, last int, ok bool) {
	a, b, isRange := strings.Cut(s, "-")
	first, ok = nginxconf.ParseNum(a)
	last = first
	if ok && isRange {
		last, ok = nginxconf.ParseNum(b)
	}
	return first, last, ok && first >= 1 && first <= 65535 && last >= 1 && last <= 65535
}

// listenHosts finds the addresses of a host; why is nginx's word for what is wrong.
func listenHosts(s *nginxconf.Setting, host string) (addrs []netip.Addr, why string) {
	switch {
	case host == "", host == "[]":
		return nil, "no host"
	case host == "*":
		return []netip.Addr{netip.IPv4Unspecified()}, ""
	case strings.HasPrefix(host, "["):
		if !strings.HasSuffix(host, "]") {
			return nil, "invalid host"
		}
		a, err := netip.ParseAddr(strings.Trim(host, "[]"))
		if err != nil || !a.Is6() {
			return nil, "invalid IPv6 address"
		}
		return []netip.Addr{a}, ""
	}
	if a, err := netip.ParseAddr(host); err == nil && a.Is4() {
		return []netip.Addr{a}, ""
	}
	if s.Loader.Offline {
		return []netip.Addr{netip.IPv4Unspecified()}, ""
	}
	ips, err := net.LookupIP(host)
	if err != nil || len(ips) == 0 {
		return nil, "host not found"
	}
	for _, ip := range ips {
		if a, ok := netip.AddrFromSlice(ip); ok {
			addrs = append(addrs, a.Unmap())
		}
	}
	return addrs, ""
}

// param reads one parameter behind the address.
func (l *Listen) param(s *nginxconf.Setting, p string) error {
	name, value, hasValue := strings.Cut(p, "=")
	if hasValue {
		l.Set, l.Bind = true, true
		return l.valueParam(s, p, name, value)
	}
	switch p {
	case "default_server", "default":
		l.Default = true
	case "bind":
		l.Set, l.Bind = true, true
	case "deferred":
		l.Set, l.Bind, l.Options.Deferred = true, true, true
	case "reuseport":
		l.Set, l.Bind, l.Options.ReusePort = true, true, true
	case "multipath":
		l.Set, l.Bind = true, true
	case "ssl":
		l.SSL = true
	case "http2":
		s.Warn(`the "listen ... http2" directive is deprecated, use the "http2" directive instead`)
		l.HTTP2 = true
	case "proxy_protocol":
		l.Proxy = true
	default:
		return fmt.Errorf(`invalid parameter "%s"`, p)
	}
	return nil
}

func (l *Listen) valueParam(s *nginxconf.Setting, p, name, value string) error {
	switch name {
	case "backlog":
		n, ok := nginxconf.ParseNum(value)
		if !ok || n == 0 {
			return invalidParam(name, p)
		}
		l.Options.Backlog = n
	case "fastopen":
		n, ok := nginxconf.ParseNum(value)
		if !ok {
			return invalidParam(name, p)
		}
		l.Options.FastOpen = n
	case "rcvbuf":
		return sizeParam(&l.Options.RcvBuf, name, p, value)
	case "sndbuf":
		return sizeParam(&l.Options.SndBuf, name, p, value)
	case "accept_filter": // nginx goes on, too
		s.Say("emerg", `accept filters "%s" are not supported on this platform, ignored`, p)
	case "ipv6only":
		if value != "on" && value != "off" {
			return invalidParam("parameter", p)
		}
		l.Options.IPv6Only = value == "on"
	case "so_keepalive":
		return l.keepAlive(value)
	default:
		return invalidParam("parameter", p)
	}
	return nil
}

func invalidParam(what, p string) error { return fmt.Errorf(`invalid %s "%s"`, what, p) }

func sizeParam(field *int, name, p, value string) error {
	n, ok := nginxconf.ParseSize(value)
	if !ok {
		return invalidParam(name, p)
	}
	*field = int(n)
	return nil
}

// keepAlive reads so_keepalive=on|off|[idle]:[interval]:[count].
func (l *Listen) keepAlive(value string) error {
	bad := fmt.Errorf(`invalid so_keepalive value: "%s"`, value)
	k := &l.Options.KeepAlive
	switch value {
	case "on":
		k.Set, k.On = true, true
		return nil
	case "off":
		k.Set = true
		return nil
	}
	parts := strings.Split(value, ":")
	if len(parts) > 3 || value == "" || value == "::" {
		return bad
	}
	k.Set, k.On = true, true
	for i, p := range parts {
		if p == "" {
			continue
		}
		if i == 2 {
			n, err := strconv.Atoi(p)
			if err != nil || n < 1 {
				return bad
			}
			k.Count = n
			continue
		}
		d, ok := nginxconf.ParseTime(p, false)
		if !ok || d < time.Second {
			return bad
		}
		if i == 0 {
			k.Idle = d
		} else {
			k.Interval = d
		}
	}
	return nil
}

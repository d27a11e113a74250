package ngx

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"

	"limpet/internal/resolver"
	"limpet/nginxconf"
)

// ErrNoResolver says that no resolver directive holds where a name is to be resolved.
var ErrNoResolver = errors.New("no resolver defined")

// Resolve returns the addresses of a name that came with the request, by the
// resolver of its place. The request waits; the error is a resolver.Error,
// ErrNoResolver, or tcp's when the client has gone meanwhile.
func (r *Request) Resolve(name string) ([]netip.Addr, error) {
	c := r.Scope.Core
	if c.Resolver.V == nil {
		return nil, ErrNoResolver
	}
	addrs, _, err := c.Resolver.V.Host(name, c.ResolverTimeout.V, r.Client.Conn.Await)
	if r.Debugging() {
		r.Debugf("name %s was resolved to %v, error: %v", name, addrs, err)
	}
	return addrs, err
}

// ResolverRow is the row of the resolver directive in a context.
func ResolverRow(in nginxconf.Context, field *nginxconf.Opt[*resolver.Resolver]) nginxconf.Directive {
	return nginxconf.Custom("resolver", in, nginxconf.Args1More, field, parseResolver, "",
		"Names the servers that resolve names at run time.")
}

func parseResolver(s *nginxconf.Setting) (*resolver.Resolver, error) {
	c := resolver.Config{IPv4: true, IPv6: true}
	for i := range s.Args {
		arg := s.Arg(i)
		invalid := fmt.Errorf("invalid parameter: %s", arg)
		name, value, _ := strings.Cut(arg, "=")
		switch name + "=" {
		case "valid=":
			d, ok := nginxconf.ParseTime(value, false)
			if !ok {
				return nil, invalid
			}
			c.Valid = d
		case "ipv4=", "ipv6=":
			field := &c.IPv4
			if name == "ipv6" {
				field = &c.IPv6
			}
			if value != "on" && value != "off" {
				return nil, invalid
			}
			*field = value == "on"
		case "status_zone=": // NGINX Plus: statistics by its API
		default:
			addrs, err := nameServers(arg, s.Loader.Offline)
			if err != nil {
				return nil, fmt.Errorf(`%s in resolver "%s"`, err, arg)
			}
			c.Servers = append(c.Servers, addrs...)
		}
	}
	switch {
	case !c.IPv4 && !c.IPv6:
		return nil, errors.New(`"ipv4" and "ipv6" cannot both be "off"`)
	case len(c.Servers) == 0 && !s.Loader.Offline:
		return nil, errors.New("no name servers defined")
	}
	return resolver.New(c), nil
}

// dnsPort is where name servers listen.
const dnsPort = 53

// nameServers returns the addresses of a name server, host or host:port. A name is resolved by the system.
func nameServers(text string, offline bool) ([]netip.AddrPort, error) {
	host, rest := text, ""
	if strings.HasPrefix(text, "[") {
		end := strings.IndexByte(text, ']') + 1
		if end == 0 {
			return nil, errors.New("invalid host")
		}
		host, rest = text[:end], text[end:]
	} else if i := strings.IndexByte(text, ':'); i >= 0 {
		host, rest = text[:i], text[i:]
	}
	port := dnsPort
	if rest != "" {
		n, ok := nginxconf.ParseNum(rest[1:])
		if !ok || n < 1 || n > 65535 || rest[0] != ':' {
			return nil, errors.New("invalid port")
		}
		port = n
	}
	if strings.ContainsAny(host, "/?") {
		return nil, errors.New("invalid host")
	}
	if host == "" {
		return nil, errors.New("no host")
	}
	if a, err := netip.ParseAddr(strings.Trim(host, "[]")); err == nil {
		return []netip.AddrPort{netip.AddrPortFrom(a, uint16(port))}, nil
	}
	if offline {
		return nil, nil
	}
	found, err := net.LookupHost(host)
	if err != nil {
		return nil, errors.New("host not found")
	}
	var addrs []netip.AddrPort
	for _, f := range found {
		if ap, err := netip.ParseAddrPort(net.JoinHostPort(f, strconv.Itoa(port))); err == nil {
			addrs = append(addrs, ap)
		}
	}
	return addrs, nil
}

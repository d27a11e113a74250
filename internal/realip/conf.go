package realip

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strings"

	conf "limpet/nginxconf"
)

// source is where the client's address comes from.
type source int

const (
	fromField source = iota
	fromProxyProtocol
)

// Header is what real_ip_header says.
type Header struct {
	source source
	name   string // of the field, lower-case with _ for -, as in variables
	once   bool   // the first field alone counts
}

// Trusted is one set_real_ip_from.
type Trusted struct {
	Unix bool
	Net  netip.Prefix
}

// Conf holds the directives of the realip module at one level.
type Conf struct {
	From      conf.List[Trusted]
	Header    conf.Opt[Header]
	Recursive conf.Opt[bool]
}

// Directives lists the directives of the realip module.
func (c *Conf) Directives() []conf.Directive {
	return []conf.Directive{
		conf.Many("set_real_ip_from", conf.HTTPServerLocation, conf.Args1, &c.From, parseFrom, "", "Names addresses that are trusted to send the client's."),
		conf.Custom("real_ip_header", conf.HTTPServerLocation, conf.Args1, &c.Header, parseHeader, "X-Real-IP", "Names the field with the client's address."),
		conf.Flag("real_ip_recursive", conf.HTTPServerLocation, &c.Recursive, "off", "Looks for the last address that isn't trusted, not just the last one."),
	}
}

func parseHeader(s *conf.Setting) (Header, error) {
	name := strings.ReplaceAll(strings.ToLower(s.Arg(0)), "-", "_")
	if s.Arg(0) == "proxy_protocol" {
		return Header{source: fromProxyProtocol}, nil
	}
	return Header{name: name, once: name == "x_real_ip"}, nil
}

// parseFrom reads an address, a network, unix: or a host name, which stands for its addresses at the time.
func parseFrom(s *conf.Setting) ([]Trusted, error) {
	value := s.Arg(0)
	if value == "unix:" {
		return []Trusted{{Unix: true}}, nil
	}
	if p, masked, ok := conf.ParseCIDR(value); ok {
		if masked {
			s.Warn("low address bits of %s are meaningless", value)
		}
		return []Trusted{{Net: p}}, nil
	}
	if s.Loader.Offline {
		return nil, nil
	}
	var addrs []netip.Addr
	err := fmt.Errorf("not a name")
	if value != "" && !strings.ContainsAny(value, "/:[]") {
		addrs, err = net.DefaultResolver.LookupNetIP(context.Background(), "ip", value)
	}
	if err != nil || len(addrs) == 0 {
		return nil, fmt.Errorf(`host not found in set_real_ip_from "%s"`, value)
	}
	trusted := make([]Trusted, len(addrs))
	for i, a := range addrs {
		a = a.Unmap()
		trusted[i].Net = netip.PrefixFrom(a, a.BitLen())
	}
	return trusted, nil
}

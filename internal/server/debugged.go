package server

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"

	conf "limpet/nginxconf"
)

// debugged is what one debug_connection names.
type debugged struct {
	unix bool // all clients by UNIX-domain sockets
	net  netip.Prefix
}

// parseDebugConnection reads unix:, an address, a network, or a host's name, of which every address counts.
// https://nginx.org/en/docs/ngx_core_module.html#debug_connection
func parseDebugConnection(s *conf.Setting) ([]debugged, error) {
	value := s.Arg(0)
	if value == "unix:" {
		return []debugged{{unix: true}}, nil
	}
	if p, masked, ok := conf.ParseCIDR(value); ok {
		if masked {
			s.Warn("low address bits of %s are meaningless", value)
		}
		return []debugged{{net: p}}, nil
	}
	if s.Loader.Offline {
		return nil, nil
	}
	addrs, err := net.DefaultResolver.LookupNetIP(context.Background(), "ip", value)
	if err != nil {
		return nil, fmt.Errorf(`host not found in debug_connection "%s"`, value)
	}
	var list []debugged
	for _, a := range addrs {
		a = a.Unmap()
		list = append(list, debugged{net: netip.PrefixFrom(a, a.BitLen())})
	}
	return list, nil
}

// debugsOf returns what tells the clients that the debug_connection directives name; nil without one.
func debugsOf(config *conf.Config) func(peer netip.AddrPort) bool {
	list := eventsOf(config).Debugged.V
	if len(list) == 0 {
		return nil
	}
	return func(peer netip.AddrPort) bool {
		addr := peer.Addr()
		return slices.ContainsFunc(list, func(d debugged) bool {
			if !addr.IsValid() {
				return d.unix
			}
			// an IPv4 client that came by an IPv6 socket is meant in either form
			return !d.unix && (d.net.Contains(addr) || d.net.Contains(addr.Unmap()))
		})
	}
}

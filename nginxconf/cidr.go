package nginxconf

import (
	"net/netip"
	"strings"
)

// ParseCIDR reads an address or a network such as 192.0.2.0/24. masked says that
// bits of the address behind the prefix were set, which nginx warns of and clears.
func ParseCIDR(s string) (p netip.Prefix, masked, ok bool) {
	text, bits, isNet := strings.Cut(s, "/")
	addr, err := netip.ParseAddr(text)
	if err != nil || addr.Zone() != "" {
		return p, false, false
	}
	n := addr.BitLen()
	if isNet {
		if n, ok = ParseNum(bits); !ok || n > addr.BitLen() {
			return p, false, false
		}
	}
	p = netip.PrefixFrom(addr, n)
	return p.Masked(), p.Masked() != p, true
}

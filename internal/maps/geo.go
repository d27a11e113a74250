package maps

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"limpet/internal/ngx"
	"limpet/nginxconf"
)

// geo is a geo block.
type geo struct {
	address        *ngx.Var // gives the address; nil for the client's
	proxies        []netip.Prefix
	proxyRecursive bool
	volatile       bool
	ranges         bool

	nets     networks
	blocks   blocks
	fallback []byte // default of ranges
	v4, v6   spans
}

// none is the address that stands for what is no address, as in nginx.
func none() netip.Addr { return netip.AddrFrom4([4]byte{255, 255, 255, 255}) }

func parseGeo(s *nginxconf.Setting) error {
	g := &geo{}
	name := s.Arg(len(s.Args) - 1)
	if len(s.Args) == 2 {
		word := s.Arg(0)
		if len(word) < 2 || word[0] != '$' {
			return fmt.Errorf(`invalid variable name "%s"`, word)
		}
		g.address = nginxconf.Of[*ngx.VarConf](s.Level.Root()).Vars.Use(word[1:])
	}
	d, err := define(s, name, g.get)
	if err != nil {
		return err
	}
	if err := s.Entries(func(e *nginxconf.Statement) error {
		return g.entry(&nginxconf.Setting{Statement: e, Level: s.Level, Loader: s.Loader}, words(e))
	}); err != nil {
		return err
	}
	g.compile()
	if !g.volatile {
		return d.keep(g.get)
	}
	return nil
}

// entry takes one line of the block; at is where it stands.
func (g *geo) entry(at *nginxconf.Setting, w []string) error {
	if len(w) == 1 {
		switch w[0] {
		case "ranges":
			if g.nets.any {
				return errors.New(`the "ranges" directive must be the first directive inside "geo" block`)
			}
			g.ranges = true
			return nil
		case "proxy_recursive":
			g.proxyRecursive = true
			return nil
		case "volatile":
			g.volatile = true
			return nil
		}
	}
	if len(w) != 2 {
		return errors.New("invalid number of the geo parameters")
	}
	switch {
	case w[0] == "proxy":
		p, err := parseNetwork(at, w[1])
		g.proxies = append(g.proxies, p)
		return err
	case g.ranges:
		return g.rangeEntry(at, w)
	}
	return g.networkEntry(at, w)
}

func (g *geo) networkEntry(at *nginxconf.Setting, w []string) error {
	g.nets.any = true
	if w[0] == "default" {
		g.nets.add(at, netip.PrefixFrom(netip.IPv4Unspecified(), 0), w[0], w[1])
		g.nets.add(at, netip.PrefixFrom(netip.IPv6Unspecified(), 0), w[0], w[1])
		return nil
	}
	remove := w[0] == "delete"
	net := w[0]
	if remove {
		net = w[1]
	}
	p, err := parseNetwork(at, net)
	if err != nil {
		return err
	}
	if !remove {
		g.nets.add(at, p, net, w[1])
		return nil
	}
	if _, ok := g.nets.values[p]; !ok {
		at.Warn(`no network "%s" to delete`, net)
	}
	delete(g.nets.values, p)
	return nil
}

func (g *geo) rangeEntry(at *nginxconf.Setting, w []string) error {
	if w[0] == "default" {
		if g.fallback != nil {
			at.Warn(`duplicate default geo range value: "%s", old value: "%s"`, w[1], g.fallback)
		}
		g.fallback = []byte(w[1])
		return nil
	}
	text := w[0]
	if w[0] == "delete" {
		text = w[1]
	}
	from, to, err := parseRange(text)
	if err != nil {
		return err
	}
	if w[0] != "delete" {
		return g.blocks.add(at, from, to, text, w[1])
	}
	if !g.blocks.remove(from, to) {
		at.Warn(`no address range "%s" to delete`, text)
	}
	return nil
}

// parseNetwork reads an address or CIDR.
func parseNetwork(at *nginxconf.Setting, text string) (netip.Prefix, error) {
	bad := fmt.Errorf(`invalid network "%s"`, text)
	host, length, hasLength := strings.Cut(text, "/")
	a, ok := parseAddr([]byte(host))
	if !ok {
		return netip.Prefix{}, bad
	}
	bits := a.BitLen()
	if hasLength {
		n, ok := nginxconf.ParseNum(length)
		if !ok || n > bits {
			return netip.Prefix{}, bad
		}
		bits = n
	}
	p := netip.PrefixFrom(a, bits)
	if masked := p.Masked(); masked != p {
		at.Warn("low address bits of %s are meaningless", text)
		p = masked
	}
	return p, nil
}

// parseRange reads two IPv4 addresses with a hyphen between them.
func parseRange(text string) (from, to uint32, err error) {
	low, high, _ := strings.Cut(text, "-")
	a, okLow := parse4([]byte(low))
	b, okHigh := parse4([]byte(high))
	if !okLow || !okHigh || a == none() || b == none() || b.Less(a) {
		return 0, 0, fmt.Errorf(`invalid range "%s"`, text)
	}
	return number(a), number(b), nil
}

func number(a netip.Addr) uint32 {
	b := a.As4()
	return uint32(b[0])<<24 | uint32(b[1])<<16 | uint32(b[2])<<8 | uint32(b[3])
}

func addrOf(n uint32) netip.Addr {
	return netip.AddrFrom4([4]byte{byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)})
}

// networks are values by network.
type networks struct {
	values map[netip.Prefix][]byte
	any    bool // an entry was read
}

func (ns *networks) add(at *nginxconf.Setting, p netip.Prefix, text, value string) {
	if ns.values == nil {
		ns.values = make(map[netip.Prefix][]byte)
	}
	if old, ok := ns.values[p]; ok {
		at.Warn(`duplicate network "%s", value: "%s", old value: "%s"`, text, value, old)
	}
	ns.values[p] = []byte(value)
}

// compile makes the tables that requests look addresses up in.
func (g *geo) compile() {
	if g.ranges {
		g.v4 = g.blocks.spans(g.fallback)
		return
	}
	var v4, v6 []netip.Prefix
	for p := range g.nets.values {
		if p.Addr().Is4() {
			v4 = append(v4, p)
		} else {
			v6 = append(v6, p)
		}
	}
	g.v4, g.v6 = flatten(v4, g.nets.values), flatten(v6, g.nets.values)
}

// get is the variable's getter.
func (g *geo) get(r *ngx.Request, dst []byte) ([]byte, bool) {
	a := g.addr(r).Unmap()
	table := g.v4
	if a.Is6() {
		if g.ranges {
			a = none()
		} else {
			table = g.v6
		}
	}
	return append(dst, table.find(a)...), true
}

// addr returns the address to look up: that of the client or the variable, or
// what trusted proxies say of it.
func (g *geo) addr(r *ngx.Request) netip.Addr {
	a := none()
	switch {
	case g.address != nil:
		if v, ok := parseAddr(g.address.Bytes(r)); ok {
			a = v
		}
	case !r.Client.Unix:
		a = r.Client.Addr.Addr()
	}
	if len(g.proxies) > 0 {
		return g.forwarded(r, a)
	}
	return a
}

// forwarded follows the fields X-Forwarded-For from their end while the address at hand is a proxy's.
func (g *geo) forwarded(r *ngx.Request, a netip.Addr) netip.Addr {
	for i := len(r.In.Fields) - 1; i >= 0; i-- {
		f := &r.In.Fields[i]
		if f.ID != ngx.HeaderXForwardedFor {
			continue
		}
		for list := f.Value; g.isProxy(a); {
			rest, word := lastWord(list)
			next, ok := parseAddrPort(word)
			if !ok {
				return a
			}
			if a = next; !g.proxyRecursive {
				return a
			}
			if list = rest; len(list) == 0 {
				break
			}
		}
	}
	return a
}

func (g *geo) isProxy(a netip.Addr) bool {
	a = a.Unmap()
	for _, p := range g.proxies {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

// lastWord parts a list at its last word, with blanks and commas between words.
func lastWord(list []byte) (rest, word []byte) {
	end := len(list)
	for end > 0 && (list[end-1] == ' ' || list[end-1] == ',') {
		end--
	}
	start := end
	for start > 0 && list[start-1] != ' ' && list[start-1] != ',' {
		start--
	}
	return list[:start], list[start:end]
}

// parseAddr reads an IP address without allocating for IPv4.
func parseAddr(b []byte) (netip.Addr, bool) {
	if a, ok := parse4(b); ok {
		return a, true
	}
	a, err := netip.ParseAddr(string(b))
	return a, err == nil && a.Zone() == ""
}

// parse4 reads an IPv4 address; zeros at the front of a number are allowed, as in nginx.
func parse4(b []byte) (netip.Addr, bool) {
	var a [4]byte
	part, n, digits := 0, 0, 0
	for _, c := range b {
		switch {
		case c == '.' && digits > 0 && part < 3:
			a[part] = byte(n)
			part, n, digits = part+1, 0, 0
		case '0' <= c && c <= '9':
			if n = n*10 + int(c-'0'); n > 255 {
				return netip.Addr{}, false
			}
			digits++
		default:
			return netip.Addr{}, false
		}
	}
	if part != 3 || digits == 0 {
		return netip.Addr{}, false
	}
	a[3] = byte(n)
	return netip.AddrFrom4(a), true
}

// parseAddrPort reads an address with or without a port.
func parseAddrPort(b []byte) (netip.Addr, bool) {
	if a, ok := parseAddr(b); ok {
		return a, true
	}
	s := string(b)
	i := strings.LastIndexByte(s, ':')
	if i < 0 {
		return netip.Addr{}, false
	}
	if port, err := strconv.Atoi(s[i+1:]); err != nil || port < 1 || port > 65535 {
		return netip.Addr{}, false
	}
	host := strings.TrimSuffix(strings.TrimPrefix(s[:i], "["), "]")
	a, err := netip.ParseAddr(host)
	return a, err == nil && a.Is4() == !strings.HasPrefix(s, "[")
}

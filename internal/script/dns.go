package script

import (
	"net"
	"net/netip"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/net/dns/dnsmessage"
)

// nameServer is a DNS server for resolver directives.
type nameServer struct {
	conn *net.UDPConn
	wait sync.WaitGroup

	mu    sync.Mutex
	names map[string][]string // what each name has, in the script's words
}

const dnsUsage = usageError("usage: dns PORT1 [NAME=ADDRESS,... | NAME=>ALIAS | NAME=PRIORITY/WEIGHT/PORT/HOST,... | NAME=!CODE]...")

// runDNS starts a name server, or gives one that runs other names.
func runDNS(r *run, args []string) (string, error) {
	if len(args) == 0 {
		return "", dnsUsage
	}
	names := make(map[string][]string)
	for _, a := range args[1:] {
		name, values, ok := strings.Cut(r.real(a), "=")
		if !ok {
			return "", dnsUsage
		}
		names[name+"."] = strings.Split(values, ",")
	}
	d := r.dns[args[0]]
	if d == nil {
		port, err := strconv.Atoi(r.real(args[0]))
		if err != nil {
			return "", dnsUsage
		}
		conn, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: port})
		if err != nil {
			return "", err
		}
		d = &nameServer{conn: conn}
		r.dns[args[0]] = d
		d.wait.Go(d.serve)
	}
	d.mu.Lock()
	d.names = names
	d.mu.Unlock()
	return "", nil
}

func (d *nameServer) stop() {
	d.conn.Close()
	d.wait.Wait()
}

func (d *nameServer) serve() {
	buf := make([]byte, 512)
	for {
		n, from, err := d.conn.ReadFromUDPAddrPort(buf)
		if err != nil {
			return
		}
		var m dnsmessage.Message
		if m.Unpack(buf[:n]) != nil || len(m.Questions) != 1 {
			continue
		}
		m.Response, m.RecursionAvailable = true, true
		m.RCode = d.answer(&m)
		if b, err := m.Pack(); err == nil {
			d.conn.WriteToUDPAddrPort(b, from)
		}
	}
}

// answer adds the records for the question; they are valid for a second.
func (d *nameServer) answer(m *dnsmessage.Message) dnsmessage.RCode {
	q := m.Questions[0]
	d.mu.Lock()
	values, ok := d.names[q.Name.String()]
	d.mu.Unlock()
	if !ok {
		return dnsmessage.RCodeNameError
	}
	for _, v := range values {
		head := dnsmessage.ResourceHeader{Name: q.Name, Class: dnsmessage.ClassINET, TTL: 1}
		addr, err := netip.ParseAddr(v)
		parts := strings.Split(v, "/")
		var body dnsmessage.ResourceBody
		switch {
		case strings.HasPrefix(v, "!"):
			code, _ := strconv.Atoi(v[1:])
			return dnsmessage.RCode(code)
		case strings.HasPrefix(v, ">"):
			body = &dnsmessage.CNAMEResource{CNAME: dnsmessage.MustNewName(v[1:] + ".")}
		case len(parts) == 4 && q.Type == dnsmessage.TypeSRV:
			n := func(s string) uint16 { i, _ := strconv.Atoi(s); return uint16(i) }
			body = &dnsmessage.SRVResource{Priority: n(parts[0]), Weight: n(parts[1]), Port: n(parts[2]), Target: dnsmessage.MustNewName(parts[3] + ".")}
		case err == nil && addr.Is4() && q.Type == dnsmessage.TypeA:
			body = &dnsmessage.AResource{A: addr.As4()}
		case err == nil && addr.Is6() && q.Type == dnsmessage.TypeAAAA:
			body = &dnsmessage.AAAAResource{AAAA: addr.As16()}
		default:
			continue
		}
		m.Answers = append(m.Answers, dnsmessage.Resource{Header: head, Body: body})
	}
	return dnsmessage.RCodeSuccess
}

package upstream

import (
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"limpet/nginxconf"
)

// serverSpec is a server line.
type serverSpec struct {
	text        string // the address as written
	addrs       []string
	weight      int
	maxFails    int
	maxConns    int
	failTimeout time.Duration
	slowStart   time.Duration
	backup      bool
	down        bool
	drain       bool
	resolve     bool
	host        string // of a name that is resolved at run time
	port        uint16
	route       string
	sid         bool   // route came as Angie's sid=
	id          string // Tengine's
	srunID      string // jvm_route's
	service     string
}

// parseServer reads a server line; names are resolved here, as nginx does at its start.
func parseServer(s *nginxconf.Setting) error {
	sp := specOf(s)
	sv := &serverSpec{text: s.Arg(0), weight: 1, maxFails: 1, failTimeout: 10 * time.Second}
	for i := 1; i < len(s.Args); i++ {
		if err := sv.param(sp, s.Arg(i)); err != nil {
			return err
		}
	}
	if sv.service != "" && !sv.resolve {
		return fmt.Errorf(`service upstream "%s" requires "resolve" parameter`, sv.text)
	}
	addrs, err := lookup(sv.text, 80, sv.resolve || s.Loader.Offline)
	if err != nil {
		return fmt.Errorf(`%s in upstream "%s"`, err, sv.text)
	}
	sv.addrs = addrs
	sp.servers = append(sp.servers, sv)
	return sv.takeName()
}

// takeName prepares a line whose name is resolved at run time. Literal addresses need no resolver.
func (sv *serverSpec) takeName() error {
	literal := isUnix(sv.text)
	if !literal {
		_, err := netip.ParseAddrPort(sv.addrs[0])
		literal = err == nil
	}
	host, port, hasPort := strings.Cut(sv.text, ":")
	switch {
	case sv.service == "":
	case literal && !hasPort, literal && strings.HasSuffix(sv.text, "]"):
		return fmt.Errorf(`service upstream "%s" requires domain name`, sv.text)
	case hasPort:
		return fmt.Errorf(`service upstream "%s" may not have port`, sv.text)
	}
	if literal || !sv.resolve {
		sv.resolve = false
		return nil
	}
	sv.host, sv.port, sv.addrs = host, 80, nil
	if hasPort {
		n, _ := nginxconf.ParseNum(port)
		sv.port = uint16(n)
	}
	return nil
}

func (sv *serverSpec) param(sp *spec, p string) error {
	bad := fmt.Errorf(`invalid parameter "%s"`, p)
	unsupported := func() error { return fmt.Errorf(`balancing method does not support parameter "%s"`, p) }
	switch p {
	case "backup":
		if sp.method.NoBackup {
			return unsupported()
		}
		sv.backup = true
		return nil
	case "down":
		sv.down, sv.drain = true, false
		return nil
	case "drain": // of down and drain the later holds
		sv.drain, sv.down = true, false
		return nil
	case "resolve":
		sv.resolve = true
		return nil
	}
	name, value, ok := strings.Cut(p, "=")
	if !ok {
		return bad
	}
	num := func(field *int, least int) error {
		n, ok := nginxconf.ParseNum(value)
		if !ok || n < least {
			return bad
		}
		*field = n
		return nil
	}
	dur := func(field *time.Duration) error {
		d, ok := nginxconf.ParseTime(value, false)
		if !ok {
			return bad
		}
		*field = d
		return nil
	}
	switch name {
	case "weight":
		if sp.method.NoWeight {
			return unsupported()
		}
		return num(&sv.weight, 1)
	case "max_fails":
		return num(&sv.maxFails, 0)
	case "max_conns":
		if sp.method.NoMaxConns {
			return unsupported()
		}
		return num(&sv.maxConns, 0)
	case "fail_timeout":
		return dur(&sv.failTimeout)
	case "slow_start":
		if sp.method.NoSlowStart {
			return unsupported()
		}
		return dur(&sv.slowStart)
	case "route", "sid":
		return sv.setRoute(name, value)
	case "id":
		if value == "" {
			return bad
		}
		sv.id = value
		return nil
	case "srun_id":
		if value == "" {
			return bad
		}
		sv.srunID = value
		return nil
	case "service":
		if value == "" {
			return fmt.Errorf("service is empty")
		}
		sv.service = value
		return nil
	}
	return bad
}

// maxRoute is nginx's bound on the length of a route.
const maxRoute = 32

// setRoute takes route=, or sid= as Angie also calls it.
func (sv *serverSpec) setRoute(name, value string) error {
	switch {
	case value == "":
		return fmt.Errorf("%s is empty", name)
	case len(value) > maxRoute:
		return fmt.Errorf("%s is longer than %d", name, maxRoute)
	}
	sv.route, sv.sid = value, name == "sid"
	return nil
}

// maxUnixPath is the longest path of a unix socket.
const maxUnixPath = 107

// lookup finds the addresses of host[:port] or unix:path, all of a name's. The
// error is nginx's word for what is wrong. Offline a name stands for itself.
func lookup(text string, defaultPort int, offline bool) ([]string, error) {
	if path, ok := strings.CutPrefix(text, "unix:"); ok {
		if path == "" {
			return nil, fmt.Errorf("no path in the unix domain socket")
		}
		if len(path) > maxUnixPath {
			return nil, fmt.Errorf("too long path in the unix domain socket")
		}
		return []string{text}, nil
	}
	if strings.ContainsAny(text, "/?") {
		return nil, fmt.Errorf("invalid host")
	}
	host, port := text, strconv.Itoa(defaultPort)
	if strings.HasPrefix(text, "[") {
		end := strings.IndexByte(text, ']')
		if end < 0 {
			return nil, fmt.Errorf("invalid host")
		}
		host = text[1:end]
		if rest := text[end+1:]; rest != "" {
			if rest[0] != ':' {
				return nil, fmt.Errorf("invalid host")
			}
			port = rest[1:]
		}
	} else if i := strings.IndexByte(text, ':'); i >= 0 {
		host, port = text[:i], text[i+1:]
	}
	n, ok := nginxconf.ParseNum(port)
	if !ok || n < 1 || n > 65535 {
		return nil, fmt.Errorf("invalid port")
	}
	if host == "" {
		return nil, fmt.Errorf("no host")
	}
	if a, err := netip.ParseAddr(host); err == nil {
		return []string{netip.AddrPortFrom(a, uint16(n)).String()}, nil
	}
	if strings.HasPrefix(text, "[") {
		return nil, fmt.Errorf("invalid IPv6 address")
	}
	if offline {
		return []string{net.JoinHostPort(host, port)}, nil
	}
	ips, err := net.LookupIP(host)
	if err != nil || len(ips) == 0 {
		return nil, fmt.Errorf("host not found")
	}
	var addrs []string
	for _, ip := range ips {
		if a, ok := netip.AddrFromSlice(ip); ok {
			addrs = append(addrs, netip.AddrPortFrom(a.Unmap(), uint16(n)).String())
		}
	}
	return addrs, nil
}

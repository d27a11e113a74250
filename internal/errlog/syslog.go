package errlog

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"
)

// SyslogTarget is the destination that "syslog:" parameters name.
// https://nginx.org/en/docs/syslog.html
type SyslogTarget struct {
	Network    string // "udp" or "unixgram"
	Addr       string
	Facility   int
	Severity   int // for the access log; the error log uses the line's level
	Tag        string
	NoHostname bool
}

// ParseSyslog reads the parameters after "syslog:". Errors are in nginx's words.
func ParseSyslog(s string, lookup Lookup) (SyslogTarget, error) {
	t := SyslogTarget{Facility: -1, Severity: -1}
	tagged := false
	for p := range strings.SplitSeq(s, ",") {
		name, v, valued := strings.Cut(p, "=")
		var err error
		switch {
		case valued && name == "server":
			if t.Network != "" {
				return t, errors.New(`duplicate syslog "server"`)
			}
			t.Network, t.Addr, err = syslogServer(v, lookup)
		case valued && name == "facility":
			t.Facility, err = syslogWord(name, v, facilities, t.Facility)
		case valued && name == "severity":
			t.Severity, err = syslogWord(name, v, severities, t.Severity)
		case valued && name == "tag":
			if tagged {
				return t, errors.New(`duplicate syslog "tag"`)
			}
			tagged, t.Tag, err = true, v, checkTag(v)
		case p == "nohostname":
			t.NoHostname = true
		default:
			err = fmt.Errorf(`unknown syslog parameter "%s"`, p)
		}
		if err != nil {
			return t, err
		}
	}
	if t.Network == "" {
		return t, errors.New("no syslog server specified")
	}
	if t.Facility < 0 {
		t.Facility = 23 // local7
	}
	if t.Severity < 0 {
		t.Severity = 6 // info
	}
	if !tagged {
		t.Tag = "nginx"
	}
	return t, nil
}

// facilities and severities are nginx's words in the order of their numbers.
const (
	facilities = "kern user mail daemon auth intern lpr news uucp clock authpriv ftp ntp audit alert cron " +
		"local0 local1 local2 local3 local4 local5 local6 local7"
	severities = "emerg alert crit error warn notice info debug"
)

// syslogWord returns the number of word among words; was is the number set before, -1 for none.
func syslogWord(param, word, words string, was int) (int, error) {
	if was >= 0 {
		return 0, fmt.Errorf(`duplicate syslog "%s"`, param)
	}
	for i, w := range strings.Fields(words) {
		if w == word {
			return i, nil
		}
	}
	return 0, fmt.Errorf(`unknown syslog %s "%s"`, param, word)
}

// checkTag applies RFC 3164's limits to a tag.
func checkTag(tag string) error {
	if len(tag) > 32 {
		return errors.New("syslog tag length exceeds 32")
	}
	for _, c := range []byte(tag) {
		if (c|0x20 < 'a' || c|0x20 > 'z') && (c < '0' || c > '9') && c != '_' {
			return errors.New(`syslog "tag" only allows alphanumeric characters and underscore`)
		}
	}
	return nil
}

// syslogServer reads the address of a server: unix:/path, or host with an optional port (514).
func syslogServer(v string, lookup Lookup) (network, addr string, err error) {
	fail := func(why string) (string, string, error) {
		return "", "", fmt.Errorf(`%s in syslog server "%s"`, why, v)
	}
	if path, ok := strings.CutPrefix(v, "unix:"); ok {
		if path == "" {
			return fail("no path in the unix domain socket")
		}
		return "unixgram", path, nil
	}
	host, port := v, "514"
	if i := strings.LastIndexByte(v, ':'); i >= 0 && i > strings.LastIndexByte(v, ']') {
		host, port = v[:i], v[i+1:]
	}
	if host == "" {
		return fail("no host")
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil || n == 0 {
		return fail("invalid port")
	}
	ip, err := netip.ParseAddr(strings.TrimSuffix(strings.TrimPrefix(host, "["), "]"))
	if err != nil {
		var found []netip.Addr
		if lookup != nil {
			found, _ = lookup(host)
		}
		if len(found) == 0 {
			return fail("host not found")
		}
		ip = found[0]
	}
	return "udp", netip.AddrPortFrom(ip, uint16(n)).String(), nil
}

// Syslog sends datagrams to one server. It connects at the first line and again after a failure; what can't be sent is
// lost, as with nginx. It is safe for concurrent use.
type Syslog struct {
	target SyslogTarget
	host   string

	mu     sync.Mutex
	conn   net.Conn
	closed bool
	buf    []byte
}

// NewSyslog returns a sender to the target.
func NewSyslog(t SyslogTarget) *Syslog {
	s := &Syslog{target: t}
	if !t.NoHostname {
		name, _ := os.Hostname()
		s.host = strings.ToLower(name)
	}
	return s
}

// Target returns where the datagrams go.
func (s *Syslog) Target() SyslogTarget { return s.target }

// Send sends one message, without a newline, in RFC 3164's form as nginx writes it.
func (s *Syslog) Send(severity int, msg []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return net.ErrClosed
	}
	s.buf = append(s.appendHeader(s.buf[:0], time.Now(), severity), msg...)
	if s.conn == nil {
		conn, err := net.Dial(s.target.Network, s.target.Addr)
		if err != nil {
			return err
		}
		s.conn = conn
	}
	_, err := s.conn.Write(s.buf)
	if err != nil {
		s.conn.Close()
		s.conn = nil
	}
	return err
}

// appendHeader appends `<PRI>Mmm dd hh:mm:ss host tag: `.
func (s *Syslog) appendHeader(b []byte, now time.Time, severity int) []byte {
	b = append(b, '<')
	b = strconv.AppendInt(b, int64(s.target.Facility*8+severity), 10)
	b = append(b, '>')
	b = now.AppendFormat(b, "Jan _2 15:04:05 ")
	if !s.target.NoHostname {
		b = append(b, s.host...)
		b = append(b, ' ')
	}
	b = append(b, s.target.Tag...)
	return append(b, ": "...)
}

// Close closes the socket; what is sent afterwards is dropped.
func (s *Syslog) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	if s.conn == nil {
		return nil
	}
	conn := s.conn
	s.conn = nil
	return conn.Close()
}

package healthcheck

import (
	"fmt"
	"strings"
	"time"

	"limpet/internal/errlog"
	"limpet/internal/ngx"
	"limpet/nginxconf"
)

// probeSpec is what health_check or upstream_probe says.
type probeSpec struct {
	at    *nginxconf.Statement
	level *nginxconf.Level

	name      string // of upstream_probe; "" for health_check
	matchName string
	uri       string
	method    string
	interval  time.Duration
	jitter    time.Duration
	fails     int
	passes    int
	port      int
	mandatory bool // or essential
	keepalive time.Duration
	test      *ngx.Text
	maxBody   int
	when      when

	persistent bool
}

// newProbeSpec returns the defaults, which both directives share.
func newProbeSpec(s *nginxconf.Setting) *probeSpec {
	return &probeSpec{at: s.Statement, level: s.Level, uri: "/", method: "GET", interval: 5 * time.Second, fails: 1, passes: 1, maxBody: 256 << 10}
}

// label tells the check from the group's others.
func (p *probeSpec) label() string {
	switch {
	case p.name != "":
		return p.name
	case p.matchName != "":
		return p.matchName
	}
	return p.uri
}

// identity is what makes it another check than one before a reload.
func (p *probeSpec) identity() string {
	return fmt.Sprintf("%s %q %q %q %q %d", p.at.Name, p.name, p.matchName, p.method, p.uri, p.port)
}

func (p *probeSpec) words() words {
	if p.name != "" {
		return probeWords{}
	}
	return plusWords{}
}

// parseHealthCheck reads NGINX Plus' health_check.
// https://nginx.org/en/docs/http/ngx_http_upstream_hc_module.html#health_check
func (c *Conf) parseHealthCheck(s *nginxconf.Setting) error {
	p := newProbeSpec(s)
	for i := range s.Args {
		word := s.Arg(i)
		name, value, _ := strings.Cut(word, "=")
		ok := true
		switch name {
		case "type", "grpc_service", "grpc_status":
			return fmt.Errorf(`parameter "%s" of "health_check" is known but not supported`, word)
		case "jitter":
			p.jitter, ok = nginxconf.ParseTime(value, true)
		case "keepalive_time":
			p.keepalive, ok = nginxconf.ParseTime(value, true)
			ok = ok && p.keepalive > 0
		case "match":
			p.matchName, ok = value, value != ""
		case "mandatory":
			p.mandatory = true
		default:
			ok = p.common(word, name, value)
		}
		if !ok {
			return fmt.Errorf(`invalid parameter "%s"`, word)
		}
	}
	if p.persistent && !p.mandatory {
		return fmt.Errorf(`invalid parameter "persistent"`)
	}
	c.probes = append(c.probes, p)
	return nil
}

// common reads a parameter of both directives.
func (p *probeSpec) common(word, name, value string) (ok bool) {
	switch name {
	case "interval":
		p.interval, ok = nginxconf.ParseTime(value, true)
		return ok && p.interval > 0
	case "fails":
		p.fails, ok = nginxconf.ParseNum(value)
		return ok && p.fails > 0
	case "passes":
		p.passes, ok = nginxconf.ParseNum(value)
		return ok && p.passes > 0
	case "port":
		p.port, ok = nginxconf.ParseNum(value)
		return ok && p.port > 0 && p.port < 65536
	case "uri":
		p.uri = value
		return strings.HasPrefix(value, "/")
	}
	p.persistent = p.persistent || word == "persistent"
	return word == "persistent" // the state is kept over reloads in any case
}

// parseProbe reads Angie PRO's upstream_probe.
// https://en.angie.software/angie/docs/configuration/modules/http/http_upstream_probe/
func (c *Conf) parseProbe(s *nginxconf.Setting) error {
	p := newProbeSpec(s)
	p.name = s.Arg(0)
	for _, have := range c.probes {
		if have.name == p.name {
			return fmt.Errorf(`duplicate probe "%s"`, p.name)
		}
	}
	for i := 1; i < len(s.Args); i++ {
		word := s.Arg(i)
		name, value, _ := strings.Cut(word, "=")
		ok := true
		switch name {
		case "ping", "ping_timeout":
			return fmt.Errorf(`parameter "%s" of "upstream_probe" is known but not supported`, word)
		case "method":
			p.method, ok = value, value != "" && !strings.ContainsAny(value, " \t\r\n")
		case "test":
			t, err := ngx.ParseText(s, value)
			if err != nil {
				return err
			}
			p.test = &t
		case "max_body":
			var n int64
			n, ok = nginxconf.ParseSize(value)
			p.maxBody = int(n)
		case "mode":
			p.when, ok = modeOf(value)
		case "essential":
			p.mandatory, ok = true, word == name
		default:
			ok = p.common(word, name, value)
		}
		if !ok {
			return fmt.Errorf(`invalid parameter "%s"`, word)
		}
	}
	if p.persistent && !p.mandatory {
		return fmt.Errorf(`invalid parameter "persistent"`)
	}
	c.probes = append(c.probes, p)
	return nil
}

func modeOf(word string) (when, bool) {
	for w, name := range []string{"always", "idle", "onfail"} {
		if name == word {
			return when(w), true
		}
	}
	return 0, false
}

// doing is what a probe was doing, in nginx's words.
func (x *exchange) doing() string {
	switch x.at {
	case stepConnect:
		return "connecting to upstream"
	case stepTLS:
		return "SSL handshaking to upstream"
	case stepSend:
		return "sending request to upstream"
	case stepReceive:
		return "reading response from upstream"
	}
	switch x.err {
	case nil:
		return "checking status code"
	case errMatchHeader:
		return "checking response header"
	case errMatchBody:
		return "checking response body"
	case errMatchRequire:
		return "checking variables"
	}
	return "reading response header from upstream"
}

// reason is why a probe failed, in nginx's words.
func (x *exchange) reason() string {
	switch {
	case x.result == TimedOut:
		return "upstream timed out " + errlog.Errno(x.err)
	case x.at == stepConnect:
		return "connect() failed " + errlog.Errno(x.err)
	case x.at == stepTLS:
		return "SSL_do_handshake() failed " + errlog.Errno(x.err)
	case x.at == stepReceive && errnoText(x.err) == "closed":
		return "upstream prematurely closed connection"
	case x.at == stepReceive:
		return "recv() failed " + errlog.Errno(x.err)
	case x.at == stepSend:
		return "send() failed " + errlog.Errno(x.err)
	case x.result == Status:
		return fmt.Sprintf("unexpected status code %d", x.status)
	case x.result == Mismatch:
		return "unexpected " + x.err.Error()
	}
	return "upstream sent " + x.err.Error()
}

// plusWords is the log lines of health_check.
type plusWords struct{}

func (plusWords) tail(c *Check, t *target, x *exchange) string {
	name := ""
	if h := c.protocol.(*locationHTTP); h.match != nil {
		name = h.match.name
	}
	return fmt.Sprintf(` while %s, health check "%s" of peer %s in upstream "%s"`, x.doing(), name, t.name(), c.Group.Name)
}

// failed implements words. Failures of a peer that is down already are silent.
func (w plusWords) failed(c *Check, t *target, x *exchange, down bool) {
	if !down || x.lacking {
		c.log.Write(errlog.Error, 0, x.reason()+w.tail(c, t, x))
	}
}

// flipped implements words.
func (w plusWords) flipped(c *Check, t *target, x *exchange, down bool, _ int64) {
	if down {
		c.log.Write(errlog.Warn, 0, "peer is unhealthy"+w.tail(c, t, x))
	} else {
		c.log.Write(errlog.Notice, 0, "peer is healthy"+w.tail(c, t, x))
	}
}

// probeWords is the log lines of upstream_probe.
type probeWords struct{}

func (probeWords) tail(c *Check, t *target, x *exchange) string {
	return fmt.Sprintf(` while %s, probe "%s" of peer %s in upstream "%s"`, x.doing(), c.Name, t.name(), c.Group.Name)
}

// failed implements words. Failures of a peer that is down already are silent.
func (w probeWords) failed(c *Check, t *target, x *exchange, down bool) {
	if !down || x.lacking {
		c.log.Write(errlog.Error, 0, x.reason()+w.tail(c, t, x))
	}
}

// flipped implements words.
func (w probeWords) flipped(c *Check, t *target, x *exchange, down bool, _ int64) {
	if down {
		c.log.Write(errlog.Warn, 0, "peer is unhealthy"+w.tail(c, t, x))
	} else {
		c.log.Write(errlog.Notice, 0, "peer is healthy"+w.tail(c, t, x))
	}
}

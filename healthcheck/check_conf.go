package healthcheck

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"limpet/internal/errlog"
	"limpet/internal/ngx"
	"limpet/nginxconf"
	"limpet/upstream"
)

// checkSpec is what the check directive and its kin say in an upstream block.
type checkSpec struct {
	at       *nginxconf.Statement // of check; nil without it
	kind     string
	interval time.Duration
	timeout  time.Duration
	fall     int
	rise     int
	port     int
	unique   bool
	up       bool // default_down=false

	send     *string
	early    *nginxconf.Statement // check_http_send without a check type=http before it: Tengine refuses that
	orphan   bool                 // there was no check before it at all
	alive    uint8                // as written
	aliveAt  *nginxconf.Statement
	requests int
	params   []string
	tengine  bool // has what only Tengine knows
}

// newCheckSpec returns the defaults.
func newCheckSpec() checkSpec {
	return checkSpec{kind: "tcp", interval: 30 * time.Second, timeout: time.Second, fall: 5, rise: 2, requests: 1}
}

const defaultAlive = 1<<2 | 1<<3

func checkKinds() []string { return []string{"tcp", "http", "ssl_hello", "mysql", "ajp", "fastcgi"} }

// parse reads the check directive. A later one in the block changes what it names.
func (k *checkSpec) parse(s *nginxconf.Setting) error {
	kind := k.kind
	k.port, k.rise, k.fall, k.interval, k.timeout, k.up = 0, 2, 5, 30*time.Second, time.Second, false
	for i := range s.Args {
		if !k.param(s.Arg(i), &kind) {
			return fmt.Errorf(`invalid parameter "%s"`, s.Arg(i))
		}
	}
	k.at, k.kind = s.Statement, kind
	return nil
}

func (k *checkSpec) param(p string, kind *string) bool {
	name, value, _ := strings.Cut(p, "=")
	n, isNum := nginxconf.ParseNum(value)
	isNum = isNum && n > 0
	msec := time.Duration(n) * time.Millisecond
	switch name {
	case "type":
		*kind = value
		return slices.Contains(checkKinds(), value)
	case "port":
		k.port = n
		return isNum && n < 65536
	case "interval":
		k.interval = msec
	case "timeout":
		k.timeout = msec
	case "rise":
		k.rise = n
	case "fall":
		k.fall = n
	case "default_down":
		on, ok := boolean(value)
		k.up = !on
		return ok
	case "unique":
		on, ok := boolean(value)
		k.unique, k.tengine = on, true
		return ok
	default:
		return false
	}
	return isNum
}

func boolean(s string) (value, ok bool) {
	return strings.EqualFold(s, "true"), strings.EqualFold(s, "true") || strings.EqualFold(s, "false")
}

func (k *checkSpec) parseSend(s *nginxconf.Setting) error {
	text := s.Arg(0)
	k.send = &text
	if k.at == nil || k.kind != "http" {
		k.early, k.orphan = s.Statement, k.at == nil
	}
	return nil
}

func (k *checkSpec) parseAlive(s *nginxconf.Setting) error {
	for i := range s.Args {
		word := strings.ToLower(s.Arg(i))
		class := strings.Index("http_1xx http_2xx http_3xx http_4xx http_5xx", word)
		if len(word) != len("http_2xx") || class < 0 || class%9 != 0 {
			return fmt.Errorf(`invalid value "%s"`, s.Arg(i))
		}
		bit := uint8(2 << (class / 9))
		if k.alive&bit != 0 {
			s.Warn(`duplicate value "%s"`, s.Arg(i))
		}
		k.alive |= bit
	}
	k.tengine = k.tengine || k.alive&(1<<1) != 0
	k.aliveAt = s.Statement
	return nil
}

func (k *checkSpec) parseRequests(s *nginxconf.Setting) error {
	n, ok := nginxconf.ParseNum(s.Arg(0))
	if !ok || n == 0 {
		return nginxconf.Brief("invalid value")
	}
	k.requests = n
	return nil
}

func (k *checkSpec) parseParam(s *nginxconf.Setting) error {
	k.params = append(k.params, s.Arg(0), s.Arg(1))
	return nil
}

// buildUpstreams builds the checks of upstream blocks.
func (m *module) buildUpstreams(b *ngx.Build, s *Checks) error {
	var blocks []*nginxconf.Level
	http, tengine, yaoweibin := false, false, false
	for _, h := range b.Config.Root.Inner {
		if h.Context != nginxconf.HTTP {
			continue
		}
		http = true
		tengine = tengine || onlyTengine(h.Stmt.Block)
		for _, lv := range h.Inner {
			if lv.Context != nginxconf.Upstream {
				continue
			}
			k := &nginxconf.Of[*Conf](lv).check
			tengine = tengine || k.tengine || onlyTengine(lv.Stmt.Block)
			yaoweibin = yaoweibin || k.early != nil
			if k.at != nil {
				blocks = append(blocks, lv)
			}
		}
		for _, lv := range h.Inner {
			if err := wrongSend(lv, tengine); err != nil {
				return err
			}
		}
	}
	if !http {
		return nil
	}
	for _, lv := range blocks {
		m.buildCheck(b, s, lv, dialectOf(tengine, yaoweibin))
	}
	return nil
}

// dialectOf says whose check module the file was written for; "" when nothing tells.
func dialectOf(tengine, yaoweibin bool) string {
	switch {
	case tengine:
		return "Tengine"
	case yaoweibin:
		return "nginx_upstream_check_module"
	}
	return ""
}

// onlyTengine reports whether directives tell that the file is Tengine's.
func onlyTengine(sts []*nginxconf.Statement) bool {
	names := []string{"session_sticky", "session_sticky_hide_cookie", "dynamic_resolve", "vnswrr", "dyups_interface", "dyups_upstream_conf", "concat", "trim", "server_info", "server_admin"}
	return slices.ContainsFunc(sts, func(st *nginxconf.Statement) bool {
		return slices.Contains(names, st.Name) || st.Name == "check_status" && len(st.Args) == 1 && st.Args[0].Value == "prometheus" || onlyTengine(st.Block)
	})
}

// wrongSend is Tengine's refusal of check_http_send without its check, in a file that is Tengine's.
func wrongSend(lv *nginxconf.Level, tengine bool) error {
	if lv.Context != nginxconf.Upstream || !tengine {
		return nil
	}
	k := &nginxconf.Of[*Conf](lv).check
	switch {
	case k.early == nil:
		return nil
	case k.orphan:
		return nginxconf.Errorf(k.early.File, k.early.Line, "invalid check_http_send should set [check] first")
	}
	return nginxconf.Errorf(k.early.File, k.early.Line, `invalid check_http_send for type "%s"`, k.kind)
}

// buildCheck builds the check of one upstream block.
func (m *module) buildCheck(b *ngx.Build, s *Checks, lv *nginxconf.Level, dialect string) {
	k := &nginxconf.Of[*Conf](lv).check
	g := ngx.Shared[upstream.Groups](b).Find([]byte(lv.Stmt.Args[0].Value))
	if g == nil {
		return
	}
	alive := m.expectAlive(b, k, dialect)
	c := &Check{
		Group: g, Dialect: "check", Type: k.kind, Interval: k.interval, Fall: k.fall, Rise: k.rise, Port: k.port,
		timeouts: timeouts{total: k.timeout}, words: checkWords{}, requests: k.requests,
		startDown: !k.up, spread: min(k.interval, time.Second),
	}
	identity := fmt.Sprintf("check %s %d", k.kind, k.port)
	switch k.kind {
	case "tcp":
		c.protocol = checkTCP{}
	case "http":
		request := "GET / HTTP/1.0\r\n\r\n"
		if k.send != nil {
			request = *k.send
		}
		c.protocol = &checkHTTP{request: []byte(request), alive: alive, head: strings.HasPrefix(request, "HEAD ")}
		identity += fmt.Sprintf(" %d %q", alive, request)
	case "ssl_hello":
		c.protocol = newHello()
	case "mysql":
		c.protocol = checkMySQL{}
	case "ajp":
		c.protocol = checkAJP{}
	case "fastcgi":
		params := k.params
		if len(params) == 0 {
			params = []string{"REQUEST_METHOD", "GET", "REQUEST_URI", "/", "SCRIPT_FILENAME", "index.php"}
		}
		c.protocol = newFastCGI(params, k.alive)
		identity += fmt.Sprintf(" %d %q", k.alive, params)
	}
	c.Name = k.kind
	s.add(b, c, identity, k.unique, each)
	if k.port != 0 && slices.ContainsFunc(g.Peers().All, func(p *upstream.Peer) bool { return p.Network == "unix" }) {
		b.Notice("warn", `check's port=%d is ignored for UNIX-domain sockets in upstream "%s" in %s:%d`, k.port, g.Name, k.at.File, k.at.Line)
	}
}

// expectAlive returns the accepted classes. The two modules of that directive
// differ where it leaves a default class out: Tengine's takes the classes as
// they are, Weibin Yao's adds them to 2xx and 3xx. What is done is said.
func (m *module) expectAlive(b *ngx.Build, k *checkSpec, dialect string) uint8 {
	if k.aliveAt == nil || k.kind != "http" {
		return defaultAlive
	}
	if k.alive&defaultAlive == defaultAlive {
		return k.alive
	}
	add, why := dialect == "nginx_upstream_check_module", "the file is written for "+dialect
	switch {
	case m.opt.ExpectAlive != "":
		add, why = m.opt.ExpectAlive == "add", "so asked by --expect-alive"
	case dialect == "":
		why = "as with Tengine; with nginx_upstream_check_module they would be added to http_2xx and http_3xx, use --expect-alive=add for that"
	}
	what := "only the classes named are alive"
	alive := k.alive
	if add {
		what, alive = "the classes named are alive besides http_2xx and http_3xx", alive|defaultAlive
	}
	b.Notice("notice", `check_http_expect_alive: %s (%s) in %s:%d`, what, why, k.aliveAt.File, k.aliveAt.Line)
	return alive
}

// checkWords is the log lines of the check module, each with its final blank.
type checkWords struct{}

// failed implements words.
func (checkWords) failed(c *Check, t *target, x *exchange, _ bool) {
	say := func(format string, args ...any) { c.log.Printf(errlog.Error, 0, format, args...) }
	name := t.name()
	switch {
	case x.lacking:
		say("check of peer: %s couldn't be made: %s ", name, errlog.Errno(x.err))
	case x.result == TimedOut:
		say("check time out with peer: %s ", name)
	case x.at == stepConnect:
		say("connect() to %s failed %s", t.addr, errlog.Errno(x.err))
	case x.at == stepReceive && errors.Is(x.err, io.EOF) && len(x.in) > 0:
		say("check peer closed connection with an incomplete response, peer: %s ", name)
	default:
		if x.err == errStatusLine {
			say("http parse status line error with peer: %s ", name)
		}
		say("check protocol %s error with peer: %s ", c.Type, name)
	}
}

// flipped implements words.
func (checkWords) flipped(c *Check, t *target, _ *exchange, down bool, _ int64) {
	word := "enable"
	if down {
		word = "disable"
	}
	c.log.Printf(errlog.Error, 0, "%s check peer: %s ", word, t.name())
}

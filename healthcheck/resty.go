package healthcheck

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"limpet/internal/errlog"
	"limpet/internal/ngx"
	"limpet/upstream"
)

// Resty is what resty.upstream.healthcheck's spawn_checker is asked for, its
// types checked and its defaults filled in by the caller.
type Resty struct {
	Upstream      string // name, or host:port
	HTTPS         bool
	Request       []byte // sent as it is
	Timeout       time.Duration
	Interval      time.Duration // between the end of a cycle and the start of the next
	ValidStatuses []int         // nil: the status isn't looked at; empty: none is valid
	Concurrency   int
	Fall, Rise    int
	Port          int    // 0: the peer's own
	Host          string // SNI and the name to verify; "": none
	SSLVerify     bool
	// Trusted is lua_ssl_trusted_certificate; nil trusts nobody, so that SSLVerify then always fails.
	Trusted *x509.CertPool
}

// restyTimeout is what a timeout of 0 means: lua_socket_*_timeout.
const restyTimeout = 60 * time.Second

// SpawnResty adds a checker to the configuration being built; it runs once the
// configuration is in force. The error is spawn_checker's own text. A second
// checker with the same options changes nothing.
func SpawnResty(b *ngx.Build, r Resty) error {
	groups := ngx.Shared[upstream.Groups](b)
	g := groups.Find([]byte(r.Upstream))
	if g == nil {
		return errors.New("failed to get primary peers: upstream not found")
	}
	s := ngx.Shared[Checks](b)
	identity := r.identity()
	if s.has(g, identity) {
		return nil
	}
	c := &Check{
		Group: g, Dialect: "resty", Type: "http", Interval: max(r.Interval, 2*time.Millisecond),
		Fall: max(r.Fall, 1), Rise: max(r.Rise, 1), Port: r.Port,
		protocol: &restyHTTP{request: r.Request, valid: r.ValidStatuses}, words: restyWords{}, requests: 1, cycles: true,
	}
	timeout := r.Timeout
	if timeout == 0 {
		timeout = restyTimeout
	}
	c.timeouts = timeouts{connect: timeout, send: timeout, read: timeout}
	if r.HTTPS {
		c.Type, c.tls = "https", r.tls()
	}
	s.add(b, c, identity, false, func(c *Check) []*task { return []*task{r.cycle(c)} })
	return nil
}

// identity is what makes the checker another one than before a reload: not its rhythm, but what it asks.
func (r *Resty) identity() string {
	return fmt.Sprintf("resty %t %d %q %v %q", r.HTTPS, r.Port, r.Host, r.ValidStatuses, r.Request)
}

// cycle makes the checker's one task: primary peers, then backup peers.
func (r *Resty) cycle(c *Check) *task {
	var primary, backup []*target
	for _, t := range c.at() {
		if t.members[0].peer.Backup {
			backup = append(backup, t)
		} else {
			primary = append(primary, t)
		}
	}
	t := &task{check: c, period: c.Interval, pause: true, stages: [][]lane{lanes(primary, r.Concurrency), lanes(backup, r.Concurrency)}}
	t.own()
	return t
}

// lanes spreads targets as spawn_checker's concurrency does: one after the other
// for 1, each on its own when they are no more than n, else in groups of equal size.
func lanes(targets []*target, n int) []lane {
	size := 1
	switch {
	case len(targets) == 0:
		return nil
	case n <= 1:
		size = len(targets)
	case len(targets) > n:
		size = (len(targets) + n - 1) / n
	}
	var ls []lane
	for part := range slices.Chunk(targets, size) {
		ls = append(ls, lane{targets: part})
	}
	return ls
}

// restyHTTP sends a request and reads a line.
type restyHTTP struct {
	request []byte
	valid   []int // nil: any line will do
}

// ask implements protocol.
func (h *restyHTTP) ask(x *exchange) bool {
	if !x.send(h.request) {
		return false
	}
	end, ok := x.line(0)
	if !ok {
		return false
	}
	if h.valid == nil {
		return true
	}
	line := bytes.ReplaceAll(x.in[:end-1], []byte("\r"), nil)
	code, ok := restyStatus(line)
	if !ok {
		return x.judge(Malformed, badLine(line))
	}
	if x.status = code; !slices.Contains(h.valid, code) {
		return x.judge(Status, nil)
	}
	return true
}

// badLine is a status line that isn't one.
type badLine []byte

func (l badLine) Error() string { return "bad status line: " + string(l) }

// restyStatus finds the code in `HTTP/digits.digits blanks digits`, in any case;
// what follows doesn't matter.
func restyStatus(line []byte) (code int, ok bool) {
	rest := line
	if len(rest) < 5 || !ngx.EqualFold(rest[:5], "http/") {
		return 0, false
	}
	rest = rest[5:]
	digits := func() []byte {
		i := 0
		for i < len(rest) && rest[i] >= '0' && rest[i] <= '9' {
			i++
		}
		d := rest[:i]
		rest = rest[i:]
		return d
	}
	if len(digits()) == 0 || len(rest) == 0 || rest[0] != '.' {
		return 0, false
	}
	rest = rest[1:]
	if len(digits()) == 0 {
		return 0, false
	}
	blanks := len(rest) - len(bytes.TrimLeft(rest, " \t\v\f"))
	rest = rest[blanks:]
	d := digits()
	if blanks == 0 || len(d) == 0 {
		return 0, false
	}
	for _, c := range d {
		code = min(code*10+int(c-'0'), 1<<30)
	}
	return code, true
}

// tls returns the client's side of TLS as Lua's sslhandshake makes it: the chain is verified
// against Trusted, the name only where there is one.
func (r *Resty) tls() *tls.Config {
	conf := &tls.Config{ServerName: r.Host, InsecureSkipVerify: true} // verified below, with the words of the log
	if r.SSLVerify {
		conf.VerifyConnection = func(cs tls.ConnectionState) error { return verifyPeer(cs, r.Trusted, r.Host) }
	}
	return probeTLS(conf)
}

// verifyPeer verifies a peer's chain, and its name unless that is "". The error is OpenSSL's number and word.
func verifyPeer(cs tls.ConnectionState, trusted *x509.CertPool, name string) error {
	if trusted == nil {
		trusted = x509.NewCertPool()
	}
	opt := x509.VerifyOptions{Roots: trusted, Intermediates: x509.NewCertPool()}
	for _, cert := range cs.PeerCertificates[1:] {
		opt.Intermediates.AddCert(cert)
	}
	leaf := cs.PeerCertificates[0]
	if _, err := leaf.Verify(opt); err != nil {
		return verifyError(cs.PeerCertificates, err)
	}
	if name != "" && leaf.VerifyHostname(name) != nil {
		return errors.New("certificate host mismatch")
	}
	return nil
}

// verifyError is OpenSSL's number and text for why a chain isn't trusted.
// https://docs.openssl.org/3.0/man3/X509_STORE_CTX_get_error/
func verifyError(chain []*x509.Certificate, err error) error {
	var invalid x509.CertificateInvalidError
	if errors.As(err, &invalid) && invalid.Reason == x509.Expired {
		if time.Now().Before(invalid.Cert.NotBefore) {
			return errors.New("9: certificate is not yet valid")
		}
		return errors.New("10: certificate has expired")
	}
	self := func(c *x509.Certificate) bool { return bytes.Equal(c.RawIssuer, c.RawSubject) }
	var unknown x509.UnknownAuthorityError
	switch {
	case !errors.As(err, &unknown):
		return errors.New("1: " + err.Error())
	case self(chain[0]):
		return errors.New("18: self-signed certificate")
	case slices.ContainsFunc(chain[1:], self):
		return errors.New("19: self-signed certificate in certificate chain")
	}
	return errors.New("20: unable to get local issuer certificate")
}

// restyWords is the log lines of healthcheck.lua.
type restyWords struct{}

func (restyWords) line(c *Check, x *exchange, level errlog.Level, fn, text string) {
	c.log.Write(level, x.target.task.serial, "[lua] healthcheck.lua:"+fn+"(): healthcheck: "+text+", context: ngx.timer")
}

// failed implements words. Failures of a peer that is down already are silent.
func (w restyWords) failed(c *Check, t *target, x *exchange, down bool) {
	if x.lacking {
		w.line(c, x, errlog.Error, "61: errlog", "failed to create stream socket: "+errnoText(x.err))
		return
	}
	if down {
		return
	}
	peer := string(t.name())
	text := ""
	switch x.at {
	case stepConnect:
		text = "failed to connect to " + peer + ": " + errnoText(x.err)
	case stepTLS:
		text = "failed to ssl handshake to " + peer + ": " + handshakeText(x.err)
	case stepSend:
		text = "failed to send request to " + peer + ": " + errnoText(x.err)
	case stepReceive:
		text = "failed to receive status line from " + peer + ": " + errnoText(x.err)
	default:
		var bad badLine
		if errors.As(x.err, &bad) {
			text = "bad status line from " + peer + ": " + string(bad)
		} else if x.err != nil {
			text = "failed to receive status line from " + peer + ": " + x.err.Error()
		} else {
			text = "bad status code from " + peer + ": " + strconv.Itoa(x.status)
		}
	}
	w.line(c, x, errlog.Error, "61: errlog", text)
}

// handshakeText is what Lua's sslhandshake says of an error.
func handshakeText(err error) string {
	var verify *tls.CertificateVerificationError
	switch text := err.Error(); {
	case isTimeout(err):
		return "timeout"
	case errors.As(err, &verify):
		return verify.Err.Error()
	case text == "certificate host mismatch", len(text) > 2 && text[0] >= '0' && text[0] <= '9':
		return text
	}
	return "handshake failed"
}

// flipped implements words.
func (w restyWords) flipped(c *Check, t *target, x *exchange, down bool, n int64) {
	if down {
		w.line(c, x, errlog.Warn, "57: warn", fmt.Sprintf("peer %s is turned down after %d failure(s)", t.name(), n))
	} else {
		w.line(c, x, errlog.Warn, "57: warn", fmt.Sprintf("peer %s is turned up after %d success(es)", t.name(), n))
	}
}

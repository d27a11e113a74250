// Package resolver finds the addresses of names by DNS, as the resolver directive
// sets it up: addresses of hosts and the hosts of services.
//
// It stands for nginx's resolver.
// https://nginx.org/en/docs/http/ngx_http_core_module.html#resolver
//
// Every name that is asked for has one query under way, whose answer all who wait
// for it share; the queries run in goroutines of their own, a bounded number at
// once, which end with the answer or when nobody waits any more. The name servers
// take turns, one a name; a server that doesn't answer within resendAfter, or can't be
// reached, gives way to the next. A truncated answer is asked for again by TCP. Each query
// has a socket of its own, so that its port is hard to guess.
//
// Not done: names of addresses (PTR), which only nginx's mail proxy needs.
package resolver

import (
	"context"
	"math/rand/v2"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"time"

	"limpet/internal/errlog"
)

const (
	// resendAfter is how long an answer is waited for before the next server is asked.
	resendAfter = 5 * time.Second
	// maxQueries bounds the queries that run at once.
	maxQueries = 512
	// maxCached bounds the names that are remembered.
	maxCached = 8192
	// maxAliases bounds how many aliases of aliases are followed.
	maxAliases = 50
	// failedValid is for how long a failure holds for those who ask in the background.
	failedValid = 10 * time.Second
)

// Error is why a name has no address: a DNS code, or TimedOut.
type Error int

// The errors. A name without records is NotFound, too.
const (
	FormatError   Error = 1
	ServerFailure Error = 2
	NotFound      Error = 3
	TimedOut      Error = 110
)

// Error returns nginx's words, with the number.
func (e Error) Error() string {
	text := "Unknown error"
	switch e {
	case FormatError:
		text = "Format error"
	case ServerFailure:
		text = "Server failure"
	case NotFound:
		text = "Host not found"
	case 4:
		text = "Unimplemented"
	case 5:
		text = "Operation refused"
	case TimedOut:
		text = "Operation timed out"
	}
	return strconv.Itoa(int(e)) + ": " + text
}

// Config is what a resolver directive says.
type Config struct {
	Servers    []netip.AddrPort
	Valid      time.Duration // in place of the records' own time; 0: theirs
	IPv4, IPv6 bool          // which addresses are asked for
}

// Resolver asks the name servers of one resolver directive and remembers their
// answers. Its methods may be called at once.
type Resolver struct {
	Config
	slots chan struct{} // of the queries that run

	mu      sync.Mutex
	log     *errlog.Log
	next    int // the server for the next name
	answers map[question]*answer
	queries map[question]*query
}

// question is what is asked for.
type question struct {
	name string // in lower case, without a final dot
	srv  bool   // the service's hosts, else addresses
}

// answer is what was found.
type answer struct {
	addrs   []netip.Addr // IPv4 ones first
	records []record     // of a service
	err     error
	valid   time.Time
}

// query is a question under way.
type query struct {
	question
	done    chan struct{} // closed when answer is there
	answer  answer
	waiting int // guarded by Resolver.mu
	cancel  context.CancelFunc
}

// New returns a resolver that does nothing yet.
func New(c Config) *Resolver {
	return &Resolver{Config: c, slots: make(chan struct{}, maxQueries), answers: make(map[question]*answer), queries: make(map[question]*query)}
}

// SetLog says where lines about name servers go; nil for nowhere. The latest call holds.
func (r *Resolver) SetLog(l *errlog.Log) {
	r.mu.Lock()
	r.log = l
	r.mu.Unlock()
}

func (r *Resolver) say(level errlog.Level, format string, args ...any) {
	r.mu.Lock()
	l := r.log
	r.mu.Unlock()
	if l != nil {
		l.Printf(level, 0, format, args...)
	}
}

// debugging reports whether the log takes debug lines; debugf writes one.
func (r *Resolver) debugging() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.log.Debugging(errlog.DebugCore)
}

func (r *Resolver) debugf(format string, args ...any) {
	r.mu.Lock()
	l := r.log
	r.mu.Unlock()
	l.Debugf(errlog.DebugCore, 0, format, args...)
}

// Wait waits until done is closed, at most for d. An error ends the waiting of the one who waits.
type Wait func(done <-chan struct{}, d time.Duration) error

// WaitContext returns a Wait that ends with a context.
func WaitContext(ctx context.Context) Wait {
	return func(done <-chan struct{}, d time.Duration) error {
		t := time.NewTimer(d)
		defer t.Stop()
		select {
		case <-done:
		case <-t.C:
		case <-ctx.Done():
			return ctx.Err()
		}
		return nil
	}
}

// Host returns the addresses of a host, at least one, IPv4 ones before IPv6 ones, and until
// when they are valid. The first of each kind is a random one, so that all get
// their share. An Error says why there are none; for how long it is valid is then
// advice for asking again. Other errors are wait's.
func (r *Resolver) Host(name string, timeout time.Duration, wait Wait) ([]netip.Addr, time.Time, error) {
	a, err := r.ask(question{canonical(name), false}, timeout, wait)
	if err != nil {
		return nil, r.failed(), err
	}
	if a.err != nil {
		return nil, a.valid, a.err
	}
	return rotated(a.addrs), a.valid, nil
}

func (r *Resolver) failed() time.Time {
	if r.Valid > 0 {
		return time.Now().Add(r.Valid)
	}
	return time.Now().Add(failedValid)
}

func canonical(name string) string { return strings.ToLower(strings.TrimSuffix(name, ".")) }

// rotated returns the addresses with each kind turned by a random number.
func rotated(addrs []netip.Addr) []netip.Addr {
	n4 := 0
	for n4 < len(addrs) && addrs[n4].Is4() {
		n4++
	}
	out := make([]netip.Addr, 0, len(addrs))
	for _, part := range [][]netip.Addr{addrs[:n4], addrs[n4:]} {
		if len(part) > 0 {
			i := rand.IntN(len(part))
			out = append(append(out, part[i:]...), part[:i]...)
		}
	}
	return out
}

// ask returns the remembered answer or waits for one.
func (r *Resolver) ask(qn question, timeout time.Duration, wait Wait) (*answer, error) {
	r.mu.Lock()
	if a := r.cached(qn); a != nil {
		r.mu.Unlock()
		if r.debugging() {
			r.debugf("resolve cached: %s", qn.name)
		}
		return a, nil
	}
	q := r.join(qn)
	r.mu.Unlock()
	err := wait(q.done, timeout)
	r.leave(q)
	select {
	case <-q.done:
		return &q.answer, nil
	default:
	}
	if err == nil {
		err = TimedOut
	}
	return nil, err
}

// cached returns a remembered answer that is still valid. r.mu is held.
func (r *Resolver) cached(qn question) *answer {
	if a := r.answers[qn]; a != nil {
		if time.Now().Before(a.valid) {
			return a
		}
		delete(r.answers, qn)
	}
	return nil
}

// join returns the query for a question, begun if it isn't under way. r.mu is held.
func (r *Resolver) join(qn question) *query {
	q := r.queries[qn]
	if q == nil {
		ctx, cancel := context.WithCancel(context.Background())
		q = &query{question: qn, done: make(chan struct{}), cancel: cancel}
		r.queries[qn] = q
		server := r.next
		r.next = (r.next + 1) % len(r.Servers)
		go r.run(ctx, q, server)
	}
	q.waiting++
	return q
}

// leave ends somebody's waiting; a query that nobody waits for is given up.
func (r *Resolver) leave(q *query) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if q.waiting--; q.waiting == 0 {
		q.cancel()
		if r.queries[q.question] == q {
			delete(r.queries, q.question)
		}
	}
}

// run answers a query.
func (r *Resolver) run(ctx context.Context, q *query, server int) {
	defer q.cancel()
	select {
	case r.slots <- struct{}{}:
		defer func() { <-r.slots }()
	case <-ctx.Done():
		return
	}
	a, ok := r.resolve(ctx, q.question, server)
	if !ok { // nobody waits
		return
	}
	if r.debugging() {
		r.debugf("resolve name done: %s, naddrs:%d nsrvs:%d error:%v valid:%s", q.name, len(a.addrs), len(a.records), a.err, time.Until(a.valid).Round(time.Second))
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	q.answer = a
	close(q.done)
	if r.queries[q.question] == q {
		delete(r.queries, q.question)
	}
	if a.err == nil && time.Now().Before(a.valid) {
		r.remember(q.question, &q.answer)
	}
}

// remember keeps an answer; room is made by forgetting what is stale, else anything. r.mu is held.
func (r *Resolver) remember(qn question, a *answer) {
	if len(r.answers) >= maxCached {
		now := time.Now()
		for k, old := range r.answers {
			if now.After(old.valid) {
				delete(r.answers, k)
			}
		}
		for k := range r.answers {
			if len(r.answers) < maxCached {
				break
			}
			delete(r.answers, k)
		}
	}
	r.answers[qn] = a
}

// resolve asks for a name and the names that it is an alias of; false when ctx ended it.
func (r *Resolver) resolve(ctx context.Context, qn question, server int) (answer, bool) {
	var types []uint16
	switch {
	case qn.srv:
		types = []uint16{typeSRV}
	case r.IPv4 && r.IPv6:
		types = []uint16{typeA, typeAAAA}
	case r.IPv4:
		types = []uint16{typeA}
	default:
		types = []uint16{typeAAAA}
	}
	name, ttl := qn.name, uint32(1<<31-1)
	for range maxAliases {
		replies, err := r.exchange(ctx, name, types, server)
		if ctx.Err() != nil {
			return answer{}, false
		}
		if err != nil {
			return answer{err: err, valid: r.failed()}, true
		}
		a, alias := collect(replies, &ttl)
		if alias == "" {
			a.valid = time.Now().Add(time.Duration(ttl) * time.Second)
			if r.Valid > 0 {
				a.valid = time.Now().Add(r.Valid)
			}
			if a.err != nil {
				a.valid = r.failed()
			}
			return a, true
		}
		name = alias
	}
	return answer{err: NotFound, valid: r.failed()}, true
}

// collect makes an answer of the replies for each type, or finds the name that
// the one asked for is an alias of: as in nginx the last reply says it. An error in
// one reply is the whole's, unless it is that there is no such name, and the other
// one knows better. ttl falls to the least one on the way.
func collect(replies []*message, ttl *uint32) (a answer, alias string) {
	code := 0
	for _, m := range replies {
		if code == 0 || code == int(NotFound) && m.code() != 0 {
			code = m.code()
		}
		alias = ""
		for _, rec := range m.answers {
			switch {
			case rec.typ == typeCNAME:
				if alias == "" {
					alias = rec.target
				}
			case rec.typ != m.typ:
				continue
			case rec.typ == typeSRV:
				a.records = append(a.records, rec)
			default:
				a.addrs = append(a.addrs, rec.addr)
			}
			*ttl = min(*ttl, rec.ttl)
		}
	}
	found := len(a.addrs)+len(a.records) > 0
	switch {
	case code != 0 && !(found && code == int(NotFound)):
		return answer{err: Error(code)}, ""
	case found:
		return a, ""
	case alias == "":
		return answer{err: NotFound}, ""
	}
	return answer{}, alias
}

// Target is an address of a host of a service.
type Target struct {
	Addr             netip.AddrPort
	Name             string // the host's, as the service names it
	Priority, Weight int
}

// ServiceError is an error about one of a service's hosts.
type ServiceError struct {
	Host string
	Err  error
}

// Error returns the error's text, without the host.
func (e *ServiceError) Error() string { return e.Err.Error() }

// Service returns the addresses of the hosts of a service (RFC 2782), and until when they are valid. A
// service without a dot in it is one over TCP: http is _http._tcp. Hosts without
// an address are left out; other errors about one are a ServiceError.
func (r *Resolver) Service(service, name string, timeout time.Duration, wait Wait) ([]Target, time.Time, error) {
	full := service + "." + name
	if !strings.Contains(service, ".") {
		full = "_" + service + "._tcp." + name
	}
	a, err := r.ask(question{canonical(full), true}, timeout, wait)
	if err != nil {
		return nil, r.failed(), err
	}
	if a.err != nil {
		return nil, a.valid, a.err
	}
	valid := a.valid
	var targets []Target
	for _, rec := range a.records {
		host, err := r.ask(question{rec.target, false}, timeout, wait)
		if err == nil {
			err = host.err
		}
		if err == error(NotFound) {
			continue
		}
		if err != nil {
			return nil, r.failed(), &ServiceError{rec.target, err}
		}
		if host.valid.Before(valid) {
			valid = host.valid
		}
		for _, addr := range host.addrs {
			targets = append(targets, Target{netip.AddrPortFrom(addr, rec.port), rec.target, int(rec.priority), int(rec.weight)})
		}
	}
	if len(targets) == 0 {
		return nil, valid, NotFound
	}
	return targets, valid, nil
}

package resolver

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// server is a name server on the loopback interface. answer makes a response to a
// query, nil for none.
type server struct {
	conn    *net.UDPConn
	tcp     *net.TCPListener
	addr    netip.AddrPort
	queries atomic.Int64
	answer  func(q []byte, name string, typ uint16, tcp bool) []byte
	wait    sync.WaitGroup
}

func serve(t *testing.T, answer func(q []byte, name string, typ uint16, tcp bool) []byte) *server {
	t.Helper()
	s := &server{answer: answer}
	for try := 0; s.tcp == nil; try++ { // one port of both protocols
		conn, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
		if err != nil {
			t.Fatal(err)
		}
		s.conn, s.addr = conn, conn.LocalAddr().(*net.UDPAddr).AddrPort()
		if s.tcp, err = net.ListenTCP("tcp", net.TCPAddrFromAddrPort(s.addr)); err != nil {
			s.tcp = nil
			conn.Close()
			if try == 50 {
				t.Fatal(err)
			}
		}
	}
	s.wait.Go(s.udp)
	s.wait.Go(s.streams)
	t.Cleanup(func() {
		s.conn.Close()
		s.tcp.Close()
		s.wait.Wait()
	})
	return s
}

func (s *server) udp() {
	buf := make([]byte, 512)
	for {
		n, from, err := s.conn.ReadFromUDP(buf)
		if err != nil {
			return
		}
		if b := s.respond(buf[:n], false); b != nil {
			s.conn.WriteToUDP(b, from)
		}
	}
}

func (s *server) streams() {
	for {
		c, err := s.tcp.Accept()
		if err != nil {
			return
		}
		var size [2]byte
		io.ReadFull(c, size[:])
		q := make([]byte, binary.BigEndian.Uint16(size[:]))
		io.ReadFull(c, q)
		b := s.respond(q, true)
		c.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(b))), b...))
		c.Close()
	}
}

func (s *server) respond(q []byte, tcp bool) []byte {
	s.queries.Add(1)
	name, end, _ := parseName(q, headerSize)
	return s.answer(q, name, binary.BigEndian.Uint16(q[end:]), tcp)
}

// zone answers from a table of names; a value is addresses, >ALIAS, SRV targets "priority weight port name", or !CODE.
func zone(ttl uint32, names map[string]string) func(q []byte, name string, typ uint16, tcp bool) []byte {
	return func(q []byte, name string, typ uint16, _ bool) []byte {
		r := answerTo(q, 0)
		for v := range strings.FieldsSeq(names[name]) {
			switch {
			case v[0] == '!':
				return answerTo(q, uint16(v[1]-'0')).b
			case v[0] == '>':
				r.record(typeCNAME, ttl, wireName(v[1:]))
			default:
				a := netip.MustParseAddr(v)
				if typ == typeA && a.Is4() || typ == typeAAAA && a.Is6() {
					r.addr(ttl, v)
				}
			}
		}
		return r.b
	}
}

func resolverOf(servers ...*server) *Resolver {
	c := Config{IPv4: true, IPv6: true}
	for _, s := range servers {
		c.Servers = append(c.Servers, s.addr)
	}
	return New(c)
}

// host resolves a name and returns its addresses, or the error, as a text.
func host(r *Resolver, name string) string {
	addrs, _, err := r.Host(name, 2*time.Second, WaitContext(context.Background()))
	if err != nil {
		return err.Error()
	}
	var texts []string
	for _, a := range addrs {
		texts = append(texts, a.String())
	}
	return strings.Join(texts, " ")
}

func TestHostsAreResolved(t *testing.T) {
	r := resolverOf(serve(t, zone(60, map[string]string{
		"one.test": "192.0.2.1", "both.test": "2001:db8::1 192.0.2.1", "six.test": "2001:db8::1",
		"alias.test": ">one.test", "far.test": ">alias.test", "loop.test": ">loop.test",
		"broken.test": "!2", "none.test": "!3", "refused.test": "!5",
	})))
	for name, want := range map[string]string{
		"one.test": "192.0.2.1", "ONE.test.": "192.0.2.1", "both.test": "192.0.2.1 2001:db8::1", "six.test": "2001:db8::1",
		"alias.test": "192.0.2.1", "far.test": "192.0.2.1", "loop.test": "3: Host not found", "empty.test": "3: Host not found",
		"broken.test": "2: Server failure", "none.test": "3: Host not found", "refused.test": "5: Operation refused",
		"a..test": "1: Format error",
	} {
		if got := host(r, name); got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
}

func TestAnswersAreRemembered(t *testing.T) {
	s := serve(t, zone(60, map[string]string{"a.test": "192.0.2.1"}))
	r := resolverOf(s)
	host(r, "a.test")
	host(r, "A.TEST")
	if n := s.queries.Load(); n != 2 { // A and AAAA
		t.Errorf("%d queries", n)
	}
	host(r, "none.test")
	host(r, "none.test")
	if n := s.queries.Load(); n != 6 {
		t.Errorf("%d queries after names without an address", n)
	}
}

func TestZeroTTLIsNotRemembered(t *testing.T) {
	s := serve(t, zone(0, map[string]string{"a.test": "192.0.2.1"}))
	r := resolverOf(s)
	host(r, "a.test")
	host(r, "a.test")
	if n := s.queries.Load(); n != 4 {
		t.Errorf("%d queries", n)
	}
	r = resolverOf(s)
	r.Valid = time.Minute
	host(r, "a.test")
	host(r, "a.test")
	if n := s.queries.Load(); n != 6 {
		t.Errorf("%d queries with valid=1m", n)
	}
}

func TestOnlyAskedForFamilies(t *testing.T) {
	s := serve(t, zone(60, map[string]string{"a.test": "192.0.2.1 2001:db8::1"}))
	for _, six := range []bool{false, true} {
		r := resolverOf(s)
		r.IPv4, r.IPv6 = !six, six
		if got := host(r, "a.test"); strings.Contains(got, ":") != six || strings.Contains(got, " ") {
			t.Errorf("IPv6 %t: %s", six, got)
		}
	}
}

func TestWaitersShareAQuery(t *testing.T) {
	release := make(chan struct{})
	s := serve(t, func(q []byte, name string, typ uint16, tcp bool) []byte {
		<-release
		return zone(60, map[string]string{"a.test": "192.0.2.1"})(q, name, typ, tcp)
	})
	r := resolverOf(s)
	var all sync.WaitGroup
	for range 5 {
		all.Go(func() {
			if got := host(r, "a.test"); got != "192.0.2.1" {
				t.Error(got)
			}
		})
	}
	for {
		r.mu.Lock()
		q := r.queries[question{"a.test", false}]
		there := q != nil && q.waiting == 5
		r.mu.Unlock()
		if there {
			break
		}
		time.Sleep(time.Millisecond)
	}
	close(release)
	all.Wait()
	if n := s.queries.Load(); n != 2 {
		t.Errorf("%d queries", n)
	}
}

// Goleak sees to it that the query ends, too.
func TestWaitingEndsByTimeAndByTheOneWhoWaits(t *testing.T) {
	r := resolverOf(serve(t, func([]byte, string, uint16, bool) []byte { return nil }))
	_, _, err := r.Host("a.test", time.Millisecond, WaitContext(context.Background()))
	if err != error(TimedOut) || err.Error() != "110: Operation timed out" {
		t.Error(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, _, err = r.Host("a.test", time.Hour, WaitContext(ctx)); err != context.Canceled {
		t.Error(err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.queries) != 0 {
		t.Errorf("%d queries are left", len(r.queries))
	}
}

func TestTruncatedAnswerIsAskedForByTCP(t *testing.T) {
	r := resolverOf(serve(t, func(q []byte, name string, typ uint16, tcp bool) []byte {
		if !tcp {
			return answerTo(q, flagTruncated).addr(60, "192.0.2.9").b
		}
		return zone(60, map[string]string{"a.test": "192.0.2.1"})(q, name, typ, tcp)
	}))
	if got := host(r, "a.test"); got != "192.0.2.1" {
		t.Error(got)
	}
}

func TestForgedResponsesAreIgnored(t *testing.T) {
	r, at := New(Config{}), netip.MustParseAddrPort("127.0.0.1:53")
	p := &pending{name: "a.test", types: []uint16{typeA}, ids: []uint16{7}, replies: make([]*message, 1)}
	q := queryFor(t, "a.test", typeA)
	good := answerTo(q, 0).addr(60, "192.0.2.1").b
	wrong := append([]byte(nil), good...)
	wrong[1]++
	other := answerTo(queryFor(t, "b.test", typeA), 0).addr(60, "192.0.2.8").b
	for _, b := range [][]byte{wrong, other, {1}} {
		if _, m := r.match(p, at, b); m != nil {
			t.Errorf("%q was taken", b)
		}
	}
	if _, m := r.match(p, at, good); m == nil {
		t.Error("the true one was refused")
	}
}

func TestUnreachableServerGivesWay(t *testing.T) {
	dead := serve(t, nil)
	dead.conn.Close()
	r := resolverOf(dead, serve(t, zone(60, map[string]string{"a.test": "192.0.2.1"})))
	if got := host(r, "a.test"); got != "192.0.2.1" {
		t.Error(got)
	}
}

func TestServicesAreResolved(t *testing.T) {
	hosts := map[string]string{"one.test": "192.0.2.1 2001:db8::1", "two.test": "192.0.2.2", "broken.test": "!2"}
	service := func(targets ...string) *Resolver {
		return resolverOf(serve(t, func(q []byte, name string, typ uint16, tcp bool) []byte {
			if typ != typeSRV {
				return zone(60, hosts)(q, name, typ, tcp)
			}
			r := answerTo(q, 0)
			if name == "_http._tcp.test" {
				for i, target := range targets {
					r.record(typeSRV, 60, append([]byte{0, byte(i), 0, 5, 0, 80}, wireName(target+".test")...))
				}
			}
			return r.b
		}))
	}
	r := service("one", "two", "empty")
	wait := WaitContext(context.Background())
	for _, name := range []string{"http", "_http._tcp"} {
		got, _, err := r.Service(name, "test", time.Second, wait)
		want := []Target{
			{netip.MustParseAddrPort("192.0.2.1:80"), "one.test", 0, 5}, {netip.MustParseAddrPort("[2001:db8::1]:80"), "one.test", 0, 5},
			{netip.MustParseAddrPort("192.0.2.2:80"), "two.test", 1, 5},
		}
		if err != nil || len(got) != len(want) {
			t.Fatalf("%s: %v, %v", name, got, err)
		}
		for i := range want {
			if got[i] != want[i] {
				t.Errorf("%s: %v, want %v", name, got[i], want[i])
			}
		}
	}
	if _, _, err := r.Service("ftp", "test", time.Second, wait); err != error(NotFound) {
		t.Error(err)
	}
	var sub *ServiceError
	if _, _, err := service("one", "broken").Service("http", "test", time.Second, wait); !errors.As(err, &sub) || sub.Host != "broken.test" {
		t.Error(err)
	}
}

func TestMemoryIsBounded(t *testing.T) {
	r := New(Config{})
	for i := range maxCached + 10 {
		r.remember(question{name: string(rune(i))}, &answer{valid: time.Now().Add(time.Hour)})
	}
	if len(r.answers) > maxCached {
		t.Errorf("%d names", len(r.answers))
	}
}

func BenchmarkCached(b *testing.B) {
	r := New(Config{})
	r.answers[question{name: "a.test"}] = &answer{addrs: []netip.Addr{netip.MustParseAddr("192.0.2.1")}, valid: time.Now().Add(time.Hour)}
	wait := WaitContext(context.Background())
	b.ReportAllocs()
	for b.Loop() {
		r.Host("a.test", time.Second, wait)
	}
}

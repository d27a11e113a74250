package relay

import (
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"

	"limpet/internal/errlog"
	"limpet/internal/ngx"
	"limpet/internal/tcp"
	"limpet/nginxconf"
	"limpet/upstream"
)

// plain is a protocol without a head: an answer's body follows at once, of the length in the place.
type plain struct{ length int64 }

func (plain) NewState() any                              { return nil }
func (plain) AppendRequest(b []byte, x *Exchange) []byte { return append(b, x.R.URI...) }
func (plain) Send(x *Exchange) Failure                   { return x.Send() }
func (plain) Frame(x *Exchange, n int, _ bool) []byte    { return x.In[FrameRoom : FrameRoom+n] }
func (plain) ParseHead(*Exchange) (bool, Failure)        { return true, Failure{} }
func (plain) Decode(*Exchange, []byte) ([]byte, error)   { return nil, io.EOF }
func (p plain) ReadHead(x *Exchange) Failure {
	x.Status, x.Length, x.Keep = 200, p.length, true
	return Failure{}
}

// silence is a piece that never comes.
const silence = "silence"

// request returns a client's GET.
func request() *ngx.Request {
	r := &ngx.Request{
		Scope: &ngx.Scope{Core: &ngx.Core{ErrorLog: new(errlog.Log)}}, Client: &ngx.Client{},
		Method: []byte("GET"), URI: []byte("/"), Path: []byte("/"), Proto: ngx.HTTP11, Length: -1,
	}
	r.Main = r
	r.Scope.Server = r.Scope
	return r
}

// passing returns the Exchange of a request whose peer sends the pieces, one read each, and closes.
func passing(t testing.TB, c *Conf, p Protocol, pieces ...string) *Exchange {
	t.Helper()
	k := &Kind{Name: "plain", Schemes: []Scheme{{Shown: "plain://"}}}
	c.kind = k
	c.Pass.Put(&Target{kind: k, scheme: &k.Schemes[0], Group: upstream.Single("x", "127.0.0.1:1")})
	a, b := net.Pipe()
	x, err := Trial(Place{Kind: k, Protocol: p}, c, request(), tcp.New(a))
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer b.Close()
		for _, p := range pieces {
			if p == silence {
				io.Copy(io.Discard, b) // until the other side closes
				return
			}
			if _, err := io.WriteString(b, p); err != nil {
				return
			}
		}
	}()
	t.Cleanup(func() {
		x.End()
		b.Close()
		<-done
	})
	return x
}

func TestMayAskAnotherPeer(t *testing.T) {
	post := request()
	post.Method = []byte("POST")
	for _, c := range []struct {
		rule  string
		next  uint32
		r     *ngx.Request
		class uint32
		sent  bool
		want  bool
	}{
		{"error by default", NextError | NextTimeout, request(), NextError, true, true},
		{"timeout by default", NextError | NextTimeout, request(), NextTimeout, true, true},
		{"a bad head isn't by default", NextError | NextTimeout, request(), NextInvalidHeader, true, false},
		{"a status that is named", Next503, request(), Next503, true, true},
		{"a status that isn't", Next503, request(), Next502, true, false},
		{"off", NextOff, request(), NextError, false, false},
		{"POST before it was sent", NextError | NextTimeout, post, NextError, false, true},
		{"POST once it was sent", NextError | NextTimeout, post, NextError, true, false},
		{"POST where it is named", NextError | NextNonIdempotent, post, NextError, true, true},
	} {
		conf := new(Conf)
		conf.NextUpstream.Put(c.next)
		x := passing(t, conf, plain{})
		x.R = c.r
		x.s.Tries = 1
		if got := x.mayAsk(c.class, c.sent, 0); got != c.want {
			t.Errorf("%s: got %v", c.rule, got)
		}
		if x.s.Tries = 0; x.mayAsk(c.class, c.sent, 0) {
			t.Errorf("%s: asked though no try is left", c.rule)
		}
		if x.s.Tries, x.bodySent = 1, true; x.mayAsk(c.class, c.sent, 0) {
			t.Errorf("%s: asked though the body is gone", c.rule)
		}
	}
}

func TestURLsAreParted(t *testing.T) {
	for _, c := range []struct {
		in, host, uri string
		has           bool
	}{
		{"h", "h", "", false}, {"h/", "h", "/", true}, {"h:80?a", "h:80", "?a", true}, {"[::1]:80/a", "[::1]:80", "/a", true},
		{"unix:/a/b", "unix:/a/b", "", false}, {"unix:/a/b:/c", "unix:/a/b", "/c", true}, {"unix:/a/b:", "unix:/a/b", "", false},
	} {
		if host, uri, has := splitURL(c.in); host != c.host || uri != c.uri || has != c.has {
			t.Errorf("%s: %s %s %v", c.in, host, uri, has)
		}
	}
}

// A spool gives everything in order: what was in memory, then what a file took.
func TestSpoolKeepsTheOrder(t *testing.T) {
	var pieces []string
	for i := range 3000 {
		pieces = append(pieces, fmt.Sprintf("piece %04d,", i))
	}
	want := strings.Join(pieces, "")
	for _, size := range []int64{0, 1 << 20} { // without a file it waits for room
		conf := new(Conf)
		conf.Buffers.Put(nginxconf.Buffers{Num: 2, Size: 4096})
		conf.MaxTempSize.Put(size)
		conf.TempPath.Put(ngx.TempPath{Dir: t.TempDir()})
		x := passing(t, conf, plain{int64(len(want))}, pieces...)
		x.H.Protocol.ReadHead(x)
		x.begin()
		x.startSpool()
		var got strings.Builder
		var err error
		for err == nil {
			var p []byte
			p, err = x.spool.take()
			got.Write(p)
		}
		x.close()
		if err != io.EOF || got.String() != want {
			t.Errorf("file of %d: %v, %d bytes of %d", size, err, got.Len(), len(want))
		}
	}
}

// A spool that nobody takes from ends when it is told to, in the middle of waiting for room and of reading.
func TestSpoolEndsWhenToldTo(t *testing.T) {
	for name, rest := range map[string]string{"waits for room": strings.Repeat("x", 200<<10), "reads": silence} {
		conf := new(Conf)
		conf.Buffers.Put(nginxconf.Buffers{Num: 8, Size: 4096})
		x := passing(t, conf, plain{1000000}, rest)
		x.H.Protocol.ReadHead(x)
		x.begin()
		x.startSpool()
		s := x.spool
		x.close()
		if _, err := s.take(); rest == silence && !errors.Is(err, tcp.ErrAborted) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

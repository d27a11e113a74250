package upstream

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"limpet/internal/ngx"
)

// four is the group of the sequences below: weights 1, 3, 1 and w, the third down.
func four(m Method, w int) *Group {
	g := groupBy(m, 1, 3, 1, w)
	for i, text := range []string{"127.0.0.1:30001", "localhost:30002", "127.0.0.1:30003", "127.0.0.1:30004"} {
		p := g.Peers().All[i]
		p.Name, p.Server = []byte{byte('1' + i)}, text
	}
	g.Peers().All[2].Down = true
	g.publish(g.Peers())
	return g
}

// The sequences are those of nginx 1.22.1 with `server 127.0.0.1:30001;
// server localhost:30002 weight=3; server 127.0.0.1:30003 down; server 127.0.0.1:30004;`.
func TestSequencesAreThoseOfNginx(t *testing.T) {
	variables := ngx.NewVars([]ngx.Variable{{Name: "key", Get: func(r *ngx.Request, b []byte) ([]byte, bool) { return append(b, r.Args...), true }}})
	key, err := ngx.CompileText(variables, "$key")
	if err != nil {
		t.Fatal(err)
	}
	byAddr := func(format string) func(r *ngx.Request, k int) {
		return func(r *ngx.Request, k int) {
			r.Client.Addr = netip.AddrPortFrom(netip.MustParseAddr(fmt.Sprintf(format, k)), 1)
		}
	}
	byKey := func(r *ngx.Request, k int) { r.Args = fmt.Appendf(nil, "key%d", k) }
	ip := Method{Make: func(ps *Peers) Balancer { return ipHash{ps.weight()} }}
	for _, tt := range []struct {
		name   string
		method Method
		weight int
		set    func(r *ngx.Request, k int)
		want   string
	}{
		{"ip_hash", ip, 1, byAddr("10.%d.7.9"), "2221422221422221412221442221422214222214"},
		{"ip_hash IPv6", ip, 1, byAddr("2001:db8::%d"), "2224122244122224122214122224122224122214"},
		{"hash", Method{Make: func(ps *Peers) Balancer { return &keyHash{key, ps.weight()} }}, 1, byKey, "2222422121224212122214224122224142142212"},
		{"hash consistent", Method{Make: func(ps *Peers) Balancer { return newCircle(key, ps.Primary) }}, 1, byKey, "2222422242224222442222122224122122422141"},
		{"least_conn", Method{Make: func(*Peers) Balancer { return leastConn{} }}, 2, byKey, "24124224124224124224"},
	} {
		g := four(tt.method, tt.weight)
		got := ""
		for k := range len(tt.want) {
			r := &ngx.Request{Client: &ngx.Client{}}
			r.Main = r
			tt.set(r, k+1)
			var s Session
			g.Begin(&s, r)
			got += string(s.Next().Name)
			s.Done(Good)
		}
		if got != tt.want {
			t.Errorf("%s:\n got %s\nwant %s", tt.name, got, tt.want)
		}
	}
}

// A peer of several lines of one name on the circle shares its points by round robin.
func TestServersOfOneNameShareTheirPoints(t *testing.T) {
	g := groupBy(Method{}, 1, 1)
	for _, p := range g.Peers().All {
		p.Server = "same"
	}
	c := newCircle(ngx.Literal("k"), g.Peers().All)
	if len(c.points) != pointsPerWeight {
		t.Errorf("%d points", len(c.points))
	}
	g.Peers().balance(c)
	if got := draw(g, 4); got != "abab" {
		t.Error(got)
	}
}

// 21 peers that can't be asked, and round robin chooses.
func TestHashingGivesUp(t *testing.T) {
	g := groupBy(Method{Make: func(ps *Peers) Balancer { return newCircle(ngx.Literal("k"), ps.Primary) }}, 1, 1, 1)
	first := draw(g, 1)
	for _, p := range g.Peers().All {
		p.Down = string(p.Name) == first
	}
	second := draw(g, 2)
	if strings.Contains(second, first) || second[0] != second[1] {
		t.Errorf("%s, then %s", first, second)
	}
	for _, p := range g.Peers().All {
		p.Down = true
	}
	if got := draw(g, 1); got != "-" {
		t.Error(got)
	}
}

func TestRandomFollowsTheWeights(t *testing.T) {
	for _, two := range []bool{false, true} {
		g := groupBy(Method{Make: func(ps *Peers) Balancer { return newRandom(ps.Primary, two) }}, 1, 3, 6)
		got := draw(g, 10000)
		if two {
			continue // less certain: the second choice is another peer
		}
		for i, want := range []int{1000, 3000, 6000} {
			if n := strings.Count(got, string(rune('a'+i))); n < want*9/10-50 || n > want*11/10+50 {
				t.Errorf("%c: %d, want about %d", 'a'+i, n, want)
			}
		}
	}
}

func TestRandomTwoTakesTheLessBusy(t *testing.T) {
	g := groupBy(Method{Make: func(ps *Peers) Balancer { return newRandom(ps.Primary, true) }}, 1, 1)
	g.Peers().All[0].conns.Store(1)
	if got := draw(g, 50); got != strings.Repeat("b", 50) {
		t.Error(got)
	}
}

// answer runs a session whose peer takes some time.
func answer(g *Group, header, last time.Duration) string {
	r := &ngx.Request{}
	var s Session
	g.Begin(&s, r)
	p := s.Next()
	r.Tries = append(r.Tries, ngx.Try{Header: header, Response: last})
	time.Sleep(header)
	s.Headed()
	time.Sleep(last - header)
	s.Done(Good)
	return string(p.Name)
}

func TestLeastTimePrefersTheFast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, tt := range []struct {
			name string
			m    leastTime
			want string
		}{
			{"last_byte", leastTime{}, "bbbb"},
			{"header", leastTime{header: true}, "baba"},
		} {
			g := groupBy(Method{Make: func(*Peers) Balancer { return &tt.m }}, 1, 1)
			answer(g, 0, time.Second) // a
			got := ""
			for range 4 {
				got += answer(g, 0, time.Millisecond)
			}
			if got != tt.want {
				t.Errorf("%s: %s", tt.name, got)
			}
		}
	})
}

func TestLeastTimeProbesTheSlowInTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := groupBy(Method{Make: func(*Peers) Balancer { return &leastTime{} }}, 1, 1)
		answer(g, 0, 4*time.Second)
		few := func() (names string) {
			for range 6 {
				names += answer(g, 0, time.Millisecond)
			}
			return names
		}
		for _, tt := range []struct {
			wait time.Duration
			want int
		}{{0, 0}, {10 * time.Second, 0}, {5 * time.Second, 1}, {8 * time.Second, 0}} {
			time.Sleep(tt.wait)
			if got := few(); strings.Count(got, "a") != tt.want {
				t.Errorf("after %v more: %s", tt.wait, got)
			}
		}
	})
}

func TestLeastTimeInflight(t *testing.T) {
	for _, inflight := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			g := groupBy(Method{Make: func(*Peers) Balancer { return &leastTime{inflight: inflight} }}, 3, 1)
			var hangs Session
			g.Begin(&hangs, nil)
			hangs.Next() // a; by connections alone it would still have a place free
			time.Sleep(time.Second)
			if got := answer(g, 0, time.Millisecond); (got == "b") != inflight {
				t.Errorf("inflight %t: %s", inflight, got)
			}
		})
	}
}

func BenchmarkMethods(b *testing.B) {
	r := &ngx.Request{Client: &ngx.Client{Addr: netip.MustParseAddrPort("192.0.2.1:1")}}
	r.Main = r
	for name, make := range map[string]func(ps *Peers) Balancer{
		"least_conn": func(*Peers) Balancer { return leastConn{} },
		"least_time": func(*Peers) Balancer { return &leastTime{inflight: true} },
		"ip_hash":    func(ps *Peers) Balancer { return ipHash{ps.weight()} },
		"hash":       func(ps *Peers) Balancer { return &keyHash{ngx.Literal("key"), ps.weight()} },
		"consistent": func(ps *Peers) Balancer { return newCircle(ngx.Literal("key"), ps.Primary) },
		"random":     func(ps *Peers) Balancer { return newRandom(ps.Primary, false) },
		"random two": func(ps *Peers) Balancer { return newRandom(ps.Primary, true) },
	} {
		b.Run(name, func(b *testing.B) {
			g := groupBy(Method{Make: make}, 1, 2, 3, 1)
			b.ReportAllocs()
			var s Session
			for b.Loop() {
				g.Begin(&s, r)
				s.Next()
				s.Done(Good)
			}
		})
	}
}

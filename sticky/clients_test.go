package sticky

import (
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"limpet/internal/ngx"
)

func TestClientsAreEstimated(t *testing.T) {
	for _, n := range []int{0, 1, 2, 10, 100, 1000, 30_000} {
		rnd := rand.New(rand.NewPCG(1, uint64(n)))
		var table clientTable
		for range n {
			h := rnd.Uint64()
			table.add(h, 6000)
			table.add(h, 6001)
		}
		got := table.count(time.Minute, 6010)
		if off := max(got-n, n-got); off > n/6 {
			t.Errorf("%d clients, estimated %d", n, got)
		}
	}
}

func TestWindowLeavesFormerClientsOut(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	var table clientTable
	for range 300 {
		table.add(rnd.Uint64(), 6000)
	}
	for range 10 {
		table.add(rnd.Uint64(), 6000+10*60)
	}
	for window, want := range map[time.Duration][2]int{time.Minute: {9, 11}, 5 * time.Minute: {9, 11}, 20 * time.Minute: {260, 350}} {
		if got := table.count(window, 6000+10*60); got < want[0] || got > want[1] {
			t.Errorf("%d clients within %s", got, window)
		}
	}
	if got := table.count(5*time.Minute, 6000+30*60); got != 0 {
		t.Errorf("%d clients when nobody came", got)
	}
}

func TestDrainEmptiesAPeer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := open(t, "upstream u { "+servers+"sticky cookie c; }", nil)
		from := func(addr, cookie string) visit {
			v := visit{out: func(r *ngx.Request) { r.Client.Text = []byte(addr) }}
			if cookie != "" {
				v.cookies = []string{"c=" + cookie}
			}
			return v
		}
		s.visit(from("192.0.2.1", md5of18081))
		s.visit(from("192.0.2.2", md5of18081))
		s.visit(from("192.0.2.2", md5of18081))
		g := s.groups.List[0]
		g.Peers().All[0].SetDrain(true)
		s = open(t, "upstream u { "+servers+"sticky cookie c; }", s) // drain and clients outlive a reload
		g = s.groups.List[0]
		p, peer := Of(g), g.Peers().All[0]
		if !peer.Draining() || p.Clients(peer, 10*time.Minute) != 2 || p.LastSeen(peer).IsZero() {
			t.Errorf("draining %v, %d clients", peer.Draining(), p.Clients(peer, 10*time.Minute))
		}
		for range 3 {
			s.visit(from("192.0.2.9", "")).check(t, "18082", "c="+md5hex("127.0.0.1:18082"))
		}
		time.Sleep(5 * time.Minute)
		s.visit(from("192.0.2.1", md5of18081)).check(t, "18081", "c="+md5of18081)
		if n := p.Clients(peer, 2*time.Minute); n != 1 {
			t.Errorf("%d clients", n)
		}
		time.Sleep(5 * time.Minute)
		if n := p.Clients(peer, 2*time.Minute); n != 0 {
			t.Errorf("%d clients when all are gone", n)
		}
		peer.SetDrain(false)
		if peer.Draining() {
			t.Error("still draining")
		}
	})
}

func BenchmarkClients(b *testing.B) {
	var table clientTable
	st := newStats()
	r := &ngx.Request{Client: &ngx.Client{Text: []byte("192.0.2.1")}, Start: time.Unix(6000, 0)}
	r.In.AddID(ngx.HeaderUserAgent, []byte("Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"))
	b.ReportAllocs()
	for b.Loop() {
		table.see(st, r)
	}
}

package metrics

import (
	"testing"

	"limpet/internal/ngx"
)

func request(status int, sent int64) *ngx.Request {
	r := &ngx.Request{Status: status, BytesSent: sent}
	r.Main = r
	return r
}

func TestRequestsAreCountedByClass(t *testing.T) {
	sl := &slot{server: new(Server)}
	for _, status := range []int{200, 204, 404, 499, 502, 0, 999} {
		sl.count(request(status, 10))
	}
	sub := request(200, 10)
	sub.Main = request(200, 0)
	sl.count(sub)
	for class, want := range []int64{2, 0, 2, 0, 2, 1} {
		if got := sl.server.Classes[class].Load(); got != want {
			t.Errorf("class %d: %d, want %d", class, got, want)
		}
	}
	if got := sl.server.Sent.Load(); got != 70 {
		t.Errorf("%d bytes, want those of client's requests, 70", got)
	}
}

func TestNothingIsCountedUnlessAskedFor(t *testing.T) {
	if m := Module(false); m.Scope != nil || m.Config != nil {
		t.Error("the module has steps")
	}
}

func BenchmarkCount(b *testing.B) {
	sl, r := &slot{server: new(Server)}, request(200, 128)
	b.ReportAllocs()
	for b.Loop() {
		sl.count(r)
	}
}

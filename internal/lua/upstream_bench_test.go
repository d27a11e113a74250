package lua

import (
	"testing"
	"time"

	"limpet/upstream"
)

// BenchmarkPrimaryPeers makes the tables of get_primary_peers for two peers.
func BenchmarkPrimaryPeers(b *testing.B) {
	rt := testRuntime()
	m, err := rt.newMachine(0)
	if err != nil {
		b.Fatal(err)
	}
	g := upstream.Single("b", "127.0.0.1:80", "127.0.0.2:80")
	b.ReportAllocs()
	for b.Loop() {
		peerList(m.L, g, g.Peers().Primary)
	}
	_ = time.Now
}

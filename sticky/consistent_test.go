package sticky

import (
	"fmt"
	"testing"
)

// nginx hashes with the same function in split_clients: the hundredths of the
// whole range were read from nginx 1.22.1.
func TestMurmur2(t *testing.T) {
	for in, hundredth := range map[string]uint64{"": 0, "a": 57, "ab": 10, "abc": 7, "abcd": 15, "abcde": 37,
		"127.0.0.1:18081": 34, "some-longer-key-0123456789": 36} {
		if got := uint64(murmur2([]byte(in))) * 100 >> 32; got != hundredth {
			t.Errorf("%q: %d, want %d", in, got, hundredth)
		}
	}
}

const ringConf = `upstream u { consistent_hash $arg_k; server 127.0.0.1:1 id=1; server 127.0.0.1:2 id=2 weight=3; server 127.0.0.1:3 id=3; server 127.0.0.1:4 id=4; }`

// keys returns the peers of some keys.
func ringPeers(s *site) map[string]string {
	peers := make(map[string]string)
	for i := range 600 {
		k := fmt.Sprint("k=key-", i)
		peers[k] = s.visit(visit{args: k}).peers
	}
	return peers
}

func TestKeysOfADeadPeerAloneMove(t *testing.T) {
	s := open(t, ringConf, nil)
	before := ringPeers(s)
	count := make(map[string]int)
	for _, p := range before {
		count[p]++
	}
	if count["1"] < 60 || count["3"] < 60 || count["2"] < 2*count["1"] {
		t.Errorf("keys by peer: %v", count)
	}
	s.groups.List[0].Peers().All[2].SetDown(0, true)
	gained := make(map[string]bool)
	for k, p := range ringPeers(s) {
		switch {
		case before[k] != "3" && p != before[k]:
			t.Fatalf("%s moved from %s to %s", k, before[k], p)
		case p == "3":
			t.Fatalf("%s is still with the dead peer", k)
		case before[k] == "3":
			gained[p] = true
		}
	}
	if len(gained) != 3 {
		t.Errorf("its keys went to %v only", gained)
	}
}

func TestIDsNotAddressesPlaceServersOnTheRing(t *testing.T) {
	before := ringPeers(open(t, ringConf, nil))
	other := `upstream u { consistent_hash $arg_k; server 127.0.0.1:4 id=1; server 127.0.0.1:3 id=2 weight=3; server 127.0.0.1:2 id=3; server 127.0.0.1:1 id=4; }`
	swapped := map[string]string{"1": "4", "2": "3", "3": "2", "4": "1"}
	for k, p := range ringPeers(open(t, other, nil)) {
		if p != swapped[before[k]] {
			t.Fatalf("%s: %s, before %s", k, p, before[k])
		}
	}
}

func TestRetryOnTheRingAsksAnotherPeer(t *testing.T) {
	s := open(t, ringConf, nil)
	got := s.visit(visit{args: "k=x", fail: 1})
	if len(got.peers) != 3 || got.peers[0] == got.peers[2] {
		t.Error(got.peers)
	}
	s.groups.List[0].Peers().All[0].SetDrain(true)
	for k, p := range ringPeers(s) {
		if p == "1" {
			t.Fatalf("%s went to a draining peer", k)
		}
	}
}

func BenchmarkConsistentHash(b *testing.B) { benchmark(b, ringConf, "") }

package sticky

import (
	"encoding/binary"
	"sort"

	"limpet/internal/ngx"
	conf "limpet/nginxconf"
	"limpet/upstream"
)

// parseConsistent reads Tengine's consistent_hash, which is a balancing method of its own.
// https://tengine.taobao.org/document/http_upstream_consistent_hash.html
func parseConsistent(s *conf.Setting) error {
	key, err := ngx.ParseText(s, s.Arg(0))
	if err != nil {
		return err
	}
	return upstream.SetMethod(s, upstream.Method{Name: s.Name, NoBackup: true, NoMaxConns: true,
		Make: func(ps *upstream.Peers) upstream.Balancer { return newRing(key, ps.Primary) }})
}

// ring is the circle of hashes on which each peer has points by its weight.
type ring struct {
	key    ngx.Text
	points []point // by hash
}

type point struct {
	hash uint32
	peer int // in Peers.Primary
}

const (
	pointsPerWeight = 160
	maxPoints       = 16384 // of one server
	maxServerID     = 65535
)

func newRing(key ngx.Text, peers []*upstream.Peer) *ring {
	r := &ring{key: key}
	for i, p := range peers {
		number := murmur2(p.Name)
		if n, ok := conf.ParseNum(p.ID); ok && n <= maxServerID {
			number = uint32(n)
		}
		for j := range min(uint32(p.Weight()*pointsPerWeight), maxPoints) {
			var b [4]byte
			binary.LittleEndian.PutUint32(b[:], number*4096+j)
			r.points = append(r.points, point{murmur2(b[:]), i})
		}
	}
	sort.SliceStable(r.points, func(i, j int) bool { return r.points[i].hash < r.points[j].hash })
	return r
}

// Pick implements upstream.Balancer: the first point from the key's hash on, round
// the circle; where its peer can't be asked, the nearest point of one that can, on either side.
func (r *ring) Pick(s *upstream.Session, peers []*upstream.Peer, now int64) *upstream.Peer {
	may := func(p *upstream.Peer) bool { return s.May(p, now) && !p.Draining() }
	if peers[0].Backup { // they have no points
		for _, p := range peers {
			if may(p) {
				return p
			}
		}
		return nil
	}
	if s.Hash == 0 {
		s.Hash = murmur2(r.key.Bytes(s.Request))
	}
	n := len(r.points)
	at := sort.Search(n, func(i int) bool { return r.points[i].hash >= s.Hash })
	for d := range n {
		for _, i := range [2]int{(at + d) % n, (at + n - d) % n} {
			if p := peers[r.points[i].peer]; may(p) {
				p.Checked(now)
				return p
			}
		}
	}
	return nil
}

// murmur2 is MurmurHash2 with seed 0.
// https://github.com/aappleby/smhasher/blob/master/src/MurmurHash2.cpp
func murmur2(b []byte) uint32 {
	const m = 0x5bd1e995
	h := uint32(len(b))
	for ; len(b) >= 4; b = b[4:] {
		k := binary.LittleEndian.Uint32(b) * m
		k ^= k >> 24
		h = h*m ^ k*m
	}
	switch len(b) {
	case 3:
		h ^= uint32(b[2]) << 16
		fallthrough
	case 2:
		h ^= uint32(b[1]) << 8
		fallthrough
	case 1:
		h = (h ^ uint32(b[0])) * m
	}
	h = (h ^ h>>13) * m
	return h ^ h>>15
}

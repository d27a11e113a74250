package upstream

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"slices"
	"sort"
	"strconv"
	"strings"

	"limpet/internal/ngx"
	"limpet/nginxconf"
)

// parseHash reads hash KEY [consistent].
// https://nginx.org/en/docs/http/ngx_http_upstream_module.html#hash
func parseHash(s *nginxconf.Setting) error {
	key, err := ngx.ParseText(s, s.Arg(0))
	if err != nil {
		return err
	}
	m := Method{Name: s.Name, NoBackup: true, NoSlowStart: true, Make: func(ps *Peers) Balancer { return &keyHash{key, ps.weight()} }}
	if len(s.Args) == 2 {
		if s.Arg(1) != "consistent" {
			return fmt.Errorf(`invalid parameter "%s"`, s.Arg(1))
		}
		m.Make = func(ps *Peers) Balancer { return newCircle(key, ps.Primary) }
	}
	return SetMethod(s, m)
}

// keyHash chooses by a key's hash among the weights, as Cache::Memcached does.
// https://metacpan.org/pod/Cache::Memcached
type keyHash struct {
	key    ngx.Text
	weight int
}

// Pick implements Balancer. A peer that can't be asked makes the hash go on:
// the number of the attempt before the key is hashed, and added to the hash so far.
func (h *keyHash) Pick(s *Session, peers []*Peer, now int64) *Peer {
	if len(peers) < 2 || peers[0].Backup {
		return roundRobin{}.Pick(s, peers, now)
	}
	key := s.key(&h.key)
	if len(key) == 0 {
		return roundRobin{}.Pick(s, peers, now)
	}
	if s.debugging() {
		s.Request.Debugf(`upstream hash key:"%s"`, key)
		s.Request.Debugf("get hash peer, try: %d", s.Tries)
	}
	for s.Probes <= maxProbes {
		crc := uint32(0)
		if s.Rehash > 0 {
			var room [10]byte
			crc = crc32.ChecksumIEEE(strconv.AppendUint(room[:0], uint64(s.Rehash), 10))
		}
		crc = crc32.Update(crc, crc32.IEEETable, key)
		s.Hash += crc >> 16 & 0x7fff
		s.Rehash++
		p := atWeight(peers, int(s.Hash)%h.weight)
		if s.debugging() {
			s.Request.Debugf("get hash peer, value:%d, peer:%s", s.Hash, p.Name)
		}
		if s.MayNew(p, now) {
			p.Checked(now)
			return p
		}
		s.Probes++
	}
	return roundRobin{}.Pick(s, peers, now)
}

// key returns the value of the text, taken once a session.
func (s *Session) key(t *ngx.Text) []byte {
	if !s.keyed {
		s.keyed, s.keyValue = true, t.Bytes(s.Request)
	}
	return s.keyValue
}

// pointsPerWeight is how many points on the circle a server has for each unit of its weight.
const pointsPerWeight = 160

// circle chooses by consistent hashing, as Cache::Memcached::Fast does with its
// ketama_points, so that few keys move when peers come and go.
// https://metacpan.org/pod/Cache::Memcached::Fast
type circle struct {
	key    ngx.Text
	points []point // by hash, no two of the same
}

// point is a place on the circle of a server; peers of one name share it.
type point struct {
	hash  uint32
	peers []*Peer
}

func newCircle(key ngx.Text, peers []*Peer) *circle {
	c := &circle{key: key}
	named := make(map[string][]*Peer)
	for _, p := range peers {
		named[p.Server] = append(named[p.Server], p)
	}
	for _, p := range peers {
		base := crc32.ChecksumIEEE(pointName(p.Server))
		var before [4]byte
		for range p.weight * pointsPerWeight {
			hash := crc32.Update(base, crc32.IEEETable, before[:])
			c.points = append(c.points, point{hash, named[p.Server]})
			binary.LittleEndian.PutUint32(before[:], hash)
		}
	}
	slices.SortStableFunc(c.points, func(a, b point) int {
		switch {
		case a.hash < b.hash:
			return -1
		case a.hash > b.hash:
			return 1
		}
		return 0
	})
	c.points = slices.CompactFunc(c.points, func(a, b point) bool { return a.hash == b.hash })
	return c
}

// pointName returns what of a server is hashed: host, a NUL and port.
func pointName(server string) []byte {
	if path, ok := strings.CutPrefix(server, "unix:"); ok {
		return append([]byte(path), 0)
	}
	host, port := server, ""
	if i := strings.LastIndexByte(server, ':'); i >= 0 && strings.Trim(server[i+1:], "0123456789") == "" {
		host, port = server[:i], server[i+1:]
	}
	return append(append([]byte(host), 0), port...)
}

// Pick implements Balancer.
func (c *circle) Pick(s *Session, peers []*Peer, now int64) *Peer {
	if len(peers) < 2 || peers[0].Backup {
		return roundRobin{}.Pick(s, peers, now)
	}
	first := !s.keyed
	key := s.key(&c.key)
	if len(key) == 0 {
		return roundRobin{}.Pick(s, peers, now)
	}
	if s.debugging() {
		s.Request.Debugf(`upstream hash key:"%s"`, key)
		s.Request.Debugf("get consistent hash peer, try: %d", s.Tries)
	}
	if first {
		hash := crc32.ChecksumIEEE(key)
		s.Hash = uint32(sort.Search(len(c.points), func(i int) bool { return c.points[i].hash >= hash }))
	}
	for s.Probes <= maxProbes {
		round := contest{peers: s.Peers}
		here := c.points[int(s.Hash)%len(c.points)].peers
		if s.debugging() {
			s.Request.Debugf(`consistent hash peer:%d, server:"%s"`, s.Hash, here[0].Server)
		}
		for _, p := range here {
			if s.MayNew(p, now) {
				round.enter(p)
			}
		}
		if p := round.end(now); p != nil {
			return p
		}
		s.Hash++
		s.Probes++
	}
	return roundRobin{}.Pick(s, peers, now)
}

package upstream

import (
	"net/netip"

	"limpet/nginxconf"
)

// maxProbes is after how many peers that can't be asked the hashing methods leave
// the choice to round robin.
const maxProbes = 20

// parseIPHash reads ip_hash.
// https://nginx.org/en/docs/http/ngx_http_upstream_module.html#ip_hash
func parseIPHash(s *nginxconf.Setting) error {
	return SetMethod(s, Method{Name: s.Name, NoBackup: true, NoSlowStart: true, Make: func(ps *Peers) Balancer { return ipHash{ps.weight()} }})
}

// ipHash chooses by the client's address: the first three bytes of an IPv4 one,
// the whole of an IPv6 one.
type ipHash struct{ weight int }

// Pick implements Balancer.
func (h ipHash) Pick(s *Session, peers []*Peer, now int64) *Peer {
	if len(peers) < 2 || peers[0].Backup {
		return roundRobin{}.Pick(s, peers, now)
	}
	if s.debugging() {
		s.Request.Debugf("get ip hash peer, try: %d", s.Tries)
	}
	if !s.keyed {
		s.keyed, s.Hash = true, 89
	}
	var room [16]byte
	key := addressKey(s, &room)
	for s.Probes <= maxProbes {
		for _, b := range key {
			s.Hash = (s.Hash*113 + uint32(b)) % 6271
		}
		p := atWeight(peers, int(s.Hash)%h.weight)
		if s.debugging() {
			s.Request.Debugf("get ip hash peer, hash: %d, peer: %s", s.Hash, p.Name)
		}
		if s.MayNew(p, now) {
			p.Checked(now)
			return p
		}
		s.Probes++
	}
	return roundRobin{}.Pick(s, peers, now)
}

// addressKey returns what of the client's address counts. All clients by unix
// sockets are one.
func addressKey(s *Session, room *[16]byte) []byte {
	var a netip.Addr
	if s.Request != nil && !s.Request.Client.Unix {
		a = s.Request.Client.Addr.Addr()
	}
	if a.Is6() {
		*room = a.As16()
		return room[:]
	}
	if a.Is4() {
		b := a.As4()
		copy(room[:], b[:3])
	}
	return room[:3]
}

// atWeight returns the peer whose share of the weights laid end to end has w in it.
func atWeight(peers []*Peer, w int) *Peer {
	i := 0
	for w -= peers[0].weight; w >= 0; w -= peers[i].weight {
		i++
	}
	return peers[i]
}

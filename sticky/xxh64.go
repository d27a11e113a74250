package sticky

import (
	"encoding/binary"
	"math/bits"
)

// The primes of XXH64.
const (
	xxPrime1 uint64 = 0x9E3779B185EBCA87
	xxPrime2 uint64 = 0xC2B2AE3D27D4EB4F
	xxPrime3 uint64 = 0x165667B19E3779F9
	xxPrime4 uint64 = 0x85EBCA77C2B2AE63
	xxPrime5 uint64 = 0x27D4EB2F165667C5
)

// xxh64 is the XXH64 hash with seed 0, in which HAProxy's dynamic cookies are written.
// https://github.com/Cyan4973/xxHash/blob/dev/doc/xxhash_spec.md
func xxh64(b []byte) uint64 {
	n := uint64(len(b))
	h := xxPrime5
	if len(b) >= 32 {
		h, b = xxStripes(b)
	}
	h += n
	for ; len(b) >= 8; b = b[8:] {
		h ^= xxRound(0, binary.LittleEndian.Uint64(b))
		h = bits.RotateLeft64(h, 27)*xxPrime1 + xxPrime4
	}
	if len(b) >= 4 {
		h ^= uint64(binary.LittleEndian.Uint32(b)) * xxPrime1
		h = bits.RotateLeft64(h, 23)*xxPrime2 + xxPrime3
		b = b[4:]
	}
	for _, c := range b {
		h ^= uint64(c) * xxPrime5
		h = bits.RotateLeft64(h, 11) * xxPrime1
	}
	h = (h ^ h>>33) * xxPrime2
	h = (h ^ h>>29) * xxPrime3
	return h ^ h>>32
}

// xxStripes takes the 32-byte stripes in four lanes and returns what is left.
func xxStripes(b []byte) (uint64, []byte) {
	p1 := xxPrime1
	lanes := [4]uint64{p1 + xxPrime2, xxPrime2, 0, -p1}
	for ; len(b) >= 32; b = b[32:] {
		for i := range lanes {
			lanes[i] = xxRound(lanes[i], binary.LittleEndian.Uint64(b[8*i:]))
		}
	}
	h := bits.RotateLeft64(lanes[0], 1) + bits.RotateLeft64(lanes[1], 7) + bits.RotateLeft64(lanes[2], 12) + bits.RotateLeft64(lanes[3], 18)
	for _, lane := range lanes {
		h = (h^xxRound(0, lane))*xxPrime1 + xxPrime4
	}
	return h, b
}

func xxRound(acc, in uint64) uint64 {
	return bits.RotateLeft64(acc+in*xxPrime2, 31) * xxPrime1
}

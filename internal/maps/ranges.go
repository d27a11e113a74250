package maps

import (
	"fmt"
	"net/netip"
	"slices"
	"sort"

	"limpet/nginxconf"
)

// spans are adjacent spans of addresses of one family with their values, in order.
type spans []span

// span begins at an address and ends before the next one's.
type span struct {
	from  netip.Addr
	value []byte // nil for none
}

// find returns the value of an address, nil for none.
func (ss spans) find(a netip.Addr) []byte {
	low, high := 0, len(ss)
	for low < high {
		mid := int(uint(low+high) / 2)
		if ss[mid].from.Compare(a) <= 0 {
			low = mid + 1
		} else {
			high = mid
		}
	}
	if low == 0 {
		return nil
	}
	return ss[low-1].value
}

// put begins a span; one that begins at the same address is replaced.
func (ss spans) put(from netip.Addr, value []byte) spans {
	if n := len(ss); n > 0 && ss[n-1].from == from {
		ss[n-1].value = value
		return ss
	}
	return append(ss, span{from, value})
}

// flatten makes spans of networks of one family, of which the narrowest holds.
func flatten(nets []netip.Prefix, values map[netip.Prefix][]byte) spans {
	slices.SortFunc(nets, func(a, b netip.Prefix) int {
		if c := a.Addr().Compare(b.Addr()); c != 0 {
			return c
		}
		return a.Bits() - b.Bits()
	})
	var ss spans
	var open []netip.Prefix
	// leave ends the innermost open network: what follows belongs to the one around it.
	leave := func() {
		last := lastAddr(open[len(open)-1])
		open = open[:len(open)-1]
		next := last.Next()
		if !next.IsValid() {
			return
		}
		var outer []byte
		if len(open) > 0 {
			outer = values[open[len(open)-1]]
		}
		ss = ss.put(next, outer)
	}
	for _, p := range nets {
		for len(open) > 0 && !open[len(open)-1].Contains(p.Addr()) {
			leave()
		}
		ss = ss.put(p.Addr(), values[p])
		open = append(open, p)
	}
	for len(open) > 0 {
		leave()
	}
	return ss
}

// lastAddr returns the last address of a network.
func lastAddr(p netip.Prefix) netip.Addr {
	b := p.Addr().AsSlice()
	for i := p.Bits(); i < len(b)*8; i++ {
		b[i/8] |= 0x80 >> (i % 8)
	}
	a, _ := netip.AddrFromSlice(b)
	return a
}

// blocks are ranges of IPv4 addresses while they are read, cut at the borders of
// networks of 65536 addresses. nginx keeps ranges so, and which ranges overlap,
// repeat or can be deleted goes by these pieces.
type blocks struct{ by map[uint32][]piece }

// piece is a range within a block, in order and disjoint from its block's others.
type piece struct {
	from, to uint32
	value    string
}

// pieces calls fn with each piece of a range; it stops at fn's first error.
func pieces(from, to uint32, fn func(p piece) error) error {
	for start := uint64(from); start <= uint64(to); {
		end := min(start|0xffff, uint64(to))
		if err := fn(piece{from: uint32(start), to: uint32(end)}); err != nil {
			return err
		}
		start = end + 1
	}
	return nil
}

// add adds a range: beside the others, within one of them, or again.
func (bs *blocks) add(at *nginxconf.Setting, from, to uint32, text, value string) error {
	if bs.by == nil {
		bs.by = make(map[uint32][]piece)
	}
	return pieces(from, to, func(p piece) error {
		p.value = value
		list := bs.by[p.from>>16]
		i := sort.Search(len(list), func(i int) bool { return list[i].to >= p.from })
		if i == len(list) || p.to < list[i].from {
			bs.by[p.from>>16] = slices.Insert(list, i, p)
			return nil
		}
		old := list[i]
		switch {
		case p.from == old.from && p.to == old.to:
			at.Warn(`duplicate range "%s", value: "%s", old value: "%s"`, text, value, old.value)
			list[i].value = value
			return nil
		case p.from < old.from || p.to > old.to:
			if k := sort.Search(len(list), func(k int) bool { return list[k].from > p.to }); k > 0 {
				old = list[k-1] // nginx names the last one
			}
			return fmt.Errorf(`range "%s" overlaps "%s-%s"`, text, addrOf(old.from), addrOf(old.to))
		}
		parts := []piece{p}
		if p.from > old.from {
			parts = slices.Insert(parts, 0, piece{old.from, p.from - 1, old.value})
		}
		if p.to < old.to {
			parts = append(parts, piece{p.to + 1, old.to, old.value})
		}
		bs.by[p.from>>16] = slices.Replace(list, i, i+1, parts...)
		return nil
	})
}

// remove removes a range; false when a piece of it isn't there as such.
func (bs *blocks) remove(from, to uint32) bool {
	all := true
	pieces(from, to, func(p piece) error {
		list := bs.by[p.from>>16]
		i := slices.IndexFunc(list, func(o piece) bool { return o.from == p.from && o.to == p.to })
		if i < 0 {
			all = false
			return nil
		}
		bs.by[p.from>>16] = slices.Delete(list, i, i+1)
		return nil
	})
	return all
}

// spans makes the table for requests; fallback is the value between ranges.
func (bs *blocks) spans(fallback []byte) spans {
	var all []piece
	for _, list := range bs.by {
		all = append(all, list...)
	}
	slices.SortFunc(all, func(a, b piece) int { return int(int64(a.from) - int64(b.from)) })
	ss := spans{{addrOf(0), fallback}}
	for _, p := range all {
		ss = ss.put(addrOf(p.from), []byte(p.value))
		if next := addrOf(p.to).Next(); next.IsValid() {
			ss = ss.put(next, fallback)
		}
	}
	return ss
}

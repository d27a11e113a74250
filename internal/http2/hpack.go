package http2

import (
	"errors"
	"fmt"
	"strings"
	"unsafe"

	"golang.org/x/net/http2/hpack"
)

// decoder reads header blocks, RFC 7541. Unlike the one of golang.org/x/net it
// makes no strings of fields that aren't indexed, and takes what nginx takes: a
// string in Huffman's code that is padded with an octet too many.
type decoder struct {
	emit  func(name, value string) // the strings are valid during the call alone
	limit int                      // bytes of a string

	table     []field // the dynamic one, the latest last
	size, max int     // of the table as section 4.1 counts
	begun     bool    // a field of the block was read
	rest      []byte  // a representation that isn't complete
	name      writer
	value     writer
}

// field is an entry of a table.
type field struct{ name, value string }

// tableSize is the size of the dynamic table that clients may use: the default, as we send no other.
const tableSize = 4096

// overhead is what an entry counts besides its strings.
const overhead = 32

var (
	errMore     = errors.New("incomplete")
	errString   = errors.New("string too long")
	errTrunc    = errors.New("truncated block")
	errInteger  = errors.New("integer too large")
	errUpdate   = errors.New("dynamic table size update behind a field")
	errTooLarge = errors.New("dynamic table size update too large")
)

func newDecoder(emit func(name, value string)) *decoder {
	return &decoder{emit: emit, max: tableSize}
}

// write reads a part of a block. What of a field isn't complete is kept for the next.
func (d *decoder) write(p []byte) error {
	if len(d.rest) > 0 {
		d.rest = append(d.rest, p...)
		p = d.rest
	}
	for len(p) > 0 {
		n, err := d.representation(p)
		if err == errMore {
			if len(p) > 2*(d.limit+8) {
				return errString
			}
			d.rest = append(d.rest[:0], p...)
			return nil
		}
		if err != nil {
			return err
		}
		p = p[n:]
	}
	d.rest = d.rest[:0]
	return nil
}

// end ends a block.
func (d *decoder) end() error {
	d.begun = false
	if len(d.rest) > 0 {
		return errTrunc
	}
	return nil
}

// representation reads a field or a new size, RFC 7541 section 6.
func (d *decoder) representation(p []byte) (n int, err error) {
	switch b := p[0]; {
	case b&0x80 != 0:
		return d.indexed(p)
	case b&0xc0 == 0x40:
		return d.literal(p, 6, true)
	case b&0xe0 == 0x20:
		return d.resize(p)
	default:
		return d.literal(p, 4, false)
	}
}

// indexed reads a field of a table.
func (d *decoder) indexed(p []byte) (int, error) {
	i, n, err := integer(p, 7)
	if err != nil {
		return 0, err
	}
	f, err := d.at(i)
	if err != nil {
		return 0, err
	}
	d.begun = true
	d.emit(f.name, f.value)
	return n, nil
}

// literal reads a field whose name's index has that many bits.
func (d *decoder) literal(p []byte, bits uint, index bool) (int, error) {
	i, n, err := integer(p, bits)
	if err != nil {
		return 0, err
	}
	var f field
	var name, value []byte
	var packed, packedName bool
	if i > 0 {
		f, err = d.at(i)
	} else {
		name, packedName, n, err = d.text(p, n)
	}
	if err == nil {
		value, packed, n, err = d.text(p, n)
	}
	if err != nil {
		return 0, err
	}
	if i == 0 {
		if f.name, err = d.unpack(&d.name, name, packedName); err != nil {
			return 0, err
		}
	}
	if f.value, err = d.unpack(&d.value, value, packed); err != nil {
		return 0, err
	}
	d.begun = true
	d.emit(f.name, f.value)
	if index {
		d.add(f, i == 0)
	}
	return n, nil
}

// text reads a string literal, RFC 7541 section 5.2; n is where it begins and, behind, where it ends.
func (d *decoder) text(p []byte, n int) (s []byte, packed bool, end int, err error) {
	if n == len(p) {
		return nil, false, 0, errMore
	}
	size, used, err := integer(p[n:], 7)
	switch {
	case err != nil:
		return nil, false, 0, err
	case size > uint64(d.limit):
		return nil, false, 0, errString
	case uint64(len(p)-n-used) < size:
		return nil, false, 0, errMore
	}
	end = n + used + int(size)
	return p[n+used : end], p[n]&0x80 != 0, end, nil
}

// writer takes what Huffman's code stands for.
type writer struct{ b []byte }

func (w *writer) Write(p []byte) (int, error) {
	w.b = append(w.b, p...)
	return len(p), nil
}

// unpack returns a string; one in Huffman's code lies in to until the next.
func (d *decoder) unpack(to *writer, s []byte, packed bool) (string, error) {
	if packed {
		to.b = to.b[:0]
		_, err := hpack.HuffmanDecode(to, s)
		if last := len(s) - 1; err != nil && last >= 0 && s[last] == 0xff {
			_, err = hpack.HuffmanDecode(to, s[:last])
		}
		if err != nil {
			return "", err
		}
		if s = to.b; len(s) > d.limit {
			return "", errString
		}
	}
	return unsafe.String(unsafe.SliceData(s), len(s)), nil
}

// integerOctets is how many octets an integer may have besides its prefix, as in nginx: enough for two million.
const integerOctets = 3

// integer reads an integer with a prefix of that many bits, RFC 7541 section 5.1.
func integer(p []byte, bits uint) (v uint64, n int, err error) {
	limit := uint64(1)<<bits - 1
	if v = uint64(p[0]) & limit; v < limit {
		return v, 1, nil
	}
	for n = 1; n <= integerOctets; n++ {
		if n == len(p) {
			return 0, 0, errMore
		}
		v += uint64(p[n]&0x7f) << (7 * (n - 1))
		if p[n]&0x80 == 0 {
			return v, n + 1, nil
		}
	}
	return 0, 0, errInteger
}

// at returns the entry of an index: the static table's first, then the dynamic one's, latest first.
func (d *decoder) at(i uint64) (field, error) {
	switch own := i - uint64(len(staticTable)) - 1; {
	case i == 0:
	case i <= uint64(len(staticTable)):
		return staticTable[i-1], nil
	case own < uint64(len(d.table)):
		return d.table[len(d.table)-1-int(own)], nil
	}
	return field{}, fmt.Errorf("invalid index %d", i)
}

// add puts an entry of strings that are to be copied, the name where it is a new one, into the table.
func (d *decoder) add(f field, named bool) {
	d.size += len(f.name) + len(f.value) + overhead
	d.evict()
	if d.size == 0 {
		return // it was larger than the table
	}
	if named {
		f.name = strings.Clone(f.name)
	}
	f.value = strings.Clone(f.value)
	d.table = append(d.table, f)
}

// resize reads a new size of the table.
func (d *decoder) resize(p []byte) (int, error) {
	v, n, err := integer(p, 5)
	switch {
	case err != nil:
		return 0, err
	case d.begun && d.size > 0:
		return 0, errUpdate
	case v > tableSize:
		return 0, errTooLarge
	}
	d.max = int(v)
	d.evict()
	return n, nil
}

// evict takes the oldest entries out until size, which may count one that isn't in yet, is within bounds.
func (d *decoder) evict() {
	k := 0
	for d.size > d.max && k < len(d.table) {
		d.size -= len(d.table[k].name) + len(d.table[k].value) + overhead
		k++
	}
	if k > 0 {
		n := copy(d.table, d.table[k:])
		clear(d.table[n:])
		d.table = d.table[:n]
	}
	if d.size > d.max {
		d.size = 0
	}
}

// staticTable is RFC 7541's, appendix A.
var staticTable = [...]field{
	{":authority", ""}, {":method", "GET"}, {":method", "POST"}, {":path", "/"}, {":path", "/index.html"},
	{":scheme", "http"}, {":scheme", "https"}, {":status", "200"}, {":status", "204"}, {":status", "206"},
	{":status", "304"}, {":status", "400"}, {":status", "404"}, {":status", "500"}, {"accept-charset", ""},
	{"accept-encoding", "gzip, deflate"}, {"accept-language", ""}, {"accept-ranges", ""}, {"accept", ""},
	{"access-control-allow-origin", ""}, {"age", ""}, {"allow", ""}, {"authorization", ""}, {"cache-control", ""},
	{"content-disposition", ""}, {"content-encoding", ""}, {"content-language", ""}, {"content-length", ""},
	{"content-location", ""}, {"content-range", ""}, {"content-type", ""}, {"cookie", ""}, {"date", ""}, {"etag", ""},
	{"expect", ""}, {"expires", ""}, {"from", ""}, {"host", ""}, {"if-match", ""}, {"if-modified-since", ""},
	{"if-none-match", ""}, {"if-range", ""}, {"if-unmodified-since", ""}, {"last-modified", ""}, {"link", ""},
	{"location", ""}, {"max-forwards", ""}, {"proxy-authenticate", ""}, {"proxy-authorization", ""}, {"range", ""},
	{"referer", ""}, {"refresh", ""}, {"retry-after", ""}, {"server", ""}, {"set-cookie", ""},
	{"strict-transport-security", ""}, {"transfer-encoding", ""}, {"user-agent", ""}, {"vary", ""}, {"via", ""},
	{"www-authenticate", ""},
}

package http2

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"golang.org/x/net/http2/hpack"
)

// decoded is what a decoder of each kind makes of blocks.
type decoded struct {
	fields []string
	err    error
}

const testLimit = 1 << 12

// ours decodes blocks in fragments of a size; 0 for whole ones.
func ours(blocks [][]byte, fragment int) (d decoded) {
	dec := newDecoder(func(name, value string) { d.fields = append(d.fields, strings.Clone(name+": "+value)) })
	dec.limit = testLimit
	for _, b := range blocks {
		for fragment > 0 && len(b) > fragment && d.err == nil {
			d.err = dec.write(slices.Clone(b[:fragment]))
			b = b[fragment:]
		}
		if d.err == nil {
			d.err = dec.write(slices.Clone(b))
		}
		if d.err == nil {
			d.err = dec.end()
		}
		if d.err != nil {
			break
		}
	}
	return d
}

// theirs decodes blocks by golang.org/x/net.
func theirs(blocks [][]byte) (d decoded) {
	dec := hpack.NewDecoder(tableSize, func(f hpack.HeaderField) { d.fields = append(d.fields, f.Name+": "+f.Value) })
	dec.SetMaxStringLength(testLimit)
	for _, b := range blocks {
		if _, d.err = dec.Write(b); d.err != nil {
			break
		}
		if d.err = dec.Close(); d.err != nil {
			break
		}
	}
	return d
}

// encoded makes blocks of fields, one a line, so that the dynamic table overflows.
func encoded(n int) (blocks [][]byte) {
	var b bytes.Buffer
	enc := hpack.NewEncoder(&b)
	for i := range n {
		b.Reset()
		if i%7 == 3 {
			enc.SetMaxDynamicTableSize(uint32(i * 97 % tableSize))
		}
		for j := range 8 {
			enc.WriteField(hpack.HeaderField{Name: fmt.Sprint("x-name-", (i+j)%11), Value: strings.Repeat(fmt.Sprint(i, "/", j), j*9), Sensitive: j == 5})
		}
		enc.WriteField(hpack.HeaderField{Name: ":path", Value: fmt.Sprint("/", i)})
		enc.WriteField(hpack.HeaderField{Name: "cookie", Value: "\xff\x00é" + fmt.Sprint(i%3)})
		blocks = append(blocks, bytes.Clone(b.Bytes()))
	}
	return blocks
}

func TestDecoderReadsWhatEncodersWrite(t *testing.T) {
	blocks := encoded(40)
	want := theirs(blocks)
	if want.err != nil || len(want.fields) != 400 {
		t.Fatalf("%d fields, %v", len(want.fields), want.err)
	}
	for _, fragment := range []int{0, 1, 2, 3, 7, 100} {
		if got := ours(blocks, fragment); got.err != nil || !slices.Equal(got.fields, want.fields) {
			t.Errorf("in fragments of %d: %v", fragment, got.err)
		}
	}
}

func TestDecoderKnowsTheStaticTable(t *testing.T) {
	var block []byte
	for i := range len(staticTable) {
		block = append(block, 0x81+byte(i))
	}
	want, got := theirs([][]byte{block}), ours([][]byte{block}, 0)
	if len(want.fields) != 61 || !slices.Equal(got.fields, want.fields) {
		t.Errorf("got %q, want %q", got.fields, want.fields)
	}
}

func TestDecoderRefuses(t *testing.T) {
	long := appendInt(nil, 0, 7, testLimit+1)
	for _, c := range []struct {
		name  string
		block []byte
		want  string
	}{
		{"index 0", []byte{0x80}, "invalid index 0"},
		{"an index behind the tables", []byte{0xbe}, "invalid index 62"},
		{"a name's index behind the tables", []byte{0x7f, 0x00, 0x01, 'x'}, "invalid index 63"},
		{"an index of more than four octets", bytes.Repeat([]byte{0xff}, 4), "integer too large"},
		{"a length of more than four octets", []byte{0x42, 0xff, 0xff, 0xff, 0xff}, "integer too large"},
		{"a table larger than ours", appendInt(nil, 0x20, 5, tableSize+1), "dynamic table size update too large"},
		{"a size behind a field", []byte{0x41, 1, 'a', 0x20}, "dynamic table size update behind a field"},
		{"a long value", append([]byte{0x41}, long...), "string too long"},
		{"a long value as unpacked", append(appendInt([]byte{0x41}, 0x80, 7, 4000), bytes.Repeat([]byte{0}, 4000)...), "string too long"},
		{"a cut value", []byte{0x41, 2, 'a'}, "truncated block"},
		{"EOS in Huffman's code", []byte{0x41, 0x84, 0xff, 0xff, 0xff, 0xff}, "hpack: invalid Huffman-encoded data"},
		{"padding of two octets too many", []byte{0x41, 0x83, 0x1f, 0xff, 0xff}, "hpack: invalid Huffman-encoded data"},
		{"padding of zeros", []byte{0x41, 0x81, 0x18}, "hpack: invalid Huffman-encoded data"},
	} {
		if got := ours([][]byte{c.block}, 0); got.err == nil || got.err.Error() != c.want {
			t.Errorf("%s: got %v, want %s", c.name, got.err, c.want)
		}
	}
}

// TestDecoderTakesAnOctetOfPadding is what nginx takes and RFC 7541 section 5.2 doesn't.
func TestDecoderTakesAnOctetOfPadding(t *testing.T) {
	packed := hpack.AppendHuffmanString(nil, "GET")
	block := append(append([]byte{0x42, 0x80 | byte(len(packed)+1)}, packed...), 0xff)
	if got := ours([][]byte{block}, 0); got.err != nil || !slices.Equal(got.fields, []string{":method: GET"}) {
		t.Errorf("got %q, %v", got.fields, got.err)
	}
}

func TestDecoderMakesNoStrings(t *testing.T) {
	block := []byte{0x82, 0x86, 0x04, 4, '/', 'a', 'b', 'c', 0x01, 1, 'a', 0x10, 3, 'x', '-', 'y', 1, 'z'}
	packed := hpack.AppendHuffmanString(nil, "text")
	block = append(append(block, 0x04, 0x80|byte(len(packed))), packed...)
	fields := 0
	dec := newDecoder(func(name, value string) { fields++ })
	dec.limit = testLimit
	allocs := testing.AllocsPerRun(100, func() {
		if dec.write(block) != nil || dec.end() != nil {
			t.Error("refused")
		}
	})
	if allocs != 0 || fields == 0 {
		t.Errorf("%v allocations for %d fields", allocs, fields)
	}
}

// FuzzDecoder compares the decoder with that of golang.org/x/net. Each block is data up to a byte of 0xfe.
func FuzzDecoder(f *testing.F) {
	for _, b := range encoded(9) {
		f.Add(b, uint8(3))
	}
	f.Add(bytes.Join(encoded(9), []byte{0xfe}), uint8(0))
	f.Add([]byte{0x3f, 0xe1, 0x1f, 0x20, 0x41, 1, 'a', 0xbe}, uint8(1))
	f.Fuzz(func(t *testing.T, data []byte, fragment uint8) {
		blocks := bytes.Split(data, []byte{0xfe})
		got, want := ours(blocks, 0), theirs(blocks)
		if again := ours(blocks, int(fragment)); !slices.Equal(again.fields, got.fields) && again.err == nil {
			t.Errorf("in fragments: %q, whole: %q", again.fields, got.fields)
		}
		switch {
		case errors.Is(want.err, hpack.ErrInvalidHuffman) && bytes.Contains(data, []byte{0xff}): // padding
		case want.err != nil && strings.Contains(want.err.Error(), "MUST occur at the beginning"): // the second of two is fine, section 4.2
		case errors.Is(got.err, hpack.ErrInvalidHuffman) && want.err != nil: // of a string that is too long besides
		case errors.Is(got.err, errInteger): // of more octets than nginx takes
		case (got.err == nil) != (want.err == nil), (got.err == errString) != errors.Is(want.err, hpack.ErrStringLength):
			t.Errorf("got %v, want %v", got.err, want.err)
		case !slices.Equal(got.fields, want.fields):
			t.Errorf("got %q, want %q", got.fields, want.fields)
		}
	})
}

func BenchmarkDecoder(b *testing.B) {
	blocks := encoded(20)
	dec := newDecoder(func(name, value string) {})
	dec.limit = testLimit
	b.ReportAllocs()
	for b.Loop() {
		dec.table, dec.size, dec.max = dec.table[:0], 0, tableSize
		for _, block := range blocks {
			if dec.write(block) != nil || dec.end() != nil {
				b.Fatal("refused")
			}
		}
	}
}

package resolver

import (
	"encoding/binary"
	"net/netip"
	"strings"
	"testing"
)

// reply is a response under construction.
type reply struct {
	b []byte
}

// answerTo begins a response to a query, with a code and further flags.
func answerTo(query []byte, flags uint16) *reply {
	b := append([]byte(nil), query...)
	binary.BigEndian.PutUint16(b[2:], 0x8180|flags)
	return &reply{b}
}

// record adds a record of the name that was asked for.
func (r *reply) record(typ uint16, ttl uint32, data []byte) *reply {
	binary.BigEndian.PutUint16(r.b[6:], binary.BigEndian.Uint16(r.b[6:])+1)
	r.b = append(r.b, 0xc0, headerSize)
	r.b = binary.BigEndian.AppendUint16(r.b, typ)
	r.b = binary.BigEndian.AppendUint16(r.b, classIN)
	r.b = binary.BigEndian.AppendUint32(r.b, ttl)
	r.b = binary.BigEndian.AppendUint16(r.b, uint16(len(data)))
	r.b = append(r.b, data...)
	return r
}

func (r *reply) addr(ttl uint32, a string) *reply {
	ip := netip.MustParseAddr(a)
	if ip.Is4() {
		return r.record(typeA, ttl, ip.AsSlice())
	}
	return r.record(typeAAAA, ttl, ip.AsSlice())
}

// wireName returns a name on the wire.
func wireName(name string) []byte {
	var b []byte
	for label := range strings.SplitSeq(name, ".") {
		b = append(append(b, byte(len(label))), label...)
	}
	return append(b, 0)
}

func queryFor(t testing.TB, name string, typ uint16) []byte {
	q, ok := appendQuery(nil, 7, name, typ)
	if !ok {
		t.Fatalf("%s is no name", name)
	}
	return q
}

func TestQueryIsThatOfTheRFC(t *testing.T) {
	got := queryFor(t, "a.bc", typeA)
	if want := "\x00\x07\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x01a\x02bc\x00\x00\x01\x00\x01"; string(got) != want {
		t.Errorf("%q", got)
	}
}

func TestNamesThatAreNone(t *testing.T) {
	for _, name := range []string{"", ".", "a..b", ".a", strings.Repeat("a", 64) + ".b"} {
		if _, ok := appendQuery(nil, 1, name, typeA); ok {
			t.Errorf("%q was taken", name)
		}
	}
}

func TestRecordsAreRead(t *testing.T) {
	q := queryFor(t, "WWW.example", typeA)
	srv := append([]byte{0, 1, 0, 5, 0x1f, 0x90}, 0xc0, headerSize)
	m, err := parse(answerTo(q, 0).addr(60, "192.0.2.1").record(typeCNAME, 9, wireName("Alias")).record(16, 1, []byte("text")).
		record(typeSRV, 5, srv).addr(1<<31, "2001:db8::1").b)
	if err != nil {
		t.Fatal(err)
	}
	want := []record{
		{typ: typeA, ttl: 60, addr: netip.MustParseAddr("192.0.2.1")},
		{typ: typeCNAME, ttl: 9, target: "alias"},
		{typ: typeSRV, ttl: 5, target: "www.example", priority: 1, weight: 5, port: 8080},
		{typ: typeAAAA, addr: netip.MustParseAddr("2001:db8::1")},
	}
	if m.name != "www.example" || m.typ != typeA || len(m.answers) != len(want) {
		t.Fatalf("%+v", m)
	}
	for i := range want {
		if m.answers[i] != want[i] {
			t.Errorf("%+v, want %+v", m.answers[i], want[i])
		}
	}
}

func TestBrokenResponsesAreRefused(t *testing.T) {
	q := queryFor(t, "a.b", typeA)
	good := answerTo(q, 0).addr(1, "192.0.2.1").b
	loop := append(append([]byte(nil), answerTo(q, 0).b[:headerSize]...), 0xc0, headerSize, 0, 1, 0, 1)
	for name, b := range map[string][]byte{
		"cut header":       good[:11],
		"cut record":       good[:len(good)-1],
		"query":            q,
		"pointer loop":     loop,
		"short address":    answerTo(q, 0).record(typeA, 1, []byte{1, 2, 3}).b,
		"label of 64":      append(append([]byte(nil), good[:headerSize]...), 64, 1, 0),
		"no room for data": answerTo(q, 0).record(typeSRV, 1, []byte{0}).b,
	} {
		if m, err := parse(b); err == nil {
			t.Errorf("%s: %+v", name, m)
		}
	}
}

func FuzzParse(f *testing.F) {
	q, _ := appendQuery(nil, 7, "a.b", typeSRV)
	f.Add(answerTo(q, 0).addr(1, "192.0.2.1").record(typeCNAME, 1, wireName("c.d")).b)
	f.Add(answerTo(q, 0).record(typeSRV, 1, append([]byte{0, 1, 0, 1, 0, 80}, wireName("x")...)).b)
	f.Add(q)
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := parse(b)
		if err == nil && len(m.name) > maxName {
			t.Errorf("a name of %d bytes", len(m.name))
		}
	})
}

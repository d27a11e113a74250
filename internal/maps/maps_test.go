package maps

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"

	"limpet/internal/ngx"
)

func TestMurmur2(t *testing.T) {
	// The values are those of the reference implementation, with each length modulo 4.
	for text, want := range map[string]uint32{
		"": 0, "a": 0x92685f5e, "ab": 0x1aa14063, "abc": 0x13577c9b, "abcd": 0x26873021, "hello, world": 0x4b4c9d80,
	} {
		if got := murmur2([]byte(text)); got != want {
			t.Errorf("%q: got %#x, want %#x", text, got, want)
		}
	}
}

func TestShares(t *testing.T) {
	for _, tc := range []struct {
		percents []int
		want     []uint64
		bad      bool
	}{
		{[]int{1000, 0}, []uint64{429496729, 1 << 32}, false},
		{[]int{3333, 3333, 3334}, []uint64{1431512599, 2863025198, 1 << 32}, false},
		{[]int{5000}, []uint64{2147483647}, false},
		{[]int{5000, 5001}, nil, true},
		{[]int{0, 1}, nil, true},
	} {
		sp := &split{parts: make([]share, len(tc.percents))}
		if err := sp.shareOut(tc.percents); (err != nil) != tc.bad {
			t.Errorf("%v: %v", tc.percents, err)
			continue
		}
		for i := range tc.want {
			if sp.parts[i].until != tc.want[i] {
				t.Errorf("%v: share %d ends at %d, want %d", tc.percents, i, sp.parts[i].until, tc.want[i])
			}
		}
	}
}

func TestPercents(t *testing.T) {
	for word, want := range map[string]int{"*": 0, "1%": 100, "0.01%": 1, "33.3%": 3330, "100%": 10000, ".5%": 50,
		"": -1, "%": -1, "5": -1, "0%": -1, "0.001%": -1, "-1%": -1, "a%": -1, "1.1.1%": -1} {
		got, err := parsePercent(word)
		if err != nil {
			got = -1
		}
		if got != want {
			t.Errorf("%q: got %d, want %d", word, got, want)
		}
	}
}

func TestWildcardsOfHostNames(t *testing.T) {
	var tb table
	values := make(map[*ngx.Text]string)
	for _, key := range []string{"example.org", ".example.com", "*.example.net", "*.sub.example.net", "www.*", "www.example.*"} {
		v := ngx.Literal(key)
		values[&v] = key
		if err := tb.addHost(key, &v); err != nil {
			t.Fatal(err)
		}
	}
	for host, want := range map[string]string{
		"example.org": "example.org", "a.example.org": "", "example.com": ".example.com", "a.b.example.com": ".example.com",
		"example.net": "", "a.example.net": "*.example.net", "a.sub.example.net": "*.sub.example.net", "sub.example.net": "*.example.net",
		"www.other.org": "www.*", "www.example.de": "www.example.*", "www": "", ".example.net": "",
	} {
		if got := values[tb.find([]byte(host))]; got != want {
			t.Errorf("%s: got %q, want %q", host, got, want)
		}
	}
	for _, bad := range []string{"a*b", "*.a.*", "a..b", "*a.org", "*."} {
		if tb.addHost(bad, new(ngx.Text)) == nil {
			t.Errorf("%s was taken", bad)
		}
	}
}

func TestNarrowestNetworkHolds(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		values := make(map[netip.Prefix][]byte)
		var nets []netip.Prefix
		for i := range 1 + rnd.IntN(12) {
			a := netip.AddrFrom4([4]byte{[]byte{0, 10, 255}[rnd.IntN(3)], byte(rnd.IntN(4)), byte(rnd.IntN(256)), 255})
			p := netip.PrefixFrom(a, rnd.IntN(33)).Masked()
			if values[p] == nil {
				nets = append(nets, p)
			}
			values[p] = fmt.Append(nil, i)
		}
		ss := flatten(nets, values)
		for range 50 {
			a := netip.AddrFrom4([4]byte{[]byte{0, 10, 255}[rnd.IntN(3)], byte(rnd.IntN(5)), byte(rnd.IntN(256)), byte(rnd.IntN(256))})
			var want []byte
			bits := -1
			for p, v := range values {
				if p.Contains(a) && p.Bits() > bits {
					want, bits = v, p.Bits()
				}
			}
			if got := ss.find(a); string(got) != string(want) {
				t.Fatalf("%v in %v: got %q, want %q", a, values, got, want)
			}
		}
	}
}

func TestRangesWithinRanges(t *testing.T) {
	var bs blocks
	add := func(text, value string) {
		from, to, err := parseRange(text)
		if err == nil {
			err = bs.add(nil, from, to, text, value)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	add("10.1.255.0-10.3.0.255", "wide")
	add("10.2.0.0-10.2.0.255", "inner")
	add("10.2.255.255-10.3.0.0", "border")
	ss := bs.spans([]byte("rest"))
	for addr, want := range map[string]string{
		"10.1.254.255": "rest", "10.1.255.0": "wide", "10.2.0.0": "inner", "10.2.1.0": "wide", "10.2.255.255": "border",
		"10.3.0.0": "border", "10.3.0.1": "wide", "10.3.1.0": "rest", "255.255.255.255": "rest", "0.0.0.0": "rest",
	} {
		if got := ss.find(netip.MustParseAddr(addr)); string(got) != want {
			t.Errorf("%s: got %s, want %s", addr, got, want)
		}
	}
	from, to, _ := parseRange("10.3.0.200-10.3.1.5")
	if err := bs.add(nil, from, to, "10.3.0.200-10.3.1.5", "x"); err == nil || err.Error() != `range "10.3.0.200-10.3.1.5" overlaps "10.3.0.1-10.3.0.255"` {
		t.Errorf("got %v", err)
	}
}

func TestLastWord(t *testing.T) {
	for list, want := range map[string][2]string{
		"": {"", ""}, "a": {"", "a"}, "a, b": {"a, ", "b"}, "a,b ,": {"a,", "b"}, " , ": {"", ""},
	} {
		rest, word := lastWord([]byte(list))
		if string(rest) != want[0] || string(word) != want[1] {
			t.Errorf("%q: got %q and %q", list, rest, word)
		}
	}
}

// FuzzParseAddr wants IPv4 addresses to be read as the standard library reads them, but for zeros at the front.
func FuzzParseAddr(f *testing.F) {
	f.Add("1.2.3.4")
	f.Add("01.2.3.4")
	f.Add("::1")
	f.Fuzz(func(t *testing.T, s string) {
		want, err := netip.ParseAddr(s)
		got, ok := parseAddr([]byte(s))
		if err == nil && want.Zone() == "" && (!ok || got != want) {
			t.Errorf("%q: got %v %v, want %v", s, got, ok, want)
		}
		parseAddrPort([]byte(s))
	})
}

func BenchmarkGeo(b *testing.B) {
	values := make(map[netip.Prefix][]byte)
	var nets []netip.Prefix
	for i := range 10000 {
		p := netip.PrefixFrom(netip.AddrFrom4([4]byte{byte(i >> 8), byte(i), 0, 0}), 16)
		values[p] = []byte("x")
		nets = append(nets, p)
	}
	ss := flatten(nets, values)
	a := netip.MustParseAddr("17.34.1.1")
	b.ReportAllocs()
	for b.Loop() {
		ss.find(a)
	}
}

func BenchmarkMap(b *testing.B) {
	m := &mapping{source: ngx.Literal("WWW.Example.org"), hostnames: true}
	v := ngx.Literal("x")
	m.table.addHost(".example.org", &v)
	r := &ngx.Request{}
	r.Main = r
	var dst [16]byte
	b.ReportAllocs()
	for b.Loop() {
		r.Reset()
		m.get(r, dst[:0])
	}
}

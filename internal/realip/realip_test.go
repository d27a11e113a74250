package realip

import (
	"net/netip"
	"testing"

	"limpet/internal/ngx"
)

func nets(t *testing.T, words ...string) trust {
	t.Helper()
	var tr trust
	for _, w := range words {
		if w == "unix:" {
			tr = append(tr, Trusted{Unix: true})
			continue
		}
		tr = append(tr, Trusted{Net: netip.MustParsePrefix(w)})
	}
	return tr
}

// https://nginx.org/en/docs/http/ngx_http_realip_module.html#real_ip_recursive
func TestForwardedAddress(t *testing.T) {
	trusted := nets(t, "127.0.0.1/32", "10.0.0.0/8", "2001:db8::/32")
	for _, c := range []struct {
		from      string
		fields    []string
		last, all string // without and with real_ip_recursive; "" where nothing is replaced
	}{
		{"127.0.0.1:1", []string{"192.0.2.1"}, "192.0.2.1:0", "192.0.2.1:0"},
		{"192.0.2.9:1", []string{"192.0.2.1"}, "", ""},
		{"127.0.0.1:1", []string{"192.0.2.1, 192.0.2.2"}, "192.0.2.2:0", "192.0.2.2:0"},
		{"127.0.0.1:1", []string{"192.0.2.1, 10.0.0.1"}, "10.0.0.1:0", "192.0.2.1:0"},
		{"127.0.0.1:1", []string{"10.0.0.2, 10.0.0.1"}, "10.0.0.1:0", "10.0.0.2:0"},
		{"127.0.0.1:1", []string{"192.0.2.1", "10.0.0.1"}, "10.0.0.1:0", "192.0.2.1:0"},
		{"127.0.0.1:1", []string{"192.0.2.1,192.0.2.2", " 10.0.0.1 , 10.0.0.2,  ,"}, "10.0.0.2:0", "192.0.2.2:0"},
		{"127.0.0.1:1", []string{"192.0.2.1, junk"}, "", ""},
		{"127.0.0.1:1", []string{"junk, 10.0.0.1"}, "10.0.0.1:0", "10.0.0.1:0"},
		{"127.0.0.1:1", []string{"192.0.2.1:443"}, "192.0.2.1:443", "192.0.2.1:443"},
		{"127.0.0.1:1", []string{"[2001:db9::1]:443"}, "[2001:db9::1]:443", "[2001:db9::1]:443"},
		{"127.0.0.1:1", []string{"[2001:db9::1]"}, "[2001:db9::1]:0", "[2001:db9::1]:0"},
		{"[2001:db8::1]:1", []string{"2001:db9::1"}, "[2001:db9::1]:0", "[2001:db9::1]:0"},
		{"[::ffff:127.0.0.1]:1", []string{"192.0.2.1"}, "192.0.2.1:0", "192.0.2.1:0"},
		{"127.0.0.1:1", []string{""}, "", ""},
		{"127.0.0.1:1", nil, "", ""},
		{"", []string{"192.0.2.1"}, "", ""},
	} {
		var from netip.AddrPort
		if c.from != "" {
			from = netip.MustParseAddrPort(c.from)
		}
		var fields [][]byte
		for _, f := range c.fields {
			fields = append(fields, []byte(f))
		}
		for recursive, want := range map[bool]string{false: c.last, true: c.all} {
			addr, ok := forwarded(from, fields, trusted, recursive)
			got := ""
			if ok {
				got = addr.String()
			}
			if got != want {
				t.Errorf("%s %q, recursive %v: %q, want %q", c.from, c.fields, recursive, got, want)
			}
		}
	}
}

func TestUnixSocketsAreTrustedByName(t *testing.T) {
	if addr, ok := forwarded(netip.AddrPort{}, [][]byte{[]byte("192.0.2.1")}, nets(t, "unix:"), false); !ok || addr.Addr().String() != "192.0.2.1" {
		t.Errorf("%v, %v", addr, ok)
	}
}

func TestProxyProtocol(t *testing.T) {
	r := &ngx.Request{Client: &ngx.Client{Addr: netip.MustParseAddrPort("127.0.0.1:1")}}
	h := Header{source: fromProxyProtocol}
	if _, ok := address(r, h, nets(t, "127.0.0.1/32"), false); ok {
		t.Error("an address without a PROXY protocol header")
	}
	r.Client.Proxy = &ngx.ProxyHeader{Source: netip.MustParseAddrPort("192.0.2.1:123")}
	if addr, ok := address(r, h, nets(t, "127.0.0.1/32"), false); !ok || addr != r.Client.Proxy.Source {
		t.Errorf("%v, %v", addr, ok)
	}
	if _, ok := address(r, h, nets(t, "10.0.0.0/8"), false); ok {
		t.Error("the proxy isn't trusted")
	}
}

func TestOnlyTheFirstXRealIPCounts(t *testing.T) {
	var in ngx.Header
	in.Add([]byte("X-Real-IP"), []byte("a"))
	in.Add([]byte("x-real-ip"), []byte("b"))
	in.Add([]byte("X-Other"), []byte("c"))
	if got := fieldsOf(&in, Header{name: "x_real_ip", once: true}); len(got) != 1 || string(got[0]) != "a" {
		t.Errorf("got %q", got)
	}
	if got := fieldsOf(&in, Header{name: "x_real_ip"}); len(got) != 2 {
		t.Errorf("got %q", got)
	}
}

func FuzzForwarded(f *testing.F) {
	f.Add("192.0.2.1, 10.0.0.1")
	f.Add(", [::1]:1 ,")
	f.Fuzz(func(t *testing.T, s string) {
		forwarded(netip.MustParseAddrPort("127.0.0.1:1"), [][]byte{[]byte(s)}, trust{{Net: netip.MustParsePrefix("0.0.0.0/0")}}, true)
	})
}

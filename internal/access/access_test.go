package access

import (
	"net/netip"
	"testing"

	"limpet/internal/ngx"
	"limpet/nginxconf"
)

// rule makes a rule as its directive would.
func rule(t *testing.T, name, value string) Rule {
	t.Helper()
	r, err := parseRule(&nginxconf.Setting{Statement: &nginxconf.Statement{Name: name, Args: []nginxconf.Arg{{Value: value}}}})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestTheFirstRuleThatMatchesDecides(t *testing.T) {
	rules := []Rule{
		rule(t, "deny", "192.168.1.1"), rule(t, "allow", "192.168.1.0/24"), rule(t, "allow", "2001:db8::/32"), rule(t, "deny", "unix:"),
		rule(t, "deny", "10.0.0.0/8"),
	}
	for _, c := range []struct {
		addr string
		want ngx.Outcome
	}{
		{"192.168.1.1", 403}, {"192.168.1.2", ngx.OK}, {"::ffff:192.168.1.1", 403}, {"2001:db8::7", ngx.OK},
		{"2001:db9::7", ngx.Next}, {"10.1.1.1", 403}, {"11.1.1.1", ngx.Next}, {"", 403},
	} {
		if got := outcome(rules, c.addr); got != c.want {
			t.Errorf("%s: %d, want %d", c.addr, got, c.want)
		}
	}
}

func TestAllIsAboutEveryFamily(t *testing.T) {
	for _, addr := range []string{"192.0.2.1", "2001:db8::1", ""} {
		if got := outcome([]Rule{rule(t, "deny", "all")}, addr); got != 403 {
			t.Errorf("%q: %d", addr, got)
		}
		if got := outcome([]Rule{rule(t, "allow", "all"), rule(t, "deny", "all")}, addr); got != ngx.OK {
			t.Errorf("%q: %d", addr, got)
		}
	}
}

func TestNoRulesNoStep(t *testing.T) {
	if step(nil) != nil {
		t.Error("a step without rules")
	}
}

func outcome(rules []Rule, addr string) ngx.Outcome {
	c := &ngx.Client{Unix: addr == ""}
	if addr != "" {
		c.Addr = netip.AddrPortFrom(netip.MustParseAddr(addr), 1)
	}
	r := &ngx.Request{Client: c, Scope: &ngx.Scope{Core: new(ngx.Core)}}
	r.Main = r
	return step(rules)(r)
}

func TestWrongAddresses(t *testing.T) {
	for _, v := range []string{"", "foo", "1.2.3", "1.2.3.4/33", "::1/129", "10.0.0.0/", "/8", "1.2.3.0/255.255.255.0", "1.2.3.4/8.8", "fe80::1%eth0"} {
		_, err := parseRule(&nginxconf.Setting{Statement: &nginxconf.Statement{Name: "allow", Args: []nginxconf.Arg{{Value: v}}}})
		if want := `invalid parameter "` + v + `"`; err == nil || err.Error() != want {
			t.Errorf("%q: %v, want %s", v, err, want)
		}
	}
}

func BenchmarkRules(b *testing.B) {
	rules := []Rule{{Net: netip.MustParsePrefix("10.0.0.0/8")}, {Net: netip.MustParsePrefix("192.168.0.0/16")}, {All: true}}
	log := step(rules)
	r := &ngx.Request{Client: &ngx.Client{Addr: netip.MustParseAddrPort("192.0.2.1:1")}, Scope: &ngx.Scope{Core: new(ngx.Core)}}
	b.ReportAllocs()
	for b.Loop() {
		log(r)
	}
}

package server

import (
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestDebugConnectionNamesClients(t *testing.T) {
	for _, c := range []struct{ directives, addr string }{
		{"debug_connection 192.0.2.1;", "192.0.2.1:1"},
		{"debug_connection 192.0.2.1;", "[::ffff:192.0.2.1]:1"},
		{"debug_connection ::ffff:192.0.2.1;", "[::ffff:192.0.2.1]:1"},
		{"debug_connection 192.0.2.0/24;", "192.0.2.9:1"},
		{"debug_connection 198.51.100.1; debug_connection 2001:db8::/32;", "[2001:db8::5]:1"},
		{"debug_connection unix:;", ""},
		{"", "!192.0.2.1:1"},
		{"debug_connection unix:;", "!192.0.2.1:1"},
		{"debug_connection 0.0.0.0/0;", "!"},
		{"debug_connection 0.0.0.0/0;", "![2001:db8::5]:1"},
		{"debug_connection 192.0.2.1;", "!192.0.2.2:1"},
	} {
		file := filepath.Join(t.TempDir(), "nginx.conf")
		if err := os.WriteFile(file, []byte("events { "+c.directives+" }\nhttp { }\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		config, err := Load(Options{ConfFile: file, Prefix: filepath.Dir(file) + "/"})
		if err != nil {
			t.Fatal(err)
		}
		addr, none := strings.CutPrefix(c.addr, "!")
		var peer netip.AddrPort
		if addr != "" {
			peer = netip.MustParseAddrPort(addr)
		}
		debugs := debugsOf(config)
		if got := debugs != nil && debugs(peer); got == none {
			t.Errorf("%s: %s is debugged: %t", c.directives, c.addr, got)
		}
	}
}

func TestFeaturesTellOfTheDebugLog(t *testing.T) {
	if !strings.Contains(" "+Features()+" ", " --with-debug ") {
		t.Errorf("features are %s", Features())
	}
}

package tcp

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestWildcardsOfBothFamiliesShareAPort: `listen 80; listen [::]:80;` are two sockets,
// and an IPv4 address isn't listened on as an IPv6 one.
func TestWildcardsOfBothFamiliesShareAPort(t *testing.T) {
	if l, err := net.Listen("tcp6", "[::1]:0"); err != nil {
		t.Skip("no IPv6: ", err)
	} else {
		l.Close()
	}
	v4, err := Listen("tcp", "0.0.0.0:0", ListenOptions{IPv6Only: true})
	if err != nil {
		t.Fatal(err)
	}
	defer v4.Close()
	addr := v4.Addr().String()
	if !strings.HasPrefix(addr, "0.0.0.0:") {
		t.Errorf("0.0.0.0 is listened on as %s", addr)
	}
	_, port, _ := net.SplitHostPort(addr)
	if c, err := net.Dial("tcp6", "[::1]:"+port); err == nil {
		c.Close()
		t.Error("0.0.0.0 accepts IPv6")
	}
	v6, err := Listen("tcp", "[::]:"+port, ListenOptions{IPv6Only: true})
	if err != nil {
		t.Fatal(err)
	}
	v6.Close()
	both, err := Listen("tcp", "[::]:0", ListenOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer both.Close()
	_, port, _ = net.SplitHostPort(both.Addr().String())
	c, err := net.Dial("tcp4", "127.0.0.1:"+port)
	if err != nil {
		t.Fatal("ipv6only=off refuses IPv4: ", err)
	}
	c.Close()
}

func TestAcceptEndsWithTheListener(t *testing.T) {
	p := poller(t)
	l, err := Listen("unix", filepath.Join(t.TempDir(), "s"), ListenOptions{})
	if err != nil {
		t.Fatal(err)
	}
	time.AfterFunc(20*time.Millisecond, func() { l.Close() })
	for range 2 {
		if _, err := l.Accept(p); !errors.Is(err, net.ErrClosed) {
			t.Errorf("Accept: %v", err)
		}
	}
	if _, err := os.Lstat(l.Addr().String()); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the socket's path is still there: %v", err)
	}
}

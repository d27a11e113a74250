package tcp

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// poller returns one that ends with the test.
func poller(t testing.TB) *Poller {
	p, err := NewPoller()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	return p
}

// pair returns the two ends of a connection: one accepted, one dialled.
func pair(t testing.TB, network string) (server, client *Conn) {
	t.Helper()
	addr := "127.0.0.1:0"
	if network == "unix" {
		addr = filepath.Join(t.TempDir(), "s")
	}
	p := poller(t)
	l, err := Listen(network, addr, ListenOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if client, err = p.Dial(network, l.Addr().String(), DialOptions{Timeout: 5 * time.Second}); err != nil {
		t.Fatal(err)
	}
	if server, err = l.Accept(p); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Close(); client.Close() })
	return server, client
}

func write(t *testing.T, c *Conn, s string) {
	t.Helper()
	if n, err := c.Write([]byte(s)); n != len(s) || err != nil {
		t.Fatalf("Write: %d, %v", n, err)
	}
}

func read(t *testing.T, c *Conn, n int) string {
	t.Helper()
	b := make([]byte, n)
	if _, err := io.ReadFull(c, b); err != nil {
		t.Fatalf("Read: %v", err)
	}
	return string(b)
}

func TestReadAndWrite(t *testing.T) {
	for _, network := range []string{"tcp", "unix"} {
		server, client := pair(t, network)
		if _, err := server.TryRead(make([]byte, 1)); err != ErrWouldBlock {
			t.Errorf("%s: TryRead of nothing: %v", network, err)
		}
		client.Writev([]byte("he"), []byte("llo"))
		if err := server.Wait(); err != nil {
			t.Errorf("%s: Wait: %v", network, err)
		}
		if got := read(t, server, 5); got != "hello" {
			t.Errorf("%s: read %q", network, got)
		}
		server.Unread([]byte("lo"))
		server.Unread([]byte("hel"))
		if got := read(t, server, 5); got != "hello" {
			t.Errorf("%s: read again %q", network, got)
		}
		client.CloseWrite()
		if n, err := server.Read(make([]byte, 1)); n != 0 || err != io.EOF {
			t.Errorf("%s: Read at the end: %d, %v", network, n, err)
		}
	}
}

func TestLargeWriteArrivesWhole(t *testing.T) {
	server, client := pair(t, "tcp")
	want := bytes.Repeat([]byte("0123456789abcdef"), 1<<18)
	done := make(chan error)
	go func() { _, err := client.Writev(want[:3<<20], want[3<<20:]); done <- err }()
	got := make([]byte, len(want))
	if _, err := io.ReadFull(server, got); err != nil || !bytes.Equal(got, want) {
		t.Error("the body differs", err)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestTimeoutEndsTheWaitNeitherEarlyNorNever(t *testing.T) {
	server, client := pair(t, "tcp")
	server.SetReadTimeout(100 * time.Millisecond)
	for range 3 { // the deadline set by an earlier wait must not cut a later one short
		wrote := make(chan struct{})
		time.AfterFunc(60*time.Millisecond, func() { client.Write([]byte("b")); close(wrote) })
		read(t, server, 1)
		<-wrote
	}
	start := time.Now()
	_, err := server.Read(make([]byte, 1))
	if took := time.Since(start); err != ErrTimeout || took < 100*time.Millisecond || took > 3*time.Second {
		t.Errorf("Read: %v after %v", err, took)
	}
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Error("ErrTimeout isn't the standard library's")
	}
	write(t, client, "c")
	if got := read(t, server, 1); got != "c" {
		t.Errorf("after a timeout: %q", got)
	}
}

func TestShorterTimeoutHoldsAfterALongerOne(t *testing.T) {
	server, client := pair(t, "tcp")
	server.SetReadTimeout(time.Hour)
	wrote := make(chan struct{})
	time.AfterFunc(10*time.Millisecond, func() { client.Write([]byte("b")); close(wrote) })
	read(t, server, 1)
	<-wrote
	server.SetReadTimeout(20 * time.Millisecond)
	if _, err := server.Read(make([]byte, 1)); err != ErrTimeout {
		t.Errorf("Read: %v", err)
	}
	client.SetWriteTimeout(20 * time.Millisecond)
	if _, err := client.Write(make([]byte, 64<<20)); err != ErrTimeout {
		t.Errorf("Write: %v", err)
	}
}

func TestAbortEndsWaits(t *testing.T) {
	server, _ := pair(t, "tcp")
	time.AfterFunc(10*time.Millisecond, server.Abort)
	if _, err := server.Read(make([]byte, 1)); err != ErrAborted {
		t.Errorf("Read: %v", err)
	}
	if err := server.Sleep(time.Hour); err != ErrAborted {
		t.Errorf("Sleep: %v", err)
	}
}

func TestFreshIsFalseAfterAByteOrTheEnd(t *testing.T) {
	server, client := pair(t, "tcp")
	if !client.Fresh() {
		t.Error("an idle connection isn't fresh")
	}
	write(t, server, "x")
	client.Wait()
	if client.Fresh() {
		t.Error("fresh with a byte pending")
	}
	server, client = pair(t, "tcp")
	server.Close()
	client.Wait()
	if client.Fresh() {
		t.Error("fresh after the end")
	}
}

func TestResetIsSeenAsReset(t *testing.T) {
	server, client := pair(t, "tcp")
	server.Reset()
	if _, err := client.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("Read: %v", err)
	}
}

func TestAddressTexts(t *testing.T) {
	server, client := pair(t, "tcp")
	if got := string(server.RemoteText()); got != string(client.LocalText()) || string(server.RemoteIP()) != "127.0.0.1" {
		t.Errorf("remote %s, %s", got, server.RemoteIP())
	}
	if !bytes.Equal(server.RemoteBinary(), []byte{127, 0, 0, 1}) {
		t.Errorf("binary %x", server.RemoteBinary())
	}
	server, _ = pair(t, "unix")
	if string(server.RemoteText()) != "unix:" || string(server.RemoteIP()) != "unix:" || !bytes.HasPrefix(server.LocalText(), []byte("unix:/")) {
		t.Errorf("unix: %s, %s, %s", server.RemoteText(), server.RemoteIP(), server.LocalText())
	}
}

func TestDialErrorsAreTheSystems(t *testing.T) {
	l, err := Listen("tcp", "127.0.0.1:0", ListenOptions{})
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	l.Close()
	if _, err := poller(t).Dial("tcp", addr, DialOptions{Timeout: time.Second}); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("closed port: %v", err)
	}
	if _, err := poller(t).Dial("unix", filepath.Join(t.TempDir(), "none"), DialOptions{}); !errors.Is(err, syscall.ENOENT) {
		t.Errorf("missing socket: %v", err)
	}
	l, _ = Listen("tcp", "127.0.0.1:0", ListenOptions{})
	defer l.Close()
	if _, err := Listen("tcp", l.Addr().String(), ListenOptions{}); !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("taken port: %v", err)
	}
}

func TestAnythingElseGoesThroughItsMethods(t *testing.T) {
	a, b := net.Pipe()
	server, client := New(a), New(b)
	defer server.Close()
	defer client.Close()
	if _, err := server.TryRead(make([]byte, 1)); err != ErrWouldBlock {
		t.Errorf("TryRead: %v", err)
	}
	done := make(chan error)
	go func() { _, err := client.Write([]byte("hello")); done <- err }()
	if err := server.Wait(); err != nil {
		t.Error(err)
	}
	if got := read(t, server, 5); got != "hello" {
		t.Errorf("read %q", got)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
	server.SetReadTimeout(10 * time.Millisecond)
	if _, err := server.Read(make([]byte, 1)); err != ErrTimeout {
		t.Errorf("Read: %v", err)
	}
}

// A deadline that an earlier wait left behind wakes a later one, which must not take that for its peer's doing.
func TestADeadlineLeftBehindIsNotReadiness(t *testing.T) {
	for name, wait := range map[string]func(c *Conn) error{
		"Wait":      (*Conn).Wait,
		"WriteWait": func(c *Conn) error { return c.WriteWait([]byte("x"), func() bool { return true }) },
	} {
		server, client := pair(t, "tcp")
		client.SetReadTimeout(50 * time.Millisecond)
		late := time.AfterFunc(20*time.Millisecond, func() { write(t, server, "x") })
		if err := client.Wait(); err != nil { // leaves a deadline 30 ms away
			t.Fatal(err)
		}
		late.Stop()
		read(t, client, 1)
		if err := wait(client); err != ErrTimeout {
			t.Errorf("%s: %v", name, err)
		}
	}
}

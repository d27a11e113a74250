package tcp

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"io"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestHangupOfTheClientEndsTheWaitForTheUpstream(t *testing.T) {
	for _, leave := range []func(*Conn) error{(*Conn).Close, (*Conn).Reset, (*Conn).CloseWrite} {
		server, client := pair(t, "tcp")
		server.Watch()
		_, up := pair(t, "tcp")
		server.Guard(up)
		time.AfterFunc(20*time.Millisecond, func() { leave(client) })
		if _, err := up.Read(make([]byte, 1)); err != ErrHangup {
			t.Errorf("Read: %v", err)
		}
		if err := server.Sleep(time.Hour); err != ErrHangup || !server.HungUp() {
			t.Errorf("Sleep: %v", err)
		}
		if up.Fresh() {
			t.Error("an interrupted connection is fresh")
		}
		server.Close()
	}
}

func TestGuardedNoMoreIsNotInterrupted(t *testing.T) {
	server, client := pair(t, "tcp")
	server.Watch()
	_, up := pair(t, "tcp")
	server.Guard(up)
	server.Guard(nil)
	client.Close()
	if err := server.Sleep(time.Hour); err != ErrHangup {
		t.Errorf("Sleep: %v", err)
	}
	if !up.Fresh() {
		t.Error("interrupted")
	}
	server.Guard(up)
	if _, err := up.Read(make([]byte, 1)); err != ErrHangup {
		t.Errorf("guarded on behalf of one gone: %v", err)
	}
}

func TestSpliceAndSendFile(t *testing.T) {
	body := strings.Repeat("0123456789", 100_000)
	path := filepath.Join(t.TempDir(), "f")
	os.WriteFile(path, []byte("head"+body), 0o600)
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for _, n := range []int64{int64(len(body)), -1} {
		in, from := pair(t, "tcp")
		to, out := pair(t, "unix")
		done := make(chan error, 2)
		go func() {
			_, err := from.SendFile(f, 4, int64(len(body)))
			from.CloseWrite()
			done <- err
		}()
		go func() {
			in.Unread([]byte(read(t, in, 7)))
			m, err := Splice(out, in, n)
			if m != int64(len(body)) {
				t.Errorf("spliced %d", m)
			}
			out.CloseWrite()
			done <- err
		}()
		got, err := io.ReadAll(to)
		if err != nil || string(got) != body {
			t.Errorf("%d bytes arrived, %v", len(got), err)
		}
		for range 2 {
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
	}
	server, client := pair(t, "tcp")
	write(t, client, "abc")
	client.CloseWrite()
	_, out := pair(t, "tcp")
	if n, err := Splice(out, server, 5); n != 3 || err != io.ErrUnexpectedEOF {
		t.Errorf("early end: %d, %v", n, err)
	}
}

// certificate makes a self-signed one.
func certificate(t *testing.T) tls.Certificate {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), DNSNames: []string{"x"}}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

func TestTLS(t *testing.T) {
	server, client := pair(t, "tcp")
	done := make(chan error)
	go func() {
		server.Unread([]byte(read(t, server, 3))) // sniffed
		done <- server.ServerTLS(&tls.Config{Certificates: []tls.Certificate{certificate(t)}}, 5*time.Second)
	}()
	if err := client.ClientTLS(&tls.Config{InsecureSkipVerify: true}, 5*time.Second); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if server.TLS() == nil || server.TLS().Version != tls.VersionTLS13 {
		t.Error("no TLS 1.3 session")
	}
	if !client.Fresh() || !server.Fresh() {
		t.Error("not fresh after the handshake (session tickets)")
	}
	client.Write([]byte("hello"))
	if err := server.Wait(); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 10)
	if n, err := server.Read(b); string(b[:n]) != "hello" || err != nil {
		t.Errorf("Read after Wait: %q, %v", b[:n], err)
	}
	client.Write([]byte("ab"))
	read(t, server, 1)
	if err := server.Wait(); err != nil { // the byte is in the session, not in the socket
		t.Fatal(err)
	}
	read(t, server, 1)
	if _, err := server.TryRead(b); err != ErrWouldBlock {
		t.Errorf("TryRead: %v", err)
	}
	server.SetReadTimeout(10 * time.Millisecond)
	if _, err := server.Read(b); err != ErrTimeout {
		t.Errorf("Read: %v", err)
	}
}

// Bytes and the end that came with them are told one after the other; under TLS 1.2 crypto/tls gives both at once.
func TestTLSBytesComeBeforeTheEnd(t *testing.T) {
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		server, client := pair(t, "tcp")
		done := make(chan error)
		go func() {
			err := server.ServerTLS(&tls.Config{Certificates: []tls.Certificate{certificate(t)}, MaxVersion: version}, 5*time.Second)
			if err == nil {
				server.Write([]byte("bye"))
				server.CloseWrite()
			}
			done <- err
		}()
		if err := client.ClientTLS(&tls.Config{InsecureSkipVerify: true}, 5*time.Second); err != nil {
			t.Fatal(err)
		}
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		b := make([]byte, 10)
		if _, n, err := client.Exchange(nil, nil, b, false); string(b[:n]) != "bye" || err != nil {
			t.Errorf("%s: Exchange: %q, %v", tls.VersionName(version), b[:n], err)
		}
		if n, err := client.Read(b); n != 0 || err != io.EOF {
			t.Errorf("%s: Read behind it: %d, %v", tls.VersionName(version), n, err)
		}
	}
}

func TestTLSHandshakeHasATimeout(t *testing.T) {
	server, _ := pair(t, "tcp")
	if err := server.ServerTLS(&tls.Config{Certificates: []tls.Certificate{certificate(t)}}, 20*time.Millisecond); err != ErrTimeout {
		t.Errorf("handshake: %v", err)
	}
}

// A tunnel whose one side is silent lives as long as the other talks.
func TestTalkingSideKeepsTheTunnelOpen(t *testing.T) {
	for _, network := range []string{"tcp", "unix"} {
		in, from := pair(t, network)
		to, out := pair(t, network)
		to.SetReadTimeout(100 * time.Millisecond)
		go Splice(to, in, -1)
		start := time.Now()
		done := make(chan error, 1)
		go func() { _, err := Splice(in, to, -1); done <- err }()
		for range 5 {
			write(t, from, "x")
			read(t, out, 1)
			select {
			case err := <-done:
				t.Fatalf("%s: ended with %v after %v", network, err, time.Since(start))
			case <-time.After(40 * time.Millisecond):
			}
		}
		if err := <-done; err != ErrTimeout || time.Since(start) < 260*time.Millisecond {
			t.Errorf("%s: %v after %v", network, err, time.Since(start))
		}
	}
}

// What waits on behalf of an aborted connection is aborted, too, be it guarded or bound.
func TestAbortReachesWhatIsGuarded(t *testing.T) {
	for name, guard := range map[string]func(c, up *Conn){"Guard": (*Conn).Guard, "Bind": (*Conn).Bind} {
		server, _ := pair(t, "tcp")
		_, up := pair(t, "tcp")
		guard(server, up)
		time.AfterFunc(10*time.Millisecond, server.Abort)
		if _, err := up.Read(make([]byte, 1)); err != ErrAborted {
			t.Errorf("%s: %v", name, err)
		}
		_, up = pair(t, "tcp")
		guard(server, up)
		if _, err := up.Read(make([]byte, 1)); err != ErrAborted {
			t.Errorf("%s after Abort: %v", name, err)
		}
	}
}

func TestBoundConnectionOutlivesAHangup(t *testing.T) {
	server, client := pair(t, "tcp")
	server.Watch()
	_, up := pair(t, "tcp")
	server.Bind(up)
	client.Close()
	if err := server.Sleep(time.Hour); err != ErrHangup || !up.Fresh() {
		t.Errorf("%v, fresh %v", err, up.Fresh())
	}
}

// What waits without a connection ends when its client goes, by either way of telling.
func TestWaiterEndsWithItsClient(t *testing.T) {
	for name, leave := range map[string]func(client, server, w *Conn){
		"guarded": func(client, server, w *Conn) { client.Close() }, // HTTP/1
		"hung up": func(client, server, w *Conn) { w.Hangup() },     // a stream of HTTP/2
	} {
		server, client := pair(t, "tcp")
		server.Watch()
		w := Waiter()
		server.Guard(w)
		go leave(client, server, w)
		if err := w.Await(nil, 10*time.Second); err != ErrHangup {
			t.Errorf("%s: %v", name, err)
		}
		server.Guard(nil)
	}
	w := Waiter()
	done := make(chan struct{}, 1)
	done <- struct{}{}
	if err := w.Await(done, time.Hour); err != nil {
		t.Error(err)
	}
}

package tcp

import (
	"io"
	"net"
	"testing"
	"time"
)

// pingPong bounces 128 bytes between a and an echo on b.
func pingPong(b *testing.B, x, y io.ReadWriteCloser) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		p := make([]byte, 128)
		for {
			n, err := y.Read(p)
			if err != nil {
				return
			}
			y.Write(p[:n])
		}
	}()
	p := make([]byte, 128)
	b.ReportAllocs()
	for b.Loop() {
		x.Write(p)
		if _, err := io.ReadFull(x, p); err != nil {
			b.Fatal(err)
		}
	}
	x.Close()
	<-done
}

func BenchmarkPingPong(b *testing.B) {
	server, client := pair(b, "tcp")
	for _, c := range []*Conn{server, client} {
		c.SetReadTimeout(time.Minute)
		c.SetWriteTimeout(time.Minute)
	}
	pingPong(b, client, server)
}

func BenchmarkPingPongNet(b *testing.B) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	client, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		b.Fatal(err)
	}
	server, err := l.Accept()
	if err != nil {
		b.Fatal(err)
	}
	defer server.Close()
	pingPong(b, client, server)
}

func BenchmarkGuard(b *testing.B) {
	server, client := pair(b, "tcp")
	b.ReportAllocs()
	for b.Loop() {
		server.Guard(client)
		server.Guard(nil)
	}
}

func benchmarkDial(b *testing.B, dial func(addr string) (reset func() error, err error)) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			c.Read(make([]byte, 1))
			c.Close()
		}
	}()
	b.ReportAllocs()
	for b.Loop() {
		reset, err := dial(l.Addr().String())
		if err != nil {
			b.Fatal(err)
		}
		reset() // leaves no port in TIME_WAIT
	}
	l.Close()
	<-done
}

func BenchmarkDial(b *testing.B) {
	p := poller(b)
	benchmarkDial(b, func(addr string) (func() error, error) {
		c, err := p.Dial("tcp", addr, DialOptions{Timeout: time.Minute})
		if err != nil {
			return nil, err
		}
		return c.Reset, nil
	})
}

func BenchmarkDialNet(b *testing.B) {
	d := net.Dialer{Timeout: time.Minute, KeepAlive: -1}
	benchmarkDial(b, func(addr string) (func() error, error) {
		c, err := d.Dial("tcp", addr)
		if err != nil {
			return nil, err
		}
		c.(*net.TCPConn).SetLinger(0)
		return c.Close, nil
	})
}

package tcp

import (
	"io"
	"testing"
	"time"
)

// What came between the last read and WriteWait, a pipelined request, wakes the wait.
func TestWhatCameBeforeWriteWaitEndsIt(t *testing.T) {
	server, client := pair(t, "tcp")
	write(t, client, "one")
	read(t, server, 3)
	write(t, client, "two")
	eventually(t, server.Readable)
	server.SetReadTimeout(5 * time.Second)
	idle := 0
	if err := server.WriteWait([]byte("answer"), func() bool { idle++; return true }); err != nil || idle != 1 {
		t.Fatalf("WriteWait: %v, idle %d times", err, idle)
	}
	if got := read(t, server, 3) + read(t, client, 6); got != "twoanswer" {
		t.Errorf("read %q", got)
	}
}

// eventually waits until f sees something and the poller has told of it, as it has when a later event woke somebody.
func eventually(t *testing.T, f func() bool) {
	t.Helper()
	a, b := pair(t, "tcp")
	for seen := false; !seen; {
		seen = f()
		time.AfterFunc(2*time.Millisecond, func() { a.Write([]byte("x")) })
		read(t, b, 1)
	}
}

// A deadline left by an earlier operation ends neither wait before its time.
func TestEarlierDeadlineEndsNoWait(t *testing.T) {
	for name, wait := range map[string]func(*Conn) error{
		"Wait":      (*Conn).Wait,
		"WriteWait": func(c *Conn) error { return c.WriteWait([]byte("x"), func() bool { return true }) },
		"Exchange": func(c *Conn) error {
			_, _, err := c.Exchange([]byte("x"), nil, make([]byte, 1), false)
			return err
		},
	} {
		server, client := pair(t, "tcp")
		server.SetReadTimeout(50 * time.Millisecond)
		wrote := make(chan struct{})
		time.AfterFunc(10*time.Millisecond, func() { client.Write([]byte("b")); close(wrote) })
		read(t, server, 1) // its deadline stays
		<-wrote
		server.SetReadTimeout(150 * time.Millisecond)
		start := time.Now()
		if err := wait(server); err != ErrTimeout || time.Since(start) < 150*time.Millisecond {
			t.Errorf("%s: %v after %v", name, err, time.Since(start))
		}
		server.SetReadTimeout(5 * time.Second)
		time.AfterFunc(10*time.Millisecond, func() { client.Write([]byte("c")) })
		if err := wait(server); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A peer that spoke, or closed, before it was asked makes a quiet Exchange fail with nothing written, and is read else.
func TestExchangeWithAPeerThatSpokeBefore(t *testing.T) {
	for name, before := range map[string]func(*Conn){
		"a byte":  func(c *Conn) { c.Write([]byte("x")) },
		"the end": func(c *Conn) { c.CloseWrite() },
	} {
		server, client := pair(t, "tcp")
		before(server)
		eventually(t, client.Readable)
		client.SetReadTimeout(5 * time.Second)
		p := make([]byte, 8)
		if sent, n, err := client.Exchange([]byte("q"), nil, p, true); err != ErrStale || sent != 0 || n != 0 {
			t.Errorf("%s, quiet: %d, %d, %v", name, sent, n, err)
		}
		sent, n, err := client.Exchange([]byte("q"), nil, p, false)
		if name == "a byte" && (sent != 1 || n != 1 || err != nil) || name == "the end" && (sent != 1 || err != io.EOF) {
			t.Errorf("%s: %d, %d, %v", name, sent, n, err)
		}
		if got := read(t, server, 1); got != "q" {
			t.Errorf("%s: the peer got %q", name, got)
		}
	}
}

func TestInterruptedConnectionIsStale(t *testing.T) {
	_, client := pair(t, "tcp")
	client.Abort()
	if sent, _, err := client.Exchange([]byte("q"), nil, make([]byte, 8), true); err != ErrStale || sent != 0 {
		t.Errorf("%d, %v", sent, err)
	}
}

// A request larger than the socket takes at once goes out whole before the answer is waited for.
func TestExchangeOfMoreThanTheSocketTakes(t *testing.T) {
	server, client := pair(t, "tcp")
	head, body := make([]byte, 3000), make([]byte, 16<<20)
	go func() {
		io.CopyN(io.Discard, server, int64(len(head)+len(body)))
		server.Write([]byte("answer"))
	}()
	p := make([]byte, 16)
	sent, n, err := client.Exchange(head, body, p, true)
	if err != nil || sent != len(head)+len(body) || string(p[:n]) != "answer" {
		t.Errorf("%d, %q, %v", sent, p[:n], err)
	}
}

// A WriteWait whose peer reads slowly writes all, then waits.
func TestWriteWaitOfMoreThanTheSocketTakes(t *testing.T) {
	server, client := pair(t, "tcp")
	const size = 16 << 20
	go func() {
		io.CopyN(io.Discard, client, size)
		client.Write([]byte("next"))
	}()
	if err := server.WriteWait(make([]byte, size), func() bool { return true }); err != nil {
		t.Fatal(err)
	}
	if got := read(t, server, 4); got != "next" {
		t.Errorf("read %q", got)
	}
}

func TestAbortEndsExchangeAndWriteWait(t *testing.T) {
	server, client := pair(t, "tcp")
	time.AfterFunc(10*time.Millisecond, server.Abort)
	if err := server.WriteWait([]byte("x"), func() bool { return true }); err != ErrAborted {
		t.Errorf("WriteWait: %v", err)
	}
	time.AfterFunc(10*time.Millisecond, client.Abort)
	read(t, client, 1)
	if _, _, err := client.Exchange([]byte("x"), nil, make([]byte, 1), false); err != ErrAborted {
		t.Errorf("Exchange: %v", err)
	}
}

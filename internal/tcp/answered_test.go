package tcp

import (
	"errors"
	"testing"
	"time"
)

// A peer that answers without reading ends the write; the answer can be read.
func TestEarlyAnswerEndsWrite(t *testing.T) {
	a, b := pair(t, "tcp")
	a.SetWriteTimeout(5 * time.Second)
	go func() {
		b.Write([]byte("early"))
	}()
	n, err := a.WriteUnlessAnswered([]byte("head"), make([]byte, 64<<20))
	if !errors.Is(err, ErrAnswered) || n == 0 || n >= 64<<20 {
		t.Fatalf("wrote %d, %v", n, err)
	}
	buf := make([]byte, 16)
	a.SetReadTimeout(5 * time.Second)
	if n, err := a.Read(buf); string(buf[:n]) != "early" {
		t.Errorf("read %q, %v", buf[:n], err)
	}
}

// A peer that is slow but silent gets everything, and the connection works as before.
func TestSlowPeerGetsAll(t *testing.T) {
	a, b := pair(t, "tcp")
	const size = 16 << 20
	got := make(chan int)
	go func() {
		buf, n := make([]byte, 64<<10), 0
		for n < size+4 {
			m, err := b.Read(buf)
			if n += m; err != nil {
				break
			}
		}
		got <- n
		b.Write([]byte("x"))
	}()
	n, err := a.WriteUnlessAnswered([]byte("head"), make([]byte, size))
	if n != size+4 || err != nil {
		t.Fatalf("wrote %d, %v", n, err)
	}
	if n := <-got; n != size+4 {
		t.Errorf("the peer got %d", n)
	}
	buf := make([]byte, 1)
	if _, err := a.Read(buf); err != nil {
		t.Error(err)
	}
}

// A write to a peer that neither reads nor answers still times out.
func TestUnansweredWriteTimesOut(t *testing.T) {
	a, _ := pair(t, "tcp")
	a.SetWriteTimeout(50 * time.Millisecond)
	if _, err := a.WriteUnlessAnswered(nil, make([]byte, 64<<20)); err != ErrTimeout {
		t.Errorf("got %v", err)
	}
}

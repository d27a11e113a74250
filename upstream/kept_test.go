package upstream

import (
	"net"
	"testing"
	"time"

	"limpet/internal/tcp"
)

// Each of nginx's workers keeps `keepalive` connections; here they are all in one place.
func TestAsManyConnectionsAreKeptAsByAllWorkers(t *testing.T) {
	c := &Conf{}
	c.Keepalive.V.Max = 2
	c.KeepaliveRequests.V, c.KeepaliveTime.V, c.KeepaliveTimeout.V = 1000, time.Hour, time.Minute
	var k Kept
	k.configure(c, 3)
	p := &Peer{State: new(State)}
	var ends []net.Conn
	now := time.Now()
	for range 8 {
		a, b := net.Pipe()
		ends = append(ends, b)
		k.Put(p, 0, Link{Conn: tcp.New(a), Opened: now}, now)
	}
	if n := k.Len(p); n != 6 {
		t.Errorf("%d connections are kept of 3 workers with 2 each", n)
	}
	for i, end := range ends { // the two that were idle longest have given way
		end.SetReadDeadline(time.Now().Add(10 * time.Millisecond))
		_, err := end.Read(make([]byte, 1))
		if timeout, ok := err.(net.Error); (ok && timeout.Timeout()) != (i >= 2) {
			t.Errorf("connection %d: %v", i, err)
		}
	}
	if _, ok := k.Get(p, 0, now.Add(time.Minute)); ok {
		t.Error("a connection that was idle for keepalive_timeout is used")
	}
	for range 6 {
		l, ok := k.Get(p, 0, now)
		if !ok {
			t.Fatal("a kept connection isn't found")
		}
		l.Conn.Close()
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.timer != nil {
		k.timer.Stop()
	}
}

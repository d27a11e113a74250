package server

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// askFor opens a stream for a path.
func askFor(fr *http2.Framer, id uint32, path string, p http2.PriorityParam) {
	var b bytes.Buffer
	enc := hpack.NewEncoder(&b)
	for _, f := range [][2]string{{":method", "GET"}, {":scheme", "http"}, {":path", path}, {":authority", "localhost"}} {
		enc.WriteField(hpack.HeaderField{Name: f[0], Value: f[1], Sensitive: true})
	}
	fr.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: b.Bytes(), EndStream: true, EndHeaders: true, Priority: p})
}

// takeData reads n bytes of data, and as many heads, and counts the bytes by stream.
func takeData(t *testing.T, fr *http2.Framer, n, heads int, got map[uint32]int) {
	t.Helper()
	for n > 0 || heads > 0 {
		f, err := fr.ReadFrame()
		if err != nil {
			t.Fatalf("%d bytes are missing: %v", n, err)
		}
		switch f := f.(type) {
		case *http2.HeadersFrame:
			heads--
		case *http2.DataFrame:
			got[f.StreamID] += int(f.Length)
			n -= int(f.Length)
		}
	}
}

// TestHTTP2SharesFollowPriorities has two streams that the connection's window holds up, or the socket.
func TestHTTP2SharesFollowPriorities(t *testing.T) {
	_, dir := serveConf(t, h2conf)
	if err := os.WriteFile(dir+"html/big.txt", bytes.Repeat([]byte("0123456789abcdef"), 1<<20), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name       string
		window     uint32 // of the connection, at a time
		one, other http2.PriorityParam
		min, max   float64 // of the first one's share
	}{
		{"equal weights", 64 << 10, http2.PriorityParam{Weight: 15}, http2.PriorityParam{Weight: 15}, 0.4, 0.6},
		{"three to one", 64 << 10, http2.PriorityParam{Weight: 191}, http2.PriorityParam{Weight: 63}, 0.65, 0.85},
		{"one to three", 16 << 10, http2.PriorityParam{Weight: 63}, http2.PriorityParam{Weight: 191}, 0.15, 0.35},
		{"three to one at a socket", 1 << 30, http2.PriorityParam{Weight: 191}, http2.PriorityParam{Weight: 63}, 0.6, 0.9},
		{"a parent", 64 << 10, http2.PriorityParam{Weight: 15}, http2.PriorityParam{StreamDep: 1, Weight: 255}, 0.8, 1},
	} {
		// The machine may be busy with other things just when a stream should go on: most tries have to be right.
		var shares []float64
		right := 0
		for range 5 {
			share := firstShare(t, dir+"s1", c.window, c.one, c.other)
			if shares = append(shares, share); share >= c.min && share <= c.max {
				right++
			}
		}
		if right < 3 {
			t.Errorf("%s: the first one has %.2f", c.name, shares)
		}
	}
}

// firstShare has two streams send at once and returns the first one's share of four megabytes.
func firstShare(t *testing.T, socket string, window uint32, one, other http2.PriorityParam) float64 {
	conn, fr := h2frames(t, socket)
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(20 * time.Second))
	fr.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1 << 30})
	askFor(fr, 1, "/big.txt", one)
	askFor(fr, 3, "/big.txt", other)
	got := make(map[uint32]int)
	takeData(t, fr, 65535, 2, got)
	clear(got)
	total := 0
	for total < 4<<20 {
		if window < 1<<20 || total == 0 {
			fr.WriteWindowUpdate(0, window)
		}
		takeData(t, fr, int(min(window, 64<<10)), 0, got)
		total = got[1] + got[3]
	}
	return float64(got[1]) / float64(total)
}

// TestHTTP2SlowClientFreesPeer: with proxy_buffering the peer gets rid of its answer though the client takes none of
// what its windows don't allow, and its connection serves others; the client gets all of it later. Without, the peer waits.
func TestHTTP2SlowClientFreesPeer(t *testing.T) {
	_, dir := serveConf(t, `http2 on; upstream peer { server unix:SOCKET9; keepalive 4; }
		server { listen unix:SOCKET1; location / { proxy_pass http://peer; }
			location /next { proxy_pass http://peer; }
			location /memory { proxy_buffers 512 8k; proxy_max_temp_file_size 0; proxy_pass http://peer; }
			location /none { proxy_buffering off; proxy_pass http://peer; } }`)
	ln := listenPeer(t, dir)
	body := bytes.Repeat([]byte("0123456789abcdef"), 200<<10) // more than sockets hold
	for _, c := range []struct {
		path string
		free bool
	}{{"/file", true}, {"/memory", true}, {"/none", false}} {
		conn, fr := h2frames(t, dir+"s1")
		fr.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1 << 16})
		askFor(fr, 1, c.path, http2.PriorityParam{})
		up, err := ln.Accept()
		if err != nil {
			t.Fatal(err)
		}
		in := bufio.NewReader(up)
		if _, err := http.ReadRequest(in); err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(up, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n", len(body))
		sent := make(chan error, 1)
		go func() {
			_, err := up.Write(body)
			sent <- err
		}()
		got := make(map[uint32]int)
		takeData(t, fr, 65535, 1, got)
		if c.free {
			if err := <-sent; err != nil {
				t.Errorf("%s: %v", c.path, err)
			}
			go func() {
				http.ReadRequest(in)
				io.WriteString(up, "HTTP/1.1 204 No Content\r\n\r\n")
			}()
			endOthers := accept(ln, "HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
			busy := true
			for id := uint32(3); busy; id += 2 { // 202 by others as long as the connection isn't free
				askFor(fr, id, "/next", http2.PriorityParam{})
				awaitFrame(t, fr, func(f http2.Frame) bool {
					h, ok := f.(*http2.HeadersFrame)
					if ok {
						busy = h.HeaderBlockFragment()[0] != 0x89 // 204
					}
					return ok
				})
			}
			endOthers()
		} else {
			select {
			case <-sent:
				t.Errorf("%s: the answer was read ahead", c.path)
			default:
			}
		}
		fr.WriteWindowUpdate(0, 1<<24)
		fr.WriteWindowUpdate(1, 1<<24)
		takeData(t, fr, len(body)-got[1], 0, got)
		if got[1] != len(body) {
			t.Errorf("%s: got %d bytes", c.path, got[1])
		}
		conn.Close()
		up.Close()
	}
}

// accept answers the first request of each connection with the same, until it is ended.
func accept(ln net.Listener, answer string) (end func()) {
	done := make(chan struct{})
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			select {
			case <-done:
				conn.Close()
				return
			default:
			}
			http.ReadRequest(bufio.NewReader(conn))
			io.WriteString(conn, answer)
			conn.Close()
		}
	}()
	return func() {
		close(done)
		if conn, err := net.Dial(ln.Addr().Network(), ln.Addr().String()); err == nil {
			conn.Close()
		}
		<-ended
	}
}

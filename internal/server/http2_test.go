package server

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/http2"
)

// serveConf serves a configuration whose http block is text; SOCKET1, SOCKET2 in it are paths of sockets, and DIR the folder.
func serveConf(t *testing.T, text string) (s *Server, dir string) {
	t.Helper()
	dir = t.TempDir() + "/"
	for _, sub := range []string{"html", "logs", "client_body_temp", "proxy_temp"} {
		if err := os.MkdirAll(dir+sub, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	writeConf(t, dir, text)
	s, _, err := New(Options{ConfFile: dir + "nginx.conf", Prefix: dir, ErrorLog: dir + "error.log"})
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(func() {
		s.Abort()
		s.Shutdown()
		if t.Failed() {
			b, _ := os.ReadFile(dir + "error.log")
			t.Logf("error.log:\n%s", b)
		}
	})
	return s, dir
}

func writeConf(t *testing.T, dir, text string) {
	t.Helper()
	text = "events { }\nerror_log " + dir + "error.log info;\nhttp { access_log " + dir + "access.log;\n" +
		strings.NewReplacer("SOCKET", dir+"s", "DIR/", dir).Replace(text) + "\n}\n"
	if err := os.WriteFile(filepath.Join(dir, "nginx.conf"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// h2c returns a client that speaks HTTP/2 without TLS over a socket.
func h2c(t *testing.T, socket string) *http.Client {
	var only http.Protocols
	only.SetUnencryptedHTTP2(true)
	tr := &http.Transport{Protocols: &only, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", socket)
	}}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr, Timeout: 20 * time.Second}
}

const h2conf = `
	http2 on;
	upstream app { server unix:SOCKET2; keepalive 8; }
	server {
		listen unix:SOCKET1;
		root DIR/html;
		location /hello { return 200 "hello $http2 $server_protocol"; }
		location /app { proxy_pass http://app; client_max_body_size 0; }
		location /stream { proxy_pass http://app; proxy_request_buffering off; client_max_body_size 0; }
	}
	server {
		listen unix:SOCKET2;
		client_max_body_size 0;
		location / { add_header X-Length $request_length; proxy_pass http://unix:SOCKET3; }
	}
	server {
		listen unix:SOCKET3;
		client_max_body_size 0;
		location / { return 200 "$request_method"; }
	}`

func get(t *testing.T, c *http.Client, url string) (int, []byte) {
	t.Helper()
	resp, err := c.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, b
}

func TestHTTP2AnswersByPriorKnowledge(t *testing.T) {
	_, dir := serveConf(t, h2conf)
	if status, body := get(t, h2c(t, dir+"s1"), "http://localhost/hello"); status != 200 || string(body) != "hello h2c HTTP/2.0" {
		t.Errorf("got %d %q", status, body)
	}
	// the same socket speaks HTTP/1.1
	c := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", dir+"s1")
	}}}
	if status, body := get(t, c, "http://localhost/hello"); status != 200 || string(body) != "hello  HTTP/1.1" {
		t.Errorf("HTTP/1.1: got %d %q", status, body)
	}
}

// TestHTTP2FlowControl reads files that are larger than all windows, many at once, and checks every byte.
func TestHTTP2FlowControl(t *testing.T) {
	_, dir := serveConf(t, h2conf)
	var want bytes.Buffer
	for i := 0; want.Len() < 3<<20; i++ {
		fmt.Fprintf(&want, "%08d\n", i)
	}
	if err := os.WriteFile(dir+"html/big.txt", want.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
	c := h2c(t, dir+"s1")
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			resp, err := c.Get("http://localhost/big.txt")
			if err != nil {
				t.Error(err)
				return
			}
			defer resp.Body.Close()
			b, err := io.ReadAll(resp.Body)
			if err != nil || !bytes.Equal(b, want.Bytes()) {
				t.Errorf("got %d bytes, %v; want %d", len(b), err, want.Len())
			}
		})
	}
	wg.Wait()
}

// TestHTTP2RequestBodies sends bodies larger than the windows, read whole and as they come.
func TestHTTP2RequestBodies(t *testing.T) {
	_, dir := serveConf(t, h2conf)
	c := h2c(t, dir+"s1")
	body := bytes.Repeat([]byte("0123456789abcdef"), 3<<16)
	var wg sync.WaitGroup
	for i := range 8 {
		path := [...]string{"/app", "/stream"}[i%2]
		wg.Go(func() {
			resp, err := c.Post("http://localhost"+path, "text/plain", io.NopCloser(bytes.NewReader(body)))
			if err != nil {
				t.Error(err)
				return
			}
			defer resp.Body.Close()
			b, _ := io.ReadAll(resp.Body)
			if resp.StatusCode != 200 || string(b) != "POST" {
				t.Errorf("%s: got %d %q", path, resp.StatusCode, b)
			}
		})
	}
	wg.Wait()
}

// TestHTTP2LosesNoStreamOnReload reloads while requests go on: each is answered.
func TestHTTP2LosesNoStreamOnReload(t *testing.T) {
	s, dir := serveConf(t, h2conf)
	c := h2c(t, dir+"s1")
	stop := make(chan struct{})
	var wg sync.WaitGroup
	var mu sync.Mutex
	answered := 0
	for range 4 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				resp, err := c.Get("http://localhost/app")
				if err != nil {
					t.Error(err)
					return
				}
				b, err := io.ReadAll(resp.Body)
				resp.Body.Close()
				if err != nil || string(b) != "GET" {
					t.Errorf("got %q, %v", b, err)
					return
				}
				mu.Lock()
				answered++
				mu.Unlock()
			}
		})
	}
	for range 10 {
		mu.Lock()
		before := answered
		mu.Unlock()
		if _, err := s.Reload(); err != nil {
			t.Fatal(err)
		}
		for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); {
			mu.Lock()
			on := answered > before+8
			mu.Unlock()
			if on || t.Failed() {
				break
			}
		}
	}
	close(stop)
	wg.Wait()
}

// h2frames opens a connection and exchanges the preface and settings.
func h2frames(t *testing.T, socket string) (net.Conn, *http2.Framer) {
	t.Helper()
	nc, err := net.Dial("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { nc.Close() })
	nc.SetDeadline(time.Now().Add(10 * time.Second))
	io.WriteString(nc, http2.ClientPreface)
	fr := http2.NewFramer(nc, nc)
	fr.WriteSettings()
	fr.WriteSettingsAck()
	return nc, fr
}

// expectGoAway reads frames until GOAWAY and returns the last stream that it names.
func expectGoAway(t *testing.T, fr *http2.Framer, code http2.ErrCode) (last uint32) {
	t.Helper()
	for {
		f, err := fr.ReadFrame()
		if err != nil {
			t.Fatalf("no GOAWAY: %v", err)
		}
		if g, ok := f.(*http2.GoAwayFrame); ok {
			if g.ErrCode != code {
				t.Errorf("GOAWAY with %v, want %v", g.ErrCode, code)
			}
			return g.LastStreamID
		}
	}
}

// TestHTTP2ConnectionErrors sends what RFC 9113 has a connection end for.
func TestHTTP2ConnectionErrors(t *testing.T) {
	_, dir := serveConf(t, h2conf)
	for _, c := range []struct {
		name string
		send func(fr *http2.Framer)
		code http2.ErrCode
		last uint32
	}{
		{"DATA on an idle stream", func(fr *http2.Framer) { fr.WriteData(1, true, []byte("x")) }, http2.ErrCodeProtocol, 0},
		{"WINDOW_UPDATE overflow", func(fr *http2.Framer) { fr.WriteWindowUpdate(0, 1<<31-1) }, http2.ErrCodeFlowControl, 0},
		{"HEADERS on an even stream", func(fr *http2.Framer) {
			fr.WriteHeaders(http2.HeadersFrameParam{StreamID: 2, BlockFragment: []byte{0x82, 0x86, 0x84}, EndHeaders: true, EndStream: true})
		}, http2.ErrCodeProtocol, 0},
		{"a frame between HEADERS and CONTINUATION", func(fr *http2.Framer) {
			fr.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: []byte{0x82}})
			fr.WritePing(false, [8]byte{})
		}, http2.ErrCodeProtocol, 0},
		{"a block that can't be decoded", func(fr *http2.Framer) {
			fr.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: []byte{0xfe, 0xff}, EndHeaders: true, EndStream: true})
		}, http2.ErrCodeCompression, 1},
		{"an endless header", func(fr *http2.Framer) {
			fr.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: []byte{0x82}})
			for range 200 {
				if fr.WriteContinuation(1, false, nil) != nil {
					return
				}
			}
		}, http2.ErrCodeEnhanceYourCalm, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, fr := h2frames(t, dir+"s1")
			c.send(fr)
			if last := expectGoAway(t, fr, c.code); last != c.last {
				t.Errorf("GOAWAY names stream %d as the last one, want %d", last, c.last)
			}
		})
	}
}

// TestHTTP2BoundsStreams opens more streams than are allowed: the surplus is refused, the others are answered.
func TestHTTP2BoundsStreams(t *testing.T) {
	_, dir := serveConf(t, `http2 on; http2_max_concurrent_streams 2;
		server { listen unix:SOCKET1; location / { proxy_pass http://unix:SOCKET9; } }`)
	listenPeer(t, dir)
	_, fr := h2frames(t, dir+"s1")
	block := []byte{0x82, 0x86, 0x84, 0x41, 1, 'a'}
	for id := uint32(1); id <= 5; id += 2 {
		fr.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: block, EndHeaders: true, EndStream: true})
	}
	for {
		f, err := fr.ReadFrame()
		if err != nil {
			t.Fatal(err)
		}
		if r, ok := f.(*http2.RSTStreamFrame); ok {
			if r.StreamID != 5 || r.ErrCode != http2.ErrCodeRefusedStream {
				t.Errorf("stream %d reset with %v", r.StreamID, r.ErrCode)
			}
			return
		}
	}
}

// TestHTTP2ResetFreesUpstream resets a stream whose peer doesn't answer: the peer's connection is closed.
func TestHTTP2ResetFreesUpstream(t *testing.T) {
	_, dir := serveConf(t, `http2 on;
		server { listen unix:SOCKET1; location / { proxy_pass http://unix:SOCKET9; } }`)
	ln := listenPeer(t, dir)
	_, fr := h2frames(t, dir+"s1")
	fr.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: []byte{0x82, 0x86, 0x84, 0x41, 1, 'a'}, EndHeaders: true, EndStream: true})
	up, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer up.Close()
	buf := make([]byte, 4096)
	up.Read(buf)
	fr.WriteRSTStream(1, http2.ErrCodeCancel)
	up.SetReadDeadline(time.Now().Add(5 * time.Second))
	if _, err := io.Copy(io.Discard, up); err != nil {
		t.Errorf("the peer's connection stays open: %v", err)
	}
}

// TestHTTP2ClientThatTakesNothingIsLeft asks for more than the sockets hold, with windows to match, and doesn't read:
// send_timeout ends the connection.
func TestHTTP2ClientThatTakesNothingIsLeft(t *testing.T) {
	s, dir := serveConf(t, `http2 on; send_timeout 100ms;
		server { listen unix:SOCKET1; root DIR/html; }`)
	if err := os.WriteFile(dir+"html/big", make([]byte, 8<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	_, fr := h2frames(t, dir+"s1")
	fr.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1 << 30})
	fr.WriteWindowUpdate(0, 1<<30)
	block := append([]byte{0x82, 0x86, 0x04, 4}, "/big\x41\x01a"...)
	fr.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block, EndHeaders: true, EndStream: true})
	settles(t, "requests not begun", 0, func() int { return 1 - int(s.Stats().Requests.Load()) })
	settles(t, "connections", 0, func() int { return int(s.Stats().Active.Load()) })
}

// TestHTTP2TrailersOfAStreamThatEnded: a stream ends between the frames of its trailers, and its memory serves another
// client's stream, whose body must go on.
func TestHTTP2TrailersOfAStreamThatEnded(t *testing.T) {
	_, dir := serveConf(t, `http2 on; proxy_request_buffering off;
		server { listen unix:SOCKET1; location / { proxy_pass http://unix:SOCKET9; }
			location /unread { auth_request /auth; } location = /auth { proxy_pass http://unix:SOCKET9; } }`)
	ln := listenPeer(t, dir)
	post := []byte{0x83, 0x86, 0x84, 0x41, 1, 'a'}
	unread := append([]byte{0x83, 0x86, 0x44, 7}, "/unread\x41\x01a"...)
	_, one := h2frames(t, dir+"s1")
	one.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: unread, EndHeaders: true})
	up, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	up.Read(make([]byte, 4096))
	one.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, EndStream: true}) // trailers that go on
	time.Sleep(50 * time.Millisecond)                                       // they are read; no frame may come between to tell
	io.WriteString(up, "HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
	up.Close()
	awaitFrame(t, one, func(f http2.Frame) bool { _, ok := f.(*http2.RSTStreamFrame); return ok })

	_, two := h2frames(t, dir+"s1")
	two.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: post, EndHeaders: true})
	two.WriteData(1, false, []byte("begun,"))
	up, err = ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer up.Close()
	up.SetReadDeadline(time.Now().Add(5 * time.Second))
	in := bufio.NewReader(up)
	if _, err := http.ReadRequest(in); err != nil {
		t.Fatal(err)
	}
	one.WriteContinuation(1, true, nil)
	one.WritePing(false, [8]byte{1})
	awaitFrame(t, one, func(f http2.Frame) bool { p, ok := f.(*http2.PingFrame); return ok && p.IsAck() })
	two.WriteData(1, true, []byte("ended"))
	body, err := io.ReadAll(httputil.NewChunkedReader(in))
	if string(body) != "begun,ended" || err != nil {
		t.Errorf("the other stream's body is %q, %v", body, err)
	}
}

// listenPeer listens where proxy_pass http://unix:SOCKET9 goes.
func listenPeer(t *testing.T, dir string) net.Listener {
	t.Helper()
	ln, err := net.Listen("unix", dir+"s9")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	return ln
}

// awaitFrame reads frames until one is it.
func awaitFrame(t *testing.T, fr *http2.Framer, is func(http2.Frame) bool) {
	t.Helper()
	for {
		f, err := fr.ReadFrame()
		if err != nil {
			t.Fatal(err)
		}
		if is(f) {
			return
		}
	}
}

// TestHTTP2PeerAnswersBeforeTheBody: with proxy_request_buffering off the client gets an answer that comes while its body
// is still waited for, and is told that the rest isn't wanted.
func TestHTTP2PeerAnswersBeforeTheBody(t *testing.T) {
	_, dir := serveConf(t, `http2 on; proxy_request_buffering off;
		server { listen unix:SOCKET1; location / { proxy_pass http://unix:SOCKET9; } }`)
	ln := listenPeer(t, dir)
	_, fr := h2frames(t, dir+"s1")
	fr.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: []byte{0x83, 0x86, 0x84, 0x41, 1, 'a'}, EndHeaders: true})
	fr.WriteData(1, false, []byte("begun"))
	up, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer up.Close()
	if _, err := http.ReadRequest(bufio.NewReader(up)); err != nil {
		t.Fatal(err)
	}
	io.WriteString(up, "HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno")
	awaitFrame(t, fr, func(f http2.Frame) bool { d, ok := f.(*http2.DataFrame); return ok && string(d.Data()) == "no" })
	awaitFrame(t, fr, func(f http2.Frame) bool {
		r, ok := f.(*http2.RSTStreamFrame)
		return ok && r.ErrCode == http2.ErrCodeNo
	})
}

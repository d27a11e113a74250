package chaos

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// script is a peer that does the same on every connection; n counts them from 1.
func script(t *testing.T, serve func(c *net.TCPConn, r *bufio.Reader, n int64)) (addr string) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var n atomic.Int64
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				serve(c.(*net.TCPConn), bufio.NewReader(c), n.Add(1))
			}()
		}
	}()
	t.Cleanup(func() { ln.Close(); <-ended })
	return ln.Addr().String()
}

// connect opens a connection to the site that gives up in the end.
func (s *site) connect(t *testing.T) (*net.TCPConn, *bufio.Reader) {
	t.Helper()
	c, err := net.Dial("tcp", s.addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(20 * time.Second))
	return c.(*net.TCPConn), bufio.NewReader(c)
}

// get asks over a connection of its own and returns status and body.
func (s *site) get(t *testing.T, path string) (int, string) {
	t.Helper()
	c, r := s.connect(t)
	defer c.Close()
	fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: x\r\n\r\n", path)
	p, err := readReply(r, false)
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	return p.status, string(p.body)
}

func TestPipelinedRequestThatCameDuringTheFirstIsServed(t *testing.T) {
	next := make(chan struct{})
	peer := script(t, func(c *net.TCPConn, r *bufio.Reader, _ int64) {
		for {
			if _, err := readMessage(r); err != nil {
				return
			}
			<-next
			io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
		}
	})
	s := startSite(t, "upstream u { server "+peer+"; keepalive 2; } server { listen LISTEN; location / { proxy_pass http://u; } }")
	c, r := s.connect(t)
	for range 2 {
		io.WriteString(c, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
		pause(20 * time.Millisecond) // the second comes while the first waits for its answer
	}
	for range 2 {
		next <- struct{}{}
		if p, err := readReply(r, false); err != nil || p.status != 200 {
			t.Fatal(p, err)
		}
	}
}

// A peer that answers before it has the whole body waits for the rest of it: its
// connection must not carry another request.
func TestConnectionWithARestOfABodyIsNotUsedAgain(t *testing.T) {
	for _, how := range []string{"on", "off"} {
		peer := script(t, func(c *net.TCPConn, r *bufio.Reader, n int64) {
			for count := 1; ; count++ {
				if _, err := readMessage(r); err != nil {
					return
				}
				fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nX-At: %d.%d\r\nContent-Length: 0\r\n\r\n", n, count)
				if n == 1 {
					io.Copy(io.Discard, &sluggish{Conn: c})
				}
			}
		})
		s := startSite(t, "client_max_body_size 0; client_body_buffer_size 40m; upstream u { server "+peer+"; keepalive 2; }"+
			"server { listen LISTEN; location / { proxy_pass http://u; proxy_request_buffering "+how+"; } }")
		c, r := s.connect(t)
		const size = 32 << 20
		fmt.Fprintf(c, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n", size)
		go c.Write(make([]byte, size))
		if p, err := readReply(r, false); err != nil || p.fields["x-at"] != "1.1" {
			t.Fatalf("buffering %s: %v %v", how, p, err)
		}
		c2, r2 := s.connect(t)
		io.WriteString(c2, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
		if p, err := readReply(r2, false); err != nil || p.fields["x-at"] != "2.1" {
			t.Errorf("buffering %s: %v %v", how, p, err)
		}
		c.Close()
	}
}

// Slow clients get what a spool read ahead for them, however the body is framed and however it ends.
func TestSlowClientGetsTheBodyWhole(t *testing.T) {
	const size = 6 << 20
	peer := script(t, func(c *net.TCPConn, r *bufio.Reader, _ int64) {
		for {
			m, err := readMessage(r)
			if err != nil {
				return
			}
			switch body := pattern("slow", size); {
			case strings.Contains(m.first, "chunked"):
				c.Write(append([]byte("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"), chunks(body)...))
			case strings.Contains(m.first, "length"):
				c.Write(append(fmt.Appendf(nil, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n", size), body...))
			default:
				c.Write(append([]byte("HTTP/1.1 200 OK\r\n\r\n"), body...))
				return
			}
		}
	})
	s := startSite(t, `
		upstream u { server `+peer+`; keepalive 2; } upstream v { server `+peer+`; keepalive 0; }
		server { listen LISTEN sndbuf=16k; location /kept { proxy_pass http://u; } location /once { proxy_pass http://v; }
			location /mem { proxy_pass http://u; proxy_buffer_size 4k; proxy_buffers 2 4k; proxy_busy_buffers_size 4k; proxy_max_temp_file_size 0; }
			location /rate { proxy_pass http://u; proxy_limit_rate 8m; } }`)
	for _, place := range []string{"kept", "once", "mem", "rate"} {
		for _, framing := range []string{"chunked", "length", "close"} {
			c, _ := s.connect(t)
			c.SetReadBuffer(64 << 10)
			fmt.Fprintf(c, "GET /%s/%s HTTP/1.1\r\nHost: x\r\n\r\n", place, framing)
			pause(30 * time.Millisecond)
			p, err := readReply(bufio.NewReader(&sluggish{Conn: c}), false)
			if err != nil || !p.complete || !bytes.Equal(p.body, pattern("slow", size)) {
				t.Errorf("%s %s: %v", place, framing, err)
				if p != nil {
					t.Errorf("%d bytes, complete %v, equal up to %d", len(p.body), p.complete, firstDiff(p.body, pattern("slow", size)))
				}
			}
			c.Close()
		}
	}
}

func TestAnswerDoesNotWaitForMirroredRequests(t *testing.T) {
	hold := make(chan struct{})
	peer := script(t, func(c *net.TCPConn, r *bufio.Reader, _ int64) {
		m, err := readMessage(r)
		if err != nil {
			return
		}
		if strings.Contains(m.first, "mirror") {
			<-hold
		}
		io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
	})
	s := startSite(t, "server { listen LISTEN; location / { mirror /mirror; proxy_pass http://"+peer+"; } location = /mirror { internal; proxy_pass http://"+peer+"; } }")
	c, r := s.connect(t)
	io.WriteString(c, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	p, err := readReply(r, false)
	close(hold)
	if err != nil || p.status != 200 {
		t.Errorf("%v %v", p, err)
	}
}

// nginx repeats over a fresh connection what a kept one didn't answer only as proxy_next_upstream says.
func TestKeptConnectionThatClosesOnARequest(t *testing.T) {
	for conf, want := range map[string][2]int{"error": {200, 3}, "off": {502, 2}} {
		var asked atomic.Int64
		peer := script(t, func(c *net.TCPConn, r *bufio.Reader, n int64) {
			for {
				if _, err := readMessage(r); err != nil {
					return
				}
				if asked.Add(1) == 2 {
					return
				}
				io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
			}
		})
		s := startSite(t, "upstream u { server "+peer+"; keepalive 2; } server { listen LISTEN; location / { proxy_pass http://u; proxy_next_upstream "+conf+"; } }")
		s.get(t, "/")
		if status, _ := s.get(t, "/"); status != want[0] || asked.Load() != int64(want[1]) {
			t.Errorf("%s: status %d, the peer was asked %d times; want %v", conf, status, asked.Load(), want)
		}
	}
}

// A peer that answers when it is connected to, as one that is full may, is heard at once.
func TestPeerThatSpeaksFirstIsHeard(t *testing.T) {
	peer := script(t, func(c *net.TCPConn, r *bufio.Reader, _ int64) {
		io.WriteString(c, "HTTP/1.1 503 Full\r\nContent-Length: 4\r\n\r\nfull")
		io.Copy(io.Discard, r)
	})
	s := startSite(t, "server { listen LISTEN; location / { proxy_pass http://"+peer+"; proxy_read_timeout 5s; } }")
	for range 20 {
		if status, body := s.get(t, "/"); status != 503 || body != "full" {
			t.Fatalf("%d %q", status, body)
		}
	}
}

func TestReloadEndsOldRequestsAtWorkerShutdownTimeout(t *testing.T) {
	peer := script(t, func(c *net.TCPConn, r *bufio.Reader, _ int64) { io.Copy(io.Discard, r) })
	conf := "server { listen LISTEN; location / { proxy_pass http://" + peer + "; } } "
	s := startSite(t, conf)
	s.write(conf)
	text, _ := os.ReadFile(s.dir + "nginx.conf")
	os.WriteFile(s.dir+"nginx.conf", append([]byte("worker_shutdown_timeout 100ms;\n"), text...), 0o600)
	if _, err := s.Reload(); err != nil {
		t.Fatal(err)
	}
	c, r := s.connect(t)
	io.WriteString(c, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	settle(t, "the request didn't begin", func() bool { return s.busy() == 1 })
	retired := make(chan struct{}, 1)
	s.OnRetire = func() { retired <- struct{}{} }
	if _, err := s.Reload(); err != nil {
		t.Fatal(err)
	}
	if _, err := readReply(r, false); err != io.EOF {
		t.Errorf("an answer or %v", err)
	}
	<-retired
	if n := s.busy(); n != 0 {
		t.Errorf("%d requests are counted still", n)
	}
	s.OnRetire = nil
}

// A client may send line ends before a request, as many as it likes, and fills no memory.
func TestLineEndsBeforeARequestFillNoMemory(t *testing.T) {
	s := startSite(t, "server { listen LISTEN; location / { return 200 ok; } }")
	c, r := s.connect(t)
	before := memory()
	var most uint64
	ends := bytes.Repeat([]byte("\r\n"), 512<<10)
	for range 32 {
		if _, err := c.Write(ends); err != nil {
			t.Fatal(err)
		}
		most = max(most, memory())
	}
	io.WriteString(c, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	if p, err := readReply(r, false); err != nil || p.status != 200 {
		t.Errorf("%v %v", p, err)
	}
	if most > before+8<<20 {
		t.Errorf("32 MiB of line ends took %d MiB", (most-before)>>20)
	}
}

// memory is what the process uses of heap and stacks.
func memory() uint64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return m.HeapInuse + m.StackInuse
}

// A header as large as the limits allow is served, one byte more is refused, and neither takes more memory than that.
func TestHeaderFloods(t *testing.T) {
	s := startSite(t, "server { listen LISTEN; location / { return 200 ok; } }")
	for field, want := range map[int]int{8000: 200, 8300: 400} {
		c, r := s.connect(t)
		fmt.Fprintf(c, "GET / HTTP/1.1\r\nHost: x\r\nX: %s\r\n\r\n", strings.Repeat("a", field))
		if p, err := readReply(r, false); err != nil || p.status != want {
			t.Errorf("a field of %d bytes: %v %v", field, p, err)
		}
	}
	before := memory()
	for range 50 {
		c, _ := s.connect(t)
		io.WriteString(c, "GET / HTTP/1.1\r\nHost: x\r\n")
		for i := range 4 {
			fmt.Fprintf(c, "X-%d: %s\r\n", i, strings.Repeat("a", 7900))
		}
	}
	pause(100 * time.Millisecond)
	if grown := int64(memory()) - int64(before); grown > 50*(200<<10) {
		t.Errorf("50 heads of 32 KiB take %d KiB each", grown/50>>10)
	}
}

// flood opens n connections as a client that costs this process nothing but descriptors.
func flood(t *testing.T, addr string, n int) (fds []int) {
	t.Helper()
	ap, err := net.ResolveTCPAddr("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	for range n {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return fds
		}
		if err := unix.Connect(fd, &unix.SockaddrInet4{Port: ap.Port, Addr: [4]byte{127, 0, 0, 1}}); err != nil {
			unix.Close(fd)
			return fds
		}
		fds = append(fds, fd)
	}
	return fds
}

func closeAll(fds []int) {
	for _, fd := range fds {
		unix.Close(fd)
	}
}

// perConnection is what an idle connection may take of heap and stacks.
const perConnection = 8 << 10

// TestIdleConnectionsAreSmall: connections that have had an answer and wait, 10,000 of them with CHAOS set.
func TestIdleConnectionsAreSmall(t *testing.T) {
	n := 1000
	if os.Getenv("CHAOS") != "" {
		n = 10_000
	}
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	n = min(n, int(limit.Cur)/2-200) // both ends are this process'
	peer := script(t, func(c *net.TCPConn, r *bufio.Reader, _ int64) {
		for {
			if _, err := readMessage(r); err != nil {
				return
			}
			io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
		}
	})
	s := startSite(t, "upstream u { server "+peer+"; keepalive 8; } proxy_read_timeout 5s; server { listen LISTEN backlog=10000; location / { proxy_pass http://u; } }")
	s.get(t, "/")
	before := memory()
	fds := flood(t, s.addr, n)
	defer closeAll(fds)
	buf := make([]byte, 4096)
	for i, fd := range fds {
		unix.Write(fd, []byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n"))
		if m, err := unix.Read(fd, buf); err != nil || !bytes.HasPrefix(buf[:m], []byte("HTTP/1.1 200")) {
			t.Fatalf("connection %d: %v, %q", i, err, buf[:max(m, 0)])
		}
	}
	memory() // stacks shrink by half with each collection
	memory()
	each := (int64(memory()) - int64(before)) / int64(len(fds))
	t.Logf("%d idle connections take %d bytes each", len(fds), each)
	if each > perConnection && !raceEnabled {
		t.Errorf("an idle connection takes %d bytes", each)
	}
}

// TestOutOfDescriptors: when no more connections can be accepted the log says so, and the service goes on afterwards.
func TestOutOfDescriptors(t *testing.T) {
	s := startSite(t, "server { listen LISTEN; location / { return 200 ok; } }")
	s.get(t, "/")
	var old unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &old); err != nil {
		t.Fatal(err)
	}
	low := old
	low.Cur = uint64(descriptors(t) + 40)
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &low); err != nil {
		t.Fatal(err)
	}
	defer unix.Setrlimit(unix.RLIMIT_NOFILE, &old)
	fds := flood(t, s.addr, 100)
	log := func() []byte { b, _ := os.ReadFile(s.dir + "error.log"); return b }
	pause(700 * time.Millisecond) // the log can't be looked into meanwhile
	unix.Setrlimit(unix.RLIMIT_NOFILE, &old)
	settle(t, "nothing was logged", func() bool { return bytes.Contains(log(), []byte("[crit]")) })
	if n := bytes.Count(log(), []byte("accept4() failed (24: Too many open files)")); n == 0 || n > 5 {
		t.Errorf("%d lines", n)
	}
	closeAll(fds)
	if status, _ := s.get(t, "/"); status != 200 {
		t.Errorf("status %d afterwards", status)
	}
}

// TestClientThatNeverReads: of an endless response only so much is read as the buffers and the temporary file may hold.
func TestClientThatNeverReads(t *testing.T) {
	var sent atomic.Int64
	peer := script(t, func(c *net.TCPConn, r *bufio.Reader, _ int64) {
		m, err := readMessage(r)
		if err != nil {
			return
		}
		sent.Store(0)
		if strings.Contains(m.first, "length") {
			io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 1073741824\r\n\r\n")
		} else {
			io.WriteString(c, "HTTP/1.1 200 OK\r\n\r\n")
		}
		for p := make([]byte, 64<<10); ; {
			n, err := c.Write(p)
			if sent.Add(int64(n)); err != nil {
				return
			}
		}
	})
	s := startSite(t, `server { listen LISTEN sndbuf=64k; send_timeout 60s; proxy_buffers 4 16k; proxy_buffer_size 16k; proxy_busy_buffers_size 16k;
		location /file { proxy_pass http://`+peer+`; proxy_max_temp_file_size 2m; } location /mem { proxy_pass http://`+peer+`; proxy_max_temp_file_size 0; }
		location /off { proxy_pass http://`+peer+`; proxy_buffering off; } }`)
	const sockets = 24 << 20 // what the kernel may hold on both sides
	for _, place := range []string{"file", "mem", "off"} {
		for _, framing := range []string{"length", "close"} {
			before := memory()
			c, _ := s.connect(t)
			c.SetReadBuffer(64 << 10)
			fmt.Fprintf(c, "GET /%s/%s HTTP/1.1\r\nHost: x\r\n\r\n", place, framing)
			last := int64(-1)
			settle(t, place+": the peer is read without end", func() bool {
				pause(100 * time.Millisecond)
				was := last
				last = sent.Load()
				return last == was && last > 0
			})
			if last > 2<<20+sockets {
				t.Errorf("%s %s: %d MiB were read", place, framing, last>>20)
			}
			if grown := int64(memory()) - int64(before); grown > 4<<20 {
				t.Errorf("%s %s: %d MiB of memory", place, framing, grown>>20)
			}
			if size := deletedFiles(t); size > 2<<20 {
				t.Errorf("%s %s: a temporary file of %d bytes", place, framing, size)
			}
			c.Close()
			settle(t, "the request goes on", func() bool { return s.busy() == 0 })
			settle(t, "the temporary file is open", func() bool { return deletedFiles(t) == 0 })
		}
	}
}

// deletedFiles is the size of all open files that have no name any more.
func deletedFiles(t *testing.T) (size int64) {
	t.Helper()
	names, err := filepath.Glob("/proc/self/fd/*")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if to, _ := os.Readlink(name); strings.HasSuffix(to, " (deleted)") {
			if fi, err := os.Stat(name); err == nil {
				size += fi.Size()
			}
		}
	}
	return size
}

package healthcheck

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"limpet/internal/ngx"
	"limpet/internal/tcp"
	"limpet/nginxconf"
	"limpet/upstream"
)

// backendEnv makes the test's binary a backend, so that its time isn't counted with the prober's.
const backendEnv = "LIMPET_TEST_BACKEND"

// runBackend answers every request on all loopback addresses until its standard input ends.
func runBackend() {
	lc := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		return c.Control(func(fd uintptr) { unix.BindToDevice(int(fd), "lo") })
	}}
	ln, err := lc.Listen(context.Background(), "tcp4", "0.0.0.0:0")
	if err != nil {
		panic(err)
	}
	fmt.Println(ln.Addr().(*net.TCPAddr).Port)
	go func() {
		os.Stdin.Read(make([]byte, 1))
		os.Exit(0)
	}()
	for {
		c, err := ln.Accept()
		if err != nil {
			panic(err)
		}
		go func() {
			defer c.Close()
			buf := make([]byte, 512)
			for {
				if _, err := c.Read(buf); err != nil {
					return
				}
				c.Write([]byte("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"))
			}
		}()
	}
}

// startBackend starts a backend process and returns its port.
func startBackend(b *testing.B) int {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), backendEnv+"=1")
	in, err := cmd.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		in.Close()
		cmd.Wait()
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		b.Fatal(err)
	}
	port, _ := nginxconf.ParseNum(strings.TrimSpace(line))
	return port
}

// dialing gives the prober real connections.
func dialing(b *testing.B, build *ngx.Build) {
	poller, err := tcp.NewPoller()
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { poller.Close() })
	Of(build).prober.dial = poller.Dial
}

func processorTime() time.Duration {
	var u syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkPeers checks 10,000 peers each second for some seconds and reports
// the share of a core that this takes, and how late probes are.
func BenchmarkPeers(b *testing.B) {
	const peers = 10000
	for _, bm := range []struct{ name, check string }{
		{"tcp", "check type=tcp interval=1000;"},
		{"http", "check type=http interval=1000;"},
		{"kept", `check type=http interval=1000; check_keepalive_requests 1000000; check_http_send "GET / HTTP/1.1\r\nHost: a\r\n\r\n";`},
	} {
		b.Run(bm.name, func(b *testing.B) {
			port := startBackend(b)
			var text strings.Builder
			text.WriteString("upstream hc {\n")
			for i := range peers {
				fmt.Fprintf(&text, "server 127.1.%d.%d:%d;\n", i>>8, i&255, port)
			}
			text.WriteString(bm.check + "\n}")
			build, err := load(b, text.String(), nil, Options{})
			if err != nil {
				b.Fatal(err)
			}
			dialing(b, build)
			build.Start()
			time.Sleep(2 * time.Second)
			count := func() (n int64) {
				Of(build).Each(func(r Report) { n += r.Checks - r.Failed })
				return n
			}
			const span = 5 * time.Second
			for b.Loop() {
				n, cpu := count(), processorTime()
				time.Sleep(span)
				n, cpu = count()-n, processorTime()-cpu
				b.ReportMetric(100*cpu.Seconds()/span.Seconds(), "%core")
				b.ReportMetric(float64(n)/span.Seconds(), "checks/s")
				b.ReportMetric(float64(cpu.Microseconds())/float64(n), "cpu-us/check")
			}
			build.Retire()
			for _, p := range ngx.Shared[upstream.Groups](build).List[0].Peers().All {
				if p.IsDown() {
					b.Fatalf("%s is down", p.Name)
				}
			}
		})
	}
}

// BenchmarkProbe is one probe of a peer whose connection is kept.
func BenchmarkProbe(b *testing.B) {
	port := startBackend(b)
	build, err := load(b, fmt.Sprintf(`upstream hc { server 127.0.0.1:%d; check type=http; check_keepalive_requests 1000000000; check_http_send "GET / HTTP/1.1\r\nHost: a\r\n\r\n"; }`, port), nil, Options{})
	if err != nil {
		b.Fatal(err)
	}
	dialing(b, build)
	s := Of(build)
	s.prober.checks = s
	x, t := newExchange(), s.tasks[0].targets()[0]
	b.ReportAllocs()
	for b.Loop() {
		if s.prober.probe(x, t); t.mark.failed.Load() != 0 {
			b.Fatal(x.err)
		}
	}
	t.close()
}

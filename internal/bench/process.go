package main

import (
	"bufio"
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// bench is a run: its folder and what it started.
type bench struct {
	*options
	dir     string
	backend int // port
	started []*process
	count   int
}

// process is a server under measure.
type process struct {
	cmd  *exec.Cmd
	port int
	log  string // the error log's name
}

// cost is what a request cost in each turn, in microseconds.
type cost []float64

// perRequest is the median of the turns: one in which the machine did something else counts little.
func (c cost) perRequest() float64 {
	s := slices.Sorted(slices.Values(c))
	if len(s) == 0 {
		return 0
	}
	return (s[(len(s)-1)/2] + s[len(s)/2]) / 2
}

func (b *bench) stopAll() {
	for _, p := range b.started {
		p.stop()
	}
}

func (p *process) stop() {
	if p.cmd.ProcessState != nil {
		return
	}
	p.cmd.Process.Signal(syscall.SIGTERM)
	done := make(chan struct{})
	go func() { p.cmd.Wait(); close(done) }()
	select {
	case <-done:
	case <-time.After(5 * time.Second):
		p.cmd.Process.Kill()
		<-done
	}
}

func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}

// startBackend starts an nginx that answers at once, by size of the answer.
func (b *bench) startBackend() error {
	if err := os.WriteFile(filepath.Join(b.dir, "1m"), bytes.Repeat([]byte("0123456789abcdef"), 1<<16), 0o644); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(b.dir, "1k"), bytes.Repeat([]byte("0123456789abcdef"), 64), 0o644); err != nil {
		return err
	}
	p, err := b.start(b.nginx, row{conf: `keepalive_requests 1000000000; sendfile on; server { listen 127.0.0.1:PORT; listen 127.0.0.2:PORT; root .;
		location /128 { return 200 "` + strings.Repeat("0123456789abcdef", 8) + `"; } }`})
	if err != nil {
		return err
	}
	b.backend = p.port
	return nil
}

// file writes a configuration and returns its name and port.
func (b *bench) file(bin string, r row) (string, int, error) {
	port, err := freePort()
	if err != nil {
		return "", 0, err
	}
	b.count++
	name := fmt.Sprintf("n%d.conf", b.count)
	modules, stand := "", ""
	if r.lua && bin == b.nginx {
		stand = seedModules
		modules = "load_module /usr/lib/nginx/modules/ndk_http_module.so;\nload_module /usr/lib/nginx/modules/ngx_http_lua_module.so;\n"
	}
	user := ""
	if os.Geteuid() == 0 {
		user = "user root;\n"
	}
	text := modules + user + fmt.Sprintf("daemon off; worker_processes 1; pid n%d.pid; error_log n%d.log;\nevents { worker_connections 20000; }\nhttp { access_log n%d.access;\n", b.count, b.count, b.count) +
		stand + r.conf + "\n}\n"
	text = strings.NewReplacer("PORT", strconv.Itoa(port), "BACKEND", strconv.Itoa(b.backend)).Replace(text)
	return name, port, os.WriteFile(filepath.Join(b.dir, name), []byte(text), 0o644)
}

// start starts a server with a row's configuration and waits until it listens.
func (b *bench) start(bin string, r row) (*process, error) {
	if _, err := os.Stat(bin); err != nil {
		return nil, fmt.Errorf("%s is not there", bin)
	}
	if r.lua {
		if _, err := os.Stat("/usr/lib/nginx/modules/ngx_http_lua_module.so"); err != nil {
			return nil, errors.New("nginx's Lua module is not there")
		}
		if err := b.balancer(); err != nil {
			return nil, err
		}
	}
	name, port, err := b.file(bin, r)
	if err != nil {
		return nil, err
	}
	args := []string{"-p", b.dir + "/", "-c", name, "-e", "start.log"}
	if bin == b.limpet {
		args = append(args, r.flags...)
	}
	cmd := exec.Command(bin, args...)
	var out bytes.Buffer
	cmd.Stderr = &out
	if b.profile != "" && bin == b.limpet {
		cmd.Env = append(os.Environ(), "LIMPET_PROFILE="+b.profile)
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	p := &process{cmd, port, strings.TrimSuffix(name, ".conf") + ".log"}
	b.started = append(b.started, p)
	for range 100 {
		if c, err := net.Dial("tcp", "127.0.0.1:"+strconv.Itoa(port)); err == nil {
			c.Close()
			return p, nil
		}
		time.Sleep(50 * time.Millisecond)
	}
	p.stop()
	return nil, fmt.Errorf("%s doesn't start: %s", filepath.Base(bin), bytes.TrimSpace(out.Bytes()))
}

// balancer puts the seed's balancer under the run's folder, where both servers look for it.
func (b *bench) balancer() error {
	text, err := os.ReadFile("testdata/seed/lua/balancer.lua")
	if err != nil {
		return fmt.Errorf("run from the repository's root: %w", err)
	}
	if err := os.MkdirAll(filepath.Join(b.dir, "lua"), 0o755); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(b.dir, "lua", "balancer.lua"), text, 0o644)
}

// check runs -t and returns how long it took.
func (b *bench) check(bin string, r row) (time.Duration, error) {
	name, _, err := b.file(bin, r)
	if err != nil {
		return 0, err
	}
	begun := time.Now()
	out, err := exec.Command(bin, "-t", "-p", b.dir+"/", "-c", name).CombinedOutput()
	if err != nil {
		return 0, fmt.Errorf("%s -t: %s", filepath.Base(bin), bytes.TrimSpace(out))
	}
	return time.Since(begun), nil
}

// load sends requests for one turn and adds what they cost.
func (b *bench) load(p *process, r row, c *cost) error {
	before := treeCPU(p.cmd.Process.Pid)
	url := fmt.Sprintf("%s://127.0.0.1:%d%s", r.scheme, p.port, r.path)
	tool := r.tool
	if tool == nil {
		tool = wrk
	}
	requests, trouble, err := tool(b.options, url)
	if err != nil {
		return err
	}
	if trouble != "" {
		log, _ := os.ReadFile(filepath.Join(b.dir, p.log))
		return fmt.Errorf("%s: errors were seen: %s\n%s", filepath.Base(p.cmd.Path), trouble, log[max(0, len(log)-1000):])
	}
	*c = append(*c, float64((treeCPU(p.cmd.Process.Pid)-before).Microseconds())/float64(max(requests, 1)))
	return nil
}

// wrk loads a server by HTTP/1.1. It returns the number of requests and, if some went wrong, what it printed.
func wrk(o *options, url string) (requests int, trouble string, err error) {
	out, err := exec.Command("wrk", "-t1", "-c"+strconv.Itoa(o.connections), "-d"+strconv.Itoa(o.seconds)+"s", url).CombinedOutput()
	if err != nil {
		return 0, "", fmt.Errorf("wrk: %w: %s", err, bytes.TrimSpace(out))
	}
	if bytes.Contains(out, []byte("Non-2xx")) || bytes.Contains(out, []byte("Socket errors")) {
		trouble = string(out)
	}
	return before(out, " requests in"), trouble, nil
}

// h2load loads a server by HTTP/2, four streams a connection, and returns what wrk does.
func h2load(o *options, url string) (requests int, trouble string, err error) {
	out, err := exec.Command("h2load", "-t1", "-m4", "-c"+strconv.Itoa(max(o.connections/4, 1)), "-D"+strconv.Itoa(o.seconds), url).CombinedOutput()
	if err != nil {
		return 0, "", fmt.Errorf("h2load: %w: %s", err, bytes.TrimSpace(out))
	}
	_, counts, _ := bytes.Cut(out, []byte("\nrequests: "))
	counts, _, _ = bytes.Cut(counts, []byte("\n"))
	fields := bytes.Split(counts, []byte(", "))
	if !bytes.Contains(counts, []byte(" 0 failed")) || len(fields) < 4 {
		trouble = string(out)
	}
	for _, f := range fields {
		if n := before(f, " succeeded"); n > 0 {
			requests = n
		}
	}
	return requests, trouble, nil
}

// before is the number in front of a word, at the beginning of a line; 0: there is none.
func before(text []byte, word string) int {
	for sc := bufio.NewScanner(bytes.NewReader(text)); sc.Scan(); {
		if n, _, ok := strings.Cut(strings.TrimSpace(sc.Text()), word); ok {
			requests, _ := strconv.Atoi(n)
			return requests
		}
	}
	return 0
}

// treeCPU is the user and system time of a process and its children.
func treeCPU(pid int) time.Duration {
	total := cpuOf(pid)
	children, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	for _, f := range children {
		text, _ := os.ReadFile(f)
		for _, child := range strings.Fields(string(text)) {
			if n, err := strconv.Atoi(child); err == nil {
				total += treeCPU(n)
			}
		}
	}
	return total
}

func cpuOf(pid int) time.Duration {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	_, rest, _ := strings.Cut(string(text), ") ")
	f := strings.Fields(rest)
	ticks := 0
	for _, i := range []int{11, 12} { // utime, stime
		n, _ := strconv.Atoi(f[i])
		ticks += n
	}
	return time.Duration(ticks) * 10 * time.Millisecond
}

// memory is the resident memory of a process tree, bytes.
func memory(pid int) int64 {
	var total int64
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
	if f := strings.Fields(string(text)); len(f) > 1 {
		n, _ := strconv.ParseInt(f[1], 10, 64)
		total += n * int64(os.Getpagesize())
	}
	children, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	for _, c := range children {
		text, _ := os.ReadFile(c)
		for _, child := range strings.Fields(string(text)) {
			if n, err := strconv.Atoi(child); err == nil {
				total += memory(n)
			}
		}
	}
	return total
}

// idleMemory is what a connection costs that served a request and waits for the next.
func idleMemory(b *bench, r row) error {
	const connections = 10000
	var rlim syscall.Rlimit
	if syscall.Getrlimit(syscall.RLIMIT_NOFILE, &rlim) == nil {
		rlim.Cur = rlim.Max
		syscall.Setrlimit(syscall.RLIMIT_NOFILE, &rlim)
	}
	var each [2]float64
	for i, bin := range []string{b.limpet, b.nginx} {
		p, err := b.start(bin, r)
		if err != nil {
			return err
		}
		n, err := measureIdle(p, connections)
		p.stop()
		if err != nil {
			return err
		}
		each[i] = n
	}
	fmt.Printf("%-34s %8.2f KiB %8.2f KiB %8.2f %10s\n", r.title, each[0]/1024, each[1]/1024, each[0]/each[1], r.target)
	return nil
}

func measureIdle(p *process, connections int) (float64, error) {
	if err := touch(p.port); err != nil {
		return 0, err
	}
	before := memory(p.cmd.Process.Pid)
	conns := make([]net.Conn, 0, connections)
	defer func() {
		for _, c := range conns {
			c.Close()
		}
	}()
	buf := make([]byte, 4096)
	for i := range connections {
		d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, byte(2+i/5000))}}
		c, err := d.Dial("tcp", "127.0.0.1:"+strconv.Itoa(p.port))
		if err != nil {
			return 0, err
		}
		conns = append(conns, c)
		if _, err := c.Write([]byte("GET /128 HTTP/1.1\r\nHost: h\r\n\r\n")); err != nil {
			return 0, err
		}
		c.SetReadDeadline(time.Now().Add(5 * time.Second))
		if _, err := c.Read(buf); err != nil {
			return 0, err
		}
	}
	time.Sleep(2 * time.Second)
	return float64(memory(p.cmd.Process.Pid)-before) / float64(connections), nil
}

func touch(port int) error {
	c, err := net.Dial("tcp", "127.0.0.1:"+strconv.Itoa(port))
	if err != nil {
		return err
	}
	defer c.Close()
	c.Write([]byte("GET /128 HTTP/1.0\r\n\r\n"))
	_, err = c.Read(make([]byte, 4096))
	return err
}

// certificate writes a key and a certificate for the rows with TLS.
func (b *bench) certificate() error {
	if _, err := os.Stat(filepath.Join(b.dir, "cert.pem")); err == nil {
		return nil
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	t := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "localhost"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, t, t, &key.PublicKey, key)
	if err != nil {
		return err
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	for name, block := range map[string]*pem.Block{"cert.pem": {Type: "CERTIFICATE", Bytes: der}, "key.pem": {Type: "PRIVATE KEY", Bytes: keyDER}} {
		if err := os.WriteFile(filepath.Join(b.dir, name), pem.EncodeToMemory(block), 0o644); err != nil {
			return err
		}
	}
	return nil
}

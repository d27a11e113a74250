// Command bench compares limpet with nginx on this machine, side by side in one run: the same configuration, the same
// backend, the same load, taking turns. The figure is CPU time a request, user and
// system of the whole process tree, the median of the turns, and the result is a table of ratios.
//
//	make bench                      all rows
//	go run ./internal/bench -row proxy,seed -seconds 5 -rounds 3
//
// It needs wrk and nginx; the row seed needs nginx's Lua module, the row http2
// needs h2load. Rows that lack a program say so.
package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// options are the command line's.
type options struct {
	limpet, nginx string
	rows          string
	seconds       int
	rounds        int
	connections   int
	profile       string
}

func main() {
	var o options
	flag.StringVar(&o.limpet, "limpet", "bin/limpet", "the binary to measure")
	flag.StringVar(&o.nginx, "nginx", "/usr/sbin/nginx", "the nginx to compare with")
	flag.StringVar(&o.rows, "row", "", "rows to run, parted by commas; all when empty")
	flag.IntVar(&o.seconds, "seconds", 2, "length of one turn")
	flag.IntVar(&o.rounds, "rounds", 7, "turns each")
	flag.IntVar(&o.connections, "c", 64, "client connections")
	flag.StringVar(&o.profile, "profile", "", "file for a CPU profile of limpet (through LIMPET_PROFILE)")
	flag.Parse()
	if err := run(&o); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(o *options) error {
	abs, err := filepath.Abs(o.limpet)
	if err != nil {
		return err
	}
	o.limpet = abs
	dir, err := os.MkdirTemp("", "limpet-bench")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if err := os.Chmod(dir, 0o755); err != nil {
		return err
	}
	b := &bench{options: o, dir: dir}
	defer b.stopAll()
	if err := b.startBackend(); err != nil {
		return err
	}
	fmt.Printf("%-34s %12s %12s %8s %10s\n", "", "limpet us/rq", "other us/rq", "ratio", "target")
	for _, row := range rows() {
		if o.rows != "" && !strings.Contains(","+o.rows+",", ","+row.name+",") {
			continue
		}
		if err := row.run(b, row); err != nil {
			fmt.Printf("%-34s %s\n", row.title, err)
		}
	}
	return nil
}

// row is one line of the table.
type row struct {
	name, title string
	target      string
	run         func(b *bench, r row) error
	conf        string // what stands in http{}
	path        string
	scheme      string
	lua         bool
	flags       []string // of limpet alone
	// tool loads the server; nil: wrk.
	tool func(o *options, url string) (requests int, trouble string, err error)
}

// rows lists the comparisons.
func rows() []row {
	const group = `upstream b { server 127.0.0.1:BACKEND; keepalive 64; }
		proxy_http_version 1.1; proxy_set_header Connection "";
		`
	return []row{
		{name: "proxy", title: "proxy, 128 bytes, kept upstream", target: "<= 0.9", run: compare, path: "/128",
			conf: group + `server { listen 127.0.0.1:PORT; location / { proxy_pass http://b; } }`},
		{name: "seed", title: "the seed's file, against nginx+Lua", target: "<= 0.3", run: compare, path: "/128", lua: true, conf: seedConf},
		{name: "lua", title: "the seed's balancer run as a script", target: "<= 1", run: compare, path: "/128", lua: true, flags: []string{"--lua=run"},
			conf: `proxy_http_version 1.1; proxy_set_header Connection "";` + strings.Replace(seedConf, "balancer.lua;", "balancer.lua;\n\tkeepalive 64;", 1)},
		{name: "mib", title: "proxy, 1 MiB", target: "<= 0.6", run: compare, path: "/1m",
			conf: group + `server { listen 127.0.0.1:PORT; location / { proxy_pass http://b; } }`},
		{name: "tls", title: "proxy, 128 bytes, TLS keep-alive", target: "<= 0.75", run: compare, path: "/128", scheme: "https",
			conf: group + `server { listen 127.0.0.1:PORT ssl; ssl_certificate cert.pem; ssl_certificate_key key.pem; location / { proxy_pass http://b; } }`},
		{name: "http2", title: "proxy, 128 bytes, HTTP/2", run: compare, path: "/128", tool: h2load,
			conf: group + `keepalive_requests 1000000000; server { listen 127.0.0.1:PORT http2; location / { proxy_pass http://b; } }`},
		{name: "return", title: "return 200", run: compare, path: "/", conf: `server { listen 127.0.0.1:PORT; location / { return 200 "hello\n"; } }`},
		{name: "static", title: "static file, 1 KiB", run: compare, path: "/1k", conf: `server { listen 127.0.0.1:PORT; root .; }`},
		{name: "sticky", title: "sticky cookie on top of proxy", target: "<= 1 us", run: stickyCost, path: "/128", conf: group},
		{name: "idle", title: "10,000 idle connections", target: "<= 8 KiB", run: idleMemory,
			conf: group + `keepalive_timeout 300s; server { listen 127.0.0.1:PORT; location / { proxy_pass http://b; } }`},
		{name: "servers", title: "-t of 10,000 servers", target: "<= 2 s", run: loadTime},
	}
}

// compare measures both sides in turns.
func compare(b *bench, r row) error {
	if r.scheme == "" {
		r.scheme = "http"
	}
	if err := b.certificate(); err != nil {
		return err
	}
	ours, err := b.start(b.limpet, r)
	if err != nil {
		return err
	}
	defer ours.stop()
	theirs, err := b.start(b.nginx, r)
	if err != nil {
		return err
	}
	defer theirs.stop()
	var a, n cost
	for range b.rounds {
		for _, side := range []struct {
			s *process
			c *cost
		}{{ours, &a}, {theirs, &n}} {
			if err := b.load(side.s, r, side.c); err != nil {
				return err
			}
		}
	}
	fmt.Printf("%-34s %12.2f %12.2f %8.2f %10s\n", r.title, a.perRequest(), n.perRequest(), a.perRequest()/n.perRequest(), r.target)
	return nil
}

// stickyCost is the difference that `sticky cookie` makes, of limpet alone: nginx 1.22 hasn't it.
func stickyCost(b *bench, r row) error {
	r.scheme = "http"
	plain, sticky := r, r
	plain.conf = r.conf + `server { listen 127.0.0.1:PORT; location / { proxy_pass http://b; } }`
	sticky.conf = strings.Replace(r.conf, "keepalive 64;", "keepalive 64; sticky cookie srv_id;", 1) +
		`server { listen 127.0.0.1:PORT; location / { proxy_pass http://b; } }`
	s1, err := b.start(b.limpet, plain)
	if err != nil {
		return err
	}
	defer s1.stop()
	s2, err := b.start(b.limpet, sticky)
	if err != nil {
		return err
	}
	defer s2.stop()
	var without, with cost
	for range b.rounds {
		if err := b.load(s1, plain, &without); err != nil {
			return err
		}
		if err := b.load(s2, sticky, &with); err != nil {
			return err
		}
	}
	fmt.Printf("%-34s %12.2f %12.2f %+8.2f %10s\n", r.title, with.perRequest(), without.perRequest(), with.perRequest()-without.perRequest(), r.target)
	return nil
}

// loadTime is how long -t takes for a file of 10,000 servers.
func loadTime(b *bench, r row) error {
	var text strings.Builder
	for i := range 10000 {
		fmt.Fprintf(&text, "server { listen 127.0.0.1:PORT; server_name s%d.example.org; location / { proxy_pass http://127.0.0.1:BACKEND; } location /a { return 404; } }\n", i)
	}
	r.conf = text.String()
	var took [2]time.Duration
	for i, bin := range []string{b.limpet, b.nginx} {
		d, err := b.check(bin, r)
		if err != nil {
			return err
		}
		took[i] = d
	}
	fmt.Printf("%-34s %10.2f s %10.2f s %8.2f %10s\n", r.title, took[0].Seconds(), took[1].Seconds(), took[0].Seconds()/took[1].Seconds(), r.target)
	return nil
}

// Package demo is `limpet demo`: three small backends, the configuration that the
// project began with in front of them, unchanged but for addresses, and what to try.
// Everything is embedded and on the loopback interface; nothing is left behind.
package demo

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"limpet/internal/process"
	"limpet/internal/server"
	"limpet/testdata/seed"
)

// Run shows the demonstration until Ctrl-C and returns the exit code.
func Run(args []string, out, errs io.Writer) int {
	if len(args) > 0 {
		fmt.Fprintln(errs, "usage: limpet demo")
		return 1
	}
	if err := run(out); err != nil {
		fmt.Fprintln(errs, "limpet demo:", err)
		return 1
	}
	return 0
}

func run(out io.Writer) error {
	dir, err := os.MkdirTemp("", "limpet-demo-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	// Ctrl-C must not end the program before the server has its own handler.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	var backends []*backend
	for i := range 3 {
		b, err := startBackend(i + 1)
		if err != nil {
			return err
		}
		defer b.close()
		backends = append(backends, b)
	}
	s := stage{dir: dir, backends: backends, out: out}
	if s.front, err = freeAddr("127.0.0.1:8080"); err != nil {
		return err
	}
	if s.admin, err = freeAddr("127.0.0.1:9090"); err != nil {
		return err
	}
	if err := s.write(); err != nil || ctx.Err() != nil {
		return err
	}
	return s.serve()
}

// freeAddr returns the address if nobody has it, else one with a port that is free.
func freeAddr(wish string) (string, error) {
	l, err := net.Listen("tcp", wish)
	if err != nil {
		if l, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
			return "", err
		}
	}
	defer l.Close()
	return l.Addr().String(), nil
}

// stage is a demonstration that is set up.
type stage struct {
	dir          string
	front, admin string
	backends     []*backend
	out          io.Writer
}

// write writes the configuration and what it needs.
func (s *stage) write() error {
	for _, sub := range []string{"lua", "logs"} {
		if err := os.Mkdir(filepath.Join(s.dir, sub), 0o755); err != nil {
			return err
		}
	}
	lua, err := seed.Files.ReadFile("lua/balancer.lua")
	if err != nil {
		return err
	}
	fragment, err := seed.Files.ReadFile("nginx.conf.fragment")
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(s.dir, "lua/balancer.lua"), lua, 0o644); err != nil {
		return err
	}
	return os.WriteFile(s.conf(), []byte(s.config(string(fragment))), 0o644)
}

func (s *stage) conf() string { return filepath.Join(s.dir, "nginx.conf") }

// config makes a whole file of the fragment: the addresses are replaced, the
// ellipsis goes, the rest is as its user wrote it.
func (s *stage) config(fragment string) string {
	var b strings.Builder
	b.WriteString("daemon off;\npid logs/nginx.pid;\nerror_log logs/error.log notice;\n")
	if os.Geteuid() == 0 {
		b.WriteString("user root;\n")
	}
	b.WriteString("events { }\nhttp {\naccess_log logs/access.log;\n")
	placed := false
	for line := range strings.Lines(fragment) {
		word := strings.TrimSpace(line)
		indent := line[:len(line)-len(strings.TrimLeft(line, " \t"))]
		switch {
		case word == "...":
		case strings.HasPrefix(word, "server ") && strings.HasSuffix(word, ";"):
			if !placed {
				for _, be := range s.backends {
					b.WriteString(indent + "server " + be.addr + ";\n")
				}
			}
			placed = true
		case word == "listen 80;":
			b.WriteString(indent + "listen " + s.front + ";\n")
		default:
			b.WriteString(line)
		}
	}
	b.WriteString("}\n")
	return b.String()
}

// serve runs limpet in this process until a signal ends it.
func (s *stage) serve() error {
	log, err := follow(filepath.Join(s.dir, "logs/error.log"), s.out)
	if err != nil {
		return err
	}
	opt := server.Options{ConfFile: s.conf(), Prefix: s.dir + "/", ErrorLog: filepath.Join(s.dir, "logs/error.log"), Admin: s.admin}
	con := process.NewConsole("", opt.Prefix, false)
	code := process.Run(opt, process.Options{Watch: true, Version: "demo", Console: con, Started: s.explain})
	log.close()
	if code != 0 {
		return fmt.Errorf("limpet ended with code %d", code)
	}
	fmt.Fprintln(s.out, "\nbye")
	return nil
}

// explain says what is there and what to try.
func (s *stage) explain() {
	w := s.out
	fmt.Fprintf(w, "limpet serves http://%s/ by %s\n\n", s.front, s.conf())
	for _, b := range s.backends {
		fmt.Fprintf(w, "  backend %d at %s, its cookie %s\n", b.number, b.addr, b.cookie())
	}
	one := s.backends[0]
	fmt.Fprintf(w, `
Try, in another terminal:

  # a first visit: some backend, and its cookie
  curl -i http://%[1]s/

  # with the cookie: always backend 1, and no Set-Cookie
  curl -i -b route=%[2]s http://%[1]s/

  # backend 1 answers 500; after three checks it is down, and its clients get another one and its cookie
  curl -X POST http://%[3]s/fail

  # after two checks it is up again
  curl -X POST http://%[3]s/ok

  # what limpet thinks of them; http://%[4]s/metrics has the counters
  curl http://%[4]s/api/status

  # saved, it is in force within a second; a mistake is logged, and the old one goes on
  ${EDITOR:-vi} %[5]s

Ctrl-C ends it. The error log, as it comes:

`, s.front, one.cookie(), one.addr, s.admin, s.conf())
}

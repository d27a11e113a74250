// Package process is the life of the process: going to the background, the pid
// file, signals, reloading and reopening, and stopping without losing a request.
// https://nginx.org/en/docs/control.html
package process

import (
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"limpet/internal/errlog"
	"limpet/internal/ngx"
	"limpet/internal/server"
	"limpet/nginxconf"
)

// PrintNotices prints what reading a configuration had to say besides errors, of
// a level at least as grave as level.
func PrintNotices(config *nginxconf.Config, level errlog.Level) {
	if config == nil {
		return
	}
	for _, n := range config.Notices {
		if l, ok := errlog.ParseLevel(n.Severity); ok && l <= level {
			errlog.WriteStderr(l, n.Msg)
		}
	}
}

// Run serves a configuration until a signal ends it and returns the exit code.
func Run(opt server.Options, watch bool) int {
	s, config, err := server.New(opt)
	PrintNotices(config, errlog.Warn)
	if err != nil {
		errlog.WriteStderr(errlog.Emerg, err.Error())
		return 1
	}
	p := &process{server: s, opt: opt}
	return p.run()
}

type process struct {
	server *server.Server
	opt    server.Options
	pid    string // the file as written
}

func (p *process) run() int {
	main := server.MainOf(p.server.Config())
	setProcs(main)
	p.server.OnRetire = func() { p.notice("worker process %d exited with code 0", os.Getpid()) }
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, syscall.SIGHUP, syscall.SIGQUIT, syscall.SIGTERM, syscall.SIGINT, syscall.SIGUSR1, syscall.SIGUSR2, syscall.SIGWINCH)
	p.server.Start()
	if err := p.writePid(main.Pid.V); err != nil {
		errlog.WriteStderr(errlog.Emerg, err.Error())
		return 1
	}
	defer os.Remove(p.pid)
	p.notice("%s (limpet)", ngx.Product)
	p.notice("start worker processes")
	for sig := range signals {
		if p.handle(sig.(syscall.Signal), signals) {
			break
		}
	}
	p.notice("exit")
	return 0
}

// handle acts on a signal; true ends the process.
func (p *process) handle(sig syscall.Signal, signals chan os.Signal) bool {
	p.notice("signal %d (%s) received", int(sig), signalName(sig))
	switch sig {
	case syscall.SIGHUP:
		p.reload()
	case syscall.SIGUSR1:
		p.notice("reopening logs")
		p.server.Reopen()
	case syscall.SIGQUIT:
		p.notice("gracefully shutting down")
		p.quit(signals)
		return true
	case syscall.SIGTERM, syscall.SIGINT:
		p.server.Abort()
		p.server.Shutdown()
		return true
	}
	return false
}

// quit waits for the running requests, as long as worker_shutdown_timeout allows and no harder signal comes.
func (p *process) quit(signals chan os.Signal) {
	done := make(chan struct{})
	go func() {
		p.server.Shutdown()
		close(done)
	}()
	var late <-chan time.Time
	if d := server.MainOf(p.server.Config()).ShutdownTimeout.V; d > 0 {
		late = time.After(d)
	}
	for {
		select {
		case <-done:
			return
		case <-late:
			p.server.Abort()
		case sig := <-signals:
			if sig == syscall.SIGTERM || sig == syscall.SIGINT {
				p.server.Abort()
			}
		}
	}
}

func (p *process) reload() {
	p.notice("reconfiguring")
	config, err := p.server.Reload()
	if config != nil {
		for _, n := range config.Notices {
			if l, ok := errlog.ParseLevel(n.Severity); ok {
				p.server.Log().Write(l, 0, n.Msg)
			}
		}
	}
	if err != nil {
		p.server.Log().Write(errlog.Emerg, 0, err.Error())
		return
	}
	p.notice("start worker processes")
	main := server.MainOf(config)
	setProcs(main)
	if main.Pid.V != p.pid {
		old := p.pid
		if err := p.writePid(main.Pid.V); err != nil {
			p.server.Log().Write(errlog.Alert, 0, err.Error())
			return
		}
		os.Remove(old)
	}
}

// setProcs uses as many processors as nginx would have worker processes.
func setProcs(main *server.Main) { runtime.GOMAXPROCS(min(main.Workers.V, runtime.NumCPU())) }

// writePid writes the pid file; it appears whole.
func (p *process) writePid(name string) error {
	tmp := fmt.Sprintf("%s.%d", name, os.Getpid())
	err := os.WriteFile(tmp, []byte(strconv.Itoa(os.Getpid())+"\n"), 0o644)
	if err == nil {
		err = os.Rename(tmp, name)
	}
	if err != nil {
		return fmt.Errorf(`open() "%s" failed %s`, name, errlog.Errno(err))
	}
	p.pid = filepath.Clean(name)
	return nil
}

func (p *process) notice(format string, args ...any) {
	p.server.Log().Printf(errlog.Notice, 0, format, args...)
}

// Signal sends the signal that -s names to the process of a pid file.
func Signal(pidFile, name string) error {
	text, err := os.ReadFile(pidFile)
	if err != nil {
		return fmt.Errorf(`open() "%s" failed %s`, pidFile, errlog.Errno(err))
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil || pid <= 0 {
		return fmt.Errorf(`invalid PID number "%s" in "%s"`, strings.TrimSpace(string(text)), pidFile)
	}
	sig := map[string]syscall.Signal{"stop": syscall.SIGTERM, "quit": syscall.SIGQUIT, "reopen": syscall.SIGUSR1, "reload": syscall.SIGHUP}[name]
	if err := syscall.Kill(pid, sig); err != nil {
		return fmt.Errorf("kill(%d, %d) failed %s", pid, int(sig), errlog.Errno(err))
	}
	return nil
}

func signalName(sig syscall.Signal) string {
	return map[syscall.Signal]string{syscall.SIGHUP: "SIGHUP", syscall.SIGQUIT: "SIGQUIT", syscall.SIGTERM: "SIGTERM", syscall.SIGINT: "SIGINT",
		syscall.SIGUSR1: "SIGUSR1", syscall.SIGUSR2: "SIGUSR2", syscall.SIGWINCH: "SIGWINCH"}[sig]
}

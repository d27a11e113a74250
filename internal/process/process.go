// Package process is the life of the process: going to the background, the pid
// file, the user, signals, reloading on a signal or when a file has changed,
// reopening logs, and stopping without losing a request.
// https://nginx.org/en/docs/control.html
//
// One process stands for nginx's master and workers. Signals mean what they mean to
// nginx's master; the pid in the pid file is this process's, and a configuration
// that retires is logged as a worker process that exits. `user` is honoured without
// losing the ability to reload; see rights.
//
// Memory: the garbage collector runs with GOGC=300 and, in a control group with a
// memory limit, GOMEMLIMIT at nine tenths of it; the environment's GOGC and
// GOMEMLIMIT take precedence.
//
// Not done: the upgrade of the executable on the fly (USR2); it is refused in the log.
package process

import (
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"limpet/internal/admin"
	"limpet/internal/drain"
	"limpet/internal/errlog"
	"limpet/internal/ngx"
	"limpet/internal/server"
	"limpet/nginxconf"
)

// Options are what the command line says of the process.
type Options struct {
	Watch   bool   // reload when a file of the configuration changes
	State   string // file of what outlives a restart; "" for none
	Version string // limpet's own
	Console *Console
	// Started, when not nil, is called once requests are served.
	Started func()
}

// process is one that serves.
type process struct {
	Options
	server     *server.Server
	opt        server.Options
	pid        string        // the file
	admin      *admin.Server // nil without --admin
	background bool
	rights     *rights
	watch      *watch // nil: not watching
	reloads    admin.Reloads
	signals    chan os.Signal
	work       chan func()   // to run where the process has its rights
	over       chan struct{} // closed when nothing of work is taken any more
}

// Run serves a configuration until a signal ends it and returns the exit code.
func Run(opt server.Options, po Options) (code int) {
	ready, background := inBackground()
	drains, warning := drain.Open(absolute(po.State))
	opt.Drains = drains
	config, err := server.Load(opt)
	if err == nil && server.MainOf(config).Daemon.V && !background {
		return detach(po.Console)
	}
	runtime.LockOSThread() // for rights
	p := &process{Options: po, opt: opt, background: background, rights: &rights{}, work: make(chan func()), over: make(chan struct{})}
	drains.Write = p.withRights
	if err == nil {
		opt.Report = po.Console.Print
		p.server, err = server.NewFrom(opt, config)
	}
	po.Console.Notices(config, errlog.Warn)
	if warning != nil {
		po.Console.Print(errlog.Warn, warning.Error())
	}
	if err == nil {
		err = p.settle()
	}
	if err != nil {
		po.Console.Print(errlog.Emerg, err.Error())
		return 1
	}
	if warning != nil {
		p.server.Log().Write(errlog.Warn, 0, warning.Error())
	}
	defer p.lastWords()
	return p.serve(ready)
}

// absolute returns the path of a file of the command line, which working_directory doesn't move.
func absolute(name string) string {
	if name == "" {
		return ""
	}
	if abs, err := filepath.Abs(name); err == nil {
		return abs
	}
	return name
}

// withRights has the main loop run f with the rights of reloading, and returns when
// it has; once the loop is over f runs without them. Any goroutine but the main
// loop's may call it.
func (p *process) withRights(f func()) {
	done := make(chan struct{})
	select {
	case p.work <- func() { defer close(done); p.rights.with(f) }:
		<-done
	case <-p.over:
		f()
	}
}

// lastWords logs a panic of the main loop, which ends the process.
func (p *process) lastWords() {
	if v := recover(); v != nil {
		p.server.Log().Printf(errlog.Alert, 0, "panic: %v\n%s", v, debug.Stack())
		panic(v)
	}
}

// settle does what a configuration asks of the process before it serves.
func (p *process) settle() error {
	main := server.MainOf(p.server.Config())
	setMemory()
	setProcs(main)
	if err := setLimits(main); err != nil {
		return err
	}
	if dir := main.WorkingDir.V; dir != "" {
		conf, err := filepath.Abs(p.opt.ConfFile)
		if err != nil {
			return err
		}
		prefix, err := filepath.Abs(p.opt.Prefix)
		if err != nil {
			return err
		}
		p.server.Relocate(conf, prefix+"/")
		if err := os.Chdir(dir); err != nil {
			return fmt.Errorf(`chdir("%s") failed %s`, dir, errlog.Errno(err))
		}
	}
	var err error
	if p.admin, err = p.listenAdmin(); err != nil {
		return err
	}
	p.pid, _ = filepath.Abs(server.MainOf(p.server.Config()).Pid.V)
	return writePid(p.pid)
}

// setLimits applies worker_rlimit_nofile. Without it the runtime has raised the limit as far as it goes.
func setLimits(main *server.Main) error {
	n := uint64(main.RlimitNofile.V)
	if n == 0 {
		return nil
	}
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: n, Max: n}); err != nil {
		return fmt.Errorf("setrlimit(RLIMIT_NOFILE, %d) failed %s", n, errlog.Errno(err))
	}
	return nil
}

// serve serves until a signal ends it; ready is the pipe to a foreground process that waits, or nil.
func (p *process) serve(ready *os.File) int {
	defer func() { p.rights.with(func() { removePid(p.pid) }) }()
	p.server.OnRetire = func() { p.notice("worker process %d exited with code 0", os.Getpid()) }
	p.server.OnExit = func() { p.notice("exit") }
	p.signals = make(chan os.Signal, 8)
	signal.Notify(p.signals, syscall.SIGHUP, syscall.SIGQUIT, syscall.SIGTERM, syscall.SIGINT, syscall.SIGUSR1, syscall.SIGUSR2, syscall.SIGWINCH)
	defer signal.Stop(p.signals)
	defer func() { p.rights.with(p.admin.Close) }() // its socket may lie in a folder of root's
	r, err := dropRights(server.MainOf(p.server.Config()).User.V, p.server)
	if err != nil {
		p.Console.Print(errlog.Emerg, err.Error())
		return 1
	}
	p.rights = r
	p.announce()
	p.server.Start()
	p.reloads.Succeeded(time.Now())
	p.admin.Serve()
	p.startWatch()
	if p.background {
		p.rights.with(func() { redirectStderr(p.errorLog()) })
		ready.Write([]byte{1})
		ready.Close()
	}
	if p.Started != nil {
		p.Started()
	}
	p.loop()
	return 0
}

// listenAdmin opens the endpoint of --admin; nil without one.
func (p *process) listenAdmin() (*admin.Server, error) {
	if p.opt.Admin == "" {
		return nil, nil
	}
	return admin.Listen(p.opt.Admin, admin.Source{
		Server: p.server, Drains: p.opt.Drains, Reloads: &p.reloads, Version: p.Version, Token: os.Getenv("LIMPET_ADMIN_TOKEN"),
	})
}

// announce logs the start in nginx's words.
func (p *process) announce() {
	p.notice(`using the "epoll" event method`)
	p.notice("%s (limpet %s)", ngx.Product, p.Version)
	p.notice("built by %s", runtime.Version())
	var uts unix.Utsname
	if unix.Uname(&uts) == nil {
		p.notice("OS: %s %s", unix.ByteSliceToString(uts.Sysname[:]), unix.ByteSliceToString(uts.Release[:]))
	}
	var lim unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_NOFILE, &lim) == nil {
		p.notice("getrlimit(RLIMIT_NOFILE): %d:%d", lim.Cur, lim.Max)
	}
	p.notice("start worker processes")
}

func (p *process) startWatch() {
	if !p.Watch {
		return
	}
	p.rights.with(func() {
		p.watch = newWatch(func(err error) {
			p.server.Log().Printf(errlog.Warn, 0, "cannot watch the configuration's files because %s; looking every %s", err, pollTime)
		})
		p.watch.quiet(p.server.LogFiles())
		p.watch.note(p.server.Config(), false)
	})
}

// loop acts on signals and changed files until a signal ends the process.
func (p *process) loop() {
	w := p.watch
	if w == nil {
		w = &watch{timer: time.NewTimer(0)}
		<-w.timer.C
	}
	defer w.close()
	defer close(p.over)
	for {
		select {
		case f := <-p.work:
			f()
		case sig := <-p.signals:
			if p.handle(sig.(syscall.Signal)) {
				return
			}
		case e := <-w.events():
			w.event(e)
		case <-w.errors():
			w.soon()
		case <-w.timer.C:
			p.look()
		}
	}
}

// look reloads when a file has changed.
func (p *process) look() {
	p.rights.with(func() {
		if p.watch.changed() {
			p.notice("configuration files changed, reconfiguring")
			p.reload()
		}
	})
}

// handle acts on a signal; true ends the process.
func (p *process) handle(sig syscall.Signal) bool {
	log := func(what string) { p.notice("signal %d (%s) received, %s", int(sig), unix.SignalName(sig), what) }
	switch sig {
	case syscall.SIGHUP:
		log("reconfiguring")
		p.rights.with(p.reload)
	case syscall.SIGUSR1:
		log("reopening logs")
		p.rights.with(p.reopen)
	case syscall.SIGWINCH:
		if !p.background {
			break // a terminal was resized
		}
		log("stop accepting connections")
		p.rights.with(p.server.StopAccepting)
	case syscall.SIGUSR2:
		log("changing binary")
		p.server.Log().Write(errlog.Alert, 0, "the executable cannot be changed on the fly; restart the service, or start the new one "+
			"beside this one with --listen FROM=TO and move traffic over")
	case syscall.SIGQUIT:
		log("shutting down")
		p.rights.with(p.server.StopAccepting)
		p.quit()
		return true
	case syscall.SIGTERM, syscall.SIGINT:
		log("exiting")
		p.rights.with(p.server.StopAccepting)
		p.server.Abort()
		p.server.Shutdown()
		return true
	}
	return false
}

// quit waits for the running requests, as long as worker_shutdown_timeout allows and no harder signal comes.
func (p *process) quit() {
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
		case f := <-p.work:
			f()
		case sig := <-p.signals:
			if sig == syscall.SIGTERM || sig == syscall.SIGINT {
				p.server.Abort()
			}
		}
	}
}

// reload puts the configuration in force as the files have it. What is wrong with
// them is logged, and everything stays as it was.
func (p *process) reload() {
	p.notice("reconfiguring")
	config, err := p.server.Reload()
	p.warnings(config)
	if p.watch != nil {
		p.watch.quiet(p.server.LogFiles())
		p.watch.note(config, err != nil)
	}
	if err != nil {
		p.server.Log().Write(errlog.Emerg, 0, err.Error())
		p.reloads.Failed()
		return
	}
	p.reloads.Succeeded(time.Now())
	if err := p.rights.give(p.server); err != nil {
		p.server.Log().Write(errlog.Alert, 0, err.Error())
	}
	main := server.MainOf(config)
	setProcs(main)
	if p.background {
		redirectStderr(p.errorLog())
	}
	if pid, _ := filepath.Abs(main.Pid.V); pid != p.pid {
		if err := writePid(pid); err != nil {
			p.server.Log().Write(errlog.Alert, 0, err.Error())
			return
		}
		removePid(p.pid)
		p.pid = pid
	}
	p.notice("start worker processes")
}

// warnings logs what a configuration has to say besides errors.
func (p *process) warnings(config *nginxconf.Config) {
	for _, n := range config.Notices {
		if l, ok := errlog.ParseLevel(n.Severity); ok {
			p.server.Log().Write(l, 0, n.Msg)
		}
	}
}

func (p *process) reopen() {
	p.notice("reopening logs")
	p.server.Reopen()
	if p.background {
		redirectStderr(p.errorLog())
	}
}

// errorLog returns the main error log's file, "" when it isn't one.
func (p *process) errorLog() string {
	for _, t := range nginxconf.Of[*ngx.Core](p.server.Config().Root).ErrorLogs.V {
		if t.Path != "" {
			return t.Path
		}
	}
	return ""
}

func (p *process) notice(format string, args ...any) {
	p.server.Log().Printf(errlog.Notice, 0, format, args...)
}

package script

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// patience is how long commands wait for what should happen soon.
const patience = 5 * time.Second

// server is the program under test, running.
type server struct {
	cmd    *exec.Cmd
	pid    int // of the master process
	exited chan struct{}
	stderr buffer
}

// buffer is a bytes.Buffer for several goroutines.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// serve starts the server.
func serve(r *run, args []string) (string, error) {
	if r.server != nil {
		return "", usageError("serve: the server runs already")
	}
	file, options, err := r.configuration(args, "served.conf")
	if err != nil {
		return "", err
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return "", usageError(err.Error())
	}
	if !r.bin.Oracle && !hasOption(options, "--watch") {
		options = append(options, "--watch=false") // scripts say when to reload
	}
	pidFile := filepath.Join(r.work, "nginx.pid")
	if m := setsPid.FindSubmatch(text); m != nil {
		pidFile = r.path(string(m[1]))
	}
	os.Remove(pidFile)
	argv := append([]string{"-p", r.work, "-c", file, "-e", "error.log"}, options...)
	if g := r.globals(text, !hasOption(options, "-g")); g != "" {
		argv = append(argv, "-g", g)
	}
	s := &server{cmd: exec.Command(r.bin.Path, argv...), exited: make(chan struct{})}
	s.cmd.Dir, s.cmd.Stdout, s.cmd.Stderr = r.work, &s.stderr, &s.stderr
	s.cmd.WaitDelay = time.Second
	if tz := r.Getenv("TZ"); tz != "" {
		s.cmd.Env = append(os.Environ(), "TZ="+tz)
	}
	if err := s.cmd.Start(); err != nil {
		return "", err
	}
	go func() { s.cmd.Wait(); close(s.exited) }()
	if err := s.started(pidFile); err != nil {
		return s.stderr.String(), err
	}
	r.server = s
	return s.stderr.String(), nil
}

// started waits for the pid file.
func (s *server) started(pidFile string) error {
	err := within(2*patience, func() error {
		text, err := os.ReadFile(pidFile)
		if err == nil {
			s.pid, err = strconv.Atoi(strings.TrimSpace(string(text)))
		}
		if err == nil {
			return nil
		}
		select {
		case <-s.exited:
			if !s.cmd.ProcessState.Success() {
				return final{fmt.Errorf("the server ended: %s", s.cmd.ProcessState)}
			}
		default:
		}
		return fmt.Errorf("no pid file: %w", err)
	})
	if err != nil {
		s.cmd.Process.Kill()
	}
	return err
}

var (
	setsPid      = regexp.MustCompile(`(?m)^\s*pid\s+([^\s;]+)`)
	setsDaemon   = regexp.MustCompile(`(?m)^\s*daemon\s`)
	setsErrorLog = regexp.MustCompile(`(?m)^error_log\s`)
)

// globals returns what -g must say, because the file doesn't.
func (r *run) globals(text []byte, own bool) string {
	var g []string
	if r.bin.Oracle {
		if m := r.modules(); m != "" {
			g = append(g, m)
		}
	}
	if !own {
		return strings.Join(g, " ")
	}
	if !setsPid.Match(text) {
		g = append(g, "pid "+filepath.Join(r.work, "nginx.pid")+";")
	}
	if !setsDaemon.Match(text) {
		g = append(g, "daemon off;")
	}
	if !setsErrorLog.Match(text) {
		g = append(g, "error_log "+filepath.Join(r.work, "error.log")+" info;")
	}
	return strings.Join(g, " ")
}

// modules returns nginx's load_module directives for what the files of the script use.
func (r *run) modules() string {
	var all []byte
	filepath.WalkDir(r.work, func(path string, d os.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			text, _ := os.ReadFile(path)
			all = append(append(all, text...), '\n')
		}
		return nil
	})
	return loadModules(all)
}

// module is a module of nginx that is loaded where a configuration uses it.
type module struct {
	uses *regexp.Regexp
	file string
}

// modulesOfNginx returns the modules in the order in which nginx wants them.
func modulesOfNginx() []module {
	lua := regexp.MustCompile(`_by_lua|\blua_`)
	return []module{
		{lua, "ndk_http_module.so"},
		{lua, "ngx_http_lua_module.so"},
		{regexp.MustCompile(`\bmore_(set|clear)_`), "ngx_http_headers_more_filter_module.so"},
	}
}

// loadModules returns the directives that load what a text uses, without those that aren't installed.
func loadModules(text []byte) string {
	var g []string
	for _, m := range modulesOfNginx() {
		if path := filepath.Join("/usr/lib/nginx/modules", m.file); m.uses.Match(text) {
			if _, err := os.Stat(path); err == nil {
				g = append(g, "load_module "+path+";")
			}
		}
	}
	return strings.Join(g, " ")
}

func hasOption(options []string, name string) bool {
	for _, o := range options {
		if o == name {
			return true
		}
	}
	return false
}

// configuration reads the options of serve and check: the file, wrapped in one of the name wrapped if need be, and the options that go on.
func (r *run) configuration(args []string, wrapped string) (file string, options []string, err error) {
	file = "nginx.conf"
	wrap := false
	for len(args) > 0 {
		switch {
		case args[0] == "-http" && len(args) > 1:
			wrap, file = true, args[1]
			args = args[2:]
		case args[0] == "-c" && len(args) > 1:
			file = args[1]
			args = args[2:]
		default:
			options = append(options, r.real(args[0]))
			args = args[1:]
		}
	}
	path := r.MkAbs(file)
	if wrap {
		path, err = r.wrap(path, wrapped)
	}
	return path, options, err
}

// wrap writes a configuration whose http block holds the file. It lies beside the
// file, so that the file's own includes find theirs.
func (r *run) wrap(file, wrapped string) (string, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return "", usageError(err.Error())
	}
	http := append([]string{"include " + file + ";"}, r.kind.passed()...)
	if r.bin.Oracle {
		if !regexp.MustCompile(`(?m)^\s*access_log\s`).Match(text) {
			http = append(http, "access_log "+filepath.Join(r.work, "logs/access.log")+";")
		}
		for _, kind := range []string{"client_body", "proxy", "fastcgi", "uwsgi", "scgi"} {
			if !strings.Contains(string(text), kind+"_temp_path") {
				http = append(http, fmt.Sprintf("%s_temp_path %s/.tmp/%s;", kind, r.work, kind))
			}
		}
	}
	conf := fmt.Sprintf("events { }\nhttp {\n\t%s\n}\n", strings.Join(http, "\n\t"))
	name := filepath.Join(filepath.Dir(file), wrapped)
	return name, os.WriteFile(name, []byte(conf), 0o666)
}

// path makes a name in a configuration absolute, as the server does.
func (r *run) path(name string) string {
	if filepath.IsAbs(name) {
		return name
	}
	return filepath.Join(r.work, name)
}

// check tests a configuration with -t.
func check(r *run, args []string) (string, error) {
	if len(args) > 0 && !strings.HasPrefix(args[0], "-") {
		args = append([]string{"-c"}, args...)
	}
	file, options, err := r.configuration(args, "wrapped.conf")
	if err != nil {
		return "", err
	}
	text, _ := os.ReadFile(file)
	argv := append([]string{"-t", "-p", r.work, "-c", file, "-e", "check.log"}, options...)
	if g := r.globals(append(text, "\ndaemon on;\nerror_log x;"...), !hasOption(options, "-g")); g != "" {
		argv = append(argv, "-g", g)
	}
	cmd := exec.Command(r.bin.Path, argv...)
	cmd.Dir = r.work
	out, err := cmd.CombinedOutput()
	if err != nil {
		var exit *exec.ExitError
		if !errors.As(err, &exit) || exit.ExitCode() != 1 {
			return string(out), usageError(fmt.Sprintf("-t: %v: %s", err, out))
		}
	}
	return checkTimes.ReplaceAllString(string(out), ""), err
}

// runVerb runs one of limpet's own commands and prints what it says.
func runVerb(r *run, args []string) (string, error) {
	if len(args) == 0 || r.bin.Oracle {
		return "", usageError("usage: limpet VERB [argument]..., which nginx doesn't have")
	}
	var argv []string
	for _, a := range args {
		argv = append(argv, r.real(a))
	}
	cmd := exec.Command(r.bin.Path, argv...)
	cmd.Dir = r.work
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// checkTimes finds time and process in lines that nginx writes to its log as well.
var checkTimes = regexp.MustCompile(`(?m)^\d{4}/\d\d/\d\d \d\d:\d\d:\d\d \[\w+\] \d+#\d+: .*\n`)

// sendSignal sends a signal to the master process.
func sendSignal(r *run, args []string) (string, error) {
	names := map[string]syscall.Signal{"HUP": syscall.SIGHUP, "QUIT": syscall.SIGQUIT, "TERM": syscall.SIGTERM, "INT": syscall.SIGINT,
		"USR1": syscall.SIGUSR1, "USR2": syscall.SIGUSR2, "WINCH": syscall.SIGWINCH, "KILL": syscall.SIGKILL}
	if len(args) != 1 || names[args[0]] == 0 {
		return "", usageError("usage: signal HUP|QUIT|TERM|INT|USR1|USR2|WINCH|KILL")
	}
	if r.server == nil {
		return "", usageError("signal: no server runs")
	}
	return "", syscall.Kill(r.server.pid, names[args[0]])
}

// quit ends the server, QUIT unless a signal is named, and waits for its end.
func quit(r *run, args []string) (string, error) {
	if len(args) == 0 {
		args = []string{"QUIT"}
	}
	if _, err := sendSignal(r, args); err != nil && !errors.Is(err, syscall.ESRCH) {
		return "", err
	}
	s := r.server
	if err := s.gone(patience); err != nil {
		return s.stderr.String(), err
	}
	r.server = nil
	return s.stderr.String(), nil
}

// gone waits for the end of the process.
func (s *server) gone(d time.Duration) error {
	return within(d, func() error {
		select {
		case <-s.exited:
			if s.cmd.Process.Pid == s.pid || syscall.Kill(s.pid, 0) != nil {
				return nil
			}
		default:
		}
		return errors.New("the server goes on running")
	})
}

// end ends the server at the script's end. One that doesn't stop when asked to is
// an error; a Go program then tells where it hangs.
func (s *server) end() error {
	syscall.Kill(s.pid, syscall.SIGQUIT)
	err := s.gone(patience)
	if err == nil {
		return nil
	}
	for _, sig := range []syscall.Signal{syscall.SIGABRT, syscall.SIGKILL} {
		syscall.Kill(s.pid, sig)
		if s.gone(2*time.Second) == nil {
			break
		}
	}
	return fmt.Errorf("after QUIT %w\n%s", err, s.stderr.String())
}

// reload sends HUP and waits until the new configuration is in force; when it is
// refused the command fails and prints why.
func reload(r *run, args []string) (string, error) {
	if len(args) != 0 {
		return "", usageError("usage: reload")
	}
	log := filepath.Join(r.work, "error.log")
	before, _ := os.ReadFile(log)
	if _, err := sendSignal(r, []string{"HUP"}); err != nil {
		return "", err
	}
	var out string
	err := within(patience, func() error {
		text, _ := os.ReadFile(log)
		lines := string(text[min(len(before), len(text)):])
		if m := emerg.FindString(lines); m != "" {
			out = maskLog(m) + "\n"
			r.allowed = append(r.allowed, regexp.MustCompile(regexp.QuoteMeta(m)))
			return final{errors.New("reload: refused")}
		}
		if i := strings.Index(lines, "start worker process"); i < 0 {
			return errors.New("reload: the error log doesn't tell of a new configuration; is its level above notice?")
		}
		if r.bin.Oracle && !strings.Contains(lines, "gracefully shutting down") {
			return errors.New("reload: the old workers go on")
		}
		return nil
	})
	if r.bin.Oracle {
		time.Sleep(20 * time.Millisecond) // an old worker closes its listening sockets just after it tells so
	}
	return out, err
}

var emerg = regexp.MustCompile(`(?m)^.*\[emerg\].*$`)

// final is an error that waiting longer doesn't mend.
type final struct{ error }

func (f final) Unwrap() error { return f.error }

// within calls fn until it succeeds, for a while.
func within(d time.Duration, fn func() error) error {
	for deadline := time.Now().Add(d); ; time.Sleep(5 * time.Millisecond) {
		err := fn()
		var f final
		if err == nil || errors.As(err, &f) || time.Now().After(deadline) {
			return err
		}
	}
}

// sleep waits.
func sleep(r *run, args []string) (string, error) {
	if len(args) != 1 {
		return "", usageError("usage: sleep DURATION")
	}
	d, err := time.ParseDuration(args[0])
	if err != nil {
		return "", usageError(err.Error())
	}
	time.Sleep(d)
	return "", nil
}

// edit replaces text in a file.
func edit(r *run, args []string) (string, error) {
	const usage = usageError("usage: edit FILE s/REGEXP/TEXT/")
	if len(args) != 2 || len(args[1]) < 4 || args[1][0] != 's' {
		return "", usage
	}
	parts := strings.Split(args[1][2:], args[1][1:2])
	if len(parts) != 3 {
		return "", usage
	}
	re, err := regexp.Compile("(?m)" + r.real(parts[0]))
	if err != nil {
		return "", usageError(err.Error())
	}
	text := r.ReadFile(args[0])
	if !re.MatchString(text) {
		return "", fmt.Errorf("edit: %s doesn't have %s", args[0], parts[0])
	}
	return "", os.WriteFile(r.MkAbs(args[0]), []byte(re.ReplaceAllString(text, r.real(parts[1]))), 0o666)
}

package script

import (
	"crypto/md5"
	"crypto/sha1"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"sort"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/rogpeppe/go-internal/txtar"
)

// Binary is the program that the scripts run.
type Binary struct {
	Path string
	// Oracle is true for a real nginx.
	Oracle bool
}

// Params returns what testscript.Run needs to run the scripts of a folder.
func Params(dir string, bin Binary) testscript.Params {
	return testscript.Params{
		Dir:                dir,
		RequireUniqueNames: true,
		Setup:              func(e *testscript.Env) error { return setup(e, dir, bin) },
		Condition:          bin.condition,
		Cmds:               commands(),
		UpdateScripts:      os.Getenv("UPDATE") != "",
	}
}

// condition answers [oracle], [root], [ipv6] and [lua].
func (b Binary) condition(cond string) (bool, error) {
	switch cond {
	case "oracle":
		return b.Oracle, nil
	case "root":
		return os.Getuid() == 0, nil
	case "lua":
		return !b.Oracle || strings.Contains(loadModules([]byte("_by_lua")), "_lua_"), nil
	case "ipv6":
		l, err := net.Listen("tcp", "[::1]:0")
		if err != nil {
			return false, nil
		}
		return true, l.Close()
	}
	return false, fmt.Errorf("unknown condition %s", cond)
}

// run is one script being run.
type run struct {
	*testscript.TestScript
	bin   Binary
	kind  kind // of a shared script
	tb    testing.TB
	work  string
	words *strings.Replacer // PORT1 -> 10001
	masks *strings.Replacer // 10001 -> PORT1, the work folder -> $WORK
	locks []net.Listener    // keep the ports from other scripts

	server   *server
	backends map[string]*backend
	dns      map[string]*nameServer
	clients  map[string]*client
	jars     map[string]jar
	allowed  []*regexp.Regexp // lines of the error log that don't fail the script
	logSeen  map[string]int   // by file: bytes that log -new has printed
}

// command runs one command and returns what it prints.
type command func(r *run, args []string) (string, error)

func commands() map[string]func(*testscript.TestScript, bool, []string) {
	cmds := make(map[string]func(*testscript.TestScript, bool, []string))
	for name, cmd := range table() {
		cmds[name] = func(ts *testscript.TestScript, neg bool, args []string) { dispatch(ts, cmd, neg, args) }
	}
	cmds["until"] = until
	return cmds
}

func table() map[string]command {
	return map[string]command{
		"serve": serve, "quit": quit, "check": check, "signal": sendSignal, "reload": reload, "limpet": runVerb, "log": showLog, "allow": allow,
		"backend": runBackend, "received": received, "dns": runDNS,
		"request": request, "frames": frames, "connect": connect, "send": send, "recv": recv, "close": closeClient,
		"edit": edit, "sleep": sleep, "cert": makeCert, "crl": makeCRL, "kinds": isFor,
	}
}

// runKey finds a script's run among testscript's values.
type runKey struct{}

func dispatch(ts *testscript.TestScript, cmd command, neg bool, args []string) {
	r := ts.Value(runKey{}).(*run)
	r.TestScript = ts
	out, err := cmd(r, args)
	var usage usageError
	if errors.As(err, &usage) {
		ts.Fatalf("%v", err)
	}
	fmt.Fprint(ts.Stdout(), r.mask(out))
	switch {
	case err != nil && !neg:
		ts.Fatalf("%s", r.mask(err.Error()))
	case err == nil && neg:
		ts.Fatalf("unexpected success")
	}
}

// until runs a command until what it prints matches; it is apart from the table, which it looks into.
func until(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) < 2 {
		ts.Fatalf("usage: until REGEXP COMMAND [args...]")
	}
	cmd := table()[args[1]]
	if cmd == nil {
		ts.Fatalf("unknown command %q", args[1])
	}
	re, err := regexp.Compile("(?m)" + args[0])
	ts.Check(err)
	r := ts.Value(runKey{}).(*run)
	r.TestScript = ts
	var out string
	err = within(patience, func() error {
		text, _ := cmd(r, args[2:])
		out = r.mask(text)
		if re.MatchString(out) == neg {
			return fmt.Errorf("after %s the output still %s %q", patience, map[bool]string{false: "lacks", true: "has"}[neg], args[0])
		}
		return nil
	})
	fmt.Fprint(ts.Stdout(), out)
	ts.Check(err)
}

// usageError is a mistake in the script, which `!` doesn't excuse.
type usageError string

func (e usageError) Error() string { return string(e) }

func setup(e *testscript.Env, dir string, bin Binary) error {
	tb := e.T().(testing.TB)
	// A worker process of nginx belongs to nobody, who must get in.
	if err := os.Chmod(filepath.Dir(e.WorkDir), 0o755); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Join(e.WorkDir, "logs"), 0o777); err != nil {
		return err
	}
	name := filepath.Base(tb.Name())
	a, err := txtar.ParseFile(filepath.Join(dir, name+".txtar"))
	if err != nil {
		return err
	}
	k, err := kindOf(dir, name)
	if err != nil {
		return err
	}
	r := &run{bin: bin, kind: k, tb: tb, work: e.WorkDir, backends: make(map[string]*backend), dns: make(map[string]*nameServer), clients: make(map[string]*client),
		jars: make(map[string]jar), logSeen: make(map[string]int)}
	e.Values[runKey{}] = r
	e.Defer(r.end)
	if err := r.reserve(a); err != nil {
		return err
	}
	return r.fill(a)
}

// word finds the names of ports.
var word = regexp.MustCompile(`\b(?:PORT|BACKEND)[1-9]\b`)

// expected finds the files that cmp compares with; they stay as they are written.
var expected = regexp.MustCompile(`(?m)^[ \t]*(?:!\s+|\[[^\]]+\]\s+)*cmp\s+\S+\s+(\S+)`)

// reserve chooses a port for each name in the archive.
func (r *run) reserve(a *txtar.Archive) error {
	text := string(txtar.Format(a))
	names := make(map[string]bool)
	for _, w := range word.FindAllString(text, -1) {
		names[w] = true
	}
	words := []string{}
	masks := []string{r.work, "$WORK"}
	for name := range names {
		port, err := r.reservePort(text)
		if err != nil {
			return err
		}
		for _, digest := range []struct{ kind, sum string }{
			{"MD5", fmt.Sprintf("%x", md5.Sum([]byte("127.0.0.1:"+port)))},
			{"SHA1", fmt.Sprintf("%x", sha1.Sum([]byte("127.0.0.1:"+port)))},
		} {
			words = append(words, digest.kind+"-"+name, digest.sum)
			masks = append(masks, digest.sum, digest.kind+"-"+name)
		}
		words = append(words, name, port)
		masks = append(masks, port, name)
	}
	r.words = strings.NewReplacer(append(words, "$WORK", r.work)...)
	r.masks = strings.NewReplacer(masks...)
	return nil
}

// Ports lie below those that the system gives to outgoing connections, which
// could otherwise take one between its choice and its use.
const firstPort, lastPort = 10000, 19999

// reservePort finds a port that is free, isn't in the text, and belongs to no
// other script, not of another process either: an abstract socket locks it.
func (r *run) reservePort(text string) (string, error) {
	for range 1000 {
		port := strconv.Itoa(firstPort + rand.IntN(lastPort-firstPort+1))
		if strings.Contains(text, port) {
			continue
		}
		lock, err := net.Listen("unix", "@limpet-script-port-"+port)
		if err != nil {
			continue
		}
		if !isFree(port) {
			lock.Close()
			continue
		}
		r.locks = append(r.locks, lock)
		return port, nil
	}
	return "", errors.New("no free port")
}

// isFree reports whether a port can be listened on. No process is started meanwhile: one would hold the socket until
// it has executed its program, longer than this one does.
func isFree(port string) bool {
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	l, err := net.Listen("tcp", ":"+port)
	if err != nil {
		return false
	}
	l.Close()
	return true
}

// fill replaces the words in the archive's files.
func (r *run) fill(a *txtar.Archive) error {
	want := make(map[string]bool)
	for _, m := range expected.FindAllStringSubmatch(string(a.Comment), -1) {
		want[m[1]] = true
	}
	for _, f := range a.Files {
		if want[f.Name] {
			continue
		}
		name := filepath.Join(r.work, f.Name)
		if err := os.WriteFile(name, []byte(r.words.Replace(string(f.Data))), 0o666); err != nil {
			return err
		}
	}
	return nil
}

// version finds the server's version in headers and error pages.
var version = regexp.MustCompile(`nginx/1\.\d+\.\d+`)

// mask makes what a server printed the same for each run.
func (r *run) mask(s string) string {
	return version.ReplaceAllString(r.masks.Replace(s), "nginx/VERSION")
}

// end stops everything and looks through the error log.
func (r *run) end() {
	for _, c := range r.clients {
		c.conn.Close()
	}
	if r.server != nil {
		if err := r.server.end(); err != nil {
			r.tb.Error(err)
		}
	}
	var wait sync.WaitGroup
	for _, d := range r.dns {
		d.stop()
	}
	for _, b := range r.backends {
		wait.Add(1)
		go func() { defer wait.Done(); b.stop() }()
	}
	wait.Wait()
	for _, l := range r.locks {
		l.Close()
	}
	r.lookThroughLog()
}

// lookThroughLog fails the script for what must not happen, and shows the log of a script that failed.
func (r *run) lookThroughLog() {
	logs, _ := filepath.Glob(filepath.Join(r.work, "*error*.log"))
	more, _ := filepath.Glob(filepath.Join(r.work, "logs", "*error*.log"))
	logs = append(logs, more...)
	sort.Strings(logs)
	for _, name := range logs {
		text, err := os.ReadFile(name)
		if err != nil {
			continue
		}
		for _, line := range strings.Split(string(text), "\n") {
			if bad.MatchString(line) && !r.allows(line) {
				r.tb.Errorf("%s has: %s", r.mask(name), r.mask(line))
			}
		}
		if r.tb.Failed() && len(text) > 0 {
			r.tb.Logf("%s:\n%s", r.mask(name), r.mask(tail(string(text), 60)))
		}
	}
	if r.server == nil {
		return
	}
	for _, line := range strings.Split(r.server.stderr.String(), "\n") {
		if bad.MatchString(line) && !r.allows(line) {
			r.tb.Errorf("standard error has: %s", line)
		}
	}
}

// tail returns the last n lines.
func tail(s string, n int) string {
	lines := strings.SplitAfter(s, "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "")
}

// bad finds lines of an error log that no script should cause unasked.
var bad = regexp.MustCompile(`\[(?:alert|emerg)\]|^panic: |DATA RACE|^fatal error: `)

func (r *run) allows(line string) bool {
	for _, re := range r.allowed {
		if re.MatchString(line) {
			return true
		}
	}
	return false
}

// allow lets the error log have lines that would fail the script.
func allow(r *run, args []string) (string, error) {
	if len(args) == 0 || len(args) > 2 || args[0] != "alert" && args[0] != "emerg" {
		return "", usageError("usage: allow alert|emerg [REGEXP]")
	}
	re, err := regexp.Compile(`\[` + args[0] + `\].*` + strings.Join(args[1:], ""))
	if err != nil {
		return "", usageError(err.Error())
	}
	r.allowed = append(r.allowed, re)
	return "", nil
}

// real replaces the words in an argument.
func (r *run) real(s string) string { return r.words.Replace(s) }

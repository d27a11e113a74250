package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// installation is a prefix with a configuration that runs.
type installation struct {
	t         *testing.T
	dir, addr string
}

func install(t *testing.T) *installation {
	t.Helper()
	ownOnly(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	in := &installation{t: t, dir: folder(t), addr: l.Addr().String()}
	in.configure("one", "")
	return in
}

// configure writes a configuration that answers with text; main is more of the main level.
func (in *installation) configure(text, main string) {
	in.t.Helper()
	conf := main + "\npid logs/nginx.pid;\nerror_log logs/error.log notice;\nevents { }\nhttp { access_log logs/access.log; server { listen " +
		in.addr + "; return 200 " + text + "; } }\n"
	if err := os.WriteFile(in.dir+"/conf/nginx.conf", []byte(conf), 0o644); err != nil {
		in.t.Fatal(err)
	}
}

func (in *installation) args(more ...string) []string {
	return append([]string{"-p", in.dir, "-e", "logs/error.log", "-c", "conf/nginx.conf"}, more...)
}

// start starts the daemon and ends it with the test.
func (in *installation) start(more ...string) (pid int) {
	in.t.Helper()
	code, stdout, stderr := runProgram(in.t, in.args(more...)...)
	if code != 0 || stdout != "" || stderr != "" {
		in.t.Fatalf("start: exit %d, %s%s", code, stdout, stderr)
	}
	pid = in.pid()
	in.t.Cleanup(func() {
		if in.pid() == pid {
			syscall.Kill(pid, syscall.SIGKILL)
		}
	})
	return pid
}

func (in *installation) pid() int {
	text, _ := os.ReadFile(in.dir + "/logs/nginx.pid")
	pid, _ := strconv.Atoi(strings.TrimSpace(string(text)))
	return pid
}

func (in *installation) get() string {
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 5 * time.Second}
	resp, err := client.Get("http://" + in.addr + "/")
	if err != nil {
		return err.Error()
	}
	defer resp.Body.Close()
	b, _ := io.ReadAll(resp.Body)
	return string(b)
}

func (in *installation) log() string {
	text, _ := os.ReadFile(in.dir + "/logs/error.log")
	return string(text)
}

// eventually waits until f holds.
func (in *installation) eventually(what string, f func() bool) {
	in.t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for range 1000 {
		if f() {
			return
		}
		<-tick.C
	}
	in.t.Fatalf("%s doesn't come; error log:\n%s", what, in.log())
}

func (in *installation) signal(name string) {
	in.t.Helper()
	if code, _, stderr := runProgram(in.t, in.args("-s", name)...); code != 0 || stderr != "" {
		in.t.Fatalf("-s %s: exit %d, %s", name, code, stderr)
	}
}

func (in *installation) ended(pid int) func() bool {
	return func() bool {
		_, err := os.Stat(in.dir + "/logs/nginx.pid")
		return err != nil && syscall.Kill(pid, 0) != nil
	}
}

func TestDaemonServesWhenTheCommandReturns(t *testing.T) {
	in := install(t)
	pid := in.start()
	if got := in.get(); got != "one" {
		t.Errorf("behind the command: %s", got)
	}
	for fd, want := range map[string]string{"0": "/dev/null", "1": "/dev/null", "2": in.dir + "/logs/error.log"} {
		if got, _ := os.Readlink(fmt.Sprintf("/proc/%d/fd/%s", pid, fd)); got != want {
			t.Errorf("descriptor %s is %s, want %s", fd, got, want)
		}
	}
	if sid, _ := syscall.Getpgid(pid); sid != pid {
		t.Error("the daemon has no session of its own")
	}
	if code, _, stderr := runProgram(t, in.args()...); code != 1 || !strings.HasSuffix(stderr, "nginx: [emerg] still could not bind()\n") ||
		strings.Count(stderr, "nginx: [emerg] bind() to "+in.addr+" failed (98: Address already in use)\n") != 5 {
		t.Errorf("a second one: exit %d, %s", code, stderr)
	}
	if in.pid() != pid {
		t.Error("the second one took the pid file")
	}
	in.signal("stop")
	in.eventually("the end", in.ended(pid))
	for _, want := range []string{"start worker processes\n", "signal 15 (SIGTERM) received, exiting\n", ": exit\n"} {
		if !strings.Contains(in.log(), want) {
			t.Errorf("no %q in the log:\n%s", want, in.log())
		}
	}
}

func TestSignalsActAsOnNginx(t *testing.T) {
	in := install(t)
	pid := in.start("--watch=false")
	in.configure("two", "")
	in.signal("reload")
	in.eventually("the new configuration", func() bool { return in.get() == "two" })
	in.eventually("the old one's end", func() bool {
		return strings.Contains(in.log(), fmt.Sprintf("worker process %d exited with code 0", pid))
	})

	os.WriteFile(in.dir+"/conf/nginx.conf", []byte("nope;"), 0o644)
	syscall.Kill(pid, syscall.SIGHUP)
	in.eventually("the message", func() bool {
		return strings.Contains(in.log(), `[emerg] `) && strings.Contains(in.log(), `unknown directive "nope" in `+in.dir+"/conf/nginx.conf:1\n")
	})
	if got := in.get(); got != "two" {
		t.Errorf("behind a mistake: %s", got)
	}

	os.Rename(in.dir+"/logs/error.log", in.dir+"/logs/error.log.1")
	in.configure("two", "")
	in.signal("reopen")
	in.eventually("the new log", func() bool { _, err := os.Stat(in.dir + "/logs/error.log"); return err == nil })

	syscall.Kill(pid, syscall.SIGUSR2)
	in.eventually("the refusal of an upgrade", func() bool {
		before, _ := os.ReadFile(in.dir + "/logs/error.log.1") // the file may be there before it takes lines
		return strings.Contains(in.log(), "[alert]") || strings.Contains(string(before), "[alert]")
	})

	syscall.Kill(pid, syscall.SIGWINCH)
	in.eventually("no more accepting", func() bool { return strings.Contains(in.get(), "refused") })
	in.signal("reload")
	in.eventually("accepting again", func() bool { return in.get() == "two" })

	in.signal("quit")
	in.eventually("the end", in.ended(pid))
	for _, want := range []string{"signal 1 (SIGHUP) received, reconfiguring\n", "signal 28 (SIGWINCH) received, stop accepting connections\n",
		"signal 3 (SIGQUIT) received, shutting down\n", ": exit\n"} {
		if !strings.Contains(in.log(), want) {
			t.Errorf("no %q in the log:\n%s", want, in.log())
		}
	}
}

func TestSavedFileIsInForce(t *testing.T) {
	in := install(t)
	in.start()
	in.configure("two", "")
	in.eventually("the new configuration", func() bool { return in.get() == "two" })
	in.configure("three; nope", "")
	in.eventually("the message", func() bool { return strings.Contains(in.log(), `unknown directive "nope"`) })
	if n := strings.Count(in.log(), `unknown directive "nope"`); n != 1 || in.get() != "two" {
		t.Errorf("a mistake was logged %d times; answer %s", n, in.get())
	}
	in.configure("four", "")
	in.eventually("the mended configuration", func() bool { return in.get() == "four" })
}

func TestFailureOfTheDaemonIsTheCommands(t *testing.T) {
	in := install(t)
	in.configure("one", "working_directory /nowhere;")
	code, _, stderr := runProgram(t, in.args()...)
	if want := "nginx: [emerg] chdir(\"/nowhere\") failed (2: No such file or directory)\n"; code != 1 || stderr != want {
		t.Errorf("exit %d, %s, want 1, %s", code, stderr, want)
	}
	if in.get() == "one" {
		t.Error("it serves all the same")
	}
}

// TestUserIsHonoured needs root: requests are served without any right, reloads and
// reopening have what they need.
func TestUserIsHonoured(t *testing.T) {
	in := install(t)
	nobody, err := user.Lookup("nobody")
	if err != nil || os.Geteuid() != 0 {
		t.Skip("not root, or no nobody")
	}
	group, err := user.LookupGroupId(nobody.Gid)
	if err != nil {
		t.Skip(err)
	}
	main := "user nobody " + group.Name + ";"
	os.Chmod(in.dir, 0o700) // root's alone
	in.configure("one", main)
	pid := in.start("--watch=false", "--admin", "unix:"+in.dir+"/admin")
	if got := in.get(); got != "one" {
		t.Fatal(got)
	}
	tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", pid))
	for _, task := range tasks {
		text, err := os.ReadFile(task)
		if err != nil {
			continue
		}
		status := string(text)
		for _, want := range []string{"Uid:\t" + strings.Repeat(nobody.Uid+"\t", 3) + nobody.Uid + "\n", "CapEff:\t0000000000000000\n"} {
			if !strings.Contains(status, want) {
				t.Errorf("%s lacks %q:\n%s", task, want, status)
			}
		}
	}
	in.configure("two", main+" error_log logs/new.log;")
	in.signal("reload") // reads files of root's
	in.eventually("the new configuration", func() bool { return in.get() == "two" })
	os.Remove(in.dir + "/logs/error.log")
	in.signal("reopen") // makes a file in a folder of root's
	in.eventually("the new log", func() bool { _, err := os.Stat(in.dir + "/logs/error.log"); return err == nil })
	in.signal("quit")
	in.eventually("the end", in.ended(pid)) // the pid file was root's
	if _, err := os.Lstat(in.dir + "/admin"); err == nil {
		t.Error("the socket of --admin is left")
	}
}

func TestForegroundEndsByInterrupt(t *testing.T) {
	in := install(t)
	in.configure("one", "daemon off;")
	cmd := exec.Command(limpet, in.args()...)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	in.eventually("the answer", func() bool { return in.get() == "one" })
	cmd.Process.Signal(syscall.SIGWINCH) // a terminal was resized
	cmd.Process.Signal(os.Interrupt)
	if err := cmd.Wait(); err != nil {
		t.Errorf("interrupted: %v", err)
	}
}

// TestPidIsElsewhere: beside nginx the same file must not take nginx's pid file.
func TestPidIsElsewhere(t *testing.T) {
	in := install(t)
	elsewhere := in.dir + "/limpet.pid"
	if code, _, stderr := runProgram(t, in.args("--pid", elsewhere)...); code != 0 {
		t.Fatalf("start: exit %d, %s", code, stderr)
	}
	text, err := os.ReadFile(elsewhere)
	if err != nil {
		t.Fatal(err)
	}
	pid, _ := strconv.Atoi(strings.TrimSpace(string(text)))
	t.Cleanup(func() {
		if _, err := os.Stat(elsewhere); err == nil {
			syscall.Kill(pid, syscall.SIGKILL)
		}
	})
	if in.pid() != 0 {
		t.Error("the file's pid was written, too")
	}
	in.configure("two", "")
	for _, signal := range []string{"reload", "quit"} {
		if code, _, stderr := runProgram(t, in.args("-s", signal, "--pid", elsewhere)...); code != 0 {
			t.Errorf("-s %s: exit %d, %s", signal, code, stderr)
		}
		if signal == "reload" {
			in.eventually("the new configuration", func() bool { return in.get() == "two" })
		}
	}
	in.eventually("the end", func() bool { _, err := os.Stat(elsewhere); return err != nil })
}

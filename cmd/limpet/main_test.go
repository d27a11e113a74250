package main

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var limpet string // the program under test, or ORACLE

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "limpet-cmd-")
	if err != nil {
		panic(err)
	}
	if limpet = os.Getenv("ORACLE"); limpet == "" {
		limpet = filepath.Join(dir, "limpet")
		if out, err := exec.Command("go", "build", "-o", limpet, ".").CombinedOutput(); err != nil {
			os.Stderr.Write(out)
			os.Exit(1)
		}
	}
	code := m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}

// folder makes a prefix with some configuration files.
func folder(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for _, sub := range []string{"conf", "logs"} {
		if err := os.Mkdir(filepath.Join(dir, sub), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for name, text := range map[string]string{
		"nginx.conf":  "daemon off;\npid logs/nginx.pid;\nevents { }\nhttp { access_log off; include part; }\n",
		"part":        "server { listen 127.0.0.1:27111; }\n",
		"bad.conf":    "events { }\nhttp { nope; }\n",
		"noev.conf":   "pid logs/nginx.pid;\n",
		"nolog.conf":  "error_log /nowhere/x;\npid logs/nginx.pid;\nevents { }\n",
		"nopid.conf":  "pid /nowhere/x;\nevents { }\n",
		"bind.conf":   "pid logs/nginx.pid;\nevents { }\nhttp { access_log off; server { listen 192.0.2.1:27111; } }\n",
		"warn.conf":   "pid logs/nginx.pid;\nevents { }\nhttp { access_log off; server { listen 127.0.0.1:27111; server_name a; } server { listen 127.0.0.1:27111; server_name a; } }\n",
		"rlimit.conf": "worker_rlimit_nofile x;\nevents { }\n",
		"procs.conf":  "worker_processes x;\nevents { }\n",
		"host.conf":   "pid logs/nginx.pid;\nevents { }\nhttp { access_log off; upstream u { server nosuch.invalid; } }\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, "conf", name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// runProgram runs the program and returns what nginx's users see of it.
func runProgram(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	cmd := exec.Command(limpet, args...)
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), out.String(), errs.String()
}

// TestCommandLineIsNginxs takes its expectations from nginx 1.22.1; ORACLE=PATH runs
// it against that. DIR is the prefix, $P `-p DIR -e DIR/logs/e`. A final newline is left out.
func TestCommandLineIsNginxs(t *testing.T) {
	const ok = "nginx: the configuration file DIR/conf/nginx.conf syntax is ok\nnginx: configuration file DIR/conf/nginx.conf test is successful"
	failed := func(msg, file string) string {
		return "nginx: [emerg] " + msg + "\nnginx: configuration file DIR/conf/" + file + " test failed"
	}
	late := func(msg, file string) string {
		return "nginx: the configuration file DIR/conf/" + file + " syntax is ok\n" + failed(msg, file)
	}
	for _, c := range []struct {
		args   string
		code   int
		stderr string
	}{
		{"-x", 1, `nginx: invalid option: "x"`},
		{"x", 1, `nginx: invalid option: "x"`},
		{"-tx", 1, `nginx: invalid option: "x"`},
		{"-vx", 1, `nginx: invalid option: "x"`},
		{"-t extra", 1, `nginx: invalid option: "extra"`},
		{"-c", 1, `nginx: option "-c" requires file name`},
		{"-p", 1, `nginx: option "-p" requires directory name`},
		{"-e", 1, `nginx: option "-e" requires file name`},
		{"-tg", 1, `nginx: option "-g" requires parameter`},
		{"-s", 1, `nginx: option "-s" requires parameter`},
		{"-s foo", 1, `nginx: invalid option: "-s foo"`},
		{"-sfoo", 1, `nginx: invalid option: "-s foo"`},

		{"-t $P -c conf/nginx.conf", 0, ok},
		{"-t $P -cconf/nginx.conf", 0, ok},
		{"-t $P -c DIR/conf/nginx.conf", 0, ok},
		{"-tpDIR -eDIR/logs/e -cconf/nginx.conf", 0, ok},
		{"-t -s stop $P -c conf/nginx.conf", 0, ok},
		{"-tq $P -c conf/nginx.conf", 0, ""},
		{"-qt $P -c conf/nginx.conf", 0, ""},
		{"-q -t $P -c conf/nginx.conf", 0, ""},

		{"-t $P -c conf/bad.conf", 1, failed(`unknown directive "nope" in DIR/conf/bad.conf:2`, "bad.conf")},
		{"-tq $P -c conf/bad.conf", 1, failed(`unknown directive "nope" in DIR/conf/bad.conf:2`, "bad.conf")},
		{"-T $P -c conf/bad.conf", 1, failed(`unknown directive "nope" in DIR/conf/bad.conf:2`, "bad.conf")},
		{"$P -c conf/bad.conf", 1, `nginx: [emerg] unknown directive "nope" in DIR/conf/bad.conf:2`},
		{"-s stop $P -c conf/bad.conf", 1, `nginx: [emerg] unknown directive "nope" in DIR/conf/bad.conf:2`},
		{"-t $P -c conf/none", 1, failed(`open() "DIR/conf/none" failed (2: No such file or directory)`, "none")},
		{"-t -p nosuch -e DIR/logs/e -c conf/x", 1, "nginx: [emerg] open() \"nosuch/conf/x\" failed (2: No such file or directory)\n" +
			"nginx: configuration file nosuch/conf/x test failed"},
		{"-t $P -c conf/rlimit.conf", 1, failed(`"worker_rlimit_nofile" directive invalid number in DIR/conf/rlimit.conf:1`, "rlimit.conf")},
		{"-t $P -c conf/procs.conf", 1, failed(`"worker_processes" directive invalid value in DIR/conf/procs.conf:1`, "procs.conf")},
		{"-t $P -c conf/host.conf", 1, failed(`host not found in upstream "nosuch.invalid" in DIR/conf/host.conf:3`, "host.conf")},

		{"-t $P -c conf/noev.conf", 1, late(`no "events" section in configuration`, "noev.conf")},
		{"-t $P -c conf/nolog.conf", 1, late(`open() "/nowhere/x" failed (2: No such file or directory)`, "nolog.conf")},
		{"-t $P -c conf/nopid.conf", 1, late(`open() "/nowhere/x" failed (2: No such file or directory)`, "nopid.conf")},
		{"-t $P -c conf/bind.conf", 1, late(`bind() to 192.0.2.1:27111 failed (99: Cannot assign requested address)`, "bind.conf")},
		{"$P -c conf/bind.conf", 1, `nginx: [emerg] bind() to 192.0.2.1:27111 failed (99: Cannot assign requested address)`},
		{"$P -c conf/nolog.conf", 1, `nginx: [emerg] open() "/nowhere/x" failed (2: No such file or directory)`},
		{"-t $P -c conf/warn.conf", 0, "nginx: [warn] conflicting server name \"a\" on 127.0.0.1:27111, ignored\n" +
			strings.ReplaceAll(ok, "nginx.conf", "warn.conf")},
		{"-tq $P -c conf/warn.conf", 0, `nginx: [warn] conflicting server name "a" on 127.0.0.1:27111, ignored`},

		{"-t $P -c conf/nginx.conf -gnope;", 1, failed(`unknown directive "nope" in command line`, "nginx.conf")},
		{"-t $P -c conf/nginx.conf -gnope", 1, failed(`unexpected end of parameter, expecting ";" in command line`, "nginx.conf")},
		{"-t $P -c conf/nginx.conf -gmaster_process=off;", 1, failed(`unknown directive "master_process=off" in command line`, "nginx.conf")},

		{"-s stop $P -c conf/nginx.conf", 1, `nginx: [error] open() "DIR/logs/nginx.pid" failed (2: No such file or directory)`},
		{"-sreload $P -c conf/nginx.conf", 1, `nginx: [error] open() "DIR/logs/nginx.pid" failed (2: No such file or directory)`},
	} {
		dir := folder(t)
		var args []string
		for _, a := range strings.Fields(strings.ReplaceAll(c.args, "$P", "-p DIR -e DIR/logs/e")) {
			args = append(args, strings.ReplaceAll(a, "DIR", dir))
		}
		code, _, stderr := runProgram(t, args...)
		if want := strings.ReplaceAll(c.stderr, "DIR", dir); code != c.code || strings.TrimSuffix(stderr, "\n") != want {
			t.Errorf("%s: exit %d, stderr\n%s\nwant %d,\n%s", c.args, code, stderr, c.code, want)
		}
	}
}

func TestSignalsReadThePidFileAsNginx(t *testing.T) {
	for _, c := range []struct{ pid, name, want string }{
		{"abc", "stop", `nginx: [error] invalid PID number "abc" in "DIR/logs/nginx.pid"`},
		{"", "stop", `nginx: [error] invalid PID number "" in "DIR/logs/nginx.pid"`},
		{"4194399\n", "quit", `nginx: [alert] kill(4194399, 3) failed (3: No such process)`},
		{"4194399\n", "reload", `nginx: [alert] kill(4194399, 1) failed (3: No such process)`},
		{"4194399\n", "reopen", `nginx: [alert] kill(4194399, 10) failed (3: No such process)`},
	} {
		dir := folder(t)
		if err := os.WriteFile(dir+"/logs/nginx.pid", []byte(c.pid), 0o644); err != nil {
			t.Fatal(err)
		}
		code, _, stderr := runProgram(t, "-p", dir, "-e", dir+"/logs/e", "-c", "conf/nginx.conf", "-s", c.name)
		if want := strings.ReplaceAll(c.want, "DIR", dir) + "\n"; code != 1 || stderr != want {
			t.Errorf("pid file %q, -s %s: exit %d, %s, want 1, %s", c.pid, c.name, code, stderr, want)
		}
	}
}

func TestDumpPrintsTheFilesInReadingOrder(t *testing.T) {
	dir := folder(t)
	for _, opt := range []string{"-T", "-Tq"} {
		code, stdout, _ := runProgram(t, opt, "-p", dir, "-e", dir+"/logs/e", "-c", "conf/nginx.conf")
		want := "# configuration file " + dir + "/conf/nginx.conf:\ndaemon off;\npid logs/nginx.pid;\nevents { }\nhttp { access_log off; include part; }\n\n" +
			"# configuration file " + dir + "/conf/part:\nserver { listen 127.0.0.1:27111; }\n\n"
		if code != 0 || stdout != want {
			t.Errorf("%s: exit %d, stdout\n%s\nwant\n%s", opt, code, stdout, want)
		}
	}
}

func TestErrorLogOnTheCommandLine(t *testing.T) {
	dir := folder(t)
	_, _, stderr := runProgram(t, "-t", "-p", dir, "-e", "stderr", "-c", "conf/bad.conf")
	if !strings.HasPrefix(stderr, "20") || !strings.Contains(stderr, `: unknown directive "nope" in `+dir+"/conf/bad.conf:2\n") {
		t.Errorf("-e stderr: %s, want a log's line", stderr)
	}
	_, _, stderr = runProgram(t, "-t", "-p", dir, "-e", "/nowhere/e", "-c", "conf/bad.conf")
	if !strings.HasPrefix(stderr, "nginx: [alert] could not open error log file: open() \"/nowhere/e\" failed (2: No such file or directory)\n20") {
		t.Errorf("-e of no folder: %s", stderr)
	}
}

func TestVersionGoesOnToTest(t *testing.T) {
	dir := folder(t)
	code, _, stderr := runProgram(t, "-tv", "-p", dir, "-e", dir+"/logs/e", "-c", "conf/nginx.conf")
	lines := strings.Split(stderr, "\n")
	if code != 0 || !strings.HasPrefix(lines[0], "nginx version: nginx/1.") || !strings.HasSuffix(lines[1], "syntax is ok") {
		t.Errorf("-tv: exit %d, %s", code, stderr)
	}
	for _, opt := range []string{"-h", "-?", "-?v", "-vh"} {
		if code, _, stderr := runProgram(t, opt); code != 0 || !strings.Contains(stderr, "\nOptions:\n  -?,-h         : this help\n") {
			t.Errorf("%s: exit %d, %s", opt, code, stderr)
		}
	}
}

// ownOnly skips a test of what nginx doesn't have.
func ownOnly(t *testing.T) {
	if os.Getenv("ORACLE") != "" {
		t.Skip("limpet's own")
	}
}

// What server_tokens build shows is told as nginx tells of its own --build.
func TestVersionNamesTheBuild(t *testing.T) {
	ownOnly(t)
	out, err := exec.Command(limpet, "-V").CombinedOutput()
	if err != nil || !bytes.Contains(out, []byte(" --build=limpet ")) {
		t.Errorf("%v: %s", err, out)
	}
}

func TestOwnOptions(t *testing.T) {
	ownOnly(t)
	for _, c := range []struct {
		args, stderr string
		code         int
	}{
		{"--nope", `nginx: invalid option: "--nope"`, 1},
		{"--admin", `nginx: option "--admin" requires a value`, 1},
		{"--listen 80", `nginx: invalid option: "--listen 80", want FROM=TO`, 1},
		{"--unsupported=maybe", `nginx: invalid option: "--unsupported=maybe"`, 1},
		{"-tq --offline -p DIR -c conf/nginx.conf", "", 0},
		{"-tq --offline -p DIR -c conf/nolog.conf", "", 0},
		{"-tq --offline -p DIR -c conf/nopid.conf", "", 0},
		{"-tq --offline -p DIR -c conf/bind.conf", "", 0},
		{"-tq --offline -p DIR -c conf/host.conf", "", 0},
		{"-tq --listen 192.0.2.1:27111=127.0.0.1:0 -p DIR -e DIR/logs/e -c conf/bind.conf", "", 0},
	} {
		dir := folder(t)
		code, _, stderr := runProgram(t, strings.Fields(strings.ReplaceAll(c.args, "DIR", dir))...)
		if code != c.code || strings.TrimSuffix(stderr, "\n") != c.stderr {
			t.Errorf("%s: exit %d, %s, want %d, %s", c.args, code, stderr, c.code, c.stderr)
		}
	}
}

func TestTestLeavesNothingBehind(t *testing.T) {
	ownOnly(t)
	dir := folder(t)
	runProgram(t, "-tq", "--offline", "-p", dir, "-c", "conf/nginx.conf")
	if names, _ := os.ReadDir(dir + "/logs"); len(names) != 0 {
		t.Errorf("--offline made %v", names)
	}
	runProgram(t, "-tq", "-p", dir, "-e", dir+"/logs/e", "-c", "conf/nginx.conf")
	if _, err := os.Stat(dir + "/logs/nginx.pid"); err == nil {
		t.Error("-t left a pid file, which -s would read")
	}
}

func TestLayoutFollowsTheOptions(t *testing.T) {
	wd, _ := os.Getwd()
	for _, c := range []struct{ file, prefix, wantConf, wantPrefix string }{
		{"", "/p", "/p/conf/nginx.conf", "/p/"},
		{"x.conf", "/p/", "/p/x.conf", "/p/"},
		{"/a/x.conf", "/p", "/a/x.conf", "/p/"},
		{"/a/x.conf", "", "/a/x.conf", "/a/"},
		{"/a/conf/x.conf", "", "/a/conf/x.conf", "/a/"},
		{"x.conf", "", wd + "/x.conf", wd + "/"},
		{"/usr/local/openresty/nginx/conf/other.conf", "", "/usr/local/openresty/nginx/conf/other.conf", "/usr/local/openresty/nginx/"},
		{"/usr/local/nginx/conf/nginx.conf", "", "/usr/local/nginx/conf/nginx.conf", "/usr/local/nginx/"},
	} {
		o := &options{file: c.file, prefix: c.prefix}
		if l := o.layout(); l.conf != c.wantConf || l.prefix != c.wantPrefix {
			t.Errorf("-c %q -p %q: %s under %s, want %s under %s", c.file, c.prefix, l.conf, l.prefix, c.wantConf, c.wantPrefix)
		}
	}
}

// TestReadmeNamesEveryOption compares README.md's flags with those of -h.
func TestReadmeNamesEveryOption(t *testing.T) {
	ownOnly(t)
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, _, help := runProgram(t, "-h")
	flag := regexp.MustCompile(`--[a-z]+(?:-[a-z]+)*`)
	for _, pair := range [][2]string{{help, string(readme)}, {string(readme), help}} {
		for _, name := range flag.FindAllString(pair[0], -1) {
			if !strings.Contains(pair[1], name) {
				t.Errorf("%s is in one of README.md and -h, not in the other", name)
			}
		}
	}
}

// TestFileAloneHasItsLogsBesideIt: a project's file needs no folder logs, and uses the one that is there.
func TestFileAloneHasItsLogsBesideIt(t *testing.T) {
	ownOnly(t)
	dir := t.TempDir()
	if err := os.WriteFile(dir+"/nginx.conf", []byte("events { }\nhttp { server { listen 127.0.0.1:27111; } }\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if code, _, stderr := runProgram(t, "-t", "-c", dir+"/nginx.conf"); code != 0 {
		t.Errorf("exit %d, %s", code, stderr)
	}
	for _, name := range []string{"access.log", "error.log"} {
		if _, err := os.Stat(dir + "/" + name); err != nil {
			t.Error(err)
		}
	}
	os.Mkdir(dir+"/logs", 0o755)
	if code, _, stderr := runProgram(t, "-t", "-c", dir+"/nginx.conf"); code != 0 {
		t.Errorf("with logs: exit %d, %s", code, stderr)
	}
	if _, err := os.Stat(dir + "/logs/access.log"); err != nil {
		t.Error(err)
	}
}

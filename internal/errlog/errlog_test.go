package errlog

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestLineIsNginxs(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "e.log")
	var files Files
	l, err := Open(&files, []Target{{Level: Warn, Path: path}, {Level: Error, Path: path}})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	l.Write(Info, 1, "not taken")
	l.Write(Warn, 0, "once")
	l.Printf(Error, 7, "%s", "twice")
	got, _ := os.ReadFile(path)
	want := `^\d{4}/\d\d/\d\d \d\d:\d\d:\d\d \[warn\] \d+#\d+: once\n` +
		`\d{4}/\d\d/\d\d \d\d:\d\d:\d\d \[error\] \d+#\d+: \*7 twice\n` +
		`[^\n]* \[error\] \d+#\d+: \*7 twice\n$`
	if !regexp.MustCompile(want).Match(got) {
		t.Errorf("log is %q", got)
	}
}

func TestLongLineIsCut(t *testing.T) {
	b := appendLine(nil, time.Now(), Error, 1, strings.Repeat("x", 5000))
	if len(b) != 2048 || b[2047] != '\n' || b[2046] != 'x' {
		t.Errorf("line of %d bytes ends with %q", len(b), b[len(b)-2:])
	}
}

func TestNilAndZeroLogDrop(t *testing.T) {
	var l *Log
	l.Write(Emerg, 0, "x")
	l.Close()
	new(Log).Write(Emerg, 0, "x")
	if l.Enabled(Emerg) || new(Log).Enabled(Emerg) {
		t.Error("an empty log takes a level")
	}
}

func TestReopenFollowsThePath(t *testing.T) {
	dir := t.TempDir()
	path, moved := filepath.Join(dir, "e.log"), filepath.Join(dir, "old.log")
	var files Files
	f, err := files.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	g, _ := files.Open(path)
	if f != g {
		t.Error("the same path has two files")
	}
	fmt.Fprint(f, "one")
	os.Rename(path, moved)
	files.Reopen(func(err error) { t.Error(err) })
	fmt.Fprint(f, "two")
	f.Close()
	fmt.Fprint(g, "three")
	g.Close()
	if _, err := f.Write([]byte("late")); err == nil {
		t.Error("a closed file takes lines")
	}
	one, _ := os.ReadFile(moved)
	two, _ := os.ReadFile(path)
	if string(one) != "one" || string(two) != "twothree" {
		t.Errorf("old has %q, new has %q", one, two)
	}
}

func TestFailedReopenKeepsTheOldFile(t *testing.T) {
	dir := t.TempDir()
	path, moved := filepath.Join(dir, "e.log"), filepath.Join(dir, "old.log")
	var files Files
	f, _ := files.Open(path)
	defer f.Close()
	os.Rename(path, moved)
	os.Mkdir(path, 0o755)
	var reported string
	files.Reopen(func(err error) { reported = err.Error() })
	if want := `open() "` + path + `" failed (21: Is a directory)`; reported != want {
		t.Errorf("reported %q, want %q", reported, want)
	}
	fmt.Fprint(f, "kept")
	if got, _ := os.ReadFile(moved); string(got) != "kept" {
		t.Errorf("old file has %q", got)
	}
}

func TestTargetErrorsAreNginxs(t *testing.T) {
	for _, c := range []struct{ args, want string }{
		{"x.log", ""},
		{"x.log foo", `invalid log level "foo"`},
		{"x.log info warn", `duplicate log level "warn"`},
		{"x.log warn warn", `duplicate log level "warn"`},
		{"x.log debug_http", ""},
		{"x.log debug_http debug_event debug_http", ""},
		{"x.log debug_http debug", `duplicate log level "debug"`},
		{"x.log debug_http info", `duplicate log level "info"`},
		{"x.log debug debug_http", `invalid log level "debug_http"`},
		{"x.log info debug_http", `invalid log level "debug_http"`},
		{"x.log debug_foo", `invalid log level "debug_foo"`},
		{"x.log ERROR", `invalid log level "ERROR"`},
		{"stderr info debug", `duplicate log level "debug"`},
		{"memory: debug", `invalid buffer size ""`},
		{"memory:1k debug", `invalid buffer size "1k"`},
		{"memory:xx debug", `invalid buffer size "xx"`},
		{"memory:32m debug", ""},
		{"syslog:", `unknown syslog parameter ""`},
		{"syslog:foo", `unknown syslog parameter "foo"`},
		{"syslog:facility=local7", `no syslog server specified`},
		{"syslog:server=", `no host in syslog server ""`},
		{"syslog:server=127.0.0.1,facility=foo", `unknown syslog facility "foo"`},
		{"syslog:server=127.0.0.1,facility=LOCAL0", `unknown syslog facility "LOCAL0"`},
		{"syslog:server=127.0.0.1,facility=local0,facility=local1", `duplicate syslog "facility"`},
		{"syslog:server=127.0.0.1,severity=warning", `unknown syslog severity "warning"`},
		{"syslog:server=127.0.0.1,severity=info,severity=info", `duplicate syslog "severity"`},
		{"syslog:server=127.0.0.1,tag=a-b", `syslog "tag" only allows alphanumeric characters and underscore`},
		{"syslog:server=127.0.0.1,tag=", ""},
		{"syslog:server=127.0.0.1,tag=abcdefghijklmnopqrstuvwxyzabcdefg", `syslog tag length exceeds 32`},
		{"syslog:server=127.0.0.1,tag=a,tag=b", `duplicate syslog "tag"`},
		{"syslog:server=127.0.0.1,server=127.0.0.2", `duplicate syslog "server"`},
		{"syslog:server=nosuch.invalid", `host not found in syslog server "nosuch.invalid"`},
		{"syslog:server=127.0.0.1:x", `invalid port in syslog server "127.0.0.1:x"`},
		{"syslog:server=127.0.0.1:99999", `invalid port in syslog server "127.0.0.1:99999"`},
		{"syslog:server=[::1]:514", ""},
		{"syslog:server=unix:", `no path in the unix domain socket in syslog server "unix:"`},
		{"syslog:server=127.0.0.1,nohostname,nohostname", ""},
		{"syslog:server=127.0.0.1,", `unknown syslog parameter ""`},
		{"syslog:server=127.0.0.1 foo", `invalid log level "foo"`},
	} {
		_, err := ParseTarget(strings.Fields(c.args), func(string) ([]netip.Addr, error) { return nil, nil })
		got := ""
		if err != nil {
			got = err.Error()
		}
		if got != c.want {
			t.Errorf("error_log %s: %s, want %s", c.args, got, c.want)
		}
	}
}

func TestSyslogDatagramIsNginxs(t *testing.T) {
	pc, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer pc.Close()
	receive := func() string {
		b := make([]byte, 4096)
		pc.SetReadDeadline(time.Now().Add(5 * time.Second))
		n, _, err := pc.ReadFrom(b)
		if err != nil {
			t.Fatal(err)
		}
		return string(b[:n])
	}
	for _, c := range []struct{ params, want string }{
		{"", `^<187>[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d \S+ nginx: \d{4}/\d\d/\d\d \d\d:\d\d:\d\d \[error\] \d+#\d+: m$`},
		{",nohostname,tag=foo_1,severity=alert,facility=user", `^<11>[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d foo_1: \d{4}/.* m$`},
	} {
		target, err := ParseTarget([]string{"syslog:server=" + pc.LocalAddr().String() + c.params, "info"}, nil)
		if err != nil {
			t.Fatal(err)
		}
		l, err := Open(new(Files), []Target{target})
		if err != nil {
			t.Fatal(err)
		}
		l.Write(Error, 0, "m")
		if got := receive(); !regexp.MustCompile(c.want).MatchString(got) {
			t.Errorf("datagram %q, want %s", got, c.want)
		}
		l.Close()
	}
}

func TestErrnoIsGlibcs(t *testing.T) {
	for _, c := range []struct {
		err  error
		want string
	}{
		{fmt.Errorf("x: %w", syscall.ECONNREFUSED), "(111: Connection refused)"},
		{&net.OpError{Op: "dial", Err: os.NewSyscallError("connect", syscall.ENETUNREACH)}, "(101: Network is unreachable)"},
		{os.ErrDeadlineExceeded, "(110: Connection timed out)"},
		{errors.New("odd"), "(odd)"},
		{nil, ""},
	} {
		if got := Errno(c.err); got != c.want {
			t.Errorf("Errno(%v) = %s, want %s", c.err, got, c.want)
		}
	}
}

func BenchmarkWrite(b *testing.B) {
	var files Files
	l, err := Open(&files, []Target{{Level: Error, Path: os.DevNull}})
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	b.ReportAllocs()
	for b.Loop() {
		l.Write(Error, 7, "upstream timed out (110: Connection timed out) while reading response header from upstream")
	}
}

package main

import (
	"bytes"
	"os"
	"os/user"
	"strings"
	"testing"
	"time"

	"limpet/internal/admin"
)

func TestStatusIsATable(t *testing.T) {
	now := time.Unix(1700000000, 0)
	clients := 12
	st := &admin.Status{
		Version: "0.1", Nginx: "nginx/1.31.0", PID: 7, Started: now.Add(-50 * time.Hour), Generation: 3,
		Reloads: admin.ReloadState{LastSuccess: now.Add(-90 * time.Second), LastFailed: true},
		Conns:   admin.ConnState{Active: 5, Idle: 2, Requests: 1234},
		Upstreams: []admin.Upstream{
			{Name: "app", Sticky: "nginx", Peers: []admin.Peer{
				{Addr: "192.0.2.1:8080", Server: "192.0.2.1:8080", State: "up", Weight: 10, Active: 3, Kept: 1, Clients: &clients, Requests: 1000, Failures: 2,
					Responses: map[string]int64{"2xx": 7, "5xx": 4}},
				{Addr: "192.0.2.2:80", Server: "b", State: "unhealthy", Draining: true, Backup: true, Weight: 1},
			}},
			{Name: "192.0.2.3:80", Implicit: true, Peers: []admin.Peer{{Addr: "192.0.2.3:80", State: "up", Weight: 1}}},
		},
	}
	var b bytes.Buffer
	showStatus(&b, st, now)
	const want = `limpet 0.1 as nginx/1.31.0, process 7, up 2d 2h
configuration 3, in force for 1m 30s; the last reload failed, see the error log
5 client connections, 2 of them idle; 1234 requests

upstream app, sticky as by nginx
  SERVER            STATE                        WEIGHT  OPEN  KEPT  CLIENTS  REQUESTS  FAILED  5XX
  192.0.2.1:8080    up                               10     3     1       12      1000       2    4
  192.0.2.2:80 (b)  unhealthy, draining, backup       1     0     0        -         0       0    0

upstream 192.0.2.3:80 (of proxy_pass)
  SERVER        STATE  WEIGHT  OPEN  KEPT  CLIENTS  REQUESTS  FAILED  5XX
  192.0.2.3:80  up          1     0     0        -         0       0    0
`
	if got := b.String(); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}

func TestTimesAreToldInTwoUnits(t *testing.T) {
	for d, want := range map[time.Duration]string{-time.Second: "0s", 59400 * time.Millisecond: "59s", 61 * time.Second: "1m 1s",
		time.Hour: "1h 0m", 25 * time.Hour: "1d 1h"} {
		if got := ago(d); got != want {
			t.Errorf("%v: %s, want %s", d, got, want)
		}
	}
}

// TestStateIsWrittenWhereRootMayWrite needs root: the process serves as nobody, and the folder is root's.
func TestStateIsWrittenWhereRootMayWrite(t *testing.T) {
	in := install(t)
	nobody, err := user.Lookup("nobody")
	if err != nil || os.Geteuid() != 0 {
		t.Skip("not root, or no nobody")
	}
	group, err := user.LookupGroupId(nobody.Gid)
	if err != nil {
		t.Skip(err)
	}
	os.Chmod(in.dir, 0o700)
	in.configure("one; location /p { proxy_pass http://127.0.0.1:9; } root html", "user nobody "+group.Name+";")
	admin := "unix:" + in.dir + "/admin"
	pid := in.start("--watch=false", "--admin", admin, "--state", in.dir+"/state")
	if code, _, stderr := runProgram(t, "drain", "127.0.0.1:9", "127.0.0.1:9", "--admin", admin); code != 0 || strings.Contains(stderr, "state file") {
		t.Fatalf("exit %d, %s", code, stderr)
	}
	if text, err := os.ReadFile(in.dir + "/state"); err != nil || !strings.Contains(string(text), `"peer": "127.0.0.1:9"`) {
		t.Errorf("%v, the state is %s", err, text)
	}
	in.signal("quit")
	in.eventually("the end", in.ended(pid))
}

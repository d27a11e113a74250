package admin

import (
	"encoding/json"
	"strings"
	"testing"
)

// drained asks for an action and returns the answer.
func drained(t *testing.T, get func(method, path string) (int, string), path string) Upstream {
	t.Helper()
	status, body := get("POST", path)
	var u Upstream
	if err := json.Unmarshal([]byte(body), &u); status != 200 || err != nil {
		t.Fatalf("%s: %d %s", path, status, body)
	}
	return u
}

func TestDrainIsSeenInStatusUntilItIsTakenBack(t *testing.T) {
	s, _, get := start(t, "unix:DIRadmin", "")
	u := drained(t, get, "/api/drain?upstream=u&peer=127.0.0.1:1")
	if len(u.Peers) != 2 || u.Peers[0].State != "draining" || !u.Peers[1].Draining || u.Peers[0].Clients != nil || u.Notes != nil {
		t.Errorf("the answer is %+v, want both servers of the address, no clients, no notes", u)
	}
	if _, err := s.Server.Reload(); err != nil {
		t.Fatal(err)
	}
	var st Status
	_, body := get("GET", "/api/status")
	if err := json.Unmarshal([]byte(body), &st); err != nil {
		t.Fatal(err)
	}
	if p := st.Upstreams[0].Peers; p[0].State != "draining" || p[1].Draining || !p[2].Draining || st.Generation != 2 || st.Version != "X" {
		t.Errorf("the status is %s", body)
	}
	if u = drained(t, get, "/api/undrain?upstream=u&peer=127.0.0.1:1"); u.Peers[0].State != "up" || u.Notes != nil {
		t.Errorf("the answer is %+v", u)
	}
}

func TestPeerIsNamedAsInItsServerLine(t *testing.T) {
	_, _, get := start(t, "unix:DIRadmin", "")
	u := drained(t, get, "/api/drain?upstream=s&peer=127.0.0.1&window=1m")
	if len(u.Peers) != 1 || u.Peers[0].Addr != "127.0.0.1:80" || u.Window != 60 || u.Counted > 60 || u.Peers[0].Clients == nil || u.Sticky == "" {
		t.Errorf("the answer is %+v", u)
	}
	if len(u.Notes) != 1 || !strings.Contains(u.Notes[0], "no other server of s takes new clients") {
		t.Errorf("notes %q; one server is down, the other drains", u.Notes)
	}
	if u = drained(t, get, "/api/undrain?upstream=s&peer=127.0.0.1:80"); u.Peers[0].Draining {
		t.Errorf("the answer is %+v", u)
	}
	if u = drained(t, get, "/api/undrain?upstream=s&peer=127.0.0.2:3"); !u.Peers[0].Draining || len(u.Notes) != 1 {
		t.Errorf("the answer is %+v, want a note of drain in the file", u)
	}
}

func TestWhoDrainsWhatIsNotThereIsToldWhatIs(t *testing.T) {
	_, _, get := start(t, "unix:DIRadmin", "")
	for path, want := range map[string]string{
		"/api/drain?upstream=u&peer=none":       `upstream "u" has no server "none"; it has 127.0.0.1:1, unix:/nowhere/"s, 127.0.0.1:1`,
		"/api/undrain?upstream=u&peer=":         `upstream "u" has no server ""; it has 127.0.0.1:1, unix:/nowhere/"s, 127.0.0.1:1`,
		"/api/drain?upstream=x&peer=none":       `no upstream "x"; there is u, s, c, l, 127.0.0.1:4`,
		"/api/undrain?upstream=x&peer=none":     `no upstream "x"; there is u, s, c, l, 127.0.0.1:4`,
		"/api/drain?upstream=u&peer=a&window=x": `window "x" isn't a duration like 10m`,
	} {
		if status, body := get("POST", path); status == 200 || strings.TrimSpace(body) != want {
			t.Errorf("%s: %d %s, want %s", path, status, body, want)
		}
	}
}

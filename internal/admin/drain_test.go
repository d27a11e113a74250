package admin

import (
	"bytes"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// fakeLimpet answers /api/status with the peers' lists in turn.
func fakeLimpet(t *testing.T, token string, peers ...string) (addr string, asked *[]string) {
	t.Helper()
	asked = new([]string)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		*asked = append(*asked, r.Method+" "+r.URL.String())
		switch {
		case token != "" && r.Header.Get("Authorization") != "Bearer "+token:
			http.Error(w, "actions want Authorization: Bearer TOKEN", http.StatusUnauthorized)
		case r.Method == "POST":
			fmt.Fprintln(w, "1.2.3.4:5 of u is draining")
		default:
			fmt.Fprintf(w, `{"upstreams": [{"name": "u", "peers": [%s]}]}`, peers[0])
			if len(peers) > 1 {
				peers = peers[1:]
			}
		}
	}))
	t.Cleanup(s.Close)
	return strings.TrimPrefix(s.URL, "http://"), asked
}

func TestDrainWaitsForTheLastClient(t *testing.T) {
	addr, asked := fakeLimpet(t, "secret",
		`{"addr": "1.2.3.4:5", "clients": 2, "active": 1}, {"addr": "9.9.9.9:9", "clients": 7}`,
		`{"addr": "1.2.3.4:5", "clients": 1, "active": 1}, {"addr": "1.2.3.4:5", "clients": 1}`,
		`{"addr": "1.2.3.4:5", "clients": 0, "active": 1}`, // a WebSocket
		`{"addr": "1.2.3.4:5", "clients": 0, "active": 0}`)
	d := Drain{Admin: addr, Token: "secret", Upstream: "u", Peer: "1.2.3.4:5", Wait: true, Window: 10 * time.Minute}
	var out bytes.Buffer
	if err := d.Run(&out); err != nil {
		t.Fatal(err)
	}
	want := `1.2.3.4:5 of u is draining
1.2.3.4:5 of u: clients in the last 10m: 2, requests running: 1
1.2.3.4:5 of u: clients in the last 10m: 0, requests running: 1
1.2.3.4:5 of u: clients in the last 10m: 0, requests running: 0
`
	if out.String() != want {
		t.Errorf("got\n%swant\n%s", out.String(), want)
	}
	if got := strings.Join(*asked, ", "); !strings.HasPrefix(got, "POST /api/drain?peer=1.2.3.4%3A5&upstream=u, GET /api/status?window=10m0s, ") {
		t.Errorf("asked %s", got)
	}
}

func TestDrainOfAGroupThatIsNotStickyWaitsForRequests(t *testing.T) {
	addr, _ := fakeLimpet(t, "", `{"addr": "1.2.3.4:5", "active": 3}`, `{"addr": "1.2.3.4:5", "active": 0}`)
	d := Drain{Admin: addr, Upstream: "u", Peer: "1.2.3.4:5", Wait: true, Window: time.Hour}
	var out bytes.Buffer
	if err := d.Run(&out); err != nil || !strings.HasSuffix(out.String(), "requests running: 3\n1.2.3.4:5 of u: requests running: 0\n") {
		t.Errorf("%v, %s", err, out.String())
	}
}

func TestDrainEndsWhenThePeerIsGone(t *testing.T) {
	addr, _ := fakeLimpet(t, "", `{"addr": "1.2.3.4:5", "clients": 1}`, `{"addr": "1.2.3.4:6"}`)
	d := Drain{Admin: addr, Upstream: "u", Peer: "1.2.3.4:5", Wait: true, Window: time.Hour}
	var out bytes.Buffer
	if err := d.Run(&out); err != nil || !strings.HasSuffix(out.String(), "isn't in the configuration any more\n") {
		t.Errorf("%v, %s", err, out.String())
	}
}

func TestDrainTellsWhyItIsRefused(t *testing.T) {
	addr, _ := fakeLimpet(t, "secret", "")
	d := Drain{Admin: addr, Upstream: "u", Peer: "p"}
	if err := d.Run(new(bytes.Buffer)); err == nil || err.Error() != "actions want Authorization: Bearer TOKEN" {
		t.Errorf("error %v", err)
	}
}

func TestDurationsAreBrief(t *testing.T) {
	for d, want := range map[time.Duration]string{10 * time.Minute: "10m", 2 * time.Hour: "2h", 90 * time.Second: "1m30s", time.Second: "1s"} {
		if got := brief(d); got != want {
			t.Errorf("%v: %s, want %s", d, got, want)
		}
	}
}

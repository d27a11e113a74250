package admin

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// looks answer a Client's questions in turn, the last one for ever.
type looks struct {
	answers []string // JSON of an Upstream; "" is no answer
	asked   []string
}

// RoundTrip implements http.RoundTripper.
func (l *looks) RoundTrip(r *http.Request) (*http.Response, error) {
	l.asked = append(l.asked, r.Method+" "+r.URL.RequestURI())
	a := l.answers[0]
	if len(l.answers) > 1 {
		l.answers = l.answers[1:]
	}
	if a == "" {
		return nil, errors.New("connection refused")
	}
	status := http.StatusOK
	if a[0] != '{' {
		status = http.StatusNotFound
	}
	return &http.Response{StatusCode: status, Body: io.NopCloser(strings.NewReader(a)), Header: make(http.Header), Request: r}, nil
}

// left is an answer with so many clients and open connections.
func left(clients, conns, counted int) string {
	return fmt.Sprintf(`{"name": "u", "sticky": "nginx", "counted": %d, "peers": [{"addr": "192.0.2.1:80", "draining": true, "clients": %d, "active": %d}]}`,
		counted, clients, conns)
}

func drainer(l *looks) *Drain {
	c := NewClient("unix:/nowhere", "secret")
	c.http.Transport = l
	return &Drain{Client: c, Upstream: "u", Peer: "192.0.2.1", Wait: true, Window: 10 * time.Minute}
}

const draining = "192.0.2.1:80 of u is draining: its own clients stay, new ones go elsewhere\n"

func TestDrainWaitsAsAPersonLikesToReadIt(t *testing.T) {
	const aim = "waiting until it has no open connection and no client has come for 10m"
	notSticky := func(conns int) string {
		return fmt.Sprintf(`{"name": "u", "peers": [{"addr": "192.0.2.1:80", "draining": true, "active": %d}]}`, conns)
	}
	for _, c := range []struct {
		name    string
		answers []string
		change  func(d *Drain)
		want    string
		err     string
	}{
		{"until nobody is left", []string{left(2, 1, 600), left(2, 1, 600), left(0, 1, 600), left(0, 0, 600)}, nil,
			aim + "\n      0s  2 clients in the last 10m, 1 open connection\n      2s  0 clients in the last 10m, 1 open connection\n" +
				"      3s  0 clients in the last 10m, 0 open connections\n      3s  nobody is left\n", ""},
		{"connections alone where nobody sticks", []string{notSticky(3), notSticky(0)}, nil,
			"waiting until it has no open connection\n      0s  3 open connections\n      1s  0 open connections\n      1s  nobody is left\n", ""},
		{"connections alone without a window", []string{left(9, 1, 600), left(9, 0, 600)}, func(d *Drain) { d.Window = 0 },
			"waiting until it has no open connection\n      0s  1 open connection\n      1s  0 open connections\n      1s  nobody is left\n", ""},
		{"as long as a limpet just started can't know", []string{left(0, 0, 599), left(0, 0, 600)}, nil,
			aim + "\n      0s  0 clients in the last 10m, 0 open connections (counted since limpet was started 9m ago)\n" +
				"      1s  0 clients in the last 10m, 0 open connections\n      1s  nobody is left\n", ""},
		{"at most the timeout", []string{left(1, 0, 600)}, func(d *Drain) { d.Timeout = 2500 * time.Millisecond },
			aim + ", at most 2.5s\n      0s  1 client in the last 10m, 0 open connections\n", "not empty after 2.5s; it goes on draining"},
		{"over a restart", []string{left(0, 1, 600), "", "", left(0, 0, 600)}, nil,
			aim + "\n      0s  0 clients in the last 10m, 1 open connection\n      1s  cannot ask limpet at unix:/nowhere: connection refused; trying again\n" +
				"      3s  0 clients in the last 10m, 0 open connections\n      3s  nobody is left\n", ""},
		{"not for ever when limpet is gone", []string{left(0, 1, 600), ""}, nil,
			aim + "\n      0s  0 clients in the last 10m, 1 open connection\n      1s  cannot ask limpet at unix:/nowhere: connection refused; trying again\n",
			"cannot ask limpet at unix:/nowhere: connection refused"},
		{"until the server is gone from the file", []string{left(0, 1, 600), `upstream "u" has no server "192.0.2.1"`}, nil,
			aim + "\n      0s  0 clients in the last 10m, 1 open connection\n", `upstream "u" has no server "192.0.2.1"`},
		{"until somebody takes it back", []string{left(0, 1, 600), strings.Replace(left(0, 1, 600), "true", "false", 1)}, nil,
			aim + "\n      0s  0 clients in the last 10m, 1 open connection\n", "it was undrained meanwhile"},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d := drainer(&looks{answers: c.answers})
				if c.change != nil {
					c.change(d)
				}
				var out bytes.Buffer
				err := d.Run(&out)
				if got := fmt.Sprint(err); c.err != "" && got != c.err || c.err == "" && err != nil {
					t.Errorf("error %v, want %s", err, c.err)
				}
				if got, want := out.String(), draining+c.want; got != want {
					t.Errorf("got\n%swant\n%s", got, want)
				}
			})
		})
	}
}

func TestServersOfOneAddressHaveTheirClientsOnce(t *testing.T) {
	peer := `{"addr": "192.0.2.1:80", "draining": true, "clients": 2, "active": 1}`
	d := drainer(&looks{answers: []string{`{"name": "u", "sticky": "nginx", "counted": 600, "peers": [` + peer + "," + peer + `], "notes": ["n"]}`}})
	d.Wait = false
	var out bytes.Buffer
	if err := d.Run(&out); err != nil || out.String() != draining+draining+"note: n\n2 clients in the last 10m, 2 open connections\n" {
		t.Errorf("%v, %s", err, out.String())
	}
}

func TestClientAsksWithTheTokenAndTellsWhyItIsRefused(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer secret" {
			http.Error(w, "actions want Authorization: Bearer TOKEN", http.StatusUnauthorized)
			return
		}
		if r.URL.Path == "/api/status" {
			io.WriteString(w, "<html>")
			return
		}
		fmt.Fprintf(w, `{"name": %q}`, r.Method+" "+r.URL.RequestURI())
	}))
	defer s.Close()
	addr := strings.TrimPrefix(s.URL, "http://")
	if _, err := NewClient(addr, "").SetDrain(true, "u", "p", 0); err == nil || err.Error() != "actions want Authorization: Bearer TOKEN" {
		t.Errorf("error %v", err)
	}
	c := NewClient(addr, "secret")
	for want, ask := range map[string]func() (*Upstream, error){
		"POST /api/drain?peer=p&upstream=u+v&window=1m0s":   func() (*Upstream, error) { return c.SetDrain(true, "u v", "p", time.Minute) },
		"POST /api/undrain?peer=p&upstream=u&window=0s":     func() (*Upstream, error) { return c.SetDrain(false, "u", "p", 0) },
		"GET /api/upstreams/unix:%2Fs?window=0s":            func() (*Upstream, error) { return c.Upstream("unix:/s", "", 0) },
		"GET /api/upstreams/u?peer=1.2.3.4%3A5&window=1m0s": func() (*Upstream, error) { return c.Upstream("u", "1.2.3.4:5", time.Minute) },
	} {
		if u, err := ask(); err != nil || u.Name != want {
			t.Errorf("%v, asked %s, want %s", err, u.Name, want)
		}
	}
	if _, err := c.Status(0); err == nil || !strings.Contains(err.Error(), addr+" isn't limpet's admin address: ") {
		t.Errorf("an answer that isn't limpet's: %v", err)
	}
}

func TestDurationsAreBrief(t *testing.T) {
	for d, want := range map[time.Duration]string{10 * time.Minute: "10m", 2 * time.Hour: "2h", 90 * time.Second: "1m30s", time.Second: "1s", 0: "0s"} {
		if got := brief(d); got != want {
			t.Errorf("%v: %s, want %s", d, got, want)
		}
	}
}

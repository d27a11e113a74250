package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// Drain asks a running limpet to keep new clients away from a peer, or no longer,
// and may wait until the peer's own clients are gone: `limpet drain`.
type Drain struct {
	Admin          string // the address of --admin
	Token          string // LIMPET_ADMIN_TOKEN; "" for a unix socket
	Upstream, Peer string
	Undo           bool
	// Wait waits until no client has come to the peer within Window and no request is
	// served by it. Where the group isn't sticky the requests alone count.
	Wait   bool
	Window time.Duration
	Every  time.Duration // between two looks
}

// Run does it and tells on out what changes.
func (d *Drain) Run(out io.Writer) error {
	client := d.client()
	defer client.CloseIdleConnections()
	verb := "drain"
	if d.Undo {
		verb = "undrain"
	}
	answer, err := d.ask(client, "POST", "/api/"+verb+"?"+url.Values{"upstream": {d.Upstream}, "peer": {d.Peer}}.Encode())
	if err != nil {
		return err
	}
	out.Write(answer)
	if d.Undo || !d.Wait {
		return nil
	}
	for last := ""; ; time.Sleep(d.Every) {
		line, gone, err := d.look(client)
		if err != nil {
			return err
		}
		if line != last {
			fmt.Fprintln(out, line)
			last = line
		}
		if gone {
			return nil
		}
	}
}

// client returns what talks to the endpoint, whose requests name it "limpet".
func (d *Drain) client() *http.Client {
	network, addr := "tcp", d.Admin
	if path, ok := strings.CutPrefix(addr, "unix:"); ok {
		network, addr = "unix", path
	}
	return &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, addr)
		},
	}}
}

// ask makes a request; what isn't answered by 200 is an error with the answer's text.
func (d *Drain) ask(client *http.Client, method, target string) ([]byte, error) {
	req, err := http.NewRequest(method, "http://limpet"+target, nil)
	if err != nil {
		return nil, err
	}
	if d.Token != "" {
		req.Header.Set("Authorization", "Bearer "+d.Token)
	}
	resp, err := client.Do(req)
	var at *url.Error // says what limpet's user didn't write
	if errors.As(err, &at) {
		err = fmt.Errorf("cannot ask %s: %w", d.Admin, at.Err)
	}
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s", strings.TrimSpace(string(text)))
	}
	return text, err
}

// look says who is left at the peer, or at the peers where the group has the address twice.
func (d *Drain) look(client *http.Client) (line string, gone bool, err error) {
	text, err := d.ask(client, "GET", "/api/status?window="+d.Window.String())
	if err != nil {
		return "", false, err
	}
	var st Status
	if err := json.Unmarshal(text, &st); err != nil {
		return "", false, fmt.Errorf("%s isn't limpet's: %w", d.Admin, err)
	}
	found, sticky, clients, active := false, false, 0, int64(0)
	for _, u := range st.Upstreams {
		for _, p := range u.Peers {
			if u.Name != d.Upstream || p.Addr != d.Peer {
				continue
			}
			found, active = true, active+p.Active
			if p.Clients != nil {
				sticky, clients = true, clients+*p.Clients
			}
		}
	}
	line = d.Peer + " of " + d.Upstream
	switch {
	case !found:
		return line + " isn't in the configuration any more", true, nil
	case sticky:
		line += fmt.Sprintf(": clients in the last %s: %d, requests running: %d", brief(d.Window), clients, active)
	default:
		line += fmt.Sprintf(": requests running: %d", active)
	}
	return line, clients == 0 && active == 0, nil
}

// brief writes a duration without zeros at its end: 10m, 2h, 90s.
func brief(d time.Duration) string {
	for _, u := range []struct {
		unit time.Duration
		word string
	}{{time.Hour, "h"}, {time.Minute, "m"}} {
		if d%u.unit == 0 {
			return fmt.Sprintf("%d%s", d/u.unit, u.word)
		}
	}
	return d.String()
}

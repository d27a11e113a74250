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

// Client asks the endpoint of a limpet that runs.
type Client struct {
	addr, token string
	http        http.Client
}

// NewClient returns a client of the endpoint at addr, as --admin has it. token is
// LIMPET_ADMIN_TOKEN; a unix socket needs none.
func NewClient(addr, token string) *Client {
	network, at := "tcp", addr
	if path, ok := strings.CutPrefix(addr, "unix:"); ok {
		network, at = "unix", path
	}
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, at)
	}
	return &Client{addr, token, http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DialContext: dial}}}
}

// refused is an answer other than 200: asking again is of no use.
type refused struct{ text string }

func (r refused) Error() string { return r.text }

// Status returns what limpet tells of itself, with clients counted back over the window.
func (c *Client) Status(window time.Duration) (*Status, error) {
	st := new(Status)
	return st, c.ask("GET", "/api/status?window="+window.String(), st)
}

// Upstream returns an upstream; with a peer, as an address or a server line's text, only that one.
func (c *Client) Upstream(name, peer string, window time.Duration) (*Upstream, error) {
	q := url.Values{"window": {window.String()}}
	if peer != "" {
		q.Set("peer", peer)
	}
	u := new(Upstream)
	return u, c.ask("GET", "/api/upstreams/"+url.PathEscape(name)+"?"+q.Encode(), u)
}

// SetDrain drains a peer, or no longer, and returns how it is then.
func (c *Client) SetDrain(on bool, name, peer string, window time.Duration) (*Upstream, error) {
	verb := "undrain"
	if on {
		verb = "drain"
	}
	q := url.Values{"upstream": {name}, "peer": {peer}, "window": {window.String()}}
	u := new(Upstream)
	return u, c.ask("POST", "/api/"+verb+"?"+q.Encode(), u)
}

// ask makes a request and reads the answer into v.
func (c *Client) ask(method, target string, v any) error {
	req, err := http.NewRequest(method, "http://limpet"+target, nil)
	if err != nil {
		return err
	}
	if c.token != "" {
		req.Header.Set("Authorization", "Bearer "+c.token)
	}
	resp, err := c.http.Do(req)
	var at *url.Error // names a URL that the user didn't write
	if errors.As(err, &at) {
		err = at.Err
	}
	if err != nil {
		return fmt.Errorf("cannot ask limpet at %s: %w", c.addr, err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return fmt.Errorf("cannot ask limpet at %s: %w", c.addr, err)
	}
	if resp.StatusCode != http.StatusOK {
		return refused{strings.TrimSpace(string(text))}
	}
	if err := json.Unmarshal(text, v); err != nil {
		return refused{fmt.Sprintf("%s isn't limpet's admin address: %v", c.addr, err)}
	}
	return nil
}

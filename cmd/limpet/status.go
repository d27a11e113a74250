package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"limpet/internal/admin"
)

const statusHelp = `Usage: limpet status [UPSTREAM] --admin ADDR [--window D]

Shows the upstreams, or one, with their servers: the requests that each is serving
(OPEN), the idle connections kept to it (KEPT), the distinct clients that stuck to it
within the window (CLIENTS, an estimate), and how many requests, failed tries and
answers of 5xx there were.

  --admin ADDR  : where limpet's --admin is: ip:port, or unix:path
  --window D    : how far back clients are counted (default 10m)

The same and more, as JSON: curl http://ADDR/api/status
`

// status is the verb status.
func status(args []string) int {
	v := newVerb("status", "[UPSTREAM]", statusHelp)
	window := v.flags.Duration("window", defaultWindow, "")
	return v.run(args, 0, func(client *admin.Client) error {
		if *window < 0 {
			return errors.New("durations aren't negative")
		}
		if name := v.flags.Arg(0); name != "" {
			u, err := client.Upstream(name, "", *window)
			if err == nil {
				showUpstream(os.Stdout, u)
			}
			return err
		}
		st, err := client.Status(*window)
		if err == nil {
			showStatus(os.Stdout, st, time.Now())
		}
		return err
	})
}

func showStatus(w io.Writer, st *admin.Status, now time.Time) {
	fmt.Fprintf(w, "limpet %s as %s, process %d, up %s\n", st.Version, st.Nginx, st.PID, ago(now.Sub(st.Started)))
	fmt.Fprintf(w, "configuration %d, in force for %s", st.Generation, ago(now.Sub(st.Reloads.LastSuccess)))
	if st.Reloads.LastFailed {
		fmt.Fprint(w, "; the last reload failed, see the error log")
	}
	fmt.Fprintf(w, "\n%d client connections, %d of them idle; %d requests\n", st.Conns.Active, st.Conns.Idle, st.Conns.Requests)
	for i := range st.Upstreams {
		fmt.Fprintln(w)
		showUpstream(w, &st.Upstreams[i])
	}
}

func showUpstream(w io.Writer, u *admin.Upstream) {
	fmt.Fprintf(w, "upstream %s", u.Name)
	if u.Implicit {
		fmt.Fprint(w, " (of proxy_pass)")
	}
	if u.Sticky != "" {
		fmt.Fprintf(w, ", sticky as by %s", u.Sticky)
	}
	fmt.Fprintln(w)
	rows := [][]string{{"SERVER", "STATE", "WEIGHT", "OPEN", "KEPT", "CLIENTS", "REQUESTS", "FAILED", "5XX"}}
	for i := range u.Peers {
		p := &u.Peers[i]
		name, state, clients := p.Addr, p.State, "-"
		if p.Server != "" && p.Server != p.Addr {
			name += " (" + p.Server + ")"
		}
		if p.Draining && state != "draining" {
			state += ", draining"
		}
		if p.Backup {
			state += ", backup"
		}
		if p.Clients != nil {
			clients = strconv.Itoa(*p.Clients)
		}
		rows = append(rows, []string{name, state, strconv.Itoa(p.Weight), number(p.Active), strconv.Itoa(p.Kept), clients,
			number(p.Requests), number(p.Failures), number(p.Responses["5xx"])})
	}
	table(w, rows)
}

// table prints rows in columns, the first two of words, the others of numbers.
func table(w io.Writer, rows [][]string) {
	widths := make([]int, len(rows[0]))
	for _, row := range rows {
		for i, cell := range row {
			widths[i] = max(widths[i], len(cell))
		}
	}
	for _, row := range rows {
		var b strings.Builder
		for i, cell := range row {
			pad := strings.Repeat(" ", widths[i]-len(cell))
			if b.WriteString("  "); i < 2 {
				b.WriteString(cell + pad)
			} else {
				b.WriteString(pad + cell)
			}
		}
		fmt.Fprintln(w, strings.TrimRight(b.String(), " "))
	}
}

func number(n int64) string { return strconv.FormatInt(n, 10) }

// ago writes a duration in its two largest units.
func ago(d time.Duration) string {
	d = max(d, 0).Round(time.Second)
	days, hours := d/(24*time.Hour), d%(24*time.Hour)/time.Hour
	minutes, seconds := d%time.Hour/time.Minute, d%time.Minute/time.Second
	switch {
	case days > 0:
		return fmt.Sprintf("%dd %dh", days, hours)
	case hours > 0:
		return fmt.Sprintf("%dh %dm", hours, minutes)
	case minutes > 0:
		return fmt.Sprintf("%dm %ds", minutes, seconds)
	}
	return fmt.Sprintf("%ds", seconds)
}

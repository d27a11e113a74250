package healthcheck

import (
	"strings"

	"limpet/internal/ngx"
	"limpet/upstream"
)

// StatusPage returns the text of hc.status_page() for the groups of a configuration.
// It may be called at any time, by any number of goroutines.
func StatusPage(b *ngx.Build) string {
	s, groups := ngx.Shared[Checks](b), ngx.Shared[upstream.Groups](b)
	var w strings.Builder
	for i, g := range groups.List {
		if i > 0 {
			w.WriteByte('\n')
		}
		w.WriteString("Upstream " + g.FullName())
		if !s.checked(g) {
			w.WriteString(" (NO checkers)")
		}
		w.WriteString("\n    Primary Peers\n")
		statusLines(&w, g.Peers().Primary)
		w.WriteString("    Backup Peers\n")
		statusLines(&w, g.Peers().Backup)
	}
	return w.String()
}

func statusLines(w *strings.Builder, peers []*upstream.Peer) {
	for _, p := range peers {
		state := " UP\n"
		if p.IsDown() {
			state = " DOWN\n"
		}
		w.WriteString("        " + string(p.Name) + state)
	}
}

// PrometheusPage returns the text of hc.prometheus_status_page(). It may be
// called at any time, by any number of goroutines.
func PrometheusPage(b *ngx.Build) string {
	s, groups := ngx.Shared[Checks](b), ngx.Shared[upstream.Groups](b)
	var w strings.Builder
	w.WriteString("# HELP nginx_upstream_status_info The running status of nginx upstream\n" +
		"# TYPE nginx_upstream_status_info gauge\n")
	for _, g := range groups.List {
		name := promLabel(g.FullName())
		if !s.checked(g) {
			promSummary(&w, name, "UNKNOWN")
			continue
		}
		state := "DOWN"
		for _, role := range []struct {
			name  string
			peers []*upstream.Peer
		}{{"PRIMARY", g.Peers().Primary}, {"BACKUP", g.Peers().Backup}} {
			for _, p := range role.peers {
				up, down := "1", "0"
				if p.IsDown() {
					up, down = "0", "1"
				} else {
					state = "UP"
				}
				head := `nginx_upstream_status_info{name="` + name + `",endpoint="` + promLabel(string(p.Name)) + `",status="`
				w.WriteString(head + `UP",role="` + role.name + `"} ` + up + "\n")
				w.WriteString(head + `DOWN",role="` + role.name + `"} ` + down + "\n")
			}
		}
		promSummary(&w, name, state)
	}
	return w.String()
}

func promSummary(w *strings.Builder, name, state string) {
	for _, st := range []string{"UP", "DOWN", "UNKNOWN"} {
		value := "0"
		if st == state {
			value = "1"
		}
		w.WriteString(`nginx_upstream_status_info{name="` + name + `",status="` + st + `"} ` + value + "\n")
	}
}

// promLabel escapes a label's value, which the originals forget.
// https://prometheus.io/docs/instrumenting/exposition_formats/#comments-help-text-and-type-information
func promLabel(s string) string {
	return strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`).Replace(s)
}

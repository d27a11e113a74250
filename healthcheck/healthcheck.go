// Package healthcheck is active checks of peers: schedule, probe, rise and fall,
// status pages, for every dialect of configuration.
package healthcheck

import (
	"time"

	"limpet/internal/ngx"
)

// Resty is what resty.upstream.healthcheck's spawn_checker is asked for, its
// types checked and its defaults filled in by the caller.
type Resty struct {
	Upstream      string // name, or host:port
	HTTPS         bool
	Request       []byte // sent as it is
	Timeout       time.Duration
	Interval      time.Duration // between the end of a cycle and the start of the next
	ValidStatuses []int         // nil: the status isn't looked at; empty: none is valid
	Concurrency   int
	Fall, Rise    int
	Port          int    // 0: the peer's own
	Host          string // SNI and the name to verify; "": none
	SSLVerify     bool
}

// SpawnResty adds a checker to the configuration being built; it runs once the
// configuration is in force. The error is spawn_checker's own text.
func SpawnResty(b *ngx.Build, r Resty) error { return nil }

// StatusPage returns the text of hc.status_page() for the groups of a configuration.
func StatusPage(b *ngx.Build) string { return "" }

// PrometheusPage returns the text of hc.prometheus_status_page().
func PrometheusPage(b *ngx.Build) string { return "" }

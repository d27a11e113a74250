// Package corevars defines the variables of nginx's http core module: about the
// request, its client, its connection and the answer.
// https://nginx.org/en/docs/http/ngx_http_core_module.html#variables
//
// Values are taken from the request when they are asked for, where nginx caches
// some at their first use; $request_id alone is kept. $sent_http_connection and
// $sent_http_keep_alive tell in the access log, too, what was sent (nginx has
// forgotten it by then and logs "close").
package corevars

import (
	"os"
	"strings"

	"limpet/internal/ngx"
	"limpet/nginxconf"
)

// Module returns the module.
func Module() ngx.Module {
	return ngx.Module{Name: "core_variables", Conf: func() nginxconf.Settings { return new(Conf) }, Vars: Vars}
}

// Vars lists the variables.
func Vars() []ngx.Variable {
	rows := append(targetVars(), requestVars()...)
	rows = append(rows, connectionVars()...)
	rows = append(rows, proxyProtocolVars()...)
	rows = append(rows, answerVars()...)
	return append(rows, processVars()...)
}

// processVars are the variables about the process and the time.
func processVars() []ngx.Variable {
	hostname, _ := os.Hostname()
	pid := os.Getpid()
	return []ngx.Variable{
		text("hostname", strings.ToLower(hostname), "The host's name."),
		text("nginx_version", strings.TrimPrefix(ngx.Product, "nginx/"), "The version of nginx whose contract is kept."),
		{Name: "pid", Doc: "The process ID.", Get: func(_ *ngx.Request, b []byte) ([]byte, bool) { return number(b, int64(pid)) }},
		{Name: "msec", Doc: "The time in seconds with milliseconds.", Get: msec},
		{Name: "time_iso8601", Doc: "The local time in ISO 8601 form.", Get: func(_ *ngx.Request, b []byte) ([]byte, bool) {
			return append(b, ngx.TimeISO8601()...), true
		}},
		{Name: "time_local", Doc: "The local time in the Common Log Format.", Get: func(_ *ngx.Request, b []byte) ([]byte, bool) {
			return append(b, ngx.TimeLocal()...), true
		}},
	}
}

// text is a variable that is always the same.
func text(name, value, doc string) ngx.Variable {
	return ngx.Variable{Name: name, Doc: doc, Get: func(_ *ngx.Request, b []byte) ([]byte, bool) {
		return append(b, value...), true
	}}
}

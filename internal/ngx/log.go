package ngx

import (
	"bytes"
	"fmt"

	"limpet/internal/errlog"
)

// Logf writes a line about the request to the error log in force, with nginx's
// tail: client, server, request, upstream, host, referrer.
func (r *Request) Logf(level errlog.Level, format string, args ...any) {
	log := r.Log()
	if !log.Enabled(level) {
		return
	}
	msg := fmt.Appendf(nil, format, args...)
	log.Write(level, r.Client.ID, string(r.appendTail(msg)))
}

// Errorf, Warnf and the others are Logf at a level.
func (r *Request) Errorf(format string, args ...any) { r.Logf(errlog.Error, format, args...) }
func (r *Request) Critf(format string, args ...any)  { r.Logf(errlog.Crit, format, args...) }
func (r *Request) Warnf(format string, args ...any)  { r.Logf(errlog.Warn, format, args...) }
func (r *Request) Infof(format string, args ...any)  { r.Logf(errlog.Info, format, args...) }

// Log returns the error log in force: for lines that say themselves who asked what.
func (r *Request) Log() *errlog.Log {
	log := r.Scope.Core.ErrorLog
	if r.AllLines {
		return log.All()
	}
	return log
}

// Debugging reports whether the error log takes debug lines about the request. Every call of Debugf stands behind it,
// `if r.Debugging() { r.Debugf(...) }`: without a debug log a request then costs a test of a flag for each, and no
// argument is boxed.
func (r *Request) Debugging() bool { return r.AllLines || r.Scope != nil && r.Scope.Core.Debug }

// Debugf writes a debug line of the facility http, which has no tail, as in nginx.
func (r *Request) Debugf(format string, args ...any) {
	r.Log().Debugf(errlog.DebugHTTP, r.Client.ID, format, args...)
}

// DebugfOf is Debugf for a line of another facility.
func (r *Request) DebugfOf(f errlog.Facility, format string, args ...any) {
	r.Log().Debugf(f, r.Client.ID, format, args...)
}

// DebugTarget tells of the request line and of what was taken from it.
func (r *Request) DebugTarget() {
	http := "http"
	if r.Proto == HTTP20 {
		http = "http2"
	}
	r.Debugf(`%s request line: "%s"`, http, r.Line)
	r.Debugf(`http uri: "%s"`, r.Path)
	r.Debugf(`http args: "%s"`, r.Args)
	r.Debugf(`http exten: "%s"`, extension(r.Path))
}

// appendTail appends who asked what of whom, as nginx does behind every line about a request.
func (r *Request) appendTail(b []byte) []byte {
	b = append(b, ", client: "...)
	b = append(b, r.Client.Text...)
	if r.Scope.Server != nil {
		b = append(b, ", server: "...)
		b = append(b, r.Scope.Server.ServerName...)
	}
	if r.Line != nil {
		b = append(b, `, request: "`...)
		b = append(b, r.Line...)
		b = append(b, '"')
	}
	if r != r.Main {
		b = append(b, `, subrequest: "`...)
		b = append(b, r.Path...)
		b = append(b, '"')
	}
	if len(r.Up.Peer) > 0 {
		b = append(b, `, upstream: "`...)
		b = append(b, r.Up.Scheme...)
		b = append(b, r.Up.Peer...)
		if bytes.HasPrefix(r.Up.Peer, []byte("unix:")) { // the path ends at a colon
			b = append(b, ':')
		}
		b = append(b, r.Up.URI...)
		b = append(b, '"')
	}
	if h := r.In.Get(HeaderHost); h != nil {
		b = append(b, `, host: "`...)
		b = append(b, h...)
		b = append(b, '"')
	}
	if ref := r.In.Get(HeaderReferer); ref != nil {
		b = append(b, `, referrer: "`...)
		b = append(b, ref...)
		b = append(b, '"')
	}
	return b
}

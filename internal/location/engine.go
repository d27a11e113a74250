package location

import (
	"limpet/internal/errlog"
	"limpet/internal/ngx"
)

// maxRedirects bounds internal redirects and location changes, as in nginx.
const maxRedirects = 10

// Engine runs requests through the phases. It has no state of its own.
type Engine struct{}

// Run implements ngx.Engine.
func (e *Engine) Run(r *ngx.Request) {
	if r.Refused != 0 {
		e.refused(r)
	} else {
		e.end(r, e.first(r))
	}
	logRequest(r)
	r.DropFilters()
	for _, sub := range r.Later {
		e.Subrequest(sub, nil)
	}
	r.Tries = r.Tries[:0]
}

// logRequest runs the log steps of the place where the request ended.
func logRequest(r *ngx.Request) {
	if r.Debugging() {
		r.Debugf("http log handler")
	}
	for _, step := range r.Scope.Steps[ngx.Log] {
		step(r)
	}
}

// refused answers a request whose head was refused; a request that timed out or whose client went is only logged.
func (e *Engine) refused(r *ngx.Request) {
	if r.Status != 0 {
		return
	}
	e.end(r, ngx.Status(r.Refused))
}

// first runs the steps that come once, before anything depends on the URI.
func (e *Engine) first(r *ngx.Request) ngx.Outcome {
	for i, step := range r.Scope.Server.Steps[ngx.PostRead] {
		if r.Debugging() {
			r.Debugf("generic phase: %d", firstPostRead+i)
		}
		if out := step(r); out != ngx.Next {
			return out
		}
	}
	return e.server(r)
}

// server runs the server's rewrite steps, then those of the location.
func (e *Engine) server(r *ngx.Request) ngx.Outcome {
	r.Scope = r.Scope.Server
	if r.Debugging() {
		r.Debugf("rewrite phase: %d", serverRewrite)
	}
	for _, step := range r.Scope.Steps[ngx.ServerRewrite] {
		if out := step(r); out != ngx.Next && out != ngx.Redirect {
			return out
		}
	}
	return e.locate(r)
}

// locate finds the location and runs its steps, again while rewrite changes the URI.
func (e *Engine) locate(r *ngx.Request) ngx.Outcome {
	for {
		r.Scope = r.Scope.Server
		s, _ := find(r, r.Scope)
		if r.MatchFailed {
			r.MatchFailed = false
			return ngx.Status(500)
		}
		if out := e.enter(r, s); out != ngx.Next {
			return out
		}
		out := e.rewrite(r)
		if r.Debugging() {
			debugPostRewrite(r, out)
		}
		switch out {
		case ngx.Next:
			return e.content(r)
		case ngx.Redirect:
			if r.Redirects++; r.Redirects > maxRedirects {
				r.Errorf(`rewrite or internal redirection cycle while processing "%s"`, r.Path)
				return ngx.Status(500)
			}
		default:
			return out
		}
	}
}

// enter makes a location the request's place and makes the checks that belong to it.
func (e *Engine) enter(r *ngx.Request, s *ngx.Scope) ngx.Outcome {
	r.Scope, r.HandlerLost = s, false
	if r.Debugging() {
		debugPlace(r, s)
	}
	n := nodeOf(s)
	if n.internal && !r.Internal {
		return ngx.Status(404)
	}
	if limit := s.Core.ClientMaxBodySize.V; limit > 0 && r.Length > limit && r.ErrorStatus == 0 && r.IsMain() {
		r.Errorf("client intended to send too large body: %d bytes", r.Length)
		r.KeepAlive, r.BodyRefused = false, true
		return ngx.Status(413)
	}
	if s.AutoRedirect && s.Handler == nil && n.loc != nil && len(r.Path) < len(n.loc.Name) {
		return e.slashRedirect(r, n.loc.Name)
	}
	if n.limit != nil && !n.limit.allows(r.Method) {
		r.Scope = n.limit.scope
	}
	return ngx.Next
}

// slashRedirect sends a request for /name to /name/ .
func (e *Engine) slashRedirect(r *ngx.Request, name string) ngx.Outcome {
	loc := ngx.AppendEscaped(nil, []byte(name), ngx.EscapeURI)
	if len(r.Args) > 0 {
		loc = append(append(loc, '?'), r.Args...)
	}
	r.Out.Location = loc
	return ngx.Status(301)
}

func (l *limitScope) allows(method []byte) bool {
	for _, m := range l.methods {
		if string(method) == m {
			return true
		}
	}
	return false
}

// rewrite runs the location's script; a server outside of any location ran its own before.
func (e *Engine) rewrite(r *ngx.Request) ngx.Outcome {
	if r.Debugging() {
		r.Debugf("rewrite phase: %d", locationRewrite)
	}
	for _, step := range r.Scope.Steps[ngx.Rewrite] {
		if out := step(r); out != ngx.Next {
			return out
		}
	}
	return ngx.Next
}

// content runs the phases from preaccess to the answer.
func (e *Engine) content(r *ngx.Request) ngx.Outcome {
	for i, step := range r.Scope.Steps[ngx.PreAccess] {
		if r.Debugging() {
			r.Debugf("generic phase: %d", firstPreAccess+i)
		}
		if out := step(r); out != ngx.Next {
			return out
		}
	}
	if r.IsMain() {
		if out := e.access(r); out != ngx.Next {
			return out
		}
	}
	if r.PathFree && r.Scope.Handler == nil && r.Scope.Core.Root.V.Alias {
		r.Logf(errlog.Alert, `"alias" cannot be used in location "%s" where URI was rewritten`, r.Scope.Name)
		return ngx.Status(500)
	}
	for i, step := range r.Scope.Steps[ngx.PreContent] {
		if r.Debugging() {
			r.Debugf("generic phase: %d", firstPreContent+i)
		}
		if out := step(r); out != ngx.Next {
			return out
		}
	}
	if r.Scope.Handler != nil {
		return r.Scope.Handler(r)
	}
	if r.HandlerLost {
		r.Logf(errlog.Alert, "no upstream configuration")
		return ngx.Status(500)
	}
	if out := r.DiscardBody(); out != ngx.Next {
		return out
	}
	for i, step := range r.Scope.Steps[ngx.Content] {
		if r.Debugging() {
			r.Debugf("content phase: %d", firstContent+i)
		}
		if out := step(r); out != ngx.Next {
			return out
		}
	}
	if len(r.Path) > 0 && r.Path[len(r.Path)-1] == '/' {
		r.Errorf(`directory index of "%s" is forbidden`, r.MapPath(r.Path))
		return ngx.Status(403)
	}
	r.Errorf("no handler found")
	return ngx.Status(404)
}

// access runs the access steps under satisfy: all must agree, or one is enough.
func (e *Engine) access(r *ngx.Request) ngx.Outcome {
	anyone := r.Scope.Core.Satisfy.V == ngx.SatisfyAny
	denied := ngx.Next
	for i, step := range r.Scope.Steps[ngx.Access] {
		if r.Debugging() {
			r.Debugf("access phase: %d", firstAccess+i)
		}
		switch out := step(r); {
		case out == ngx.Next:
		case out == ngx.OK:
			if anyone {
				r.Out.Header.Hide(ngx.HeaderWWWAuthenticate)
				return ngx.Next
			}
		case anyone && (out == ngx.Status(403) || out == ngx.Status(401)):
			if denied != ngx.Status(401) {
				denied = out
			}
		default:
			return e.delayed(r, out)
		}
	}
	if r.Debugging() {
		r.Debugf("post access phase: %d", postAccess)
	}
	if denied == ngx.Status(403) {
		r.Errorf("access forbidden by rule")
	}
	return e.delayed(r, denied)
}

// delayed holds an answer with 401 back for auth_delay.
func (e *Engine) delayed(r *ngx.Request, out ngx.Outcome) ngx.Outcome {
	d := r.Scope.Core.AuthDelay.V
	if out != ngx.Status(401) || d == 0 {
		return out
	}
	r.Infof("delaying unauthorized request")
	if r.Debugging() {
		r.Debugf("auth delay handler")
	}
	if r.Client.Conn.Sleep(d) != nil {
		r.Infof("client prematurely closed connection")
		return ngx.Status(499)
	}
	return out
}

// end answers with what the phases came to, following error pages and internal redirects.
func (e *Engine) end(r *ngx.Request, out ngx.Outcome) {
	for {
		if r.Debugging() {
			debugEnd(r, out)
		}
		switch {
		case out == ngx.OK:
			return
		case out == ngx.Redirect:
			out = e.again(r)
		case out == ngx.Close && r.Replaced != 0:
			out, r.Replaced = ngx.Status(r.Replaced), 0
		case out == ngx.Close:
			e.abandon(r)
			return
		case out == ngx.Next:
			out = ngx.Status(500)
		default:
			out = e.special(r, int(out))
		}
	}
}

// abandon ends a request that can't be answered any more.
func (e *Engine) abandon(r *ngx.Request) {
	r.KeepAlive = false
	if r.Status == 0 {
		r.Status = 499
	}
	if r.IsMain() {
		r.Wire.Abandon(r)
	}
}

// again follows an internal redirect: to a named location or to a URI.
func (e *Engine) again(r *ngx.Request) ngx.Outcome {
	r.Internal = true
	r.Redirects++
	cycle := r.Redirects > maxRedirects
	if name := r.Named; name != "" {
		r.Named = ""
		if cycle {
			r.Errorf(`rewrite or internal redirection cycle while redirect to named location "%s"`, name)
			return ngx.Status(500)
		}
		return e.toNamed(r, name)
	}
	if cycle {
		r.Errorf(`rewrite or internal redirection cycle while internally redirecting to "%s"`, r.Path)
		return ngx.Status(500)
	}
	r.PathChanged, r.PathFree, r.BelowAlias = true, false, false
	if r.Debugging() {
		r.Debugf(`internal redirect: "%s?%s"`, r.Path, r.Args)
	}
	return e.server(r)
}

// toNamed goes on in a named location with the URI as it is.
func (e *Engine) toNamed(r *ngx.Request, name string) ngx.Outcome {
	if len(r.Path) == 0 {
		r.Errorf(`empty URI in redirect to named location "%s"`, name)
		return ngx.Status(500)
	}
	s := namedLocation(r, name)
	if r.Debugging() {
		r.Debugf(`test location: "%s"`, name)
	}
	if s == nil {
		r.Errorf(`could not find named location "%s"`, name)
		return ngx.Status(500)
	}
	r.Scope, r.HandlerLost = s, false
	if r.Debugging() {
		r.Debugf(`using location: %s "%s?%s"`, name, r.Path, r.Args)
	}
	if n := nodeOf(s); n.limit != nil && !n.limit.allows(r.Method) {
		r.Scope = n.limit.scope
	}
	switch out := e.rewrite(r); out {
	case ngx.Next:
		return e.content(r)
	case ngx.Redirect:
		if r.Redirects++; r.Redirects > maxRedirects {
			r.Errorf(`rewrite or internal redirection cycle while processing "%s"`, r.Path)
			return ngx.Status(500)
		}
		return e.locate(r)
	default:
		return out
	}
}

// special answers with a status: its error_page, else the built-in page.
// OK says that it was answered; other outcomes go on.
func (e *Engine) special(r *ngx.Request, status int) ngx.Outcome {
	if r.Debugging() {
		r.Debugf(`http special response: %d, "%s?%s"`, status, r.Path, r.Args)
	}
	if r.HeadSent {
		return ngx.Close // an answer broke off halfway
	}
	switch status {
	case 408, 444, 499: // nothing is answered
		r.Status = status
		return ngx.Close
	}
	closing(r, status)
	r.ErrorStatus = status
	conf := nodeOf(r.Scope).conf
	if conf.ErrorPages.IsSet() && !r.ErrorPage && r.Redirects <= maxRedirects {
		r.ErrorPage = !r.Scope.Core.RecursiveErrorPages.V
		for i := range conf.ErrorPages.V {
			if p := &conf.ErrorPages.V[i]; p.Status == status {
				return e.errorPage(r, p)
			}
		}
	}
	return e.builtin(r, status)
}

// closing ends keep-alive for the statuses behind which nginx doesn't trust the connection.
func closing(r *ngx.Request, status int) {
	switch status {
	case 400, 413, 414, 494, 495, 496, 497, 500, 501:
		r.KeepAlive = false
	}
}

// errorPage goes where error_page points.
func (e *Engine) errorPage(r *ngx.Request, p *ErrorPage) ngx.Outcome {
	if p.Overwrite >= 0 {
		r.ErrorStatus = p.Overwrite
	}
	if p.Named != "" {
		r.Named = p.Named
		return ngx.Redirect
	}
	uri := p.URI.Bytes(r)
	if len(uri) > 0 && uri[0] == '@' {
		r.Named = string(uri)
		return ngx.Redirect
	}
	if len(uri) > 0 && uri[0] == '/' {
		if string(r.Method) != "HEAD" {
			r.Method = []byte("GET")
		}
		r.SetTarget(uri)
		return ngx.Redirect
	}
	status := 302
	switch p.Overwrite {
	case 301, 302, 303, 307, 308:
		status = p.Overwrite
	}
	r.Out.Location = uri
	if refreshes(r) {
		status = 302 // nginx refreshes here whatever the redirect's status is
	}
	r.ErrorStatus = status
	return e.builtin(r, status)
}

// builtin sends nginx's own page.
func (e *Engine) builtin(r *ngx.Request, status int) ngx.Outcome {
	o := &r.Out
	o.Status, o.Reason = status, nil
	o.Length, o.ContentType, o.Charset = 0, nil, nil
	var zero ngx.Response
	o.LastModified = zero.LastModified
	o.AcceptRanges = false
	r.ClearETag()
	if out := r.DiscardBody(); out != ngx.Next {
		r.KeepAlive = false
		if out == ngx.Close {
			return out
		}
	}
	var page []byte
	if (status == 301 || status == 302) && refreshes(r) {
		page = appendRefresh(nil, o.Location)
		o.Status, o.Location, r.ErrorStatus = 200, nil, 0
	} else {
		page = appendPage(nil, r, status)
	}
	if status == 204 || len(page) == 0 {
		o.Length = 0
		if status == 204 {
			o.Length = -1
		}
	} else {
		o.Length, o.ContentType = int64(len(page)), []byte("text/html")
	}
	if r.SendHead() != nil || r.Write(page) != nil || r.Finish() != nil {
		return ngx.Close
	}
	return ngx.OK
}

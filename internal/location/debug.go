package location

import "limpet/internal/ngx"

// Where each phase's handlers begin in the list that nginx's default build makes, for the numbers in debug lines. A
// handler that has nothing to do isn't there, so that numbers are left out; those of Content go on from the first.
const (
	firstPostRead   = 0
	serverRewrite   = 1
	locationRewrite = 3
	postRewrite     = 4
	firstPreAccess  = 6
	firstAccess     = 8
	postAccess      = 11
	firstPreContent = 12
	firstContent    = 14
)

// The functions below write debug lines; whoever calls them has asked r.Debugging.

// debugPlace tells in which location's configuration the request is, and how large its body may be.
func debugPlace(r *ngx.Request, s *ngx.Scope) {
	sign, name := "", ""
	if loc := nodeOf(s).loc; loc != nil {
		if name = loc.Name; loc.Exact {
			sign = "="
		}
	}
	r.Debugf(`using configuration "%s%s"`, sign, name)
	r.Debugf("http cl:%d max:%d", r.Length, s.Core.ClientMaxBodySize.V)
}

// debugTest tells of a location that is looked at: the whole of its name, where nginx shows a part.
func debugTest(r *ngx.Request, s *ngx.Scope) {
	loc := nodeOf(s).loc
	switch {
	case loc == nil:
	case loc.Regexp != nil:
		r.Debugf(`test location: ~ "%s"`, loc.Name)
	default:
		r.Debugf(`test location: "%s"`, loc.Name)
	}
}

// debugPostRewrite tells whether rewrite changed the URI, and how often it may still.
func debugPostRewrite(r *ngx.Request, out ngx.Outcome) {
	if out != ngx.Next && out != ngx.Redirect {
		return
	}
	r.Debugf("post rewrite phase: %d", postRewrite)
	if out == ngx.Redirect {
		r.Debugf("uri changes: %d", maxRedirects+1-r.Redirects)
	}
}

// debugEnd tells with what a request, or a subrequest, comes to its end for the time being.
func debugEnd(r *ngx.Request, out ngx.Outcome) {
	code := int(out)
	switch out {
	case ngx.OK:
		code = 0
	case ngx.Redirect:
		return // told by whoever follows it
	case ngx.Close:
		code = -1
	case ngx.Next:
		code = 500
	}
	r.Debugf(`http finalize request: %d, "%s?%s" a:1, c:%d`, code, r.Path, r.Args, 1+r.Depth)
}

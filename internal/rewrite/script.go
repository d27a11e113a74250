package rewrite

import (
	"limpet/internal/errlog"
	"limpet/internal/ngx"
)

// state is a script's progress.
type state struct {
	out  ngx.Outcome
	done bool // nothing more is run
	// changed says that the URI was changed so that a location is looked for again.
	changed bool
	// quoted says that captures are escaped when the URI came with escapes: from
	// the script's beginning to the first `rewrite` that matches, as in nginx.
	quoted bool
}

// op is one operation of a script: it takes the state and returns the next one.
type op func(r *ngx.Request, st state) state

// newScript makes the step that runs a script.
func newScript(ops []op) ngx.Step {
	return func(r *ngx.Request) ngx.Outcome { return run(r, ops, state{quoted: true}).outcome() }
}

func run(r *ngx.Request, ops []op, st state) state {
	for _, op := range ops {
		st = op(r, st)
		if r.MatchFailed {
			r.MatchFailed = false
			return st.end(ngx.Status(500))
		}
		if st.done {
			break
		}
	}
	return st
}

func (st state) outcome() ngx.Outcome {
	if st.out == ngx.Next && st.changed {
		return ngx.Redirect
	}
	return st.out
}

// end ends the script and the phases with an outcome.
func (st state) end(out ngx.Outcome) state {
	st.out, st.done = out, true
	return st
}

// stop is `break`. A URI that was changed before stays in the location.
func stop(r *ngx.Request, st state) state {
	if st.changed {
		r.PathFree = true
	}
	if r.Debugging() {
		r.Debugf("http script break")
	}
	st.done, st.changed = true, false
	return st
}

// assign is `set`.
type assign struct {
	v    *ngx.Var
	text ngx.Text
}

func (a *assign) run(r *ngx.Request, st state) state {
	value := textBytes(&a.text, r, st.quoted)
	if r.Debugging() {
		r.Debugf(`http script value: "%s"`, value)
		r.Debugf("http script set $%s", a.v.Name)
	}
	a.v.Assign(r, value)
	return st
}

// branch is `if`.
type branch struct {
	cond  condition
	scope *ngx.Scope // becomes the request's; nil in a server
	body  []op
}

func (b *branch) run(r *ngx.Request, st state) state {
	ok := b.cond(r, st.quoted)
	if r.Debugging() {
		debugIf(r, ok)
	}
	if !ok {
		return st
	}
	if b.scope != nil {
		r.HandlerLost = b.scope.Handler == nil && (r.HandlerLost || r.Scope.Handler != nil)
		r.Scope = b.scope
	}
	return run(r, b.body, st)
}

// debugIf tells whether the block of an `if` is entered.
func debugIf(r *ngx.Request, ok bool) {
	if ok {
		r.Debugf("http script if")
	} else {
		r.Debugf("http script if: false")
	}
}

// change is `rewrite`.
type change struct {
	pattern  *ngx.Pattern
	path     ngx.Text // the whole replacement of a redirect
	args     ngx.Text
	hasArgs  bool // the replacement has a question mark
	keepArgs bool // the request's arguments come behind
	last     bool // ends the script
	stay     bool // break: no location is looked for
	status   int  // of a redirect, else 0
	log      bool
}

// run changes the URI within the server.
func (w *change) run(r *ngx.Request, st state) state {
	if !matchPattern(w.pattern, r, r.Path, w.log) {
		return st
	}
	r.Internal, r.PathChanged = true, true
	st.changed, st.done, st.quoted = !w.stay, w.last, false
	if w.stay {
		r.PathFree = true
	}
	path, args := w.path.Bytes(r), r.Args
	switch {
	case w.hasArgs:
		args = w.newArgs(r)
	case !w.keepArgs:
		args = nil
	}
	if r.Debugging() {
		r.Debugf(`http script regex end, uri: "%s", args: "%s"`, path, args)
	}
	if w.log {
		r.Logf(errlog.Notice, `rewritten data: "%s", args: "%s"`, path, args)
	}
	if len(path) == 0 {
		r.Errorf("the rewritten URI has a zero length")
		return st.end(ngx.Status(500))
	}
	r.Path, r.Args = path, args
	return st
}

func (w *change) newArgs(r *ngx.Request) []byte {
	args := textBytes(&w.args, r, true)
	if w.keepArgs && len(r.Args) > 0 {
		return join(r, args, '&', r.Args)
	}
	return args
}

// join puts a and b together with a sign between them.
func join(r *ngx.Request, a []byte, sign byte, b []byte) []byte {
	both := r.Alloc(len(a) + 1 + len(b))
	n := copy(both, a)
	both[n] = sign
	copy(both[n+1:], b)
	return both
}

// redirect answers with the replacement as the new location.
func (w *change) redirect(r *ngx.Request, st state) state {
	if !matchPattern(w.pattern, r, r.Path, w.log) {
		return st
	}
	url := decodeTarget(textBytes(&w.path, r, true))
	if w.keepArgs && len(r.Args) > 0 {
		mark := byte('?')
		if w.hasArgs {
			mark = '&'
		}
		url = join(r, url, mark, r.Args)
	}
	if r.Debugging() {
		r.Debugf(`http script regex end, redirect: "%s"`, url)
	}
	if w.log {
		r.Logf(errlog.Notice, `rewritten redirect: "%s"`, url)
	}
	r.Out.Location = url
	return st.end(ngx.Status(w.status))
}

// answer is `return`.
type answer struct {
	status int
	text   ngx.Text
	direct bool // answered by the script itself, not by the page of an error
}

func (a *answer) run(r *ngx.Request, st state) state {
	if r.Debugging() {
		r.Debugf("http script return %d", a.status)
	}
	if !a.direct {
		return st.end(ngx.Status(a.status))
	}
	text := a.text.Bytes(r)
	switch a.status {
	case 301, 302, 303, 307, 308:
		if text == nil {
			text = []byte{}
		}
		r.Out.Location = text
		return st.end(ngx.Status(a.status))
	}
	o := &r.Out
	o.Status, o.Reason, o.Length = a.status, nil, int64(len(text))
	r.SetType()
	if out := r.DiscardBody(); out != ngx.Next {
		return st.end(out)
	}
	if r.SendHead() != nil || len(text) > 0 && r.Write(text) != nil || r.Finish() != nil {
		return st.end(ngx.Close)
	}
	return st.end(ngx.OK)
}

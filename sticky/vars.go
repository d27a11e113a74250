package sticky

import "limpet/internal/ngx"

// Vars lists the variables that tell how a request found its peer.
func Vars() []ngx.Variable {
	list := func(name string, get func(b []byte, d *decision) []byte, doc string) ngx.Variable {
		return ngx.Variable{Name: name, Doc: doc, Get: func(r *ngx.Request, b []byte) ([]byte, bool) {
			d, ok := r.Sticky.(*decision)
			if !ok {
				return b, false
			}
			return appendTries(b, d, get), true
		}}
	}
	status := func(b []byte, d *decision) []byte { return append(b, d.reason.Status().String()...) }
	return []ngx.Variable{
		list("sticky_status", func(b []byte, d *decision) []byte {
			return append(status(b, d), '/', d.reason.client(), d.answer.letter())
		}, "NEW, HIT, MISS or MOVED for each try, and HAProxy's two letters for the cookie in the request and what was done to it in the answer."),
		list("sticky_reason", func(b []byte, d *decision) []byte { return append(b, d.reason.String()...) },
			"Why the request of each try went where it went."),
		list("upstream_sticky_status", status, "NEW, HIT, MISS or MOVED for each try, as Angie has it."),
	}
}

// appendTries appends an element a try, first to last.
func appendTries(b []byte, d *decision, get func(b []byte, d *decision) []byte) []byte {
	if d.before != nil {
		b = append(appendTries(b, d.before, get), ", "...)
	}
	return get(b, d)
}

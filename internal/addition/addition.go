// Package addition puts the answers of other requests before and behind an answer.
//
// It stands for nginx's ngx_http_addition_filter_module.
// https://nginx.org/en/docs/http/ngx_http_addition_module.html
package addition

import (
	"limpet/internal/ngx"
	conf "limpet/nginxconf"
)

// Conf is the configuration of the module at one level.
type Conf struct {
	Before, After conf.Opt[string]
	Types         conf.Opt[ngx.TypeSet]
}

// Directives lists the directives of the module.
func (c *Conf) Directives() []conf.Directive {
	return []conf.Directive{
		conf.Str("add_before_body", conf.HTTPServerLocation, &c.Before, "", "Names the URI whose answer goes before the body; empty for none."),
		conf.Str("add_after_body", conf.HTTPServerLocation, &c.After, "", "Names the URI whose answer goes behind the body; empty for none."),
		ngx.TypesRow("addition_types", conf.HTTPServerLocation, &c.Types, "text/html", "Sets the types of answers that get an addition, beside text/html."),
	}
}

// Module returns the filter.
func Module() ngx.Module {
	return ngx.Module{
		Name: "addition",
		Conf: func() conf.Settings { return new(Conf) },
		Scope: func(b *ngx.Build, s *ngx.Scope) error {
			if c := conf.Of[*Conf](s.Level); c.Before.V != "" || c.After.V != "" {
				s.Add(ngx.HeaderFilter, c.start)
			}
			return nil
		},
	}
}

// start is the header filter.
func (c *Conf) start(r *ngx.Request) ngx.Outcome {
	if r.Out.Status != 200 || !r.IsMain() || !c.Types.V.Has(r.Out.ContentType) {
		return ngx.Next
	}
	r.Changed()
	r.WeakenETag()
	if !r.HeaderOnly {
		r.AddFilter(&filter{before: []byte(c.Before.V), after: []byte(c.After.V)})
	}
	return ngx.Next
}

// filter runs the subrequests; their answers go where those of all subrequests go, past this request's own text filters.
type filter struct {
	next          ngx.Sink
	before, after []byte
}

// Chain implements ngx.BodyFilter.
func (f *filter) Chain(next ngx.Sink) { f.next = next }

// begin adds what goes before the body, once.
func (f *filter) begin(r *ngx.Request) {
	if len(f.before) > 0 {
		sub := r.Sub(f.before, nil)
		f.before = nil
		r.Engine.Subrequest(sub, r.Outer())
	}
}

// Write implements ngx.Sink.
func (f *filter) Write(r *ngx.Request, p []byte) error {
	f.begin(r)
	return f.next.Write(r, p)
}

// Flush implements ngx.Sink.
func (f *filter) Flush(r *ngx.Request) error { return f.next.Flush(r) }

// Finish implements ngx.Sink.
func (f *filter) Finish(r *ngx.Request) error {
	f.begin(r)
	if len(f.after) > 0 {
		r.Engine.Subrequest(r.Sub(f.after, nil), r.Outer())
	}
	return f.next.Finish(r)
}

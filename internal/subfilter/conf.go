// Package subfilter replaces strings in the bodies of answers.
//
// It stands for nginx's ngx_http_sub_filter_module.
// https://nginx.org/en/docs/http/ngx_http_sub_module.html
package subfilter

import (
	"errors"

	"limpet/internal/ngx"
	conf "limpet/nginxconf"
)

// Conf is the configuration of the module at one level.
type Conf struct {
	Subs         conf.List[sub]
	Types        conf.Opt[ngx.TypeSet]
	Once         conf.Opt[bool]
	LastModified conf.Opt[bool]
}

// sub is a string to look for, whatever the case of its letters, and what comes in its place.
type sub struct{ match, value ngx.Text }

// Directives lists the directives of the module.
func (c *Conf) Directives() []conf.Directive {
	return []conf.Directive{
		conf.Each("sub_filter", conf.HTTPServerLocation, conf.Args2, &c.Subs, parseSub, "Sets a string to replace and its replacement."),
		ngx.TypesRow("sub_filter_types", conf.HTTPServerLocation, &c.Types, "text/html", "Sets the types of answers that are looked at, beside text/html."),
		conf.Flag("sub_filter_once", conf.HTTPServerLocation, &c.Once, "on", "Replaces each string only where it comes first."),
		conf.Flag("sub_filter_last_modified", conf.HTTPServerLocation, &c.LastModified, "off", "Keeps the Last-Modified field of the original answer."),
	}
}

func parseSub(s *conf.Setting) (sub, error) {
	if s.Arg(0) == "" {
		return sub{}, errors.New("empty search pattern")
	}
	match, err := ngx.ParseText(s, s.Arg(0))
	if err != nil {
		return sub{}, err
	}
	value, err := ngx.ParseText(s, s.Arg(1))
	return sub{match, value}, err
}

// Module returns the filter.
func Module() ngx.Module {
	return ngx.Module{
		Name: "sub_filter",
		Conf: func() conf.Settings { return new(Conf) },
		Scope: func(b *ngx.Build, s *ngx.Scope) error {
			if c := conf.Of[*Conf](s.Level); len(c.Subs.V) > 0 {
				static := compile(c.Subs.V)
				s.Add(ngx.HeaderFilter, func(r *ngx.Request) ngx.Outcome { return start(r, c, static) })
			}
			return nil
		},
	}
}

// start is the header filter. static is the table of patterns without variables, nil where some have any.
func start(r *ngx.Request, c *Conf, static *table) ngx.Outcome {
	o := &r.Out
	if o.Length == 0 || !c.Types.V.Has(o.ContentType) {
		return ngx.Next
	}
	t := static
	if t == nil {
		if t = evaluate(r, c.Subs.V); len(t.patterns) == 0 {
			return ngx.Next
		}
	}
	if r.IsMain() {
		r.Changed()
		if c.LastModified.V {
			r.WeakenETag()
		} else {
			r.ClearLastModified()
			r.ClearETag()
		}
	}
	if !r.HeaderOnly {
		r.AddFilter(&filter{table: t, subs: c.Subs.V, once: c.Once.V, values: make([][]byte, len(t.patterns)), done: make([]bool, len(t.patterns))})
	}
	return ngx.Next
}

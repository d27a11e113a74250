// Package ssi runs the commands of Server Side Includes in the bodies of answers.
//
// It stands for nginx's ngx_http_ssi_filter_module.
// https://nginx.org/en/docs/http/ngx_http_ssi_module.html
//
// Included requests run one after another, each when its command is met, where
// nginx starts those without wait="yes" at once; the page comes out the same.
// Conditions nest, which nginx doesn't do.
package ssi

import (
	"limpet/internal/ngx"
	conf "limpet/nginxconf"
)

// Conf is the configuration of the module at one level.
type Conf struct {
	On           conf.Opt[bool]
	SilentErrors conf.Opt[bool]
	ValueLength  conf.Opt[int64]
	Types        conf.Opt[ngx.TypeSet]
	LastModified conf.Opt[bool]
}

// Directives lists the directives of the module.
func (c *Conf) Directives() []conf.Directive {
	const whole = "a page's text is passed on as it is read"
	recycled := conf.Flag("ssi_ignore_recycled_buffers", conf.HTTPServerLocation, new(conf.Opt[bool]), "", "Accepted without effect.")
	recycled.Why = whole
	chunk := conf.Size("ssi_min_file_chunk", conf.HTTPServerLocation, new(conf.Opt[int64]), "", "Accepted without effect.")
	chunk.Why = whole
	return []conf.Directive{
		conf.Flag("ssi", conf.HTTPServerLocation|conf.LocationIf, &c.On, "off", "Runs the SSI commands in answers."),
		conf.Flag("ssi_silent_errors", conf.HTTPServerLocation, &c.SilentErrors, "off", "Puts nothing in the place of a command that fails."),
		recycled,
		chunk,
		conf.Size("ssi_value_length", conf.HTTPServerLocation, &c.ValueLength, "256", "Bounds the length of a parameter's value."),
		ngx.TypesRow("ssi_types", conf.HTTPServerLocation, &c.Types, "text/html", "Sets the types of answers that are looked at, beside text/html."),
		conf.Flag("ssi_last_modified", conf.HTTPServerLocation, &c.LastModified, "off", "Keeps the Last-Modified field of the original answer."),
	}
}

// Module returns the filter.
func Module() ngx.Module {
	return ngx.Module{
		Name: "ssi",
		Conf: func() conf.Settings { return new(Conf) },
		Vars: vars,
		Scope: func(b *ngx.Build, s *ngx.Scope) error {
			c := conf.Of[*Conf](s.Level)
			if !c.On.V {
				return nil
			}
			s.Add(ngx.HeaderFilter, func(r *ngx.Request) ngx.Outcome { return start(r, c, b.Vars) })
			return nil
		},
	}
}

// start is the header filter.
func start(r *ngx.Request, c *Conf, vs *ngx.Vars) ngx.Outcome {
	o := &r.Out
	if o.Length == 0 || !c.Types.V.Has(o.ContentType) {
		return ngx.Next
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
		r.AddFilter(newFilter(r, c, vs))
	}
	return ngx.Next
}

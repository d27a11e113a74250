// Package unsupported keeps what --unsupported=warn skips from opening a hole. A
// location whose requests a missing module would answer (fastcgi_pass and its kin)
// answers 501 rather than with the files that happen to lie there, and the
// variables of such modules are empty. It is in no configuration without that option.
// https://nginx.org/en/docs/http/ngx_http_fastcgi_module.html
package unsupported

import (
	"limpet/internal/ngx"
	"limpet/nginxconf"
)

// Conf holds what was skipped at one level.
type Conf struct {
	handler string // the directive that would answer; "" for none
}

// Directives lists the handlers of modules that aren't there.
func (c *Conf) Directives() []nginxconf.Directive {
	var rows []nginxconf.Directive
	for _, name := range Handlers() {
		rows = append(rows, nginxconf.Call(name, nginxconf.Location|nginxconf.LocationIf|nginxconf.LimitExcept, nginxconf.AnyArgs, c.skip,
			"Is skipped with a warning; its location answers 501."))
	}
	return rows
}

func (c *Conf) skip(s *nginxconf.Setting) error {
	s.Warn(`directive "%s" is known but not supported, its location answers 501`, s.Name)
	c.handler = s.Name
	return nil
}

// Handlers returns the directives that make a location's requests another module's
// and that limpet doesn't do.
func Handlers() []string {
	return []string{"api", "fastcgi_pass", "grpc_pass", "js_content", "memcached_pass", "perl", "scgi_pass", "tunnel_pass", "uwsgi_pass"}
}

// Module returns the module; on is --unsupported=warn.
func Module(on bool) ngx.Module {
	if !on {
		return ngx.Module{Name: "unsupported"}
	}
	return ngx.Module{
		Name: "unsupported",
		Conf: func() nginxconf.Settings { return new(Conf) },
		Vars: vars,
		Scope: func(_ *ngx.Build, s *ngx.Scope) error {
			if name := nginxconf.Of[*Conf](s.Level).handler; name != "" {
				s.Handler = refuse(name)
			}
			return nil
		},
	}
}

func refuse(name string) ngx.Step {
	return func(r *ngx.Request) ngx.Outcome {
		r.Errorf(`"%s" is not supported, its location answers 501`, name)
		return ngx.Status(501)
	}
}

// vars lists the variables that stand in places where their directives don't, such
// as try_files and log_format.
func vars() []ngx.Variable {
	var list []ngx.Variable
	for _, name := range []string{"fastcgi_script_name", "fastcgi_path_info", "geoip_country_code", "geoip_country_code3", "geoip_country_name",
		"geoip_city", "geoip_region", "geoip_latitude", "geoip_longitude", "msie", "ancient_browser", "modern_browser", "slice_range", "http3"} {
		list = append(list, ngx.Variable{Name: name, Doc: "Is always empty; its module isn't there.",
			Get: func(_ *ngx.Request, b []byte) ([]byte, bool) { return b, false }})
	}
	return list
}

// Package unsupported keeps what --unsupported=warn skips from opening a hole. A
// location whose requests a missing module would answer (js_content, perl and their kin)
// answers 501 rather than with the files that happen to lie there, what keeps
// clients out is refused all the same, and the variables of missing modules are
// empty. It is in no configuration without that option.
// https://nginx.org/en/docs/http/ngx_http_perl_module.html
package unsupported

import (
	"fmt"

	"limpet/internal/ngx"
	"limpet/nginxconf"
)

// Conf holds what was skipped at one level.
type Conf struct {
	handler string // the directive that would answer; "" for none
}

// Directives lists the handlers and the guards of modules that aren't there.
func (c *Conf) Directives() []nginxconf.Directive {
	var rows []nginxconf.Directive
	for _, name := range Handlers() {
		rows = append(rows, nginxconf.Call(name, nginxconf.Location|nginxconf.LocationIf|nginxconf.LimitExcept, nginxconf.AnyArgs, c.skip,
			"Is skipped with a warning; its location answers 501."))
	}
	for _, name := range Guards() {
		rows = append(rows, nginxconf.Call(name, nginxconf.HTTPServerLocation|nginxconf.LocationIf|nginxconf.LimitExcept, nginxconf.AnyArgs, refuseGuard,
			"Is refused unless it is off."))
	}
	return rows
}

func (c *Conf) skip(s *nginxconf.Setting) error {
	s.Warn(`directive "%s" is known but not supported, its location answers 501`, s.Name)
	c.handler = s.Name
	return nil
}

func refuseGuard(s *nginxconf.Setting) error {
	if len(s.Args) > 0 && s.Arg(0) == "off" {
		return nil
	}
	return fmt.Errorf(`directive "%s" is known but not supported, and isn't skipped, as it keeps requests out`, s.Name)
}

// Handlers returns the directives that make a location's requests another module's
// and that limpet doesn't do.
func Handlers() []string {
	return []string{"api", "drizzle_pass", "dubbo_pass", "dyups_interface", "echo", "echo_duplicate", "echo_exec", "echo_location", "echo_location_async",
		"echo_request_body", "echo_subrequest", "echo_subrequest_async", "grpc_pass", "js_content", "memc_pass",
		"nchan_publisher", "nchan_subscriber", "perl", "postgres_pass", "prometheus", "push_stream_publisher", "push_stream_subscriber", "redis2_pass",
		"redis_pass", "report_uploads", "req_status_show", "rtmp_control", "rtmp_stat", "tfs_pass", "tunnel_pass", "upload_pass",
		"upstream_show", "vhost_traffic_status_display"}
}

// Guards returns the directives that keep requests out and that limpet doesn't do.
func Guards() []string {
	return []string{"DeniedUrl", "SecRulesEnabled", "auth_digest", "auth_jwt", "auth_jwt_require", "auth_ldap", "auth_oidc", "auth_pam", "auth_spnego",
		"js_access", "modsecurity"}
}

// Module returns the module; on is --unsupported=warn, others are the modules that are there.
func Module(on bool, others []ngx.Module) ngx.Module {
	if !on {
		return ngx.Module{Name: "unsupported"}
	}
	return ngx.Module{
		Name: "unsupported",
		Conf: func() nginxconf.Settings { return new(Conf) },
		Vars: func() []ngx.Variable { return missing(others) },
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

// missing lists the variables that stand in places where their directives don't,
// such as try_files and log_format, but for those that a module has.
func missing(others []ngx.Module) []ngx.Variable {
	defined := make(map[string]bool)
	for _, m := range others {
		if m.Vars != nil {
			for _, v := range m.Vars() {
				defined[v.Name] = true
			}
		}
	}
	var list []ngx.Variable
	for _, name := range []string{"ancient_browser", "geoip_city", "geoip_city_country_code",
		"geoip_country_code", "geoip_country_code3", "geoip_country_name", "geoip_latitude", "geoip_longitude", "geoip_region", "http2", "http3",
		"modern_browser", "msie", "slice_range", "upstream_cache_last_modified", "upstream_cache_status"} {
		if defined[name] {
			continue
		}
		list = append(list, ngx.Variable{Name: name, Doc: "Is always empty; its module isn't there.",
			Get: func(_ *ngx.Request, b []byte) ([]byte, bool) { return b, false }})
	}
	return list
}

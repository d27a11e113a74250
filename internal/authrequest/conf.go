package authrequest

import (
	"fmt"
	"strings"

	"limpet/internal/ngx"
	conf "limpet/nginxconf"
)

// Conf holds the directives of the auth_request module at one level.
type Conf struct {
	URI  conf.Opt[string] // "" for off
	Sets conf.List[assignment]
}

// assignment is one auth_request_set.
type assignment struct {
	v     *ngx.Var
	value ngx.Text
}

// Directives lists the directives of the auth_request module.
func (c *Conf) Directives() []conf.Directive {
	return []conf.Directive{
		conf.Custom("auth_request", conf.HTTPServerLocation, conf.Args1, &c.URI, func(s *conf.Setting) (string, error) {
			if s.Arg(0) == "off" {
				return "", nil
			}
			return s.Arg(0), nil
		}, "off", "Names the URI of the subrequest that decides on access."),
		conf.Each("auth_request_set", conf.HTTPServerLocation, conf.Args2, &c.Sets, parseSet, "Sets a variable when the subrequest has ended."),
	}
}

func parseSet(s *conf.Setting) (assignment, error) {
	var a assignment
	name, ok := strings.CutPrefix(s.Arg(0), "$")
	if !ok || name == "" {
		return a, fmt.Errorf(`invalid variable name "%s"`, s.Arg(0))
	}
	var err error
	if a.v, err = conf.Of[*ngx.VarConf](s.Level.Root()).Vars.Settable(name); err != nil {
		return a, err
	}
	a.value, err = ngx.ParseText(s, s.Arg(1))
	return a, err
}

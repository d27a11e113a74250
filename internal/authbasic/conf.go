package authbasic

import (
	"limpet/internal/ngx"
	conf "limpet/nginxconf"
)

// Conf holds the directives of the auth_basic module at one level.
type Conf struct {
	Realm    conf.Opt[ngx.Text]
	UserFile conf.Opt[ngx.Text]
}

// Directives lists the directives of the auth_basic module. auth_delay is the core's.
func (c *Conf) Directives() []conf.Directive {
	const in = conf.HTTPServerLocation | conf.LimitExcept
	return []conf.Directive{
		ngx.TextRow("auth_basic", in, &c.Realm, "off", "Asks clients for a user name and password."),
		conf.Custom("auth_basic_user_file", in, conf.Args1, &c.UserFile, func(s *conf.Setting) (ngx.Text, error) {
			return ngx.ParseText(s, s.Loader.ConfPath(s.Arg(0)))
		}, "", "Names the file of users and passwords."),
	}
}

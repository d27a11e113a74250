package access

import (
	"fmt"
	"net/netip"

	conf "limpet/nginxconf"
)

// Conf holds the directives of the access module at one level.
type Conf struct{ Rules conf.List[Rule] }

// Rule is one allow or deny.
type Rule struct {
	Deny bool
	All  bool
	Unix bool
	Net  netip.Prefix // where neither All nor Unix
}

// Directives lists the directives of the access module.
func (c *Conf) Directives() []conf.Directive {
	const in = conf.HTTPServerLocation | conf.LimitExcept
	return []conf.Directive{
		conf.Each("allow", in, conf.Args1, &c.Rules, parseRule, "Lets clients of an address or network in."),
		conf.Each("deny", in, conf.Args1, &c.Rules, parseRule, "Keeps clients of an address or network out."),
	}
}

func parseRule(s *conf.Setting) (Rule, error) {
	r := Rule{Deny: s.Name == "deny"}
	value := s.Arg(0)
	switch value {
	case "all":
		r.All = true
		return r, nil
	case "unix:":
		r.Unix = true
		return r, nil
	}
	var masked, ok bool
	if r.Net, masked, ok = conf.ParseCIDR(value); !ok {
		return r, fmt.Errorf(`invalid parameter "%s"`, value)
	}
	if masked {
		s.Warn("low address bits of %s are meaningless", value)
	}
	return r, nil
}

package userid

import (
	"strings"
	"time"

	"limpet/internal/ngx"
	conf "limpet/nginxconf"
)

// Words of userid.
const (
	modeOff = iota
	modeLog // cookies are read and none set
	modeV1
	modeOn
)

// Bits of userid_flags.
const (
	flagOff = 1 << (iota + 1)
	flagSecure
	flagHTTPOnly
	flagStrict
	flagLax
	flagNone
)

// Conf holds the directives of the userid module at one level.
type Conf struct {
	Mode    conf.Opt[int]
	Service conf.Opt[int]
	Name    conf.Opt[string]
	Domain  conf.Opt[string]
	Path    conf.Opt[string]
	P3P     conf.Opt[string]
	Expires conf.Opt[time.Duration]
	Flags   conf.Opt[uint32]
	Mark    conf.Opt[byte]

	state state // set when the configuration is built
}

// state is what the steps and variables of a configuration share.
type state struct {
	users ngx.Slot[*user]
	reset *ngx.Var
	made  *maker
}

// forever is userid_expires max.
const forever = time.Duration(1<<63 - 1)

// Directives lists the directives of the userid module.
func (c *Conf) Directives() []conf.Directive {
	const in = conf.HTTPServerLocation
	return []conf.Directive{
		conf.Enum("userid", in, &c.Mode, []conf.Word[int]{{Name: "off", Value: modeOff}, {Name: "log", Value: modeLog}, {Name: "v1", Value: modeV1}, {Name: "on", Value: modeOn}}, "off",
			"Sets cookies that tell clients apart."),
		conf.Num("userid_service", in, &c.Service, "", "Sets the number of the service in the cookies; the server's address without it."),
		conf.Str("userid_name", in, &c.Name, "uid", "Sets the cookie's name."),
		conf.Custom("userid_domain", in, conf.Args1, &c.Domain, orNone, "none", "Sets the cookie's domain."),
		conf.Str("userid_path", in, &c.Path, "/", "Sets the cookie's path."),
		conf.Custom("userid_expires", in, conf.Args1, &c.Expires, parseExpires, "off", "Sets how long browsers keep the cookie."),
		conf.Mask("userid_flags", in, &c.Flags, []conf.Word[uint32]{{Name: "off", Value: flagOff}, {Name: "secure", Value: flagSecure}, {Name: "httponly", Value: flagHTTPOnly},
			{Name: "samesite=strict", Value: flagStrict}, {Name: "samesite=lax", Value: flagLax}, {Name: "samesite=none", Value: flagNone}}, "off", "Sets attributes of the cookie.").Taking(conf.Args123),
		conf.Custom("userid_p3p", in, conf.Args1, &c.P3P, orNone, "none", "Sets the P3P field sent with the cookie."),
		conf.Custom("userid_mark", in, conf.Args1, &c.Mark, parseMark, "off", "Sets a mark by which changes of the other parameters make a new cookie of an old one."),
	}
}

func orNone(s *conf.Setting) (string, error) {
	if s.Arg(0) == "none" {
		return "", nil
	}
	return s.Arg(0), nil
}

func parseExpires(s *conf.Setting) (time.Duration, error) {
	switch s.Arg(0) {
	case "max":
		return forever, nil
	case "off":
		return 0, nil
	}
	d, ok := conf.ParseTime(s.Arg(0), false)
	if !ok {
		return 0, conf.Brief("invalid value")
	}
	return d, nil
}

func parseMark(s *conf.Setting) (byte, error) {
	word := s.Arg(0)
	if word == "off" {
		return 0, nil
	}
	const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789="
	if len(word) != 1 || !strings.Contains(letters, word) {
		return 0, conf.Brief(`value must be "off" or a single letter, digit or "="`)
	}
	return word[0], nil
}

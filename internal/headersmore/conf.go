package headersmore

import (
	"fmt"
	"strings"

	"limpet/internal/ngx"
	conf "limpet/nginxconf"
)

// Conf holds the directives of the module at one level. What an enclosing level has runs before a level's own.
type Conf struct {
	Out, In conf.List[rule]
}

// rule is one directive.
type rule struct {
	fields   []field
	statuses []int    // of answers that it is for; none for all
	types    []string // of answers, or of requests; none for all
	replace  bool     // only fields that are there get the value
	add      bool     // fields that are there stay
}

// field is a field that a rule sets.
type field struct {
	name   []byte
	text   string // the name
	id     ngx.HeaderID
	prefix bool // name is the beginning of all names that are meant; it came with a *
	value  ngx.Text
}

// Directives lists the directives of the module.
func (c *Conf) Directives() []conf.Directive {
	const in = conf.HTTPServerLocation | conf.LocationIf
	return []conf.Directive{
		conf.Each("more_set_headers", in, conf.Args1More, &c.Out, parser("sta", false), "Sets fields of answers, of any status unless -s names some."),
		conf.Each("more_clear_headers", in, conf.Args1More, &c.Out, parser("st", true), "Takes fields of answers away."),
		conf.Each("more_set_input_headers", in, conf.Args1More, &c.In, parser("tr", false), "Sets fields of requests at the end of the rewrite phase."),
		conf.Each("more_clear_input_headers", in, conf.Args1More, &c.In, parser("tr", true), "Takes fields of requests away at the end of the rewrite phase."),
	}
}

// Check puts the rules of the enclosing level before the level's own.
func (c *Conf) Check(lv *conf.Level) error {
	if lv.Parent == nil {
		return nil
	}
	outer := conf.Of[*Conf](lv.Parent)
	before(&c.Out, outer.Out.V)
	before(&c.In, outer.In.V)
	return nil
}

func before(l *conf.List[rule], outer []rule) {
	if l.Own && len(outer) > 0 {
		l.V = append(outer[:len(outer):len(outer)], l.V...)
	}
}

// parser makes the parser of a directive that takes some options, a letter each.
func parser(options string, clear bool) func(s *conf.Setting) (rule, error) {
	return func(s *conf.Setting) (rule, error) {
		var ru rule
		for i := 0; i < len(s.Args); i++ {
			arg := s.Arg(i)
			if !strings.HasPrefix(arg, "-") {
				if err := ru.parseField(s, arg, clear); err != nil {
					return ru, err
				}
				continue
			}
			if len(arg) != 2 || !strings.Contains(options, arg[1:]) {
				return ru, fmt.Errorf(`%s: invalid option name: "%s"`, s.Name, arg)
			}
			takes, err := ru.option(s, arg[1], i+1)
			if err != nil {
				return ru, err
			}
			i += takes
		}
		return ru, nil
	}
}

// option sets an option whose argument, if it takes one, is argument i; it returns how many it takes.
func (ru *rule) option(s *conf.Setting, letter byte, i int) (takes int, err error) {
	switch letter {
	case 'r':
		ru.replace = true
		return 0, nil
	case 'a':
		ru.add = true
		return 0, nil
	}
	if i == len(s.Args) {
		return 0, fmt.Errorf("%s: option -%c takes an argument.", s.Name, letter)
	}
	list := s.Arg(i)
	if letter == 't' {
		ru.types = append(ru.types, strings.FieldsFunc(list, func(c rune) bool { return c == ' ' || c == '\t' || c == ';' })...)
		return 1, nil
	}
	for _, word := range strings.Fields(list) {
		status := 0
		for _, c := range []byte(word) {
			if c < '0' || c > '9' {
				return 0, fmt.Errorf(`%s: invalid digit "%c" found in the status code list "%s"`, s.Name, c, list)
			}
			status = min(status*10+int(c-'0'), 1000)
		}
		ru.statuses = append(ru.statuses, status)
	}
	return 1, nil
}

// parseField reads `Name: value`, `Name:` or `Name`; the last two, and all of a directive that clears, take the field away.
func (ru *rule) parseField(s *conf.Setting, arg string, clear bool) error {
	name, value, _ := strings.Cut(arg, ":")
	name, value = strings.TrimSpace(name), strings.TrimLeft(value, " \t")
	if clear {
		value = ""
	}
	f := field{name: []byte(name), text: name}
	if strings.HasSuffix(name, "*") && (value == "" || s.Name == "more_set_headers") {
		if len(name) == 1 {
			return fmt.Errorf("%s: wildcard key too short: %s", s.Name, arg)
		}
		f.prefix = true
	}
	if name == "" {
		s.Warn(`"%s" names no field in "%s", ignored`, s.Name, arg)
		return nil
	}
	f.id = ngx.HeaderIDOf(f.name)
	if !strings.HasSuffix(s.Name, "_input_headers") && f.ofConnection(value) {
		s.Warn(`"%s" cannot change the field "%s" of answers, which the server writes itself, ignored`, s.Name, name)
		return nil
	}
	var err error
	f.value, err = ngx.ParseText(s, value)
	ru.fields = append(ru.fields, f)
	return err
}

// ofConnection reports the fields of answers that say how the client finds their end. An answer can be the connection's last.
func (f *field) ofConnection(value string) bool {
	switch f.id {
	case ngx.HeaderKeepAlive, ngx.HeaderTransferEncoding:
		return true
	case ngx.HeaderConnection:
		return !strings.EqualFold(value, "close") && !strings.Contains(value, "$")
	}
	return false
}

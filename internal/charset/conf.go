// Package charset names the character set of answers and converts from one to another.
//
// It stands for nginx's ngx_http_charset_filter_module.
// https://nginx.org/en/docs/http/ngx_http_charset_module.html
//
// As in nginx only tables of single-byte sets, and of those to UTF-8, can be
// given, and a compressed answer isn't converted.
package charset

import (
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"limpet/internal/ngx"
	conf "limpet/nginxconf"
)

// Conf is the configuration of the module at one level.
type Conf struct {
	Charset  conf.Opt[name]
	Source   conf.Opt[name]
	Override conf.Opt[bool]
	Types    conf.Opt[ngx.TypeSet]
	tables   []*table // at the http level
}

// name is what charset or source_charset says.
type name struct {
	off  bool
	text ngx.Text
}

// table converts between two character sets, in lower case.
type table struct {
	from, to string
	utf8     bool         // to is UTF-8
	there    [256]byte    // from from to to, where that isn't UTF-8
	back     [256]byte    // the other way
	wide     [256]string  // to UTF-8; "" for none
	narrow   map[rune]int // from UTF-8
}

// Directives lists the directives of the module.
func (c *Conf) Directives() []conf.Directive {
	in := conf.HTTPServerLocation | conf.LocationIf
	return []conf.Directive{
		conf.Custom("charset", in, conf.Args1, &c.Charset, parseName, "off", "Sets the character set of answers."),
		conf.Custom("source_charset", in, conf.Args1, &c.Source, parseName, "", "Sets the character set of answers as they are before, when they don't say."),
		conf.Flag("override_charset", in, &c.Override, "off", "Converts answers that come with a character set from a peer."),
		ngx.TypesRow("charset_types", conf.HTTPServerLocation, &c.Types, "text/html text/xml text/plain text/vnd.wap.wml application/javascript application/rss+xml",
			"Sets the types of answers that get a character set, beside text/html."),
		conf.Raw("charset_map", conf.HTTP, conf.Args2, c.addTable, "Gives the table of conversion from one character set to another."),
	}
}

func parseName(s *conf.Setting) (name, error) {
	if strings.EqualFold(s.Arg(0), "off") {
		return name{off: true}, nil
	}
	text, err := ngx.ParseText(s, s.Arg(0))
	return name{text: text}, err
}

// addTable reads a charset_map.
func (c *Conf) addTable(s *conf.Setting) error {
	t := &table{from: strings.ToLower(s.Arg(0)), to: strings.ToLower(s.Arg(1))}
	if t.from == t.to {
		return fmt.Errorf(`"charset_map" between the same charsets "%s" and "%s"`, s.Arg(0), s.Arg(1))
	}
	if have, _ := find(c.tables, t.from, t.to); have != nil {
		return fmt.Errorf(`duplicate "charset_map" between "%s" and "%s"`, s.Arg(0), s.Arg(1))
	}
	t.utf8 = t.to == "utf-8"
	t.narrow = make(map[rune]int)
	for i := range 256 {
		t.there[i], t.back[i] = '?', '?'
		if i < 0x80 {
			t.there[i], t.back[i], t.wide[i], t.narrow[rune(i)] = byte(i), byte(i), string(rune(i)), i
		}
	}
	if err := s.Entries(t.add); err != nil {
		return err
	}
	c.tables = append(c.tables, t)
	return nil
}

// add reads a line of a charset_map.
func (t *table) add(e *conf.Statement) error {
	if len(e.Args) != 1 {
		return errors.New("invalid parameters number")
	}
	invalid := func(v string) error { return fmt.Errorf(`invalid value "%s"`, v) }
	from, err := strconv.ParseUint(e.Name, 16, 8)
	if err != nil {
		return invalid(e.Name)
	}
	v := e.Args[0].Value
	if t.utf8 {
		b, err := hex.DecodeString(v)
		if err != nil || len(b) == 0 {
			return invalid(v)
		}
		t.wide[from] = string(b)
		for _, r := range string(b) {
			t.narrow[r] = int(from)
			break
		}
		return nil
	}
	to, err := strconv.ParseUint(v, 16, 8)
	if err != nil {
		return invalid(v)
	}
	t.there[from], t.back[to] = byte(to), byte(from)
	return nil
}

// find returns the table between two sets, and whether it is for the other direction.
func find(tables []*table, from, to string) (t *table, reverse bool) {
	for _, t := range tables {
		switch {
		case strings.EqualFold(t.from, from) && strings.EqualFold(t.to, to):
			return t, false
		case strings.EqualFold(t.from, to) && strings.EqualFold(t.to, from):
			return t, true
		}
	}
	return nil, false
}

// Check refuses a conversion that has no table.
func (c *Conf) Check(lv *conf.Level) error {
	from, ok := c.Source.V.text.Static()
	to, ok2 := c.Charset.V.text.Static()
	if lv.Context&(conf.Main|conf.HTTP) != 0 || !ok || !ok2 || len(from) == 0 || len(to) == 0 || strings.EqualFold(string(from), string(to)) {
		return nil
	}
	if t, _ := find(tablesOf(lv), string(from), string(to)); t == nil {
		return fmt.Errorf(`no "charset_map" between the charsets "%s" and "%s"`, from, to)
	}
	return nil
}

func tablesOf(lv *conf.Level) []*table {
	return conf.Of[*Conf](lv.Up(conf.HTTP)).tables
}

// Module returns the filter.
func Module() ngx.Module {
	return ngx.Module{
		Name: "charset",
		Conf: func() conf.Settings { return new(Conf) },
		Scope: func(b *ngx.Build, s *ngx.Scope) error {
			c, tables := conf.Of[*Conf](s.Level), tablesOf(s.Level)
			s.Add(ngx.HeaderFilter, func(r *ngx.Request) ngx.Outcome { return start(r, c, tables) })
			return nil
		},
	}
}

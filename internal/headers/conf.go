package headers

import (
	"fmt"
	"strings"
	"time"

	"limpet/internal/ngx"
	conf "limpet/nginxconf"
)

// Words of add_header_inherit and add_trailer_inherit.
const (
	inheritOff   = iota // nothing is taken over
	inheritOn           // all is taken over where the level has none
	inheritMerge        // the outer level's are added behind the level's own
)

// Conf holds the directives of the headers module at one level.
type Conf struct {
	Expires        conf.Opt[Expires]
	Headers        conf.List[Field]
	Trailers       conf.List[Field]
	HeaderInherit  conf.Opt[int]
	TrailerInherit conf.Opt[int]
}

// Field is one add_header or add_trailer.
type Field struct {
	Name   []byte
	ID     ngx.HeaderID
	Value  ngx.Text
	Always bool // whatever the status
}

// Directives lists the directives of the headers module.
func (c *Conf) Directives() []conf.Directive {
	const in = conf.HTTPServerLocation | conf.LocationIf
	words := []conf.Word[int]{{Name: "off", Value: inheritOff}, {Name: "on", Value: inheritOn}, {Name: "merge", Value: inheritMerge}}
	return []conf.Directive{
		conf.Custom("expires", in, conf.Args12, &c.Expires, parseExpires, "off", "Sets the Expires and Cache-Control fields of answers."),
		conf.Each("add_header", in, conf.Args23, &c.Headers, parseField, "Adds a field to the header of answers."),
		conf.Each("add_trailer", in, conf.Args23, &c.Trailers, parseField, "Adds a field behind the body of answers."),
		conf.Enum("add_header_inherit", in, &c.HeaderInherit, words, "on", "Says how add_header is taken over from the enclosing level."),
		conf.Enum("add_trailer_inherit", in, &c.TrailerInherit, words, "on", "Says how add_trailer is taken over from the enclosing level."),
	}
}

// Check applies add_header_inherit and add_trailer_inherit.
func (c *Conf) Check(lv *conf.Level) error {
	if lv.Parent == nil {
		return nil
	}
	outer := conf.Of[*Conf](lv.Parent)
	inherit(&c.Headers, outer.Headers.V, c.HeaderInherit.V)
	inherit(&c.Trailers, outer.Trailers.V, c.TrailerInherit.V)
	return nil
}

func inherit(l *conf.List[Field], outer []Field, how int) {
	switch {
	case how == inheritOff && !l.Own:
		l.V = nil
	case how == inheritMerge && l.Own:
		l.V = append(l.V[:len(l.V):len(l.V)], outer...)
	}
}

func parseField(s *conf.Setting) (Field, error) {
	f := Field{Name: []byte(s.Arg(0))}
	f.ID = ngx.HeaderIDOf(f.Name)
	var err error
	if f.Value, err = ngx.ParseText(s, s.Arg(1)); err != nil {
		return f, err
	}
	if len(s.Args) == 3 {
		if s.Arg(2) != "always" {
			return f, fmt.Errorf(`invalid parameter "%s"`, s.Arg(2))
		}
		f.Always = true
	}
	return f, nil
}

// expiry is what the Expires field is counted from.
type expiry int

const (
	expiresOff expiry = iota
	expiresEpoch
	expiresMax
	expiresAccess   // the time of the answer
	expiresModified // the file's modification
	expiresDaily    // a time of the day
)

// Expires is what expires says.
type Expires struct {
	kind expiry
	time time.Duration
	text *ngx.Text // a value with variables, read at each request; kind is then expiresModified or expiresOff
}

func parseExpires(s *conf.Setting) (Expires, error) {
	value := s.Arg(0)
	var e Expires
	if len(s.Args) == 2 {
		if value != "modified" {
			return e, errInvalid
		}
		e.kind = expiresModified
		value = s.Arg(1)
	}
	text, err := ngx.ParseText(s, value)
	if err != nil {
		return e, err
	}
	if _, static := text.Static(); !static {
		e.text = &text
		return e, nil
	}
	return readExpires(e.kind, value)
}

// errInvalid is nginx's answer to a value that is no time.
const errInvalid = conf.Brief("invalid value")

// readExpires reads a value; kind is expiresModified behind the word modified, else expiresOff.
func readExpires(kind expiry, value string) (Expires, error) {
	e := Expires{kind: kind}
	if kind != expiresModified {
		switch value {
		case "epoch":
			return Expires{kind: expiresEpoch}, nil
		case "max":
			return Expires{kind: expiresMax}, nil
		case "off":
			return Expires{}, nil
		}
		e.kind = expiresAccess
	}
	minus := false
	switch {
	case strings.HasPrefix(value, "@"):
		if kind == expiresModified {
			return e, conf.Brief(`daily time cannot be used with "modified" parameter`)
		}
		e.kind = expiresDaily
		value = value[1:]
	case strings.HasPrefix(value, "+"):
		value = value[1:]
	case strings.HasPrefix(value, "-"):
		minus = true
		value = value[1:]
	}
	var ok bool
	if e.time, ok = conf.ParseTime(value, false); !ok {
		return e, errInvalid
	}
	if e.kind == expiresDaily && e.time > 24*time.Hour {
		return e, conf.Brief("daily time value must be less than 24 hours")
	}
	if minus {
		e.time = -e.time
	}
	return e, nil
}

// Package location finds what serves a request: the virtual server by address
// and name, the location by path, and it runs the request through the phases of
// that place, error pages and internal redirects included.
//
// It stands for nginx's ngx_http.c, the tree part of ngx_http_core_module and
// ngx_http_special_response.c.
// https://nginx.org/en/docs/http/ngx_http_core_module.html
// https://nginx.org/en/docs/http/request_processing.html
package location

import (
	"fmt"
	"strings"

	"limpet/internal/ngx"
	"limpet/internal/rx"
	"limpet/nginxconf"
)

// Conf holds the directives that shape the tree and error_page.
type Conf struct {
	remap Remap

	Listens    nginxconf.List[Listen]
	Names      nginxconf.List[Name]
	Internal   nginxconf.Opt[bool]
	ErrorPages nginxconf.List[ErrorPage]

	NamesHashSize, NamesHashBucket nginxconf.Opt[int]
	VarsHashSize, VarsHashBucket   nginxconf.Opt[int]
	hasHTTP                        bool
	listens                        map[string]*noted // at the http level: the addresses read so far
}

// Directives lists the directives of the tree.
func (c *Conf) Directives() []nginxconf.Directive {
	return []nginxconf.Directive{
		nginxconf.Block("http", nginxconf.Main, nginxconf.HTTP, nginxconf.NoArgs, c.openHTTP, nil, "Holds the configuration of HTTP servers."),
		nginxconf.Block("server", nginxconf.HTTP, nginxconf.Server, nginxconf.NoArgs, openServer, closeServer, "Configures a virtual server."),
		nginxconf.Block("location", nginxconf.ServerLocation, nginxconf.Location, nginxconf.Args12, openLocation, nil, "Configures what serves the URIs that it matches."),
		nginxconf.Block("limit_except", nginxconf.Location, nginxconf.LimitExcept, nginxconf.Args1More, openLimitExcept, nil, "Configures what holds for all methods but the ones named."),
		nginxconf.Many("listen", nginxconf.Server, nginxconf.Args1More, &c.Listens, c.parseListen, "", "Sets an address and port on which the server accepts requests.").NoInherit(),
		nginxconf.Many("server_name", nginxconf.Server, nginxconf.Args1More, &c.Names, parseNames, "", "Sets the names of a virtual server.").NoInherit(),
		nginxconf.Custom("internal", nginxconf.Location, nginxconf.NoArgs, &c.Internal, func(*nginxconf.Setting) (bool, error) { return true, nil }, "",
			"Keeps requests from outside away from a location."),
		without("Linux has no low-water mark for sending", nginxconf.Custom("send_lowat", nginxconf.HTTPServerLocation, nginxconf.Args1, new(nginxconf.Opt[int64]), parseLowat, "",
			"Accepted without effect.")),
		hashSize("server_names_hash_max_size", &c.NamesHashSize, "512"),
		hashSize("server_names_hash_bucket_size", &c.NamesHashBucket, "64"),
		hashSize("variables_hash_max_size", &c.VarsHashSize, "1024"),
		hashSize("variables_hash_bucket_size", &c.VarsHashBucket, "64"),
		nginxconf.Many("error_page", nginxconf.HTTPServerLocation|nginxconf.LocationIf, nginxconf.Args2More, &c.ErrorPages, parseErrorPage, "", "Names the URI that answers in place of an error."),
	}
}

// without marks a row as one without effect.
func without(why string, d nginxconf.Directive) nginxconf.Directive {
	d.Why = why
	return d
}

func parseLowat(s *nginxconf.Setting) (int64, error) {
	n, ok := nginxconf.ParseSize(s.Arg(0))
	if !ok {
		return 0, nginxconf.Brief("invalid value")
	}
	s.Warn(`"%s" is not supported, ignored`, s.Name)
	return n, nil
}

// hashSize is a row for the size of a table of nginx's, which is checked and has no effect.
func hashSize(name string, field *nginxconf.Opt[int], def string) nginxconf.Directive {
	return without("Go's maps size themselves", nginxconf.Num(name, nginxconf.HTTP, field, def, "Accepted without effect."))
}

// Server is what a server{} keeps at its level.
type Server struct {
	Level    *nginxconf.Level
	Listens  []Listen
	Names    []Name
	Captures bool // a name with captures, for the log
}

// ServerNames implements ngx.Named.
func (s *Server) ServerNames() (names []string, patterns []*rx.Regexp) {
	for _, n := range nginxconf.Of[*Conf](s.Level).Names.V {
		if n.Re != nil {
			patterns = append(patterns, n.Re.Re)
		} else if n.Text != "" {
			names = append(names, n.Text)
		}
	}
	return names, patterns
}

// Location is what a location{} keeps at its level.
type Location struct {
	Level  *nginxconf.Level
	Name   string // without the modifier
	Exact  bool   // =
	Named  bool   // @
	NoRx   bool   // ^~
	Regexp *ngx.Pattern
}

// AliasOf implements ngx.Aliased.
func (l *Location) AliasOf() (cut int, regex, named bool) {
	return len(l.Name), l.Regexp != nil, l.Named
}

// IsPrefix implements ngx.Place.
func (l *Location) IsPrefix() bool { return l.Regexp == nil && !l.Named }

// limitExcept is what a limit_except{} keeps at its level.
type limitExcept struct{ methods []string }

func (c *Conf) openHTTP(s *nginxconf.Setting) error {
	if c.hasHTTP {
		return nginxconf.ErrDuplicate
	}
	c.hasHTTP = true
	return nil
}

func openServer(s *nginxconf.Setting) error {
	s.Inner.Data = &Server{Level: s.Inner}
	return nil
}

func closeServer(s *nginxconf.Setting) error { return nil }

func openLocation(s *nginxconf.Setting) error {
	loc, err := parseLocation(s)
	if err != nil {
		return err
	}
	loc.Level = s.Inner
	s.Inner.Data = loc
	outer, ok := s.Level.Data.(*Location)
	if !ok {
		return nil
	}
	switch {
	case outer.Exact:
		return fmt.Errorf(`location "%s" cannot be inside the exact location "%s"`, loc.Name, outer.Name)
	case outer.Named:
		return fmt.Errorf(`location "%s" cannot be inside the named location "%s"`, loc.Name, outer.Name)
	case loc.Named:
		return fmt.Errorf(`named location "%s" can be on the server level only`, loc.Name)
	case loc.Regexp == nil && !strings.HasPrefix(loc.Name, outer.Name):
		return fmt.Errorf(`location "%s" is outside location "%s"`, loc.Name, outer.Name)
	}
	return nil
}

// parseLocation reads the modifier and the name, apart or in one word.
func parseLocation(s *nginxconf.Setting) (*Location, error) {
	loc := &Location{}
	if len(s.Args) == 2 {
		loc.Name = s.Arg(1)
		switch s.Arg(0) {
		case "=":
			loc.Exact = true
		case "^~":
			loc.NoRx = true
		case "~":
			return loc, loc.compile(s, 0)
		case "~*":
			return loc, loc.compile(s, rx.Caseless)
		default:
			return nil, fmt.Errorf(`invalid location modifier "%s"`, s.Arg(0))
		}
		return loc, nil
	}
	name := s.Arg(0)
	switch {
	case strings.HasPrefix(name, "="):
		loc.Name, loc.Exact = name[1:], true
	case strings.HasPrefix(name, "^~"):
		loc.Name, loc.NoRx = name[2:], true
	case strings.HasPrefix(name, "~*"):
		loc.Name = name[2:]
		return loc, loc.compile(s, rx.Caseless)
	case strings.HasPrefix(name, "~"):
		loc.Name = name[1:]
		return loc, loc.compile(s, 0)
	default:
		loc.Name, loc.Named = name, strings.HasPrefix(name, "@")
	}
	return loc, nil
}

func (l *Location) compile(s *nginxconf.Setting, flags rx.Flags) error {
	p, err := ngx.ParsePattern(s, l.Name, flags)
	l.Regexp = p
	return err
}

func openLimitExcept(s *nginxconf.Setting) error {
	le := &limitExcept{}
	for i := range s.Args {
		switch m := strings.ToUpper(s.Arg(i)); m {
		case "GET":
			le.methods = append(le.methods, "GET", "HEAD")
		case "HEAD", "POST", "PUT", "DELETE", "MKCOL", "COPY", "MOVE", "OPTIONS", "PROPFIND", "PROPPATCH", "LOCK", "UNLOCK", "PATCH":
			le.methods = append(le.methods, m)
		default:
			return fmt.Errorf(`invalid method "%s"`, s.Arg(i))
		}
	}
	s.Inner.Data = le
	return nil
}

// ErrorPage is one status of an error_page directive.
type ErrorPage struct {
	Status int
	// Overwrite is the status sent in its place: -1 keeps it, 0 takes that of whatever answers.
	Overwrite int
	URI       ngx.Text
	Named     string // of a named location, else ""
}

func parseErrorPage(s *nginxconf.Setting) ([]ErrorPage, error) {
	uri, codes := s.Arg(len(s.Args)-1), s.Args[:len(s.Args)-1]
	overwrite := -1
	if last := codes[len(codes)-1].Value; strings.HasPrefix(last, "=") {
		if len(codes) == 1 {
			return nil, fmt.Errorf(`invalid value "%s"`, last)
		}
		overwrite = 0
		if last != "=" {
			n, ok := nginxconf.ParseNum(last[1:])
			if !ok {
				return nil, fmt.Errorf(`invalid value "%s"`, last)
			}
			overwrite = n
		}
		codes = codes[:len(codes)-1]
	}
	text, err := ngx.ParseText(s, uri)
	if err != nil {
		return nil, err
	}
	named := ""
	if strings.HasPrefix(uri, "@") {
		named = uri
	}
	var pages []ErrorPage
	for _, code := range codes {
		n, ok := nginxconf.ParseNum(code.Value)
		if !ok || n == 499 {
			return nil, fmt.Errorf(`invalid value "%s"`, code.Value)
		}
		if n < 300 || n > 599 {
			return nil, fmt.Errorf(`value "%s" must be between 300 and 599`, code.Value)
		}
		o := overwrite
		if o < 0 {
			switch n {
			case 494, 495, 496, 497:
				o = 400
			}
		}
		pages = append(pages, ErrorPage{n, o, text, named})
	}
	return pages, nil
}

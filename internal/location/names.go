package location

import (
	"fmt"
	"strings"
	"unicode"

	"limpet/internal/ngx"
	"limpet/internal/rx"
	"limpet/nginxconf"
)

// Name is one name of a server_name directive.
type Name struct {
	Text string // lower-case; as written for a regular expression
	Re   *ngx.Pattern
	bad  bool // not a name that a host can have
	File string
	Line int
}

func parseNames(s *nginxconf.Setting) ([]Name, error) {
	var names []Name
	for i := range s.Args {
		text := s.Arg(i)
		n := Name{Text: text, File: s.File, Line: s.Line}
		switch {
		case strings.HasPrefix(text, "~"):
			if err := n.compile(s); err != nil {
				return nil, err
			}
		case text == "":
		case text[0] == '*' && (len(text) < 3 || text[1] != '.'), text == ".":
			return nil, fmt.Errorf(`server name "%s" is invalid`, text)
		default:
			if strings.ContainsRune(text, '/') {
				s.Warn(`server name "%s" has suspicious symbols`, text)
			}
			n.bad = badWildcard(text)
			n.Text = strings.ToLower(text)
			if n.Text == "$hostname" {
				n.Text = hostname()
			}
		}
		names = append(names, n)
	}
	return names, nil
}

// badWildcard reports whether a name has an asterisk that isn't a whole label at
// one end, or an empty label. nginx minds only where an address has several servers.
func badWildcard(text string) bool {
	if strings.Contains(text, "..") {
		return true
	}
	if strings.HasPrefix(text, ".") {
		return false
	}
	inner, ok := strings.CutPrefix(text, "*.")
	if !ok {
		inner = strings.TrimSuffix(text, ".*")
	}
	return strings.Contains(inner, "*")
}

func (n *Name) compile(s *nginxconf.Setting) error {
	if n.Text == "~" {
		return fmt.Errorf(`empty regex in server name "%s"`, n.Text)
	}
	var flags rx.Flags
	if strings.ContainsFunc(n.Text, unicode.IsUpper) { // hosts are looked for in lower case
		flags = rx.Caseless
	}
	var err error
	n.Re, err = ngx.ParsePattern(s, n.Text[1:], flags)
	return err
}

// nameTable finds a virtual server by a host: exact names, then the longest
// wildcard at the front, the longest at the end, the first regular expression.
// https://nginx.org/en/docs/http/server_names.html
type nameTable struct {
	exact map[string]*ngx.Scope
	head  map[string]*ngx.Scope // "example.org" for *.example.org and .example.org
	tail  map[string]*ngx.Scope // "mail" for mail.*
	regex []regexName
}

type regexName struct {
	name  Name
	scope *ngx.Scope
}

// add adds a server's name; false means another server has it already.
func (t *nameTable) add(n Name, scope *ngx.Scope) bool {
	if n.Re != nil {
		t.regex = append(t.regex, regexName{n, scope})
		return true
	}
	if n.bad {
		return true
	}
	put := func(m *map[string]*ngx.Scope, key string) bool {
		if *m == nil {
			*m = make(map[string]*ngx.Scope)
		}
		if _, taken := (*m)[key]; taken {
			return false
		}
		(*m)[key] = scope
		return true
	}
	switch text := n.Text; {
	case strings.HasPrefix(text, "*."):
		return put(&t.head, text[2:])
	case strings.HasPrefix(text, "."):
		return put(&t.exact, text[1:]) && put(&t.head, text[1:])
	case strings.HasSuffix(text, ".*"):
		return put(&t.tail, text[:len(text)-2])
	default:
		return put(&t.exact, text)
	}
}

// find returns the server for a host in lower case, nil when none has the name.
func (t *nameTable) find(r *ngx.Request, host []byte) *ngx.Scope {
	if s := t.exact[string(host)]; s != nil {
		return s
	}
	if len(host) == 0 {
		return nil
	}
	if t.head != nil {
		for i, c := range host {
			if c == '.' && i > 0 {
				if s := t.head[string(host[i+1:])]; s != nil {
					return s
				}
			}
		}
	}
	if t.tail != nil {
		for i := len(host) - 1; i > 0; i-- {
			if host[i] == '.' {
				if s := t.tail[string(host[:i])]; s != nil {
					return s
				}
			}
		}
	}
	for i := range t.regex {
		n := &t.regex[i]
		if n.name.Re.Match(r, host) {
			return n.scope
		}
	}
	return nil
}

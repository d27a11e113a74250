package referer

import (
	"fmt"
	"strings"

	"limpet/internal/ngx"
	"limpet/internal/rx"
	conf "limpet/nginxconf"
)

// Conf holds the directives of the referer module at one level.
type Conf struct {
	Valid conf.List[referer]

	names    table    // of this level's directives, then also of server_names
	patterns patterns // of server_names
}

// patterns are regular expressions.
type patterns []*rx.Regexp

// kind is what a word of valid_referers is.
type kind int

const (
	kindName kind = iota
	kindPattern
	kindNone
	kindBlocked
	kindServerNames
)

// referer is one word of valid_referers.
type referer struct {
	kind kind
	name string // lower-case, perhaps with a wildcard
	uri  string // how the URI has to begin; "" for anyhow
	re   *rx.Regexp
}

// Directives lists the directives of the referer module.
func (c *Conf) Directives() []conf.Directive {
	const in = conf.ServerLocation
	var max, bucket conf.Opt[int]
	return []conf.Directive{
		conf.Many("valid_referers", in, conf.Args1More, &c.Valid, c.parse, "", "Names the referrers that $invalid_referer takes for valid."),
		withoutEffect(conf.Num("referer_hash_max_size", in, &max, "", "")),
		withoutEffect(conf.Num("referer_hash_bucket_size", in, &bucket, "", "")),
	}
}

// withoutEffect makes a row one whose value is checked and not used.
func withoutEffect(d conf.Directive) conf.Directive {
	d.Doc, d.Why = "Accepted without effect.", "the names are in Go maps"
	return d.NoInherit()
}

func (c *Conf) parse(s *conf.Setting) ([]referer, error) {
	var words []referer
	for i := range s.Args {
		word := s.Arg(i)
		switch word {
		case "none":
			words = append(words, referer{kind: kindNone})
			continue
		case "blocked":
			words = append(words, referer{kind: kindBlocked})
			continue
		case "server_names":
			words = append(words, referer{kind: kindServerNames})
			continue
		case "":
			return nil, fmt.Errorf(`invalid referer "%s"`, word)
		}
		r, err := c.parseName(word)
		if err != nil {
			return nil, err
		}
		words = append(words, r)
	}
	return words, nil
}

func (c *Conf) parseName(word string) (referer, error) {
	if pattern, ok := strings.CutPrefix(word, "~"); ok {
		if pattern == "" {
			return referer{}, fmt.Errorf(`empty regex in "%s"`, word)
		}
		re, err := rx.Compile(pattern, rx.Caseless)
		return referer{kind: kindPattern, re: re}, err
	}
	r := referer{name: word}
	if i := strings.IndexByte(word, '/'); i >= 0 {
		r.name, r.uri = word[:i], word[i:]
	}
	return r, c.names.add(r.name, r.uri)
}

// Check completes the names with those of the server and refuses none and blocked alone.
func (c *Conf) Check(lv *conf.Level) error {
	if !c.Valid.Own {
		if lv.Parent != nil {
			outer := conf.Of[*Conf](lv.Parent)
			c.names, c.patterns = outer.names, outer.patterns
		}
		return nil
	}
	usable := false
	for _, r := range c.Valid.V {
		switch r.kind {
		case kindName, kindServerNames:
			usable = true
		}
		if r.kind != kindServerNames {
			continue
		}
		named, ok := lv.Up(conf.Server).Data.(ngx.Named)
		if !ok {
			continue
		}
		names, patterns := named.ServerNames()
		c.patterns = patterns
		for _, n := range names {
			if err := c.names.add(n, ""); err != nil {
				return err
			}
		}
	}
	if !usable && c.accepts(kindNone, kindBlocked) {
		return conf.Errorf("", 0, `the "none" or "blocked" referers are specified in the "valid_referers" directive without any valid referer`)
	}
	return nil
}

// accepts reports whether one of the kinds is among the words.
func (c *Conf) accepts(kinds ...kind) bool {
	for _, r := range c.Valid.V {
		for _, k := range kinds {
			if r.kind == k {
				return true
			}
		}
	}
	return false
}

// table finds what a host's URI has to begin with: exact names, then the longest
// wildcard at the front, then the longest at the end.
type table struct {
	exact, head, tail map[string]string
}

// add files a name; wildcards are *.name, .name (the name itself, too) and name.* .
func (t *table) add(name, uri string) error {
	key := strings.ToLower(name)
	var exact, head, tail bool
	switch {
	case len(key) > 1 && key[0] == '.':
		key, exact, head = key[1:], true, true
	case len(key) > 2 && strings.HasPrefix(key, "*."):
		key, head = key[2:], true
	case len(key) > 2 && strings.HasSuffix(key, ".*"):
		key, tail = key[:len(key)-2], true
	default:
		exact = true
	}
	if strings.Contains(key, "*") || strings.Contains(key, "..") {
		return fmt.Errorf(`invalid hostname or wildcard "%s"`, name)
	}
	if exact && !put(&t.exact, key, uri) || head && !put(&t.head, key, uri) || tail && !put(&t.tail, key, uri) {
		return fmt.Errorf(`conflicting parameter "%s"`, name)
	}
	return nil
}

func put(m *map[string]string, key, uri string) bool {
	if *m == nil {
		*m = make(map[string]string)
	}
	if _, have := (*m)[key]; have {
		return false
	}
	(*m)[key] = uri
	return true
}

// find returns what the URI has to begin with for a host in lower case.
func (t *table) find(host []byte) (uri string, ok bool) {
	if uri, ok = t.exact[string(host)]; ok {
		return uri, true
	}
	for i, c := range host {
		if c == '.' {
			if uri, ok = t.head[string(host[i+1:])]; ok {
				return uri, true
			}
		}
	}
	for i := len(host) - 1; i > 0; i-- {
		if host[i] == '.' {
			if uri, ok = t.tail[string(host[:i])]; ok {
				return uri, true
			}
		}
	}
	return "", false
}

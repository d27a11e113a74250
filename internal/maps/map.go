package maps

import (
	"errors"
	"fmt"
	"strings"

	"limpet/internal/ngx"
	"limpet/internal/rx"
	"limpet/nginxconf"
)

// mapping is a map block.
type mapping struct {
	source    ngx.Text
	table     table
	regex     []regexEntry
	byDefault *ngx.Text
	hostnames bool
	volatile  bool
}

type regexEntry struct {
	pattern *ngx.Pattern
	value   *ngx.Text
}

func parseMap(s *nginxconf.Setting) error {
	m := &mapping{}
	var err error
	if m.source, err = ngx.ParseText(s, s.Arg(0)); err != nil {
		return err
	}
	d, err := define(s, s.Arg(1), m.get)
	if err != nil {
		return err
	}
	if err := s.Entries(func(e *nginxconf.Statement) error { return m.entry(s, words(e)) }); err != nil {
		return err
	}
	if !m.volatile {
		return d.keep(m.get)
	}
	return nil
}

// entry takes one line of the block.
func (m *mapping) entry(s *nginxconf.Setting, w []string) error {
	if len(w) == 1 {
		switch w[0] {
		case "hostnames":
			m.hostnames = true
			return nil
		case "volatile":
			m.volatile = true
			return nil
		}
	}
	if len(w) != 2 {
		return errors.New("invalid number of the map parameters")
	}
	value, err := ngx.ParseText(s, w[1])
	if err != nil {
		return err
	}
	key := w[0]
	switch {
	case key == "default":
		if m.byDefault != nil {
			return errors.New("duplicate default map parameter")
		}
		m.byDefault = &value
		return nil
	case strings.HasPrefix(key, "~"):
		return m.addRegex(s, key[1:], &value)
	}
	key = strings.ToLower(strings.TrimPrefix(key, `\`))
	if m.hostnames {
		return m.table.addHost(key, &value)
	}
	return m.table.addExact(key, &value)
}

func (m *mapping) addRegex(s *nginxconf.Setting, pattern string, value *ngx.Text) error {
	var flags rx.Flags
	if strings.HasPrefix(pattern, "*") {
		pattern, flags = pattern[1:], rx.Caseless
	}
	p, err := ngx.ParsePattern(s, pattern, flags)
	if err != nil {
		return err
	}
	m.regex = append(m.regex, regexEntry{p, value})
	return nil
}

// get is the variable's getter.
func (m *mapping) get(r *ngx.Request, dst []byte) ([]byte, bool) {
	if v := m.find(r, m.source.Bytes(r)); v != nil {
		return v.Append(r, dst), true
	}
	return dst, true
}

// find returns the value for a key: by text, then by the first regular expression, then the default.
func (m *mapping) find(r *ngx.Request, key []byte) *ngx.Text {
	if m.hostnames && len(key) > 0 && key[len(key)-1] == '.' {
		key = key[:len(key)-1]
	}
	if v := m.table.find(lowered(r, key)); v != nil {
		return v
	}
	for i := range m.regex {
		if e := &m.regex[i]; e.pattern.Match(r, key) {
			return e.value
		}
	}
	return m.byDefault
}

// lowered returns a key in lower case, a copy only where that is needed.
func lowered(r *ngx.Request, key []byte) []byte {
	for i, c := range key {
		if c < 'A' || c > 'Z' {
			continue
		}
		low := r.Copy(key)
		for ; i < len(low); i++ {
			if c := low[i]; 'A' <= c && c <= 'Z' {
				low[i] = c | 0x20
			}
		}
		return low
	}
	return key
}

// table finds values by exact keys and by wildcards of host names: the longest
// one at the front, then the longest at the end.
// https://nginx.org/en/docs/http/ngx_http_map_module.html#map
type table struct {
	exact map[string]*ngx.Text
	head  map[string]*ngx.Text // "example.org" for *.example.org
	tail  map[string]*ngx.Text // "www" for www.*
}

func conflict(key string) error { return fmt.Errorf(`conflicting parameter "%s"`, key) }

func put(m *map[string]*ngx.Text, key string, v *ngx.Text) bool {
	if *m == nil {
		*m = make(map[string]*ngx.Text)
	}
	if _, taken := (*m)[key]; taken {
		return false
	}
	(*m)[key] = v
	return true
}

func (t *table) addExact(key string, v *ngx.Text) error {
	if !put(&t.exact, key, v) {
		return conflict(key)
	}
	return nil
}

// addHost adds a host name, a name for it and all below it that begins with a dot, or a wildcard.
func (t *table) addHost(key string, v *ngx.Text) error {
	stars := strings.Count(key, "*")
	bad := fmt.Errorf(`invalid hostname or wildcard "%s"`, key)
	if stars > 1 || strings.Contains(key, "..") || strings.Contains(key, "\x00") {
		return bad
	}
	ok := false
	switch {
	case len(key) > 1 && key[0] == '.':
		ok = put(&t.exact, key[1:], v) && put(&t.head, key[1:], v)
	case len(key) > 2 && strings.HasPrefix(key, "*."):
		ok = put(&t.head, key[2:], v)
	case len(key) > 2 && strings.HasSuffix(key, ".*"):
		ok = put(&t.tail, key[:len(key)-2], v)
	case stars > 0:
		return bad
	default:
		return t.addExact(key, v)
	}
	if !ok {
		return conflict(key)
	}
	return nil
}

// find returns the value of a key in lower case, nil for none.
func (t *table) find(key []byte) *ngx.Text {
	if v := t.exact[string(key)]; v != nil {
		return v
	}
	if t.head != nil {
		for i, c := range key {
			if c == '.' && i > 0 {
				if v := t.head[string(key[i+1:])]; v != nil {
					return v
				}
			}
		}
	}
	if t.tail != nil {
		for i := len(key) - 1; i > 0; i-- {
			if key[i] == '.' {
				if v := t.tail[string(key[:i])]; v != nil {
					return v
				}
			}
		}
	}
	return nil
}

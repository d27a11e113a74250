package healthcheck

import (
	"bytes"
	"errors"
	"fmt"
	"strings"

	"limpet/internal/ngx"
	"limpet/internal/rx"
	"limpet/nginxconf"
)

// match is a match block: what an answer must be like. All its tests must hold.
// https://nginx.org/en/docs/http/ngx_http_upstream_hc_module.html#match
type match struct {
	name     string
	statuses []statusTest
	headers  []headerTest
	bodies   []bodyTest
	require  []ngx.Text
}

// statusTest is a status directive: codes and ranges, or none of them.
type statusTest struct {
	not    bool
	ranges [][2]int
}

// headerTest is a header directive.
type headerTest struct {
	name  string
	not   bool // absent, or no field's value agrees
	value *string
	re    *rx.Regexp
}

// bodyTest is a body directive.
type bodyTest struct {
	not bool
	re  *rx.Regexp
}

// openMatch opens a match block; c is that of the http level.
func (c *Conf) openMatch(s *nginxconf.Setting) error {
	name := s.Arg(0)
	if c.matches[name] != nil {
		return fmt.Errorf(`duplicate match "%s"`, name)
	}
	if c.matches == nil {
		c.matches = make(map[string]*match)
	}
	m := &match{name: name}
	c.matches[name] = m
	s.Inner.Data = m
	return nil
}

func matchOf(s *nginxconf.Setting) *match { return s.Level.Data.(*match) }

func parseMatchStatus(s *nginxconf.Setting) error {
	var t statusTest
	for i := range s.Args {
		word := s.Arg(i)
		if word == "!" && i == 0 && len(s.Args) > 1 {
			t.not = true
			continue
		}
		lo, hi, isRange := strings.Cut(word, "-")
		if !isRange {
			hi = lo
		}
		from, ok1 := nginxconf.ParseNum(lo)
		to, ok2 := nginxconf.ParseNum(hi)
		if !ok1 || !ok2 || from < 100 || to > 599 || from > to {
			return fmt.Errorf(`invalid status "%s"`, word)
		}
		t.ranges = append(t.ranges, [2]int{from, to})
	}
	m := matchOf(s)
	m.statuses = append(m.statuses, t)
	return nil
}

func parseMatchHeader(s *nginxconf.Setting) error {
	var t headerTest
	switch {
	case len(s.Args) == 1:
		t.name = s.Arg(0)
	case len(s.Args) == 2 && s.Arg(0) == "!":
		t.name, t.not = s.Arg(1), true
	case len(s.Args) == 3:
		t.name = s.Arg(0)
		op, value := s.Arg(1), s.Arg(2)
		t.not = strings.HasPrefix(op, "!")
		switch strings.TrimPrefix(op, "!") {
		case "=":
			t.value = &value
		case "~":
			re, err := rx.Compile(value, 0)
			if err != nil {
				return err
			}
			t.re = re
		default:
			return fmt.Errorf(`invalid operator "%s"`, op)
		}
	default:
		return nginxconf.Brief("is invalid")
	}
	m := matchOf(s)
	m.headers = append(m.headers, t)
	return nil
}

func parseMatchBody(s *nginxconf.Setting) error {
	if op := s.Arg(0); op != "~" && op != "!~" {
		return fmt.Errorf(`invalid operator "%s"`, op)
	}
	re, err := rx.Compile(s.Arg(1), 0)
	if err != nil {
		return err
	}
	m := matchOf(s)
	m.bodies = append(m.bodies, bodyTest{s.Arg(0) == "!~", re})
	return nil
}

func parseMatchRequire(s *nginxconf.Setting) error {
	m := matchOf(s)
	for i := range s.Args {
		if !strings.HasPrefix(s.Arg(i), "$") {
			return fmt.Errorf(`invalid variable name "%s"`, s.Arg(i))
		}
		t, err := ngx.ParseText(s, s.Arg(i))
		if err != nil {
			return err
		}
		m.require = append(m.require, t)
	}
	return nil
}

// What of an answer didn't agree.
var (
	errMatchHeader  = errors.New("header")
	errMatchBody    = errors.New("body")
	errMatchRequire = errors.New("variables")
)

// status reports whether the status agrees: with the block's tests, else 2xx and 3xx.
func (m *match) status(code int) bool {
	if m == nil || len(m.statuses) == 0 {
		return code >= 200 && code <= 399
	}
	for _, t := range m.statuses {
		in := false
		for _, r := range t.ranges {
			in = in || r[0] <= code && code <= r[1]
		}
		if in == t.not {
			return false
		}
	}
	return true
}

func (m *match) header(h *ngx.Header) bool {
	for _, t := range m.headers {
		if t.agrees(h) == t.not {
			return false
		}
	}
	return true
}

// agrees reports whether any field of the name is as the test says, before a negation.
func (t *headerTest) agrees(h *ngx.Header) bool {
	for i := range h.Fields {
		f := &h.Fields[i]
		if !ngx.EqualFold(f.Name, t.name) {
			continue
		}
		switch {
		case t.value != nil:
			if string(f.Value) == *t.value {
				return true
			}
		case t.re != nil:
			if _, ok := t.re.Match(f.Value, nil); ok {
				return true
			}
		default:
			return true
		}
	}
	return false
}

func (m *match) body(b []byte) bool {
	for _, t := range m.bodies {
		if _, ok := t.re.Match(b, nil); ok == t.not {
			return false
		}
	}
	return true
}

// holds reports whether a value is neither empty nor 0, which is what require and test ask for.
func holds(b []byte) bool { return len(b) > 0 && !bytes.Equal(b, []byte("0")) }

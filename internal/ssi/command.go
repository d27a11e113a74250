package ssi

import (
	"bytes"
	"fmt"

	"limpet/internal/ngx"
)

// Results of parsing a command.
const (
	parseGood = iota
	parseMore // its end isn't there yet
	parseBad
)

// command is a parsed command.
type command struct {
	name    string
	params  []param
	problem string // why it is bad
}

type param struct {
	name  string
	value []byte
}

// get returns a parameter's value; false when it wasn't given.
func (c *command) get(name string) ([]byte, bool) {
	for _, p := range c.params {
		if p.name == name {
			return p.value, true
		}
	}
	return nil, false
}

// structural reports the commands that count in a branch not chosen, too.
func (c *command) structural() bool {
	switch c.name {
	case "if", "elif", "else", "endif", "block", "endblock":
		return true
	}
	return false
}

// parseCommand parses a command at the beginning of p, which begins with the
// opening. n is its length; a bad one ends with the next closing.
func parseCommand(p []byte, maxValue int) (cmd *command, n, state int) {
	s := &scanner{b: p, i: len(opening)}
	cmd = &command{}
	if !s.command(cmd, maxValue) {
		if s.i >= len(p) && cmd.problem == "" {
			return nil, 0, parseMore
		}
		end := bytes.Index(p[min(s.i, len(p)):], []byte(closing))
		if end < 0 {
			return nil, 0, parseMore
		}
		return cmd, s.i + end + len(closing), parseBad
	}
	return cmd, s.i, parseGood
}

// scanner reads a command's text. Its methods return false when bytes are missing or wrong; the latter is noted.
type scanner struct {
	b []byte
	i int
}

func (s *scanner) blanks() bool {
	for s.i < len(s.b) && (s.b[s.i] == ' ' || s.b[s.i] == '\r' || s.b[s.i] == '\n' || s.b[s.i] == '\t') {
		s.i++
	}
	return s.i < len(s.b)
}

func (s *scanner) word() string {
	start := s.i
	for s.i < len(s.b) && 'a' <= s.b[s.i] && s.b[s.i] <= 'z' {
		s.i++
	}
	return string(s.b[start:s.i])
}

// closed reports whether the closing is here and takes it; missing says that it may be, with more bytes.
func (s *scanner) closed() (yes, missing bool) {
	rest := s.b[s.i:]
	if bytes.HasPrefix(rest, []byte(closing)) {
		s.i += len(closing)
		return true, false
	}
	if len(rest) < len(closing) && string(rest) == closing[:len(rest)] {
		s.i = len(s.b)
		return false, true
	}
	return false, false
}

func (s *scanner) command(cmd *command, maxValue int) bool {
	if !s.blanks() {
		return false
	}
	if cmd.name = s.word(); s.i == len(s.b) {
		return false
	}
	if cmd.name == "" {
		cmd.problem = fmt.Sprintf(`unexpected "%c" symbol in SSI command`, s.b[s.i])
		return false
	}
	for {
		spaced := s.i
		if !s.blanks() {
			return false
		}
		spaced = s.i - spaced
		yes, missing := s.closed()
		if yes || missing {
			return yes
		}
		if spaced == 0 && len(cmd.params) == 0 {
			cmd.problem = fmt.Sprintf(`unexpected "%c" symbol in "%s" SSI command`, s.b[s.i], cmd.name)
			return false
		}
		if !s.param(cmd, maxValue) {
			return false
		}
	}
}

func (s *scanner) param(cmd *command, maxValue int) bool {
	var p param
	unexpected := func() bool {
		cmd.problem = fmt.Sprintf(`unexpected "%c" symbol in "%s" parameter of "%s" SSI command`, s.b[s.i], p.name, cmd.name)
		return false
	}
	if p.name = s.word(); s.i == len(s.b) {
		return false
	}
	if p.name == "" {
		return unexpected()
	}
	if !s.blanks() {
		return false
	}
	if s.b[s.i] != '=' {
		return unexpected()
	}
	s.i++
	if !s.blanks() {
		return false
	}
	quote := s.b[s.i]
	if quote != '"' && quote != '\'' {
		return unexpected()
	}
	for s.i++; s.i < len(s.b) && s.b[s.i] != quote; s.i++ {
		if s.b[s.i] == '\\' && s.i+1 < len(s.b) {
			p.value = append(p.value, '\\')
			s.i++
		}
		if len(p.value) >= maxValue {
			cmd.problem = fmt.Sprintf(`too long "%s%c..." value of "%s" parameter in "%s" SSI command`, p.value, s.b[s.i], p.name, cmd.name)
			return false
		}
		p.value = append(p.value, s.b[s.i])
	}
	if s.i == len(s.b) {
		return false
	}
	s.i++
	cmd.params = append(cmd.params, p)
	return true
}

// runner runs a command; false puts the message of errors in its place, an error ends the answer.
type runner func(f *filter, r *ngx.Request, cmd *command) (bool, error)

// check returns what runs the command once its name and parameters are found right; what isn't is logged.
func (c *command) check(r *ngx.Request) (runner, bool) {
	var run runner
	var known []string // those that must be there end in !
	switch c.name {
	case "include":
		run, known = include, []string{"virtual", "file", "wait", "set", "stub"}
	case "echo":
		run, known = echo, []string{"var!", "default", "encoding"}
	case "config":
		run, known = config, []string{"errmsg", "timefmt"}
	case "set":
		run, known = set, []string{"var!", "value!"}
	case "if":
		run, known = ifCommand, []string{"expr!"}
	case "elif":
		run, known = elif, []string{"expr!"}
	case "else":
		run = elseCommand
	case "endif":
		run = endif
	case "block":
		run, known = blockCommand, []string{"name!"}
	case "endblock":
		run = endblock
	default:
		r.Errorf(`invalid SSI command: "%s"`, c.name)
		return nil, false
	}
	return run, c.checkParams(r, known)
}

func (c *command) checkParams(r *ngx.Request, known []string) bool {
	for i, p := range c.params {
		ok := false
		for _, k := range known {
			ok = ok || k == p.name || k == p.name+"!"
		}
		if !ok {
			r.Errorf(`invalid parameter name: "%s" in "%s" SSI command`, p.name, c.name)
			return false
		}
		for _, q := range c.params[:i] {
			if q.name == p.name {
				r.Errorf(`duplicate "%s" parameter in "%s" SSI command`, p.name, c.name)
				return false
			}
		}
	}
	for _, k := range known {
		if name, must := bytes.CutSuffix([]byte(k), []byte("!")); must {
			if _, ok := c.get(string(name)); !ok {
				r.Errorf(`mandatory "%s" parameter is absent in "%s" SSI command`, name, c.name)
				return false
			}
		}
	}
	return true
}

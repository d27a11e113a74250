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
	cmd = &command{}
	s := &scanner{b: p, i: len(opening), cmd: cmd}
	if !s.command(maxValue) {
		if cmd.problem == "" {
			return nil, 0, parseMore
		}
		end := bytes.Index(p[s.i:], []byte(closing))
		if end < 0 {
			return nil, 0, parseMore
		}
		return cmd, s.i + end + len(closing), parseBad
	}
	return cmd, s.i, parseGood
}

// maxName bounds the names of commands and parameters.
const maxName = 32

// scanner reads a command's text. Its methods return false when bytes are missing or wrong; the latter is noted.
type scanner struct {
	b   []byte
	i   int
	cmd *command
}

func isBlank(c byte) bool { return c == ' ' || c == '\r' || c == '\n' || c == '\t' }

// blanks passes over blanks and reports whether something follows.
func (s *scanner) blanks() bool {
	for s.i < len(s.b) && isBlank(s.b[s.i]) {
		s.i++
	}
	return s.i < len(s.b)
}

// bad notes what is wrong with the byte at hand.
func (s *scanner) bad(format string, args ...any) bool {
	s.cmd.problem = fmt.Sprintf(`unexpected "%c" symbol `, s.b[s.i]) + fmt.Sprintf(format, args...) + fmt.Sprintf(` "%s" SSI command`, s.cmd.name)
	return false
}

// end reads the closing, whose first byte is here.
func (s *scanner) end() bool {
	for _, c := range []byte(closing) {
		if s.i == len(s.b) {
			return false
		}
		if s.b[s.i] != c {
			return s.bad("in")
		}
		s.i++
	}
	return true
}

func (s *scanner) command(maxValue int) bool {
	if !s.blanks() {
		return false
	}
	start := s.i
	for s.i++; s.i < len(s.b) && !isBlank(s.b[s.i]) && s.b[s.i] != '-'; s.i++ {
		if s.i-start == maxName {
			s.cmd.problem = fmt.Sprintf(`the "%s..." SSI command is too long`, s.b[start:s.i+1])
			return false
		}
	}
	s.cmd.name = string(s.b[start:s.i])
	for {
		if !s.blanks() {
			return false
		}
		if s.b[s.i] == '-' {
			return s.end()
		}
		if !s.param(maxValue) || s.i == len(s.b) {
			return false
		}
		if !isBlank(s.b[s.i]) && s.b[s.i] != '-' {
			p := s.cmd.params[len(s.cmd.params)-1]
			return s.bad(`after "%s" value of "%s" parameter in`, p.value, p.name)
		}
	}
}

// param reads name="value" or name='value'.
func (s *scanner) param(maxValue int) bool {
	start := s.i
	for ; s.i < len(s.b) && !isBlank(s.b[s.i]) && s.b[s.i] != '='; s.i++ {
		switch {
		case s.b[s.i] == '-':
			return s.bad(`in "%s" parameter in`, s.b[start:s.i])
		case s.i-start == maxName:
			s.cmd.problem = fmt.Sprintf(`too long "%s..." parameter in "%s" SSI command`, s.b[start:s.i+1], s.cmd.name)
			return false
		}
	}
	p := param{name: string(s.b[start:s.i])}
	if !s.blanks() {
		return false
	}
	if s.b[s.i] != '=' {
		return s.bad(`after "%s" parameter in`, p.name)
	}
	s.i++
	if !s.blanks() {
		return false
	}
	quote := s.b[s.i]
	if quote != '"' && quote != '\'' {
		return s.bad(`before value of "%s" parameter in`, p.name)
	}
	for s.i++; s.i < len(s.b) && s.b[s.i] != quote; s.i++ {
		if s.b[s.i] == '\\' && s.i+1 < len(s.b) {
			p.value = append(p.value, '\\')
			s.i++
		}
		if len(p.value) >= maxValue {
			s.cmd.problem = fmt.Sprintf(`too long "%s%c..." value of "%s" parameter in "%s" SSI command`, p.value, s.b[s.i], p.name, s.cmd.name)
			return false
		}
		p.value = append(p.value, s.b[s.i])
	}
	if s.i == len(s.b) {
		return false
	}
	s.i++
	s.cmd.params = append(s.cmd.params, p)
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
		logError(r, `invalid SSI command: "%s"`, c.name)
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
			logError(r, `invalid parameter name: "%s" in "%s" SSI command`, p.name, c.name)
			return false
		}
		for _, q := range c.params[:i] {
			if q.name == p.name {
				logError(r, `duplicate "%s" parameter in "%s" SSI command`, p.name, c.name)
				return false
			}
		}
	}
	for _, k := range known {
		if name, must := bytes.CutSuffix([]byte(k), []byte("!")); must {
			if _, ok := c.get(string(name)); !ok {
				logError(r, `mandatory "%s" parameter is absent in "%s" SSI command`, name, c.name)
				return false
			}
		}
	}
	return true
}

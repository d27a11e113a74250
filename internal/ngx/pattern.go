package ngx

import (
	"limpet/internal/rx"
	"limpet/nginxconf"
)

// Pattern is a regular expression of the configuration with the variables that
// its named groups set.
type Pattern struct {
	Re   *rx.Regexp
	Text string // as written
	vars []groupVar
}

// groupVar is a variable that takes a group's value at each match.
type groupVar struct {
	group int
	v     *Var
}

// ParsePattern compiles a pattern of the configuration that s belongs to. Its
// named groups become variables. Errors are nginx's.
func ParsePattern(s *nginxconf.Setting, pattern string, flags rx.Flags) (*Pattern, error) {
	re, err := rx.Compile(pattern, flags)
	if err != nil {
		return nil, err
	}
	p := &Pattern{Re: re, Text: pattern}
	vars := nginxconf.Of[*VarConf](s.Level.Root()).Vars
	for _, n := range re.Names() {
		v, err := vars.Settable(n.Name)
		if err != nil {
			return nil, err
		}
		p.vars = append(p.vars, groupVar{n.Index, v})
	}
	return p, nil
}

// Match reports whether subject matches. The captures are then those of $1..$9,
// and named groups' variables have their values. The subject must live as long as the request.
func (p *Pattern) Match(r *Request, subject []byte) bool {
	if !r.Match(p.Re, subject) {
		return false
	}
	for i := range p.vars {
		p.vars[i].v.Assign(r, r.Capture(p.vars[i].group))
	}
	return true
}

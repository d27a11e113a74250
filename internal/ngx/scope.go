package ngx

import (
	"syscall"

	"limpet/internal/rx"
	"limpet/nginxconf"
)

// Scope is a server, location, `if` or limit_except block, built: what a
// request meets in it.
type Scope struct {
	Level *nginxconf.Level
	Core  *Core // the core directives in force
	Steps [NumPhases][]Step
	// Handler answers in place of the Content steps (proxy_pass, stub_status); nil where none is set.
	Handler Step
	// Stat looks at a file as disable_symlinks wants it, nil where links are
	// followed. call is the system call that gave the error.
	Stat func(r *Request, name []byte, st *syscall.Stat_t) (call string, err error)
	// AutoRedirect says that a request for the location's name without its final slash is redirected to it.
	AutoRedirect bool
	// Name is the location's name or pattern for logs and metrics; "" in a server.
	Name string
	// Errors are the statuses that error_page answers for, in order: what a peer's error may be replaced for.
	Errors []int
	// Server is the virtual server's scope: itself for a server.
	Server *Scope
	// ServerName is the first name of the virtual server.
	ServerName []byte
	// HTTP2 says that the virtual server has http2 on.
	HTTP2 bool
	// VerifiesClients says that the virtual server asks clients for certificates.
	VerifiesClients bool
	// Data is the location tree's own; nobody else's.
	Data any
}

// Named is what a server's level keeps in Data, as other modules' rows see it.
type Named interface {
	// ServerNames returns the names of server_name, in lower case, and its regular expressions.
	ServerNames() (names []string, patterns []*rx.Regexp)
}

// Add appends a step to a phase; a nil step adds nothing, so that a constructor
// whose module has nothing to do returns nil and costs nothing on the request's way.
func (s *Scope) Add(p Phase, step Step) {
	if step != nil {
		s.Steps[p] = append(s.Steps[p], step)
	}
}

// Module is one nginx module or family: its directives, its variables and its steps.
type Module struct {
	Name string
	Conf func() nginxconf.Settings
	// Vars are the variables that the module defines.
	Vars func() []Variable
	// Config, when not nil, runs once a configuration before any scope is built.
	Config func(b *Build) error
	// Scope, when not nil, runs for each server, location and if, outer ones first; it adds steps or sets the handler.
	Scope func(b *Build, s *Scope) error
}

// Place is what a location's level keeps in Data, as other modules' rows see it.
type Place interface {
	// IsPrefix reports whether the name is a plain prefix or exact one: not a
	// regular expression, not a named location.
	IsPrefix() bool
}

// HasErrorPage reports whether error_page answers for a status.
func (s *Scope) HasErrorPage(status int) bool {
	for _, e := range s.Errors {
		if e == status {
			return true
		}
	}
	return false
}

// Scripts is a Conf that takes other modules' steps into the script which rewrite,
// set and if make of a block, so that set_by_lua runs in the order of the file.
type Scripts interface {
	nginxconf.Settings
	// AddStep adds what make returns at the statement's place; make runs when the configuration is built.
	AddStep(s *nginxconf.Setting, make func(b *Build) Step)
}

package location

import (
	"sort"
	"strings"

	"limpet/internal/ngx"
	"limpet/nginxconf"
)

// node is the tree's part of a built scope (ngx.Scope.Data): what the engine
// needs of a server or location beside its steps.
type node struct {
	conf  *Conf
	loc   *Location // nil for a server
	outer *ngx.Scope

	exact  map[string]*ngx.Scope
	prefix []prefixEntry // sorted by name
	regex  []*ngx.Scope
	named  map[string]*ngx.Scope // of a server

	limit    *limitScope
	ifs      []*ngx.Scope
	internal bool
}

// prefixEntry is a prefix location; parent is the index of the longest other one
// whose name begins this one's, or -1.
type prefixEntry struct {
	name   string
	scope  *ngx.Scope
	parent int
}

type limitScope struct {
	methods []string
	scope   *ngx.Scope
}

func nodeOf(s *ngx.Scope) *node { return s.Data.(*node) }

// scope builds the scope of a level with what is inside it.
func (t *builder) scope(lv *nginxconf.Level, outer *ngx.Scope) (*ngx.Scope, error) {
	s := &ngx.Scope{Level: lv, Core: nginxconf.Of[*ngx.Core](lv)}
	n := &node{conf: nginxconf.Of[*Conf](lv), outer: outer}
	s.Data = n
	if outer == nil {
		s.Server = s
		if err := s.Core.Open(t.b); err != nil {
			return nil, err
		}
	} else {
		s.Server, s.Name, s.ServerName = outer.Server, outer.Name, outer.Server.ServerName
	}
	if loc, ok := lv.Data.(*Location); ok {
		n.loc, s.Name = loc, loc.Name
	} else if outer != nil {
		n.loc = nodeOf(outer).loc
	}
	n.internal = n.conf.Internal.V && outer != nil
	for _, p := range n.conf.ErrorPages.V {
		s.Errors = append(s.Errors, p.Status)
	}
	t.b.ScopeOf(lv, s)
	for _, inner := range lv.Inner {
		if err := t.inner(s, n, inner); err != nil {
			return nil, err
		}
	}
	for _, m := range t.modules {
		if m.Scope == nil {
			continue
		}
		if err := m.Scope(t.b, s); err != nil {
			return nil, err
		}
	}
	n.handDown(s)
	n.link()
	return s, nil
}

// inner builds one inner block of a scope and files it where the engine looks for it.
func (t *builder) inner(s *ngx.Scope, n *node, lv *nginxconf.Level) error {
	in, err := t.scope(lv, s)
	if err != nil {
		return err
	}
	switch data := lv.Data.(type) {
	case *limitExcept:
		n.limit = &limitScope{data.methods, in}
	case *Location:
		return n.file(t.b, data, in)
	default:
		n.ifs = append(n.ifs, in)
	}
	return nil
}

// handDown lets the blocks that are part of a location (if, limit_except) be
// answered as the location is where they name no handler of their own.
func (n *node) handDown(s *ngx.Scope) {
	inherit := func(in *ngx.Scope) {
		if in.Handler == nil {
			in.Handler = s.Handler
		}
	}
	for _, in := range n.ifs {
		inherit(in)
	}
	if n.limit != nil {
		inherit(n.limit.scope)
	}
}

// file files a location under its kind. Of two named locations with one name the
// first serves, as with nginx, which says nothing of it.
func (n *node) file(b *ngx.Build, loc *Location, in *ngx.Scope) error {
	st := loc.Level.Stmt
	duplicate := func() error { return nginxconf.Errorf(st.File, st.Line, `duplicate location "%s"`, loc.Name) }
	switch {
	case loc.Regexp != nil:
		n.regex = append(n.regex, in)
	case loc.Named:
		if n.named == nil {
			n.named = make(map[string]*ngx.Scope)
		}
		if n.named[loc.Name] != nil {
			b.Notice("warn", `duplicate location "%s", ignored in %s:%d`, loc.Name, st.File, st.Line)
			return nil
		}
		n.named[loc.Name] = in
	case loc.Exact:
		if n.exact == nil {
			n.exact = make(map[string]*ngx.Scope)
		}
		if n.exact[loc.Name] != nil {
			return duplicate()
		}
		n.exact[loc.Name] = in
	default:
		for _, p := range n.prefix {
			if p.name == loc.Name {
				return duplicate()
			}
		}
		n.prefix = append(n.prefix, prefixEntry{loc.Name, in, -1})
	}
	return nil
}

// link sorts the prefixes and finds their parents, and adds the redirects of
// locations that end in a slash and want one.
func (n *node) link() {
	sort.Slice(n.prefix, func(i, j int) bool { return n.prefix[i].name < n.prefix[j].name })
	var open []int
	for i := range n.prefix {
		p := &n.prefix[i]
		for len(open) > 0 && !strings.HasPrefix(p.name, n.prefix[open[len(open)-1]].name) {
			open = open[:len(open)-1]
		}
		if len(open) > 0 {
			p.parent = open[len(open)-1]
		}
		open = append(open, i)
	}
	for _, p := range n.prefix {
		n.autoRedirect(p.name, p.scope)
	}
	for name, s := range n.exact {
		if s.Data != nil {
			n.autoRedirect(name, s)
		}
	}
}

// redirectScope marks, in exact, a name that is answered with a redirect to name/.
func (n *node) autoRedirect(name string, s *ngx.Scope) {
	if !s.AutoRedirect || !strings.HasSuffix(name, "/") || len(name) < 2 {
		return
	}
	bare := name[:len(name)-1]
	if n.exact[bare] != nil {
		return
	}
	for _, p := range n.prefix {
		if p.name == bare {
			return
		}
	}
	if n.exact == nil {
		n.exact = make(map[string]*ngx.Scope)
	}
	n.exact[bare] = &ngx.Scope{Level: s.Level, Core: s.Core, Server: s.Server, ServerName: s.ServerName, Name: s.Name,
		Steps: [ngx.NumPhases][]ngx.Step{ngx.HeaderFilter: s.Steps[ngx.HeaderFilter], ngx.Log: s.Steps[ngx.Log]},
		Data:  &node{conf: nodeOf(s).conf, loc: nodeOf(s).loc, outer: nodeOf(s).outer}, AutoRedirect: true}
}

// longest returns the longest prefix location of the request's path, nil for none.
func (n *node) longest(r *ngx.Request) *ngx.Scope {
	path := r.Path
	i := sort.Search(len(n.prefix), func(i int) bool { return n.prefix[i].name > string(path) }) - 1
	for i >= 0 {
		p := &n.prefix[i]
		if r.Debugging() {
			debugTest(r, p.scope)
		}
		if len(path) >= len(p.name) && string(path[:len(p.name)]) == p.name {
			return p.scope
		}
		i = p.parent
	}
	return nil
}

// found is how sure a search is: exact ends it, a prefix may give way to a regular expression.
type found int

const (
	foundNone found = iota
	foundPrefix
	foundExact
)

// find looks for the location of a path below scope s, RFC-less but as
// https://nginx.org/en/docs/http/ngx_http_core_module.html#location has it: exact,
// longest prefix, then regular expressions in order unless ^~; each then looks inside itself.
func find(r *ngx.Request, s *ngx.Scope) (*ngx.Scope, found) {
	n := nodeOf(s)
	if hit := n.exact[string(r.Path)]; hit != nil {
		if r.Debugging() {
			debugTest(r, hit)
		}
		return hit, foundExact
	}
	best, how, noRegex := s, foundNone, false
	if hit := n.longest(r); hit != nil {
		noRegex = nodeOf(hit).loc.NoRx
		best, how = hit, foundPrefix
		if in, h := find(r, hit); h != foundNone {
			best, how = in, h
			if h == foundExact || nodeOf(in).loc.Regexp != nil {
				return in, foundExact
			}
		}
	}
	if noRegex {
		return best, how
	}
	for _, in := range n.regex {
		if r.Debugging() {
			debugTest(r, in)
		}
		if !nodeOf(in).loc.Regexp.Match(r, r.Path) {
			if r.MatchFailed {
				break
			}
			continue
		}
		if deeper, h := find(r, in); h != foundNone {
			return deeper, foundExact
		}
		return in, foundExact
	}
	return best, how
}

// named returns a server's named location.
func namedLocation(r *ngx.Request, name string) *ngx.Scope {
	return nodeOf(r.Scope.Server).named[name]
}

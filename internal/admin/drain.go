package admin

import (
	"fmt"
	"net/http"
	"strings"

	"limpet/internal/drain"
	"limpet/internal/errlog"
	"limpet/upstream"
)

// group returns the group of a name; the error says which there are.
func (s *Server) group(name string) (*upstream.Group, error) {
	var names []string
	var host *upstream.Group
	for _, g := range s.groups() {
		if g.FullName() == name {
			return g, nil
		}
		if g.Name == name && host == nil {
			host = g
		}
		names = append(names, g.FullName())
	}
	switch {
	case host != nil:
		return host, nil
	case names == nil:
		return nil, fmt.Errorf(`no upstream "%s", and no other either`, name)
	}
	return nil, fmt.Errorf(`no upstream "%s"; there is %s`, name, strings.Join(names, ", "))
}

// meant returns the group's peers of an address, or of a server line's text; the
// error says which there are.
func meant(g *upstream.Group, peer string) ([]*upstream.Peer, error) {
	if found := drain.Find(g.Peers(), peer); len(found) > 0 {
		return found, nil
	}
	var names []string
	for _, p := range g.Peers().All {
		names = append(names, string(p.Name))
	}
	return nil, fmt.Errorf(`upstream "%s" has no server "%s"; it has %s`, g.FullName(), peer, strings.Join(names, ", "))
}

// drain keeps new clients away from a peer.
func (s *Server) drain(w http.ResponseWriter, r *http.Request) {
	window, ok := windowOf(w, r)
	if !ok {
		return
	}
	peer := r.FormValue("peer")
	g, err := s.group(r.FormValue("upstream"))
	if err == nil {
		_, err = meant(g, peer)
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusNotFound)
		return
	}
	err = s.Drains.Drain(g, peer)
	ps := drain.Find(g.Peers(), peer)
	u := s.upstreamOf(g, ps, window)
	u.Notes = append(s.failed(err), drainNotes(g)...)
	answer(w, u)
}

// undrain takes drain back, also of a peer that the configuration doesn't have any more.
func (s *Server) undrain(w http.ResponseWriter, r *http.Request) {
	window, ok := windowOf(w, r)
	if !ok {
		return
	}
	name, peer := r.FormValue("upstream"), r.FormValue("peer")
	g, missing := s.group(name)
	u := Upstream{Name: name, Peers: []Peer{}}
	if missing == nil {
		name = g.FullName()
		_, missing = meant(g, peer)
	}
	found, err := s.Drains.Undrain(name, g, peer)
	switch {
	case missing == nil:
		ps := drain.Find(g.Peers(), peer)
		u = s.upstreamOf(g, ps, window)
		u.Notes = append(s.failed(err), s.undrainNotes(g, ps)...)
	case !found:
		http.Error(w, missing.Error(), http.StatusNotFound)
		return
	default:
		u.Notes = append(s.failed(err), "the configuration doesn't have it; it is drained no more should it come back")
	}
	answer(w, u)
}

// failed logs that the state file couldn't be written, and returns the note of it.
func (s *Server) failed(err error) []string {
	if err == nil {
		return nil
	}
	s.Server.Log().Write(errlog.Error, 0, err.Error())
	return []string{err.Error() + "; it lasts until limpet is restarted"}
}

// drainNotes returns what may surprise who drains a peer of the group.
func drainNotes(g *upstream.Group) []string {
	var notes []string
	if g.Script != nil {
		notes = append(notes, "a script chooses the servers of "+g.FullName()+"; it may go on choosing this one")
	}
	for _, p := range g.Peers().All {
		if !p.Down && !p.Draining() {
			return notes
		}
	}
	return append(notes, "no other server of "+g.FullName()+" takes new clients; they are answered by 502")
}

// undrainNotes says why a peer drains all the same.
func (s *Server) undrainNotes(g *upstream.Group, ps []*upstream.Peer) []string {
	var notes []string
	for _, p := range ps {
		if p.Drain {
			notes = append(notes, string(p.Name)+" goes on draining: its server line says drain")
		} else if as := s.Drains.As(g, p); as != "" {
			notes = append(notes, string(p.Name)+" goes on draining: it was drained as "+as)
		}
	}
	return notes
}

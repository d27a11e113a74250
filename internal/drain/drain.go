// Package drain remembers which peers are drained at run time, over changes of
// configuration and of addresses and, in the file of --state, over restarts. It
// stands for the drain command of NGINX Plus's API, whose effect its state files
// keep; what a drained peer still gets is package upstream's.
// https://nginx.org/en/docs/http/ngx_http_api_module.html
//
// Nothing else of the run time is kept over a restart: health is found out anew,
// learned sessions and counters begin anew.
package drain

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"limpet/internal/errlog"
	"limpet/internal/ngx"
	"limpet/upstream"
)

// Entry is what was asked to be drained.
type Entry struct {
	Upstream string `json:"upstream"` // upstream.Group.FullName
	// Peer is an address, or the text of a server line, which stands for all
	// addresses that it has or will have.
	Peer string `json:"peer"`
}

// document is the file's content.
type document struct {
	Drained []Entry `json:"drained"`
}

// Set is what is drained. The zero Set is empty and has no file. Its methods may be
// called at once.
type Set struct {
	// Write, when not nil, runs f where the file may be written and returns when f
	// has. It is set before the Set is used.
	Write func(f func())

	file   string
	saving sync.Mutex // one at a time, each with the newest entries

	mu       sync.Mutex
	entries  []Entry // sorted
	reported bool    // entries that the configuration doesn't have
}

// Open returns the Set of a file, "" for none; one that isn't there is empty. The
// Set is good with an error, too, which says what is wrong with the file.
func Open(file string) (*Set, error) {
	s := &Set{file: file}
	if file == "" {
		return s, nil
	}
	text, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		_, err = os.Stat(filepath.Dir(file))
		text = []byte("{}")
	}
	if err != nil {
		return s, fmt.Errorf(`state file: open() "%s" failed %s`, file, errlog.Errno(err))
	}
	var d document
	if err := json.Unmarshal(text, &d); err != nil {
		return s, fmt.Errorf(`state file "%s" is broken (%w), nothing of it is used`, file, err)
	}
	for _, e := range d.Drained {
		s.add(e)
	}
	return s, nil
}

func compare(a, b Entry) int {
	return cmp.Or(cmp.Compare(a.Upstream, b.Upstream), cmp.Compare(a.Peer, b.Peer))
}

func (s *Set) add(e Entry) {
	if i, has := slices.BinarySearchFunc(s.entries, e, compare); !has {
		s.entries = slices.Insert(s.entries, i, e)
	}
}

// Means reports whether peer, as in an Entry, means the peer.
func Means(peer string, p *upstream.Peer) bool {
	return string(p.Name) == peer || p.Server == peer && peer != ""
}

// Find returns the peers that are meant.
func Find(ps *upstream.Peers, peer string) []*upstream.Peer {
	var found []*upstream.Peer
	for _, p := range ps.All {
		if Means(peer, p) {
			found = append(found, p)
		}
	}
	return found
}

// Drain keeps new clients away from a peer of the group. The error says that the
// file can't be written; the peer is drained all the same.
func (s *Set) Drain(g *upstream.Group, peer string) error {
	s.mu.Lock()
	s.add(Entry{g.FullName(), peer})
	s.apply(g, g.Peers())
	s.mu.Unlock()
	return s.save()
}

// Undrain takes Drain back, for the peer or, where the server line was drained and
// has no other, for its line. A group of nil is one that the configuration doesn't
// have, of that name. It reports whether there was anything to take back.
func (s *Set) Undrain(name string, g *upstream.Group, peer string) (found bool, err error) {
	s.mu.Lock()
	s.entries = slices.DeleteFunc(s.entries, func(e Entry) bool {
		gone := e.Upstream == name && (e.Peer == peer || g != nil && covers(g.Peers(), peer, e.Peer))
		found = found || gone
		return gone
	})
	if g != nil {
		s.apply(g, g.Peers())
	}
	s.mu.Unlock()
	if !found {
		return false, nil
	}
	return true, s.save()
}

// covers reports whether peer means all that other means, and that is something.
func covers(ps *upstream.Peers, peer, other string) bool {
	some := false
	for _, p := range ps.All {
		if Means(other, p) {
			if some = Means(peer, p); !some {
				return false
			}
		}
	}
	return some
}

// apply makes the peers drain, or not. The Set is locked.
func (s *Set) apply(g *upstream.Group, ps *upstream.Peers) {
	name := g.FullName()
	for _, p := range ps.All {
		p.SetDrain(slices.ContainsFunc(s.entries, func(e Entry) bool { return e.Upstream == name && Means(e.Peer, p) }))
	}
}

// As returns the Peer of an entry that drains the peer; "" when none does.
func (s *Set) As(g *upstream.Group, p *upstream.Peer) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range s.entries {
		if e.Upstream == g.FullName() && Means(e.Peer, p) {
			return e.Peer
		}
	}
	return ""
}

// save writes the file anew.
func (s *Set) save() error {
	if s.file == "" {
		return nil
	}
	var err error
	write := func() {
		s.saving.Lock()
		defer s.saving.Unlock()
		s.mu.Lock()
		d := document{slices.Clone(s.entries)}
		s.mu.Unlock()
		err = replace(s.file, d)
	}
	if s.Write != nil {
		s.Write(write)
	} else {
		write()
	}
	if err != nil {
		return fmt.Errorf("state file: %w", err)
	}
	return nil
}

// replace exchanges the file for one with the document, whole or not at all.
func replace(file string, d document) error {
	var text bytes.Buffer
	enc := json.NewEncoder(&text)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if d.Drained == nil {
		d.Drained = []Entry{}
	}
	if err := enc.Encode(d); err != nil {
		return err
	}
	temp := file + ".tmp"
	f, err := os.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o644)
	if err != nil {
		return fmt.Errorf(`open() "%s" failed %s`, temp, errlog.Errno(err))
	}
	_, err = f.Write(text.Bytes())
	err = cmp.Or(err, f.Sync(), f.Close())
	if err != nil {
		os.Remove(temp)
		return fmt.Errorf(`write() "%s" failed %s`, temp, errlog.Errno(err))
	}
	if err := os.Rename(temp, file); err != nil {
		os.Remove(temp)
		return fmt.Errorf(`rename() "%s" to "%s" failed %s`, temp, file, errlog.Errno(err))
	}
	return nil
}

// Module returns the module that drains the peers of each configuration that comes
// into force, and those that names resolve to later. A nil Set drains none.
func Module(s *Set) ngx.Module {
	m := ngx.Module{Name: "drain"}
	if s == nil {
		return m
	}
	m.Config = func(b *ngx.Build) error {
		groups := ngx.Shared[upstream.Groups](b).List
		for _, g := range groups {
			g.OnChange(func(ps *upstream.Peers) {
				s.mu.Lock()
				defer s.mu.Unlock()
				s.apply(g, ps)
			})
		}
		b.OnStart(func() { s.start(groups, b.Log) })
		return nil
	}
	return m
}

// start drains the peers of a configuration, and tells once of entries that mean none.
func (s *Set) start(groups []*upstream.Group, log *errlog.Log) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, g := range groups {
		s.apply(g, g.Peers())
	}
	if s.reported {
		return
	}
	s.reported = true
	for _, e := range s.entries {
		known := slices.ContainsFunc(groups, func(g *upstream.Group) bool {
			return g.FullName() == e.Upstream && len(Find(g.Peers(), e.Peer)) > 0
		})
		if !known {
			log.Printf(errlog.Warn, 0, `"%s" of upstream "%s" is drained by the state file "%s", but isn't in the configuration; it stays noted`,
				e.Peer, e.Upstream, s.file)
		}
	}
}

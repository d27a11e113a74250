package sticky

import (
	"bytes"

	"limpet/upstream"
)

// index finds the wish that a value stands for. It holds every spelling of every
// peer, and is read-only once built.
type index struct {
	wishes  map[string]*forms
	longest int // length of the longest value: longer ones aren't looked up
}

// forms are the wishes for one value by how it was found.
type forms [3]wish

// form says how a value was found.
type form uint8

const (
	exact   form = iota // as it is, under the configured name
	dressed             // in another dialect's dress
	legacy              // under a name of --sticky-legacy
)

// newIndex builds the index of a group. own returns the values that the
// configured dialect writes or reads as its own for a peer, the written one first; they take precedence.
// Where several peers have one value as their own (a route), it names them all.
func newIndex(g *upstream.Group, k *keys, own func(p *upstream.Peer, at int) []spelled, skip func(Spelling) bool) *index {
	x := &index{wishes: make(map[string]*forms)}
	n := len(g.Peers)
	for at := range n {
		p := peerAt(g, at)
		for _, v := range own(p, at) {
			x.add(v, p, true)
		}
	}
	for at := range n {
		p := peerAt(g, at)
		for _, v := range spellings(p, at, k) {
			if skip == nil || !skip(v.spelling) {
				x.add(v, p, false)
			}
		}
	}
	return x
}

func (x *index) add(v spelled, p *upstream.Peer, own bool) {
	if v.value == "" {
		return
	}
	x.longest = max(x.longest, len(v.value))
	w := x.wishes[v.value]
	if w == nil {
		w = &forms{{reason: OtherDialect}, {reason: OtherDialect}, {reason: LegacyName}}
		if own {
			w[exact].reason, w[exact].fresh = Valid, true
		}
		for i := range w {
			w[i].spelling = v.spelling
		}
		x.wishes[v.value] = w
	} else if w[exact].fresh != own || w[exact].spelling != v.spelling || w[exact].names(p) {
		return // the configured dialect's meaning goes before another's, a name's first before its second
	}
	for i := range w {
		w[i].peers = append(w[i].peers, p)
	}
}

// look returns the wish that a value stands for, nil when it names no peer.
func (x *index) look(value []byte, f form) *wish {
	if len(value) > x.longest {
		return nil
	}
	if w := x.wishes[string(value)]; w != nil {
		return &w[f]
	}
	return nil
}

// lookLoose is look for values as other dialects dress them up: in quotes (Envoy),
// with stamps behind | (HAProxy, Tengine), before the application's own value and ~ (their prefix modes).
func (x *index) lookLoose(value []byte, f form) *wish {
	if w := x.look(value, f); w != nil {
		return w
	}
	f = max(f, dressed)
	if n := len(value); n > 1 && value[0] == '"' && value[n-1] == '"' {
		value = value[1 : n-1]
		if w := x.look(value, f); w != nil {
			return w
		}
	}
	if i := bytes.IndexAny(value, "|~"); i > 0 {
		return x.look(value[:i], f)
	}
	return nil
}

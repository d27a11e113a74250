package sticky

import (
	"bytes"

	"limpet/upstream"
)

// index finds the wish that a value stands for. It holds every spelling of every
// peer, and is read-only once built.
type index struct {
	values  map[string]meaning
	longest int // length of the longest value: longer ones aren't looked up
}

// meaning is what a value says.
type meaning struct {
	of       *forms
	spelling Spelling
	own      bool // as the configured dialect writes it
}

// forms are the wishes for some peers by how their value was found.
type forms struct {
	own, other, legacy wish
	shared             bool // by several peers' values
}

func newForms(peers []*upstream.Peer, shared bool) *forms {
	return &forms{
		own:    wish{peers: peers, reason: Valid, fresh: true},
		other:  wish{peers: peers, reason: OtherDialect},
		legacy: wish{peers: peers, reason: LegacyName},
		shared: shared,
	}
}

// form says how a value was found.
type form uint8

const (
	exact   form = iota // as it is, under the configured name
	dressed             // in another dialect's dress
	legacy              // under a name of --sticky-legacy
)

// spellingsPerPeer is about how many distinct values name a peer.
const spellingsPerPeer = 28

// newIndex builds the index of some peers, in the order of their positions. own returns the values that the
// configured dialect writes or reads as its own for a peer; they take precedence.
// Where several peers have one value as their own (a route), it names them all.
func newIndex(peers []*upstream.Peer, k *keys, own ownValues, skip func(Spelling) bool) *index {
	n := len(peers)
	x := &index{values: make(map[string]meaning, n*spellingsPerPeer)}
	each := make([]*forms, n)
	for at, p := range peers {
		each[at] = newForms([]*upstream.Peer{p}, false)
		for _, v := range own(p, at) {
			x.add(v, each[at], true)
		}
	}
	var indices []spelled // last: names may be numbers, too
	for at, p := range peers {
		for _, v := range spellings(p, at, k) {
			switch {
			case skip != nil && skip(v.spelling):
			case v.spelling == Index:
				indices = append(indices, v)
			default:
				x.add(v, each[at], false)
			}
		}
	}
	for at, v := range indices {
		x.add(v, each[at], false)
	}
	return x
}

// add gives a value a meaning, unless it has one that goes before: the configured
// dialect's before another's, an earlier spelling's before a later one's.
func (x *index) add(v spelled, f *forms, own bool) {
	if v.value == "" {
		return
	}
	x.longest = max(x.longest, len(v.value))
	have, ok := x.values[v.value]
	switch p := f.own.peers[0]; {
	case !ok:
		x.values[v.value] = meaning{f, v.spelling, own}
	case have.own != own || have.spelling != v.spelling || have.of.own.names(p):
	default:
		peers := append(have.of.own.peers[:len(have.of.own.peers):len(have.of.own.peers)], p)
		if have.of.shared {
			peers = append(have.of.own.peers, p)
		}
		x.values[v.value] = meaning{newForms(peers, true), v.spelling, own}
	}
}

// look returns the wish that a value stands for, nil when it names no peer.
func (x *index) look(value []byte, f form) (*wish, Spelling) {
	if len(value) > x.longest {
		return nil, NumSpellings
	}
	m, ok := x.values[string(value)]
	switch {
	case !ok:
		return nil, NumSpellings
	case f == legacy:
		return &m.of.legacy, m.spelling
	case f == exact && m.own:
		return &m.of.own, m.spelling
	}
	return &m.of.other, m.spelling
}

// lookLoose is look for values as other dialects dress them up: in quotes (Envoy),
// with dates behind | (HAProxy, Tengine), before the application's own value and ~
// (their prefix modes) or a blank (transfer of nginx-sticky-module-ng).
func (x *index) lookLoose(value []byte, f form) (*wish, Spelling) {
	w, sp := x.look(value, f)
	if w != nil {
		return w, sp
	}
	f = max(f, dressed)
	if n := len(value); n > 1 && value[0] == '"' && value[n-1] == '"' {
		value = value[1 : n-1]
		if w, sp = x.look(value, f); w != nil {
			return w, sp
		}
	}
	if i := bytes.IndexAny(value, "|~ "); i > 0 {
		return x.look(value[:i], f)
	}
	return nil, NumSpellings
}

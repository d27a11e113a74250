package sticky

import (
	"cmp"
	"slices"

	"limpet/upstream"
)

// Name is a value that names a peer in a request.
type Name struct {
	Value    string
	Spelling Spelling
}

// indexed is a reader that looks values up.
type indexed interface {
	// lookup returns the values, and the name of the cookie that they are looked for
	// in; "" where it isn't a cookie of that name alone.
	lookup() (cookie string, x *index)
}

func (c *cookieReader) lookup() (string, *index) { return c.name, c.index }
func (t *routeReader) lookup() (string, *index)  { return "", t.index }

// Cookie returns the name of the configured cookie; "" where there is none.
func (p *Policy) Cookie() string {
	if r, ok := p.read.(indexed); ok {
		name, _ := r.lookup()
		return name
	}
	return ""
}

// Names returns the values that name the peer, in any dialect, by spelling; those
// that are made anew for each request aren't there, nor are learned sessions.
func (p *Policy) Names(q *upstream.Peer) []Name {
	r, ok := p.read.(indexed)
	if !ok {
		return nil
	}
	var list []Name
	_, x := r.lookup()
	for value, m := range x.values {
		if m.of.own.names(q) {
			list = append(list, Name{value, m.spelling})
		}
	}
	slices.SortFunc(list, func(a, b Name) int {
		return cmp.Or(cmp.Compare(a.Spelling, b.Spelling), cmp.Compare(a.Value, b.Value))
	})
	return list
}

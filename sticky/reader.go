package sticky

import (
	"limpet/internal/ngx"
	"limpet/upstream"
)

// cookieReader reads the wish from a cookie.
type cookieReader struct {
	name   string
	exact  bool     // the name's case counts
	legacy []string // further names to look under, from --sticky-legacy
	index  *index
	salt   *salted // of values that are made anew for each request; nil without
	none   wishes
}

// wishes are the wishes that name no peer.
type wishes struct{ noCookie, empty, unknown, malformed, expired wish }

func newWishes() wishes {
	return wishes{wish{reason: NoCookie}, wish{reason: Empty}, wish{reason: Unknown}, wish{reason: Malformed}, wish{reason: Expired}}
}

// wish implements reader.
func (c *cookieReader) wish(s *upstream.Session) (*wish, Spelling) {
	if c.salt != nil {
		if f, ok := find(&s.Request.In, c.name, c.exact); ok {
			if w := c.salt.look(s.Request, f.value); w != nil {
				return w, AngieSecret
			}
		}
	}
	return c.from(&s.Request.In, nil)
}

// from looks under the configured name, then under the legacy ones. own, when not
// nil, judges the value in the configured form first; it returns nil to go on.
func (c *cookieReader) from(h *ngx.Header, own func(f found) (*wish, Spelling)) (*wish, Spelling) {
	none := &c.none.noCookie
	if f, ok := find(h, c.name, c.exact); ok {
		if own != nil {
			if w, sp := own(f); w != nil {
				return w, sp
			}
		}
		if w, sp := c.index.lookLoose(f.value, exact); w != nil {
			return w, sp
		}
		none = &c.none.unknown
		if len(f.value) == 0 {
			none = &c.none.empty
		}
	}
	for _, name := range c.legacy {
		if f, ok := find(h, name, false); ok {
			if w, sp := c.index.lookLoose(f.value, legacy); w != nil {
				return w, sp
			}
		}
	}
	return none, NumSpellings
}

package sticky

import (
	"limpet/internal/ngx"
	"limpet/upstream"
)

// setter writes Set-Cookie when the peer is chosen, so that it comes before the
// peer's own fields and goes with whatever is answered.
type setter struct {
	cookie
	always bool // also when the client has the value already
}

// chosen implements writer.
func (t *setter) chosen(s *upstream.Session, at int, fresh bool) answer {
	r := s.Request
	if fresh && !t.always {
		if s.Number > 1 {
			t.withdraw(r)
		}
		return untouched
	}
	line := t.line(r, at)
	if s.Number == 1 || !t.replace(r, line) {
		t.add(r, line)
	}
	if fresh {
		return updated
	}
	return inserted
}

// answered implements writer.
func (t *setter) answered(*upstream.Session, int, bool) answer { return untouched }

// cookie makes Set-Cookie fields of one name.
type cookie struct {
	name   string
	field  []byte // the field's name
	values []string
	lines  [][]byte // by position: name, value and what of the attributes never changes
	tail   []attribute
	fixed  string  // of the attributes
	salt   *salted // makes the value anew for each request; nil without
}

// newCookie returns a cookie whose value for a position is values[at].
func newCookie(name string, values []string, attrs []attribute) cookie {
	c := cookie{name: name, field: []byte("Set-Cookie"), values: values}
	fixed, tail := split(attrs)
	for _, v := range values {
		c.lines = append(c.lines, []byte(name+"="+v+fixed))
	}
	c.tail, c.fixed = tail, fixed
	return c
}

// value implements writer.
func (c *cookie) value(at int) string {
	if c.salt != nil {
		return ""
	}
	return c.values[at]
}

// line returns the field's value for a request that goes to the peer at a position.
func (c *cookie) line(r *ngx.Request, at int) []byte {
	switch {
	case c.salt != nil:
		b := append(append(room(r, len(c.lines[at])), c.name...), '=')
		return c.dress(r, append(c.salt.append(r, b, at), c.fixed...))
	case c.tail == nil:
		return c.lines[at]
	}
	return c.dress(r, append(room(r, len(c.lines[at])), c.lines[at]...))
}

// dress appends the attributes that depend on the request or the time.
func (c *cookie) dress(r *ngx.Request, b []byte) []byte {
	for i := range c.tail {
		b = c.tail[i].append(r, b)
	}
	return b
}

// room returns empty memory of the request's for a field of n bytes with its attributes.
func room(r *ngx.Request, n int) []byte {
	const attributes = 200
	return r.Alloc(n + attributes)[:0]
}

func (c *cookie) add(r *ngx.Request, line []byte) {
	r.Out.Header.Fields = append(r.Out.Header.Fields, ngx.Field{Name: c.field, Value: line, ID: ngx.HeaderSetCookie})
}

// last returns the last field of the answer that sets the cookie: the one of an
// earlier try, as long as no peer's answer is there.
func (c *cookie) last(r *ngx.Request) *ngx.Field {
	for i := len(r.Out.Header.Fields) - 1; i >= 0; i-- {
		if f := &r.Out.Header.Fields[i]; f.ID == ngx.HeaderSetCookie && !f.Hidden && sets(f.Value, c.name) {
			return f
		}
	}
	return nil
}

// replace changes the field of an earlier try, if there was one.
func (c *cookie) replace(r *ngx.Request, line []byte) bool {
	f := c.last(r)
	if f != nil {
		f.Value = line
	}
	return f != nil
}

func (c *cookie) withdraw(r *ngx.Request) {
	if f := c.last(r); f != nil {
		f.Hidden = true
	}
}

package sticky

import (
	"crypto/md5"
	"encoding/hex"

	"limpet/internal/ngx"
	"limpet/upstream"
)

// salted makes and finds values under a sticky_secret with variables, which can't
// be made beforehand: MD5 of the peer's name and the secret behind it.
// https://en.angie.software/angie/docs/configuration/modules/http/http_upstream/#sticky-secret
type salted struct {
	secret ngx.Text
	sids   []string // by position
	wishes []wish
}

// secret returns the block's sticky_secret as a key, where it is fixed.
func (c *Conf) secret() keys {
	if fixed, ok := c.Secret.V.Static(); ok && c.Secret.Own {
		return keys{angie: []string{string(fixed)}}
	}
	return keys{}
}

// salt returns what makes values with the block's sticky_secret where it isn't fixed; else nil.
func (c *Conf) salt(ps *upstream.Peers) *salted {
	if _, fixed := c.Secret.V.Static(); fixed || !c.Secret.Own {
		return nil
	}
	t := &salted{secret: c.Secret.V}
	for _, q := range ps.Ordered() {
		t.sids = append(t.sids, sid(q))
		t.wishes = append(t.wishes, wish{peers: []*upstream.Peer{q}, reason: Valid, fresh: true})
	}
	return t
}

// append appends the value for the peer at a position.
func (t *salted) append(r *ngx.Request, b []byte, at int) []byte {
	return appendSalted(b, t.sids[at], t.secret.Bytes(r))
}

func appendSalted(b []byte, sid string, secret []byte) []byte {
	var buf [256]byte
	sum := md5.Sum(append(append(buf[:0], sid...), secret...))
	return hex.AppendEncode(b, sum[:])
}

// look returns the wish for a value, nil when it is no peer's. A nil salted finds none.
func (t *salted) look(r *ngx.Request, value []byte) *wish {
	if t == nil || len(value) != 2*md5.Size {
		return nil
	}
	secret := t.secret.Bytes(r)
	for at, sid := range t.sids {
		var buf [2 * md5.Size]byte
		if string(appendSalted(buf[:0], sid, secret)) == string(value) {
			return &t.wishes[at]
		}
	}
	return nil
}

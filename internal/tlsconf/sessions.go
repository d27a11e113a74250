package tlsconf

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"os"
	"sync"
	"time"

	"limpet/internal/errlog"
	"limpet/internal/ngx"
)

// sessions is how the sessions of an address are resumed: by tickets, or by
// numbers under which they are kept here. As in nginx the default server decides.
type sessions struct {
	timeout time.Duration
	zone    *zone // nil where sessions aren't kept
	keys    *ring // nil without tickets
	static  bool  // keys are of files and don't change
}

// newSessions sets resumption up by the default server of an address. Keys and kept sessions live on over reloads.
func newSessions(b *ngx.Build, s *server) *sessions {
	c := s.conf
	ss := &sessions{timeout: c.SessionTimeout.V}
	id := hex.EncodeToString(s.context[:])
	if cache := c.SessionCache.V; cache.Zone != "" {
		ss.zone = ngx.Keep(b, fmt.Sprintf("ssl session cache %s:%d", cache.Zone, cache.Size), func() *zone { return newZone(int(cache.Size / 256)) })
	} else if cache.Builtin {
		ss.zone = ngx.Keep(b, "ssl builtin session cache "+id, func() *zone { return newZone(20 << 10) })
	}
	switch {
	case !s.tickets() || b.Offline:
	case len(c.ticketKeys) > 0:
		ss.keys, ss.static = &ring{keys: c.ticketKeys}, true
	case ss.zone != nil:
		ss.keys = &ss.zone.ring
	default:
		ss.keys = ngx.Keep(b, "ssl tickets "+id, func() *ring { return &ring{} })
	}
	return ss
}

// attach makes the session of s one that can be resumed.
func (ss *sessions) attach(cfg *tls.Config, s *session) {
	if ss.keys == nil && ss.zone == nil {
		cfg.SessionTicketsDisabled = true
		return
	}
	cfg.WrapSession = func(_ tls.ConnectionState, state *tls.SessionState) ([]byte, error) { return ss.wrap(s, state) }
	cfg.UnwrapSession = func(ticket []byte, _ tls.ConnectionState) (*tls.SessionState, error) {
		return ss.unwrap(s, ticket), nil
	}
}

// What goes into a session's state: its number, when it was made, under which kind of server.
const (
	idSize    = 32
	extraSize = idSize + 8 + sha256.Size
)

// wrap makes a ticket.
func (ss *sessions) wrap(s *session, state *tls.SessionState) ([]byte, error) {
	extra := make([]byte, extraSize)
	if s.id == nil {
		s.id = make([]byte, idSize)
		rand.Read(s.id)
	}
	copy(extra, s.id)
	binary.BigEndian.PutUint64(extra[idSize:], uint64(time.Now().Unix()))
	copy(extra[idSize+8:], s.server.context[:])
	state.Extra = [][]byte{extra}
	b, err := state.Bytes()
	if err != nil {
		return nil, err
	}
	if ss.keys == nil {
		ss.zone.put(string(s.id), b, time.Now().Add(ss.timeout))
		return s.id, nil
	}
	if !ss.static {
		ss.keys.rotate(time.Now(), ss.timeout)
	}
	return ss.keys.seal(b), nil
}

// unwrap returns the state of a session that may be resumed; nil for none.
func (ss *sessions) unwrap(s *session, ticket []byte) *tls.SessionState {
	var b []byte
	if ss.keys == nil {
		b = ss.zone.get(string(ticket), time.Now())
	} else {
		b = ss.keys.open(ticket)
	}
	if b == nil {
		return nil
	}
	state, err := tls.ParseSessionState(b)
	if err != nil || len(state.Extra) != 1 || len(state.Extra[0]) != extraSize {
		return nil
	}
	extra := state.Extra[0]
	made := time.Unix(int64(binary.BigEndian.Uint64(extra[idSize:])), 0)
	if time.Since(made) > ss.timeout || string(extra[idSize+8:]) != string(s.server.context[:]) {
		return nil
	}
	s.id = extra[:idSize:idSize]
	return state
}

// forget drops a session that isn't to be resumed.
func (ss *sessions) forget(id []byte) {
	if ss.zone != nil && id != nil {
		ss.zone.drop(string(id))
	}
}

// ticketKey encrypts and authenticates tickets as RFC 5077 section 4 recommends.
type ticketKey struct {
	name  [16]byte
	mac   []byte
	block cipher.Block
	made  time.Time
}

// readTicketKey reads a file of 48 or 80 bytes: name, key of the MAC, key of the cipher.
func readTicketKey(name string) (*ticketKey, error) {
	text, err := os.ReadFile(name)
	if err != nil {
		return nil, fmt.Errorf(`open() "%s" failed %s`, name, errlog.Errno(err))
	}
	k := &ticketKey{}
	switch len(text) {
	case 48:
		k.mac = text[16:32]
		k.block, err = aes.NewCipher(text[32:])
	case 80:
		k.mac = text[16:48]
		k.block, err = aes.NewCipher(text[48:])
	default:
		err = fmt.Errorf(`"%s" must be 48 or 80 bytes`, name)
	}
	copy(k.name[:], text)
	return k, err
}

func newTicketKey(now time.Time) *ticketKey {
	k := &ticketKey{mac: make([]byte, 32), made: now}
	var key [32]byte
	rand.Read(k.name[:])
	rand.Read(k.mac)
	rand.Read(key[:])
	k.block, _ = aes.NewCipher(key[:])
	return k
}

// ring is the keys of tickets, the one that encrypts first.
type ring struct {
	mu   sync.RWMutex
	keys []*ticketKey // guarded by mu
}

// rotate makes a new key when the one at hand is older than a session may get, and keeps the one before.
func (r *ring) rotate(now time.Time, timeout time.Duration) {
	r.mu.RLock()
	fresh := len(r.keys) > 0 && now.Sub(r.keys[0].made) <= timeout
	r.mu.RUnlock()
	if fresh {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.keys) == 0 || now.Sub(r.keys[0].made) > timeout {
		r.keys = append([]*ticketKey{newTicketKey(now)}, r.keys[:min(len(r.keys), 2)]...)
	}
}

// The parts of a ticket: the key's name, an initial vector, the state, a MAC.
const ticketHead = 16 + aes.BlockSize

func (r *ring) seal(state []byte) []byte {
	r.mu.RLock()
	k := r.keys[0]
	r.mu.RUnlock()
	t := make([]byte, ticketHead+len(state), ticketHead+len(state)+sha256.Size)
	copy(t, k.name[:])
	rand.Read(t[16:ticketHead])
	cipher.NewCTR(k.block, t[16:ticketHead]).XORKeyStream(t[ticketHead:], state)
	mac := hmac.New(sha256.New, k.mac)
	mac.Write(t)
	return mac.Sum(t)
}

// open returns the state of a ticket, nil when it isn't one of ours.
func (r *ring) open(ticket []byte) []byte {
	if len(ticket) < ticketHead+sha256.Size {
		return nil
	}
	var k *ticketKey
	r.mu.RLock()
	for _, have := range r.keys {
		if string(have.name[:]) == string(ticket[:16]) {
			k = have
			break
		}
	}
	r.mu.RUnlock()
	if k == nil {
		return nil
	}
	body, sum := ticket[:len(ticket)-sha256.Size], ticket[len(ticket)-sha256.Size:]
	mac := hmac.New(sha256.New, k.mac)
	mac.Write(body)
	if !hmac.Equal(mac.Sum(nil), sum) {
		return nil
	}
	state := make([]byte, len(body)-ticketHead)
	cipher.NewCTR(k.block, body[16:ticketHead]).XORKeyStream(state, body[ticketHead:])
	return state
}

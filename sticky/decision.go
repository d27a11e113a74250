package sticky

// Status says in a word what became of a client's wish for a peer, in Angie's words and one more.
type Status uint8

// The outcomes.
const (
	New   Status = iota // the client had no wish: no cookie, no session
	Hit                 // it got its peer
	Miss                // its wish named no peer of the group
	Moved               // its peer couldn't be asked, or failed, and it got another
)

// String returns the word as logs and metrics show it.
func (s Status) String() string { return [...]string{"NEW", "HIT", "MISS", "MOVED"}[s] }

// Reason says why a request went where it went.
type Reason uint8

// The reasons.
const (
	NoCookie     Reason = iota // no cookie, no route, no session in the request
	Valid                      // the value is the peer's, as the configuration writes it
	OtherDialect               // the value is the peer's, as another dialect or an earlier configuration wrote it
	LegacyName                 // it came under a name of --sticky-legacy
	Learned                    // the session was learned
	Empty                      // the cookie's value is empty
	Unknown                    // the value names no peer
	Malformed                  // the value isn't of the configured form
	Expired                    // it was idle, or lived, too long
	PeerDown                   // the peer is down by the file or by a check
	PeerFailed                 // the peer has failed too often of late
	PeerFull                   // the peer has reached max_conns
	Backup                     // the peer is a backup peer and primary ones serve
	Retried                    // the peer was asked and failed
	NumReasons
)

// String returns the reason as $sticky_reason shows it.
func (r Reason) String() string {
	return [...]string{"no_cookie", "valid", "other_dialect", "legacy_name", "learned", "empty", "unknown", "malformed",
		"expired", "peer_down", "peer_failed", "peer_full", "backup", "retried"}[r]
}

// Status returns the outcome that the reason leads to.
func (r Reason) Status() Status {
	return [...]Status{New, Hit, Hit, Hit, Hit, New, Miss, Miss, Miss, Moved, Moved, Moved, Moved, Moved}[r]
}

// client returns the letter for what the client's cookie was, as in HAProxy's logs:
// none, valid, invalid, expired, down, unused.
// https://docs.haproxy.org/2.8/configuration.html#8.5
func (r Reason) client() byte { return "NVVVVIIIEDDDUD"[r] }

// answer is what was done to the cookie in the answer, as in HAProxy's logs.
type answer uint8

const (
	untouched answer = iota // N
	inserted                // I
	updated                 // U
	rewritten               // R
	numAnswers
)

func (a answer) letter() byte { return "NIUR"[a] }

// decision is what the variables show of one try. It is read-only.
type decision struct {
	reason Reason
	answer answer
	before *decision // of the try before; nil at the first
}

// decisions holds one of each kind, so that deciding allocates nothing.
type decisions [NumReasons][numAnswers]decision

func newDecisions() *decisions {
	d := new(decisions)
	for r := range d {
		for a := range d[r] {
			d[r][a] = decision{reason: Reason(r), answer: answer(a)}
		}
	}
	return d
}

package ngx

import (
	"time"

	"limpet/internal/errlog"
	"limpet/internal/rx"
)

// Proto is the HTTP version of a message: 9, 1000, 1001 or 2000.
type Proto uint16

// The versions, numbered as in nginx.
const (
	HTTP09 Proto = 9
	HTTP10 Proto = 1000
	HTTP11 Proto = 1001
	HTTP20 Proto = 2000
)

// String returns the version as $server_protocol shows it.
func (p Proto) String() string {
	return map4(p, "HTTP/0.9", "HTTP/1.0", "HTTP/1.1", "HTTP/2.0")
}

func map4(p Proto, s09, s10, s11, s20 string) string {
	switch p {
	case HTTP09:
		return s09
	case HTTP10:
		return s10
	case HTTP20:
		return s20
	}
	return s11
}

// Request is one request, or subrequest, on its way through the phases. It is
// used by one goroutine at a time and reused by its connection: nothing may
// keep it, or bytes it hands out, beyond its end.
type Request struct {
	Main   *Request // the client's request; itself unless a subrequest
	Parent *Request // the request that made this subrequest; nil for the client's
	Client *Client
	Wire   Wire   // takes the answer and gives the body
	Engine Engine // runs subrequests
	Scope  *Scope // where the request is: server, then location, then if

	// What was asked. The bytes are the connection's and read-only.
	Line      []byte // the request line as received, without its end
	Method    []byte
	URI       []byte // as received: $request_uri
	Path      []byte // decoded and normalised: $uri
	Args      []byte // behind the ?, without it
	Proto     Proto
	Host      []byte // valid and lower-case: from the target or the Host field; else nil
	In        Header
	Length    int64 // of the body by Content-Length; -1 without one
	Chunked   bool  // the body comes in chunks
	KeepAlive bool  // the connection may serve another request
	Scheme    string
	// ComplexURI says that URI isn't Path as it is: it had escapes, dots or doubled slashes.
	ComplexURI bool
	// Internal is true behind an internal redirect and in subrequests.
	Internal bool
	// PathChanged says that rewrite or an internal redirect set Path, so that
	// proxy_pass makes the URI anew instead of passing it on as received.
	PathChanged bool
	// PathFree says that `rewrite ... break` set Path, so that it needn't begin with the location's name:
	// proxy_pass then passes it whole, in place of the URI that it names itself.
	PathFree bool
	// HandlerLost says that an `if` with a handler of its own was left for one without, in a location without: there is
	// nobody to answer, as in nginx.
	HandlerLost bool
	// BelowAlias says that Path goes behind the alias of a regular expression's location: try_files found it there.
	BelowAlias bool

	// Named is the named location that an outcome of Redirect leads to; "" for Path.
	Named string

	Body Body

	// What is answered.
	Out Response

	// Up is the URL asked of the peer at hand, for log lines.
	Up UpstreamURL
	// UpHead is the header of the upstream's answer as it came, all fields: $upstream_http_*.
	UpHead Header
	// UpTrailer is the fields behind a chunked answer's body.
	UpTrailer Header
	// Passed is what the module that passes the request on keeps for its variables.
	Passed any
	// Sticky is what package sticky decided about the request; nobody else's.
	Sticky any
	// Tries tell of the upstream's peers asked, first to last.
	Tries []Try

	Start     time.Time // of the first byte of the request
	Status    int       // what the log and $status show; 0 before the answer
	BytesSent int64     // of head and body to the client; http1 counts
	BodySent  int64     // of the body as sent: $body_bytes_sent
	Received  int64     // of the request, from its first byte to as much of the body as was read: $request_length
	// Pipelined says that the request's first bytes had come with the request before.
	Pipelined bool
	// Complete says that the whole answer was sent: $request_completion.
	Complete bool

	// Redirects counts internal redirects, bounded by 10 as in nginx.
	Redirects int
	// BodyRefused says that the body is too large to be asked for by 100 Continue.
	BodyRefused bool
	// Refused is the status with which the wire refuses the request before any phase; 0 for none.
	Refused int
	// MatchFailed says that a regular expression took too long, so that nobody knows whether it matches.
	MatchFailed bool
	// ErrorPage says that an error_page is being served: another one only under recursive_error_pages.
	ErrorPage bool
	// ErrorStatus replaces the status of whatever answers; 0 for none.
	ErrorStatus int
	// LimitRate is bytes a second; LimitRateSet says that a module set it in place of limit_rate.
	LimitRate    int64
	LimitRateSet bool
	// HeadSent is true when the header went through the filters to the wire.
	HeadSent bool
	// Replaced is the status with which a header filter replaced the answer, 0 for none; the engine answers with it.
	Replaced int
	// HeaderOnly is true when the answer has no body whatever is written: HEAD, 204, 304.
	HeaderOnly bool
	// LimitConn and LimitReq are what limit_conn and limit_req decided; of the client's request alone.
	LimitConn, LimitReq LimitStatus
	// AllLines says that the error log takes every line about the request whatever its level: debug_connection names the client.
	AllLines bool
	// NoLog keeps the request out of the access log.
	NoLog bool
	// Depth is how deep a subrequest is nested; 0 for the client's request.
	Depth int
	// Later are background subrequests that the engine runs when the answer is complete and logged.
	Later []*Request
	// Background subrequests (mirror, an update of a cache) don't hold their parent's answer up.
	Background bool
	// Clone subrequests begin at the handler of their Scope, where their parent was when it made them.
	Clone bool

	id             []byte // of the client's request, made when asked for
	captures       []int
	captureSubject []byte
	filters        []BodyFilter
	outer          int // the first of filters through which the answers of subrequests go, too
	values         []value
	slots          []any
	arena          []byte
	scratch        []byte
	enders         []Ender
}

// Response is what goes into the answer's head beside the wire's own fields
// (Server, Date, Connection, Transfer-Encoding).
type Response struct {
	Status int
	// Reason replaces the standard reason of Status (an upstream's own words); nil for the standard.
	Reason []byte
	// ContentType as sent, with charset where Charset is empty; nil for none.
	ContentType []byte
	Charset     []byte
	// OverrideCharset is the character set that a peer asks for by X-Accel-Charset; nil for none.
	OverrideCharset []byte
	Length          int64 // of the body, -1 when it isn't known: chunked or until close
	LastModified    time.Time
	Location        []byte // made absolute by the wire where absolute_redirect says so
	Header          Header // all other fields, in order
	Trailer         Header // fields behind a chunked body
	// HasTrailer says that there will be such fields: the body's length isn't sent, so that it goes out in chunks.
	HasTrailer   bool
	AcceptRanges bool // ranges of the body can be asked for
	SingleRange  bool // one range at most: the body is a stream
	// Unconditional says that whoever answered has seen the request's conditions (If-None-Match and the
	// like): they aren't looked at again.
	Unconditional bool
	// Server and Date replace the wire's own fields (proxy_pass_header); nil for its own, empty for none.
	Server, Date []byte
	// Close ends the connection behind the answer.
	Close bool
	// Chunked is the wire's: the body goes out in chunks.
	Chunked bool
}

// Try tells of one peer asked on behalf of a request: an element of the
// $upstream_ lists. Times are -1 where the step wasn't reached.
type Try struct {
	Peer         []byte // address as logged, or the group's name when no peer was there
	Status       int    // 0 when no answer came
	Connect      time.Duration
	Header       time.Duration
	Response     time.Duration
	Length       int64 // of the answer's body
	Received     int64 // bytes
	Sent         int64
	GroupChanged bool // an internal redirect led to another group: " : " in the lists
}

// UpstreamURL is a URL asked of a peer in its parts; it is none without a Peer.
type UpstreamURL struct {
	Scheme string // with ://
	Peer   []byte
	URI    []byte
}

// Ender is told when the request, its log lines included, has ended.
type Ender interface{ EndRequest() }

// OnEnd has e told when the client's request has ended; subrequests' Enders wait for it, too.
func (r *Request) OnEnd(e Ender) { r.Main.enders = append(r.Main.enders, e) }

// End tells the Enders, last first. The wire calls it once a request.
func (r *Request) End() {
	for i := len(r.enders) - 1; i >= 0; i-- {
		r.enders[i].EndRequest()
		r.enders[i] = nil
	}
	r.enders = r.enders[:0]
}

// Reset makes the request ready for another of the same connection.
func (r *Request) Reset() {
	in, out, trailer, up, upTrailer := r.In, r.Out.Header, r.Out.Trailer, r.UpHead, r.UpTrailer
	in.Reset()
	up.Reset()
	upTrailer.Reset()
	out.Reset()
	trailer.Reset()
	clear(r.values)
	clear(r.slots)
	clear(r.filters)
	if cap(r.arena) > arenaMax {
		r.arena = nil
	}
	*r = Request{
		Client: r.Client, Wire: r.Wire, Engine: r.Engine,
		In: in, Length: -1, Tries: r.Tries[:0], UpHead: up, UpTrailer: upTrailer,
		captures: r.captures[:0], filters: r.filters[:0], values: r.values[:0], slots: r.slots[:0],
		arena: r.arena[:0], scratch: r.scratch[:0], enders: r.enders[:0],
	}
	r.Main = r
	r.Out.Header, r.Out.Trailer, r.Out.Length = out, trailer, -1
}

// The memory for values begins small, and is doubled when a request needs more, so
// that it soon suffices; what is more than arenaMax isn't kept for other requests.
const (
	arenaChunk = 1024
	arenaMax   = 16 << 10
)

// Alloc returns n bytes that live as long as the request.
func (r *Request) Alloc(n int) []byte {
	if cap(r.arena)-len(r.arena) < n {
		r.arena = make([]byte, 0, max(arenaChunk, min(2*cap(r.arena), arenaMax), n))
	}
	at := len(r.arena)
	r.arena = r.arena[:at+n]
	return r.arena[at : at+n : at+n]
}

// Copy returns a copy of b that lives as long as the request.
func (r *Request) Copy(b []byte) []byte {
	c := r.Alloc(len(b))
	copy(c, b)
	return c
}

// CopyString is Copy for a string.
func (r *Request) CopyString(s string) []byte {
	c := r.Alloc(len(s))
	copy(c, s)
	return c
}

// Match matches a pattern and keeps its captures for $1..$9. The subject must
// live as long as the request. A match that takes too long is logged and noted
// in MatchFailed: whoever looked for it ends the request with 500.
func (r *Request) Match(re *rx.Regexp, subject []byte) bool {
	caps, err := re.Exec(subject, r.captures[:0])
	switch err {
	case nil:
		r.captures, r.captureSubject = caps, subject
		return true
	case rx.ErrLimit:
		r.MatchFailed = true
		r.Logf(errlog.Alert, `pcre2_match() failed: -47 on "%s" using "%s"`, subject, re)
	}
	return false
}

// Capture returns group i of the last match that set captures; nil when unset.
func (r *Request) Capture(i int) []byte {
	if 2*i+1 >= len(r.captures) || r.captures[2*i] < 0 {
		return nil
	}
	return r.captureSubject[r.captures[2*i]:r.captures[2*i+1]]
}

// DropCaptures forgets the captures: $1..$9 are empty.
func (r *Request) DropCaptures() { r.captures = r.captures[:0] }

// Captures returns the number of groups of the last match, the whole included.
func (r *Request) Captures() int { return len(r.captures) / 2 }

func (r *Request) value(slot int) *value {
	for len(r.values) <= slot {
		r.values = append(r.values, value{})
	}
	return &r.values[slot]
}

// keptValue returns the valid value in a slot, or nil.
func (r *Request) keptValue(slot int) *value {
	if slot < 0 || slot >= len(r.values) || !r.values[slot].valid {
		return nil
	}
	return &r.values[slot]
}

// IsMain reports whether the request is the client's own.
func (r *Request) IsMain() bool { return r.Main == r }

// Sub returns a new subrequest: same client, same header, method GET, the body where
// it was read whole, the variables' values of its parent. It isn't run.
func (r *Request) Sub(path, args []byte) *Request {
	sub := &Request{
		Main: r.Main, Parent: r, Client: r.Client, Wire: r.Wire, Engine: r.Engine, Scope: r.Scope.Server,
		Line: r.Line, Method: []byte("GET"), URI: r.URI, Path: path, Args: args, Proto: r.Proto, Host: r.Host,
		In: Header{append([]Field(nil), r.In.Fields...)}, Length: -1, Scheme: r.Scheme,
		Internal: true, PathChanged: true, AllLines: r.AllLines, Start: time.Now(),
		captures: append([]int(nil), r.captures...), captureSubject: r.captureSubject,
		values: append([]value(nil), r.values...),
	}
	sub.Out.Length = -1
	if r.Main.Body.Read {
		sub.Length, sub.Chunked = r.Main.Length, r.Main.Chunked
	}
	sub.Depth = r.Depth + 1
	return sub
}

// SetTarget makes uri, a path with perhaps arguments behind a ?, the target of an internal redirect.
func (r *Request) SetTarget(uri []byte) {
	r.Path, r.Args = uri, nil
	for i, c := range uri {
		if c == '?' {
			r.Path, r.Args = uri[:i], uri[i+1:]
			return
		}
	}
}

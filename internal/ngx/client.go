package ngx

import (
	"bytes"
	"crypto/tls"
	"net/netip"
	"time"

	"limpet/internal/errlog"
	"limpet/internal/tcp"
)

// Client is the connection that requests come by.
type Client struct {
	Conn     *tcp.Conn
	ID       uint64 // serial number: *N in the error log, $connection
	Requests int    // so far, this one included: $connection_requests
	Start    time.Time
	Listener *Listener
	// ErrorLog is for the lines about the connection that are of no request: the log of the address's default server,
	// then that of the last request's place. It may be one of an earlier configuration, closed, as long as no request
	// comes. Endpoint.Meet sets it.
	ErrorLog *errlog.Log
	// AllLines says that debug_connection names the client.
	AllLines bool

	// Addr is the client's address as modules see it: realip and the PROXY
	// protocol replace it. Text is its text form, without the port.
	Addr netip.AddrPort
	Text []byte
	// Local is the address the client came to.
	Local netip.AddrPort
	// Unix says that the connection is a UNIX-domain one; Text is then "unix:".
	Unix bool

	TLS *tls.ConnectionState // nil without TLS
	// ServerName is the host that the client asked for in its TLS handshake, valid and in lower case; nil for none.
	ServerName []byte
	// Session is what package tlsconf keeps of the TLS session; nobody else's.
	Session any
	HTTP2   bool
	// Stream tells of the client's going where requests share the connection (HTTP/2); nil where Conn does.
	Stream tcp.Guard
	Proxy  *ProxyHeader // what the PROXY protocol said; nil without it
}

// ProxyHeader is what a PROXY protocol header said.
type ProxyHeader struct {
	Source, Dest netip.AddrPort
	TLVs         []TLV
}

// TLV is a PROXY protocol version 2 extension.
type TLV struct {
	Type  byte
	Value []byte
}

// Listener is a listening socket as its connections know it: a place where the
// configuration in force can be looked up at each request.
type Listener struct {
	// Addr is the address as configured, normalised: 0.0.0.0:80, [::]:80, unix:/path.
	Addr string
	// Acquire returns the endpoint in force, held until its Release is called; nil
	// when no configuration has the address any more: the connection is then closed.
	Acquire func() *Endpoint
	// Gone reports whether Acquire returns nil, so that idle connections needn't wait for a request.
	Gone func() bool
}

// Endpoint is what one configuration says of a listening address.
type Endpoint struct {
	Default *Scope
	// Find returns the virtual server for a host, in lower case without port; Default when none has the name.
	// It may set captures of a name that is a regular expression.
	Find    func(r *Request, host []byte) *Scope
	Release func()
	Engine  Engine
	// TLS is nil for plain connections.
	TLS      TLS
	HTTP2    bool // by a parameter of listen; see also Scope.HTTP2
	Proxy    bool // connections begin with a PROXY protocol header
	Deferred bool
	// Debugs reports whether debug_connection names the other end of a connection; nil without such directives.
	Debugs func(peer netip.AddrPort) bool
}

// TLS makes TLS sessions with the clients of an address, and judges requests by them.
type TLS interface {
	// Handshake makes a client's connection a TLS session, within client_header_timeout, and fills in what Client
	// tells of it. False says that it failed, which was logged: the connection is closed.
	Handshake(c *Client, ep *Endpoint) bool
	// Refuse returns the status with which a request whose server is known is refused for what is wrong with the
	// session, logged: 495, 496, 497 for a request without TLS; 0 for none.
	Refuse(r *Request) int
}

// Meet notes what the error log takes about a connection whose endpoint is this. debug_connection is asked for the
// connection's own address, not for one that the PROXY protocol or realip gave, as in nginx; but again at each request,
// as a reload closes no connection.
func (ep *Endpoint) Meet(c *Client) {
	c.AllLines = ep.Debugs != nil && ep.Debugs(c.Conn.Remote())
	if c.ErrorLog.Closed() {
		c.ErrorLog = ep.Default.Core.ErrorLog
	}
}

// Log returns the error log for a line about the connection.
func (c *Client) Log() *errlog.Log {
	if c.AllLines {
		return c.ErrorLog.All()
	}
	return c.ErrorLog
}

// Debugging reports whether the log takes debug lines about the connection; see Request.Debugging.
func (c *Client) Debugging() bool { return c.AllLines || c.ErrorLog.Debugging(errlog.DebugAll) }

// Debugf writes a debug line about the connection.
func (c *Client) Debugf(f errlog.Facility, format string, args ...any) {
	c.Log().Debugf(f, c.ID, format, args...)
}

// Begin makes the server that a connection starts with the request's: that of the TLS handshake's name, or the default one.
func (ep *Endpoint) Begin(r *Request) {
	r.AllLines = r.Client.AllLines
	r.Scope = ep.Default
	if name := r.Client.ServerName; name != nil {
		r.Scope = ep.Find(r, name)
	}
}

// Serve makes the server of a host the request's. False says, logged, that the request is misdirected (421): its host
// isn't that of the TLS handshake, and the server verifies clients by what they show in the handshake.
func (ep *Endpoint) Serve(r *Request, host []byte) bool {
	name := r.Client.ServerName
	if name != nil && bytes.Equal(host, name) {
		return true
	}
	r.Scope = ep.Find(r, host)
	if r.Debugging() {
		st := r.Scope.Level.Stmt
		r.Debugf(`using server "%s" in %s:%d for host "%s"`, r.Scope.ServerName, st.File, st.Line, host)
	}
	if name != nil && r.Scope.VerifiesClients {
		r.Infof("client attempted to request the server name different from the one that was negotiated while reading client request headers")
		return false
	}
	return true
}

package ngx

import (
	"crypto/tls"
	"net/netip"
	"time"

	"limpet/internal/tcp"
)

// Client is the connection that requests come by.
type Client struct {
	Conn     *tcp.Conn
	ID       uint64 // serial number: *N in the error log, $connection
	Requests int    // so far, this one included: $connection_requests
	Start    time.Time
	Listener *Listener

	// Addr is the client's address as modules see it: realip and the PROXY
	// protocol replace it. Text is its text form, without the port.
	Addr netip.AddrPort
	Text []byte
	// Local is the address the client came to.
	Local netip.AddrPort
	// Unix says that the connection is a UNIX-domain one; Text is then "unix:".
	Unix bool

	TLS   *tls.ConnectionState // nil without TLS
	HTTP2 bool
	Proxy *ProxyHeader // what the PROXY protocol said; nil without it
	// Secret tells of TLS what Request variables need beyond ConnectionState.
	VerifyError error // of the client's certificate under ssl_verify_client optional
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
	TLS      *tls.Config
	HTTP2    bool
	Proxy    bool // connections begin with a PROXY protocol header
	Deferred bool
}

package ocsp

import (
	"bufio"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"net/textproto"
	"strconv"
	"strings"
	"time"

	"limpet/internal/errlog"
)

// Responder is a responder's URL.
type Responder struct {
	host    string // without a port
	port    uint16
	uri     string // ends with a slash
	socket  string // of the system; "" for none
	addrs   []netip.Addr
	resolve bool // the host is a name that is resolved for each question
}

// Resolve returns the addresses of a name.
type Resolve func(ctx context.Context, name string) ([]netip.Addr, error)

// Parse reads a URL of the configuration, whose host is resolved at once by lookUp; nil leaves it for later. The error is
// nginx's and begins where that says what is wrong.
func Parse(text string, lookUp func(host string) ([]string, error)) (*Responder, error) {
	r, rest, err := parse(text)
	if err != nil || !r.resolve || lookUp == nil {
		return r, err
	}
	found, err := lookUp(r.host)
	for _, f := range found {
		if a, err := netip.ParseAddr(f); err == nil {
			r.addrs = append(r.addrs, a)
		}
	}
	if err != nil || len(r.addrs) == 0 {
		return nil, fmt.Errorf(`host not found in OCSP responder "%s"`, rest)
	}
	r.resolve = false
	return r, nil
}

// Of returns the responder that a certificate names.
func Of(cert *x509.Certificate) (*Responder, error) {
	if len(cert.OCSPServer) == 0 {
		return nil, errors.New("no OCSP responder URL in the certificate")
	}
	r, _, err := parse(cert.OCSPServer[0])
	if err == nil && r.socket != "" {
		return nil, fmt.Errorf(`invalid host in OCSP responder "%s"`, cert.OCSPServer[0])
	}
	return r, err
}

// parse reads a URL; rest is what is behind the scheme.
func parse(text string) (r *Responder, rest string, err error) {
	const scheme = "http://"
	if len(text) <= len(scheme) || !strings.EqualFold(text[:len(scheme)], scheme) {
		return nil, "", fmt.Errorf(`invalid URL prefix in OCSP responder "%s"`, text)
	}
	rest = text[len(scheme):]
	bad := func(what string) (*Responder, string, error) {
		return nil, rest, fmt.Errorf(`%s in OCSP responder "%s"`, what, rest)
	}
	if strings.ContainsFunc(rest, func(c rune) bool { return c <= ' ' || c == 0x7f }) {
		return bad("invalid host")
	}
	r = &Responder{port: 80, uri: "/"}
	if path, ok := strings.CutPrefix(rest, "unix:"); ok {
		path, uri, _ := strings.Cut(path, ":")
		if path == "" {
			return bad("no path in the unix domain socket")
		}
		r.host, r.socket, r.uri = "localhost", path, slashed(uri)
		return r, rest, nil
	}
	at, uri := rest, ""
	if i := strings.IndexAny(rest, "/?"); i >= 0 {
		at, uri = rest[:i], rest[i:]
	}
	r.uri = slashed(uri)
	port := ""
	if end := strings.IndexByte(at, ']'); strings.HasPrefix(at, "[") && end > 0 {
		r.host, port = at[:end+1], at[end+1:]
	} else if i := strings.IndexByte(at, ':'); i >= 0 {
		r.host, port = at[:i], at[i:]
	} else {
		r.host = at
	}
	if port != "" {
		n, err := strconv.ParseUint(strings.TrimPrefix(port, ":"), 10, 16)
		if err != nil || n == 0 || port[0] != ':' {
			return bad("invalid port")
		}
		r.port = uint16(n)
	}
	if r.host == "" {
		return bad("no host")
	}
	if a, err := netip.ParseAddr(strings.Trim(r.host, "[]")); err == nil {
		r.addrs = []netip.Addr{a}
	} else {
		r.resolve = true
	}
	return r, rest, nil
}

func slashed(uri string) string {
	if !strings.HasSuffix(uri, "/") {
		uri += "/"
	}
	if uri[0] != '/' {
		uri = "/" + uri
	}
	return uri
}

// maxResponse bounds a response.
const maxResponse = 256 << 10

// get asks the responder's addresses one after another until one takes the request. peer is the one that was asked.
func (r *Responder) get(ctx context.Context, resolve Resolve, request string) (body []byte, peer string, err error) {
	network, targets := "tcp", []string{}
	switch {
	case r.socket != "":
		network, targets = "unix", append(targets, r.socket)
	case r.resolve && resolve == nil:
		return nil, "", fmt.Errorf("no resolver defined to resolve %s", r.host)
	case r.resolve:
		addrs, err := resolve(ctx, r.host)
		if err != nil {
			return nil, "", fmt.Errorf("%s could not be resolved (%w)", r.host, err)
		}
		for _, a := range addrs {
			targets = append(targets, netip.AddrPortFrom(a, r.port).String())
		}
	default:
		for _, a := range r.addrs {
			targets = append(targets, netip.AddrPortFrom(a, r.port).String())
		}
	}
	var c net.Conn
	for _, peer = range targets {
		if c, err = new(net.Dialer).DialContext(ctx, network, peer); err == nil {
			break
		}
	}
	if c == nil {
		return nil, peer, fmt.Errorf("connect() failed %s", errlog.Errno(err))
	}
	defer c.Close()
	defer context.AfterFunc(ctx, func() { c.SetDeadline(time.Unix(1, 0)) })()
	body, err = r.exchange(c, request)
	if ctx.Err() != nil && err != nil {
		err = errors.New("OCSP responder timed out (110: Connection timed out)")
	}
	return body, peer, err
}

// exchange sends a request and reads the response's body.
func (r *Responder) exchange(c net.Conn, request string) ([]byte, error) {
	if _, err := fmt.Fprintf(c, "GET %s%s HTTP/1.0\r\nHost: %s\r\n\r\n", r.uri, request, r.host); err != nil {
		return nil, fmt.Errorf("send() failed %s", errlog.Errno(err))
	}
	early := errors.New("OCSP responder prematurely closed connection")
	in := bufio.NewReader(io.LimitReader(c, maxResponse))
	text := textproto.NewReader(in)
	line, err := text.ReadLine()
	if err != nil {
		return nil, early
	}
	if !strings.HasPrefix(line, "HTTP/1.") {
		return nil, errors.New("OCSP responder sent invalid response")
	}
	head, err := text.ReadMIMEHeader()
	if err != nil {
		return nil, early
	}
	if t := head.Get("Content-Type"); t != "" && !strings.EqualFold(t, "application/ocsp-response") {
		return nil, fmt.Errorf(`OCSP responder sent invalid "Content-Type" header: "%s"`, t)
	}
	if n, err := strconv.ParseUint(head.Get("Content-Length"), 10, 31); err == nil && n <= maxResponse {
		body := make([]byte, n)
		if _, err := io.ReadFull(in, body); err != nil {
			return nil, early
		}
		return body, nil
	}
	body, err := io.ReadAll(in)
	if err != nil || len(body) == 0 {
		return nil, early
	}
	return body, nil
}

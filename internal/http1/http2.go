package http1

import (
	"fmt"

	"golang.org/x/net/http2"

	"limpet/internal/ngx"
)

// HTTP2Conn serves a connection that speaks HTTP/2.
type HTTP2Conn interface {
	// Serve returns when the connection has ended.
	Serve()
	// Leave has the client open no more requests on the connection, which ends when those that run have. Any
	// goroutine may call it, at any time; it may wait for the client to read.
	Leave()
}

// serveHTTP2 serves the connection as one that speaks HTTP/2. Its requests are all under the endpoint at hand.
func (c *conn) serveHTTP2(ep *ngx.Endpoint) {
	if c.srv.HTTP2 == nil {
		return
	}
	c.busy.Store(true)
	h := c.srv.HTTP2(&c.client, ep)
	c.under.Store(ep)
	c.srv.mu.Lock()
	c.http2 = h
	leave := c.srv.closing.Load()
	c.srv.mu.Unlock()
	if leave {
		go h.Leave()
	}
	h.Serve()
	c.srv.mu.Lock()
	c.http2 = nil
	c.srv.mu.Unlock()
}

// LeaveUnder has the HTTP/2 connections end gracefully that are under one of the endpoints.
func (s *Server) LeaveUnder(is func(*ngx.Endpoint) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.conns {
		if ep := c.under.Load(); c.http2 != nil && ep != nil && is(ep) {
			go c.http2.Leave()
		}
	}
}

// speaksHTTP2 looks for the preface of HTTP/2 on a connection without TLS, RFC 9113 section 3.3.
func (c *conn) speaksHTTP2() bool {
	var buf [len(http2.ClientPreface)]byte
	n := 0
	for n < len(buf) {
		m, err := c.tc.Read(buf[n:])
		n += m
		if m == 0 || err != nil || string(buf[:n]) != http2.ClientPreface[:n] {
			break
		}
	}
	if n > 0 {
		c.tc.Unread(append([]byte(nil), buf[:n]...))
	}
	return string(buf[:n]) == http2.ClientPreface
}

// Target makes path and arguments of r.URI, the :path of an HTTP/2 request; merge is merge_slashes. False says that it is none.
func Target(r *ngx.Request, merge bool) bool {
	if len(r.URI) == 0 || r.URI[0] != '/' {
		return false
	}
	line := r.Alloc(len(r.URI) + 1)
	copy(line, r.URI)
	line[len(r.URI)] = ' '
	var l requestLine
	if end, err := l.path(line, 0); err != nil || end != len(r.URI) {
		return false
	}
	return setTarget(r, &l, r.URI, merge)
}

// setTarget takes over path and arguments of a parsed target.
func setTarget(r *ngx.Request, l *requestLine, uri []byte, merge bool) bool {
	if l.complex {
		path := r.Alloc(len(uri))
		p, args, ok := normalize(path[:0], uri, merge)
		if !ok {
			return false
		}
		r.Path, r.Args, r.ComplexURI = p, args, true
		return true
	}
	r.Path = uri
	for i, c := range uri {
		if c == '?' {
			r.Path, r.Args = uri[:i], uri[i+1:]
			break
		}
	}
	return true
}

// AddField adds a field to a request's header; the error, in nginx's words, refuses a second one of those that may come once.
func AddField(r *ngx.Request, f ngx.Field) error {
	if unique(f.ID) {
		if prev := r.In.Find(f.ID); prev != nil {
			return fmt.Errorf(`client sent duplicate header line: "%s: %s", previous value: "%s: %s"`, f.Name, f.Value, prev.Name, prev.Value)
		}
	}
	r.In.Fields = append(r.In.Fields, f)
	return nil
}

// unique reports the fields of which nginx refuses a second one.
func unique(id ngx.HeaderID) bool {
	switch id {
	case ngx.HeaderIfModifiedSince, ngx.HeaderIfUnmodifiedSince, ngx.HeaderIfMatch, ngx.HeaderIfNoneMatch,
		ngx.HeaderContentLength, ngx.HeaderTransferEncoding, ngx.HeaderContentRange, ngx.HeaderIfRange, ngx.HeaderExpect,
		ngx.HeaderAuthorization:
		return true
	}
	return false
}

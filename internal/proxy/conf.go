// Package proxy passes requests to upstreams over HTTP/1.x: the request out, the
// response in, the next peer after a failure, redirects and cookies rewritten,
// upgraded connections tunnelled.
//
// It stands for nginx's ngx_http_proxy_module and the parts of
// ngx_http_upstream.c that it uses.
// https://nginx.org/en/docs/http/ngx_http_proxy_module.html
//
// Not done: HTTP/2 to upstreams, and proxy_cache_purge, which is NGINX Plus's; both are refused by name.
package proxy

import (
	"errors"
	"fmt"
	"time"

	"limpet/internal/ngx"
	"limpet/nginxconf"
)

// Words of proxy_next_upstream.
const (
	nextError uint32 = 1 << iota
	nextTimeout
	nextInvalidHeader
	nextNonIdempotent
	next500
	next502
	next503
	next504
	next403
	next404
	next429
	nextUpdating
	nextOff
)

// Words of proxy_ignore_headers.
const (
	ignoreRedirect uint32 = 1 << iota
	ignoreAccelExpires
	ignoreExpires
	ignoreCacheControl
	ignoreSetCookie
	ignoreLimitRate
	ignoreBuffering
	ignoreCharset
	ignoreVary
)

// Conf is the proxy module's configuration at one level.
type Conf struct {
	Pass               nginxconf.Opt[*Target]
	Redirect           nginxconf.List[redirect]
	CookieDomain       nginxconf.List[redirect]
	CookiePath         nginxconf.List[redirect]
	CookieFlags        nginxconf.List[cookieFlags]
	Buffering          nginxconf.Opt[bool]
	RequestBuffering   nginxconf.Opt[bool]
	IgnoreClientAbort  nginxconf.Opt[bool]
	Bind               nginxconf.Opt[bind]
	SocketKeepalive    nginxconf.Opt[bool]
	RcvBuf, SndBuf     nginxconf.Opt[int64]
	ConnectTimeout     nginxconf.Opt[time.Duration]
	SendTimeout        nginxconf.Opt[time.Duration]
	ReadTimeout        nginxconf.Opt[time.Duration]
	SendLowat          nginxconf.Opt[int64]
	InterceptErrors    nginxconf.Opt[bool]
	SetHeader          nginxconf.List[setHeader]
	SetBody            nginxconf.Opt[ngx.Text]
	Method             nginxconf.Opt[ngx.Text]
	PassHeaders        nginxconf.Opt[bool]
	PassBody           nginxconf.Opt[bool]
	PassTrailers       nginxconf.Opt[bool]
	BufferSize         nginxconf.Opt[int64]
	Buffers            nginxconf.Opt[nginxconf.Buffers]
	BusySize           nginxconf.Opt[int64]
	ForceRanges        nginxconf.Opt[bool]
	LimitRate          nginxconf.Opt[ngx.Text]
	TempPath           nginxconf.Opt[ngx.TempPath]
	MaxTempSize        nginxconf.Opt[int64]
	TempWriteSize      nginxconf.Opt[int64]
	PassHeader         nginxconf.List[string]
	HideHeader         nginxconf.List[string]
	IgnoreHeaders      nginxconf.Opt[uint32]
	HTTPVersion        nginxconf.Opt[ngx.Proto]
	NextUpstream       nginxconf.Opt[uint32]
	NextTries          nginxconf.Opt[int]
	NextTimeout        nginxconf.Opt[time.Duration]
	EarlyHints         nginxconf.List[ngx.Text]
	SSL                sslConf
	Cached             cacheConf
	redirectOff        bool
	domainOff, pathOff bool
}

// Directives lists the directives of the proxy module.
func (c *Conf) Directives() []nginxconf.Directive {
	const hsl = nginxconf.HTTPServerLocation
	const memory = "look-up tables are sized as needed"
	rows := []nginxconf.Directive{
		nginxconf.Custom("proxy_pass", nginxconf.Location|nginxconf.LocationIf|nginxconf.LimitExcept, nginxconf.Args1, &c.Pass, parseTarget, "",
			"Sets the protocol, address and URI of the proxied server.").NoInherit(),
		nginxconf.Many("proxy_redirect", hsl, nginxconf.Args12, &c.Redirect, c.parseRedirect, "default", "Changes Location and Refresh of a response."),
		nginxconf.Many("proxy_cookie_domain", hsl, nginxconf.Args12, &c.CookieDomain, c.parseCookieDomain, "off", "Changes the domain of a response's cookies."),
		nginxconf.Many("proxy_cookie_path", hsl, nginxconf.Args12, &c.CookiePath, c.parseCookiePath, "off", "Changes the path of a response's cookies."),
		nginxconf.Many("proxy_cookie_flags", hsl, nginxconf.Args1234, &c.CookieFlags, parseCookieFlags, "off", "Changes the flags of a response's cookies."),
		nginxconf.Flag("proxy_buffering", hsl, &c.Buffering, "on", "Reads a response ahead of what the client takes."),
		nginxconf.Flag("proxy_request_buffering", hsl, &c.RequestBuffering, "on", "Reads a request's body whole before a peer is asked."),
		nginxconf.Flag("proxy_ignore_client_abort", hsl, &c.IgnoreClientAbort, "off", "Goes on when the client has gone."),
		nginxconf.Custom("proxy_bind", hsl, nginxconf.Args12, &c.Bind, parseBind, "", "Sets the local address of connections to peers."),
		nginxconf.Flag("proxy_socket_keepalive", hsl, &c.SocketKeepalive, "off", "Turns TCP keep-alive on towards peers."),
		nginxconf.Size("proxy_socket_rcvbuf", hsl, &c.RcvBuf, "", "Sets the receive buffer of connections to peers."),
		nginxconf.Size("proxy_socket_sndbuf", hsl, &c.SndBuf, "", "Sets the send buffer of connections to peers."),
		nginxconf.Msec("proxy_connect_timeout", hsl, &c.ConnectTimeout, "60s", "Bounds the time to connect to a peer."),
		nginxconf.Msec("proxy_send_timeout", hsl, &c.SendTimeout, "60s", "Bounds the time between two writes of a request."),
		nginxconf.Msec("proxy_read_timeout", hsl, &c.ReadTimeout, "60s", "Bounds the time between two reads of a response."),
		nginxconf.Accepted("proxy_send_lowat", hsl, nginxconf.Args1, "Linux has no low-water mark for sending"),
		nginxconf.Flag("proxy_intercept_errors", hsl, &c.InterceptErrors, "off", "Lets error_page answer in place of a peer's error."),
		nginxconf.Each("proxy_set_header", hsl, nginxconf.Args2, &c.SetHeader, parseSetHeader, "Sets a field of the request passed on."),
		nginxconf.Accepted("proxy_headers_hash_max_size", hsl, nginxconf.Args1, memory),
		nginxconf.Accepted("proxy_headers_hash_bucket_size", hsl, nginxconf.Args1, memory),
		ngx.TextRow("proxy_set_body", hsl, &c.SetBody, "", "Replaces the body of the request passed on."),
		ngx.TextRow("proxy_method", hsl, &c.Method, "", "Replaces the method of the request passed on."),
		nginxconf.Flag("proxy_pass_request_headers", hsl, &c.PassHeaders, "on", "Passes the client's header fields on."),
		nginxconf.Flag("proxy_pass_request_body", hsl, &c.PassBody, "on", "Passes the request's body on."),
		nginxconf.Flag("proxy_pass_trailers", hsl, &c.PassTrailers, "off", "Passes the fields behind a chunked response on."),
		nginxconf.Size("proxy_buffer_size", hsl, &c.BufferSize, "4k", "Sets the buffer for a response's head, which must fit."),
		nginxconf.Bufs("proxy_buffers", hsl, &c.Buffers, "8 4k", "Sets how much of a response is kept in memory for a slow client."),
		nginxconf.Size("proxy_busy_buffers_size", hsl, &c.BusySize, "", "Bounds what is on its way to the client while the rest is still read.").WithoutEffect("buffers aren't divided, so the size is only checked against the others"),
		nginxconf.Flag("proxy_force_ranges", hsl, &c.ForceRanges, "off", "Serves ranges of responses whatever their Accept-Ranges."),
		ngx.TextRow("proxy_limit_rate", hsl, &c.LimitRate, "0", "Limits the rate of reading a response, in bytes a second."),
		nginxconf.Custom("proxy_temp_path", hsl, nginxconf.Args1234, &c.TempPath, ngx.ParseTempPath, "proxy_temp", "Sets the folder for responses that a slow client takes."),
		nginxconf.Size("proxy_max_temp_file_size", hsl, &c.MaxTempSize, "1024m", "Bounds the temporary file of a response."),
		nginxconf.Size("proxy_temp_file_write_size", hsl, &c.TempWriteSize, "", "Bounds how much goes to the temporary file at once.").WithoutEffect("writes aren't divided, so the size is only checked against the others"),
		nginxconf.Each("proxy_pass_header", hsl, nginxconf.Args1, &c.PassHeader, word, "Passes a field on that is hidden by default."),
		nginxconf.Each("proxy_hide_header", hsl, nginxconf.Args1, &c.HideHeader, word, "Hides a field of responses."),
		nginxconf.Mask("proxy_ignore_headers", hsl, &c.IgnoreHeaders, []nginxconf.Word[uint32]{
			{Name: "X-Accel-Redirect", Value: ignoreRedirect}, {Name: "X-Accel-Expires", Value: ignoreAccelExpires}, {Name: "Expires", Value: ignoreExpires},
			{Name: "Cache-Control", Value: ignoreCacheControl}, {Name: "Set-Cookie", Value: ignoreSetCookie}, {Name: "X-Accel-Limit-Rate", Value: ignoreLimitRate},
			{Name: "X-Accel-Buffering", Value: ignoreBuffering}, {Name: "X-Accel-Charset", Value: ignoreCharset}, {Name: "Vary", Value: ignoreVary}},
			"", "Keeps fields of a response from having an effect."),
		nginxconf.Enum("proxy_http_version", hsl, &c.HTTPVersion, []nginxconf.Word[ngx.Proto]{{Name: "1.0", Value: ngx.HTTP10}, {Name: "1.1", Value: ngx.HTTP11}}, "1.1", "Sets the HTTP version towards peers."),
		nginxconf.Mask("proxy_next_upstream", hsl, &c.NextUpstream, nextWords(),
			"error timeout", "Says after which failures the next peer is asked."),
		nginxconf.Num("proxy_next_upstream_tries", hsl, &c.NextTries, "0", "Bounds the number of tries."),
		nginxconf.Msec("proxy_next_upstream_timeout", hsl, &c.NextTimeout, "0", "Bounds the time in which the next peer is asked."),
		nginxconf.Many("early_hints", hsl, nginxconf.Args1More, &c.EarlyHints, parsePredicate, "", "Says when 103 answers of peers are passed on."),
	}
	rows = append(rows, c.Cached.rows()...)
	return append(rows, c.SSL.rows()...)
}

// nextWords are those of proxy_next_upstream and proxy_cache_use_stale.
func nextWords() []nginxconf.Word[uint32] {
	return []nginxconf.Word[uint32]{
		{Name: "error", Value: nextError}, {Name: "timeout", Value: nextTimeout}, {Name: "invalid_header", Value: nextInvalidHeader},
		{Name: "non_idempotent", Value: nextNonIdempotent}, {Name: "http_500", Value: next500}, {Name: "http_502", Value: next502},
		{Name: "http_503", Value: next503}, {Name: "http_504", Value: next504}, {Name: "http_403", Value: next403}, {Name: "http_404", Value: next404},
		{Name: "http_429", Value: next429}, {Name: "updating", Value: nextUpdating}, {Name: "off", Value: nextOff},
	}
}

func word(s *nginxconf.Setting) (string, error) { return s.Arg(0), nil }

// parsePredicate reads conditions of which one must be neither empty nor 0.
func parsePredicate(s *nginxconf.Setting) ([]ngx.Text, error) {
	var texts []ngx.Text
	for i := range s.Args {
		t, err := ngx.ParseText(s, s.Arg(i))
		if err != nil {
			return nil, err
		}
		texts = append(texts, t)
	}
	return texts, nil
}

// holds reports whether one of the conditions is neither empty nor 0.
func holds(conds []ngx.Text, r *ngx.Request) bool {
	for i := range conds {
		if v := conds[i].Bytes(r); len(v) > 0 && string(v) != "0" {
			return true
		}
	}
	return false
}

// setHeader is one proxy_set_header.
type setHeader struct {
	Name  string
	Value ngx.Text
}

func parseSetHeader(s *nginxconf.Setting) (setHeader, error) {
	v, err := ngx.ParseText(s, s.Arg(1))
	return setHeader{s.Arg(0), v}, err
}

// Check makes nginx's checks of the buffers' sizes. The texts are nginx's.
func (c *Conf) Check(lv *nginxconf.Level) error {
	if lv.Context&nginxconf.HTTPServerLocation == 0 {
		return nil
	}
	if c.Buffers.V.Num < 2 && c.Buffers.IsSet() {
		return errors.New(`there must be at least 2 "proxy_buffers"`)
	}
	size := max(c.BufferSize.V, c.Buffers.V.Size)
	if c.BusySize.IsSet() {
		if c.BusySize.V < size {
			return errors.New(`"proxy_busy_buffers_size" must be equal to or greater than the maximum of the value of "proxy_buffer_size" and one of the "proxy_buffers"`)
		}
		if c.BusySize.V > int64(c.Buffers.V.Num-1)*c.Buffers.V.Size {
			return errors.New(`"proxy_busy_buffers_size" must be less than the size of all "proxy_buffers" minus one buffer`)
		}
	}
	if c.TempWriteSize.IsSet() && c.TempWriteSize.V < size {
		return errors.New(`"proxy_temp_file_write_size" must be equal to or greater than the maximum of the value of "proxy_buffer_size" and one of the "proxy_buffers"`)
	}
	if c.MaxTempSize.V != 0 && c.MaxTempSize.V < size {
		return errors.New(`"proxy_max_temp_file_size" must be equal to zero to disable temporary files usage or must be equal to or greater than the maximum of the value of "proxy_buffer_size" and one of the "proxy_buffers"`)
	}
	return c.Cached.check(lv)
}

// bind is what proxy_bind says; the zero bind is off.
type bind struct {
	Addr        ngx.Text
	Transparent bool
	On          bool
}

func parseBind(s *nginxconf.Setting) (bind, error) {
	if s.Arg(0) == "off" {
		return bind{}, nil
	}
	t, err := ngx.ParseText(s, s.Arg(0))
	if err != nil {
		return bind{}, err
	}
	b := bind{Addr: t, On: true}
	if len(s.Args) == 2 {
		if s.Arg(1) != "transparent" {
			return b, fmt.Errorf(`invalid parameter "%s"`, s.Arg(1))
		}
		b.Transparent = true
	}
	if addr, ok := t.Static(); ok {
		if _, err := localAddr(addr); err != nil {
			return b, fmt.Errorf(`invalid address "%s"`, addr)
		}
	}
	return b, nil
}

package relay

import (
	"fmt"
	"slices"
	"time"

	"limpet/internal/ngx"
	"limpet/nginxconf"
)

// Words of _next_upstream.
const (
	NextError uint32 = 1 << iota
	NextTimeout
	NextInvalidHeader
	NextNonIdempotent
	Next500
	Next502
	Next503
	Next504
	Next403
	Next404
	Next429
	NextUpdating
	NextOff
)

// Words of _ignore_headers.
const (
	IgnoreRedirect uint32 = 1 << iota
	ignoreAccelExpires
	ignoreExpires
	ignoreCacheControl
	ignoreSetCookie
	ignoreLimitRate
	ignoreBuffering
	ignoreCharset
	ignoreVary
)

// Conf is what modules that pass requests on have in common, at one level. What a module has no directive for is zero.
type Conf struct {
	Pass              nginxconf.Opt[*Target]
	Buffering         nginxconf.Opt[bool]
	RequestBuffering  nginxconf.Opt[bool]
	IgnoreClientAbort nginxconf.Opt[bool]
	Bind              nginxconf.Opt[bind]
	SocketKeepalive   nginxconf.Opt[bool]
	RcvBuf, SndBuf    nginxconf.Opt[int64]
	ConnectTimeout    nginxconf.Opt[time.Duration]
	SendTimeout       nginxconf.Opt[time.Duration]
	ReadTimeout       nginxconf.Opt[time.Duration]
	InterceptErrors   nginxconf.Opt[bool]
	PassHeaders       nginxconf.Opt[bool]
	PassBody          nginxconf.Opt[bool]
	BufferSize        nginxconf.Opt[int64]
	Buffers           nginxconf.Opt[nginxconf.Buffers]
	BusySize          nginxconf.Opt[int64]
	ForceRanges       nginxconf.Opt[bool]
	LimitRate         nginxconf.Opt[ngx.Text]
	TempPath          nginxconf.Opt[ngx.TempPath]
	MaxTempSize       nginxconf.Opt[int64]
	TempWriteSize     nginxconf.Opt[int64]
	PassHeader        nginxconf.List[string]
	HideHeader        nginxconf.List[string]
	IgnoreHeaders     nginxconf.Opt[uint32]
	NextUpstream      nginxconf.Opt[uint32]
	NextTries         nginxconf.Opt[int]
	NextTimeout       nginxconf.Opt[time.Duration]
	SSL               SSLConf
	Cached            CacheConf

	kind *Kind
}

// PeerRows are the directives that every kind of module has: those of connections and tries.
func (c *Conf) PeerRows(k *Kind, in nginxconf.Context) []nginxconf.Directive {
	const hsl = nginxconf.HTTPServerLocation
	c.kind = k
	p := k.Name
	return []nginxconf.Directive{
		nginxconf.Custom(p+"_pass", in, nginxconf.Args1, &c.Pass, k.parseTarget, "", "Sets the address of the server that requests are passed on to.").NoInherit(),
		nginxconf.Custom(p+"_bind", hsl, nginxconf.Args12, &c.Bind, parseBind, "", "Sets the local address of connections to peers."),
		nginxconf.Flag(p+"_socket_keepalive", hsl, &c.SocketKeepalive, "off", "Turns TCP keep-alive on towards peers."),
		nginxconf.Msec(p+"_connect_timeout", hsl, &c.ConnectTimeout, "60s", "Bounds the time to connect to a peer."),
		nginxconf.Msec(p+"_send_timeout", hsl, &c.SendTimeout, "60s", "Bounds the time between two writes of a request."),
		nginxconf.Msec(p+"_read_timeout", hsl, &c.ReadTimeout, "60s", "Bounds the time between two reads of a response."),
		nginxconf.Size(p+"_buffer_size", hsl, &c.BufferSize, "4k", "Sets the buffer for a response's head, which must fit."),
		nginxconf.Mask(p+"_next_upstream", hsl, &c.NextUpstream, k.Next, "error timeout", "Says after which failures the next peer is asked."),
		nginxconf.Num(p+"_next_upstream_tries", hsl, &c.NextTries, "0", "Bounds the number of tries."),
		nginxconf.Msec(p+"_next_upstream_timeout", hsl, &c.NextTimeout, "0", "Bounds the time in which the next peer is asked."),
	}
}

// HeaderRows are the directives of kinds whose answers have header fields.
func (c *Conf) HeaderRows() []nginxconf.Directive {
	const hsl = nginxconf.HTTPServerLocation
	p := c.kind.Name
	return []nginxconf.Directive{
		nginxconf.Size(p+"_socket_rcvbuf", hsl, &c.RcvBuf, "", "Sets the receive buffer of connections to peers."),
		nginxconf.Size(p+"_socket_sndbuf", hsl, &c.SndBuf, "", "Sets the send buffer of connections to peers."),
		nginxconf.Flag(p+"_intercept_errors", hsl, &c.InterceptErrors, "off", "Lets error_page answer in place of a peer's error."),
		nginxconf.Each(p+"_pass_header", hsl, nginxconf.Args1, &c.PassHeader, word, "Passes a field on that is hidden by default."),
		nginxconf.Each(p+"_hide_header", hsl, nginxconf.Args1, &c.HideHeader, word, "Hides a field of responses."),
		nginxconf.Mask(p+"_ignore_headers", hsl, &c.IgnoreHeaders, []nginxconf.Word[uint32]{
			{Name: "X-Accel-Redirect", Value: IgnoreRedirect}, {Name: "X-Accel-Expires", Value: ignoreAccelExpires}, {Name: "Expires", Value: ignoreExpires},
			{Name: "Cache-Control", Value: ignoreCacheControl}, {Name: "Set-Cookie", Value: ignoreSetCookie}, {Name: "X-Accel-Limit-Rate", Value: ignoreLimitRate},
			{Name: "X-Accel-Buffering", Value: ignoreBuffering}, {Name: "X-Accel-Charset", Value: ignoreCharset}, {Name: "Vary", Value: ignoreVary}},
			"", "Keeps fields of a response from having an effect."),
	}
}

// BodyRows are the directives of kinds that read bodies ahead, keep and save them.
func (c *Conf) BodyRows() []nginxconf.Directive {
	const hsl = nginxconf.HTTPServerLocation
	p := c.kind.Name
	rows := []nginxconf.Directive{
		nginxconf.Flag(p+"_buffering", hsl, &c.Buffering, "on", "Reads a response ahead of what the client takes."),
		nginxconf.Flag(p+"_request_buffering", hsl, &c.RequestBuffering, "on", "Reads a request's body whole before a peer is asked."),
		nginxconf.Flag(p+"_ignore_client_abort", hsl, &c.IgnoreClientAbort, "off", "Goes on when the client has gone."),
		nginxconf.Flag(p+"_pass_request_headers", hsl, &c.PassHeaders, "on", "Passes the client's header fields on."),
		nginxconf.Flag(p+"_pass_request_body", hsl, &c.PassBody, "on", "Passes the request's body on."),
		nginxconf.Bufs(p+"_buffers", hsl, &c.Buffers, "8 4k", "Sets how much of a response is kept in memory for a slow client."),
		nginxconf.Size(p+"_busy_buffers_size", hsl, &c.BusySize, "", "Bounds what is on its way to the client while the rest is still read.").WithoutEffect("buffers aren't divided, so the size is only checked against the others"),
		nginxconf.Flag(p+"_force_ranges", hsl, &c.ForceRanges, "off", "Serves ranges of responses whatever their Accept-Ranges."),
		ngx.RateRow(p+"_limit_rate", hsl, &c.LimitRate, "0", "Limits the rate of reading a response, in bytes a second."),
		nginxconf.Custom(p+"_temp_path", hsl, nginxconf.Args1234, &c.TempPath, ngx.ParseTempPath, p+"_temp", "Sets the folder for responses that a slow client takes."),
		nginxconf.Size(p+"_max_temp_file_size", hsl, &c.MaxTempSize, "1024m", "Bounds the temporary file of a response."),
		nginxconf.Size(p+"_temp_file_write_size", hsl, &c.TempWriteSize, "", "Bounds how much goes to the temporary file at once.").WithoutEffect("writes aren't divided, so the size is only checked against the others"),
	}
	return append(rows, c.Cached.rows(c.kind)...)
}

// SSLRows are the directives of kinds that speak TLS with peers.
func (c *Conf) SSLRows() []nginxconf.Directive { return c.SSL.rows(c.kind.Name) }

// HTTPWords are the words of proxy_next_upstream and proxy_cache_use_stale, of which other kinds have some.
func HTTPWords() []nginxconf.Word[uint32] {
	return []nginxconf.Word[uint32]{
		{Name: "error", Value: NextError}, {Name: "timeout", Value: NextTimeout}, {Name: "invalid_header", Value: NextInvalidHeader},
		{Name: "non_idempotent", Value: NextNonIdempotent}, {Name: "http_500", Value: Next500}, {Name: "http_502", Value: Next502},
		{Name: "http_503", Value: Next503}, {Name: "http_504", Value: Next504}, {Name: "http_403", Value: Next403}, {Name: "http_404", Value: Next404},
		{Name: "http_429", Value: Next429}, {Name: "updating", Value: NextUpdating}, {Name: "off", Value: NextOff},
	}
}

// CGIWords are those of FastCGI, uwsgi and SCGI.
func CGIWords() []nginxconf.Word[uint32] {
	return slices.DeleteFunc(HTTPWords(), func(w nginxconf.Word[uint32]) bool { return w.Value == Next502 || w.Value == Next504 })
}

// AccelFields are the fields that every kind hides, and others.
func AccelFields(others ...string) []string {
	return append(others, "X-Accel-Expires", "X-Accel-Redirect", "X-Accel-Limit-Rate", "X-Accel-Buffering", "X-Accel-Charset")
}

// LowatRow is the _send_lowat of the kinds that have it.
func LowatRow(kind string) nginxconf.Directive {
	d := nginxconf.Custom(kind+"_send_lowat", nginxconf.HTTPServerLocation, nginxconf.Args1, new(nginxconf.Opt[int64]), parseLowat, "", "Accepted without effect.")
	d.Why = "Linux has no low-water mark for sending"
	return d
}

func parseLowat(s *nginxconf.Setting) (int64, error) {
	n, ok := nginxconf.ParseSize(s.Arg(0))
	if !ok {
		return 0, nginxconf.Brief("invalid value")
	}
	s.Warn(`"%s" is not supported, ignored`, s.Name)
	return n, nil
}

func word(s *nginxconf.Setting) (string, error) { return s.Arg(0), nil }

// Check makes nginx's checks of the buffers' sizes. The texts are nginx's.
func (c *Conf) Check(lv *nginxconf.Level) error {
	if lv.Context&nginxconf.HTTPServerLocation == 0 {
		return nil
	}
	p := c.kind.Name
	if c.Buffers.V.Num < 2 && c.Buffers.IsSet() {
		return fmt.Errorf(`there must be at least 2 "%s_buffers"`, p)
	}
	size := max(c.BufferSize.V, c.Buffers.V.Size)
	least := fmt.Sprintf(`equal to or greater than the maximum of the value of "%s_buffer_size" and one of the "%s_buffers"`, p, p)
	if c.BusySize.IsSet() {
		if c.BusySize.V < size {
			return fmt.Errorf(`"%s_busy_buffers_size" must be %s`, p, least)
		}
		if c.BusySize.V > int64(c.Buffers.V.Num-1)*c.Buffers.V.Size {
			return fmt.Errorf(`"%s_busy_buffers_size" must be less than the size of all "%s_buffers" minus one buffer`, p, p)
		}
	}
	if c.TempWriteSize.IsSet() && c.TempWriteSize.V < size {
		return fmt.Errorf(`"%s_temp_file_write_size" must be %s`, p, least)
	}
	if c.MaxTempSize.V != 0 && c.MaxTempSize.V < size {
		return fmt.Errorf(`"%s_max_temp_file_size" must be equal to zero to disable temporary files usage or must be %s`, p, least)
	}
	return c.Cached.check(c.kind, lv)
}

// bind is what _bind says; the zero bind is off.
type bind struct {
	Addr        ngx.Text
	Transparent bool
	On          bool
}

func parseBind(s *nginxconf.Setting) (bind, error) {
	if s.Arg(0) == "off" && len(s.Args) == 1 {
		return bind{}, nil
	}
	t, err := ngx.ParseText(s, s.Arg(0))
	if err != nil {
		return bind{}, err
	}
	b := bind{Addr: t, On: true}
	if addr, ok := t.Static(); ok {
		if _, err := localAddr(addr); err != nil {
			return b, fmt.Errorf(`invalid address "%s"`, addr)
		}
	}
	if len(s.Args) == 2 {
		if s.Arg(1) != "transparent" {
			return b, fmt.Errorf(`invalid parameter "%s"`, s.Arg(1))
		}
		b.Transparent = true
	}
	return b, nil
}

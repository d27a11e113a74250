package ngx

import (
	"fmt"
	"os"
	"strconv"
	"time"

	"limpet/internal/errlog"
	"limpet/internal/resolver"
	"limpet/nginxconf"
)

// Words of client_body_in_file_only.
const (
	BodyFileOff = iota
	BodyFileOn
	BodyFileClean
)

// Words of server_tokens.
const (
	TokensOff = iota
	TokensOn
	TokensBuild
)

// Words of lingering_close.
const (
	LingerOff = iota
	LingerOn
	LingerAlways
)

// Words of satisfy.
const (
	SatisfyAll = iota
	SatisfyAny
)

// KeepAlive is what keepalive_timeout says.
type KeepAlive struct {
	Timeout time.Duration
	Header  time.Duration // the Keep-Alive field's; 0 for no such field
}

// Core is the part of nginx's http core module that every module and wire
// needs at a server or location.
// https://nginx.org/en/docs/http/ngx_http_core_module.html
type Core struct {
	ErrorLogs nginxconf.List[errlog.Target]
	// ErrorLog is opened when the configuration is built; nil before.
	ErrorLog *errlog.Log
	// Debug says that ErrorLog takes debug lines.
	Debug bool

	ClientHeaderTimeout      nginxconf.Opt[time.Duration]
	ClientHeaderBufferSize   nginxconf.Opt[int64]
	LargeClientHeaderBuffers nginxconf.Opt[nginxconf.Buffers]
	MaxHeaders               nginxconf.Opt[int]
	EarlyHints               nginxconf.List[Text]
	IgnoreInvalidHeaders     nginxconf.Opt[bool]
	MergeSlashes             nginxconf.Opt[bool]
	UnderscoresInHeaders     nginxconf.Opt[bool]

	ClientMaxBodySize      nginxconf.Opt[int64] // 0: no limit
	ClientBodyBufferSize   nginxconf.Opt[int64]
	ClientBodyTimeout      nginxconf.Opt[time.Duration]
	ClientBodyTemp         nginxconf.Opt[TempPath]
	ClientBodyInFileOnly   nginxconf.Opt[int]
	ClientBodyInSingleBuf  nginxconf.Opt[bool]
	SendTimeout            nginxconf.Opt[time.Duration]
	KeepAliveTime          nginxconf.Opt[time.Duration]
	KeepAliveTimeout       nginxconf.Opt[KeepAlive]
	KeepAliveRequests      nginxconf.Opt[int]
	KeepAliveDisable       nginxconf.Opt[uint32]
	Satisfy                nginxconf.Opt[int]
	AuthDelay              nginxconf.Opt[time.Duration]
	LingeringClose         nginxconf.Opt[int]
	LingeringTime          nginxconf.Opt[time.Duration]
	LingeringTimeout       nginxconf.Opt[time.Duration]
	ResetTimedout          nginxconf.Opt[bool]
	AbsoluteRedirect       nginxconf.Opt[bool]
	ServerNameInRedirect   nginxconf.Opt[bool]
	PortInRedirect         nginxconf.Opt[bool]
	MSIEPadding            nginxconf.Opt[bool]
	MSIERefresh            nginxconf.Opt[bool]
	LogNotFound            nginxconf.Opt[bool]
	LogSubrequest          nginxconf.Opt[bool]
	RecursiveErrorPages    nginxconf.Opt[bool]
	ServerTokens           nginxconf.Opt[int]
	ChunkedEncoding        nginxconf.Opt[bool]
	ETag                   nginxconf.Opt[bool]
	LimitRate              nginxconf.Opt[Text]
	LimitRateAfter         nginxconf.Opt[Text]
	DefaultType            nginxconf.Opt[string]
	Root                   nginxconf.Opt[Root]
	TCPNodelay             nginxconf.Opt[bool]
	PostponeOutput         nginxconf.Opt[int64]
	SubrequestOutputBuffer nginxconf.Opt[int64]

	Gzip  Gzip
	Pools Pools

	// Types is what types{} says; nil for nginx's three types.
	Types       *Types
	defaultType []byte // DefaultType as bytes, made by Open

	// Resolver asks the name servers of the resolver directive; nil without one.
	Resolver        nginxconf.Opt[*resolver.Resolver]
	ResolverTimeout nginxconf.Opt[time.Duration]

	// TempBody makes temporary files for bodies; set when the configuration is built.
	TempBody *TempDir
}

// Directives lists the core directives that travel with requests. server,
// location, listen and what else shapes the tree is internal/location's.
func (c *Core) Directives() []nginxconf.Directive {
	rows := []nginxconf.Directive{
		nginxconf.Many("error_log", nginxconf.Main|nginxconf.HTTPServerLocation, nginxconf.Args1More, &c.ErrorLogs, parseErrorLog, "",
			"Names a destination of the error log and its level."),
		nginxconf.Msec("client_header_timeout", nginxconf.HTTPServer, &c.ClientHeaderTimeout, "60s", "Bounds the time to receive a request's header."),
		nginxconf.Size("client_header_buffer_size", nginxconf.HTTPServer, &c.ClientHeaderBufferSize, "1k", "Sets the first buffer for a request's header."),
		nginxconf.Bufs("large_client_header_buffers", nginxconf.HTTPServer, &c.LargeClientHeaderBuffers, "4 8k", "Sets the number and size of buffers for a long request line or header."),
		nginxconf.Many("early_hints", nginxconf.HTTPServerLocation, nginxconf.Args1More, &c.EarlyHints, ParseConditions, "", "Says when 103 answers of peers are passed on."),
		nginxconf.Num("max_headers", nginxconf.HTTPServer, &c.MaxHeaders, "1000", "Bounds the number of a request's header fields."),
		nginxconf.Flag("ignore_invalid_headers", nginxconf.HTTPServer, &c.IgnoreInvalidHeaders, "on", "Drops request header fields with invalid names."),
		nginxconf.Flag("merge_slashes", nginxconf.HTTPServer, &c.MergeSlashes, "on", "Takes adjacent slashes of a URI for one."),
		nginxconf.Flag("underscores_in_headers", nginxconf.HTTPServer, &c.UnderscoresInHeaders, "off", "Takes underscores in names of request header fields for valid."),

		nginxconf.Offset("client_max_body_size", nginxconf.HTTPServerLocation, &c.ClientMaxBodySize, "1m", "Bounds the size of a request's body."),
		nginxconf.Size("client_body_buffer_size", nginxconf.HTTPServerLocation, &c.ClientBodyBufferSize, "16k", "Sets the size from which a request's body goes to a temporary file."),
		nginxconf.Msec("client_body_timeout", nginxconf.HTTPServerLocation, &c.ClientBodyTimeout, "60s", "Bounds the time between two reads of a request's body."),
		nginxconf.Custom("client_body_temp_path", nginxconf.HTTPServerLocation, nginxconf.Args1234, &c.ClientBodyTemp, ParseTempPath, "client_body_temp", "Sets the folder for request bodies."),
		nginxconf.Enum("client_body_in_file_only", nginxconf.HTTPServerLocation, &c.ClientBodyInFileOnly, []nginxconf.Word[int]{{Name: "off", Value: BodyFileOff}, {Name: "on", Value: BodyFileOn}, {Name: "clean", Value: BodyFileClean}}, "off", "Saves every request body to a file."),
		nginxconf.Flag("client_body_in_single_buffer", nginxconf.HTTPServerLocation, &c.ClientBodyInSingleBuf, "off", "Keeps a request's body in one buffer.").WithoutEffect("a body in memory is always in one buffer"),
		nginxconf.Msec("send_timeout", nginxconf.HTTPServerLocation, &c.SendTimeout, "60s", "Bounds the time between two writes of a response."),
		nginxconf.Msec("keepalive_time", nginxconf.HTTPServerLocation, &c.KeepAliveTime, "1h", "Bounds the time in which a connection may serve requests."),
		nginxconf.Custom("keepalive_timeout", nginxconf.HTTPServerLocation, nginxconf.Args12, &c.KeepAliveTimeout, parseKeepAlive, "75s", "Sets how long an idle client connection is kept."),
		nginxconf.Accepted("keepalive_min_timeout", nginxconf.HTTPServerLocation, nginxconf.Args1, "a reload closes no connection, and on shutdown idle ones close at once"),
		nginxconf.Num("keepalive_requests", nginxconf.HTTPServerLocation, &c.KeepAliveRequests, "1000", "Bounds the number of requests of a connection."),
		nginxconf.Mask("keepalive_disable", nginxconf.HTTPServerLocation, &c.KeepAliveDisable, []nginxconf.Word[uint32]{{Name: "none", Value: 1}, {Name: "msie6", Value: 2}, {Name: "safari", Value: 4}}, "msie6", "Keeps no connections of some browsers.").Taking(nginxconf.Args12),
		nginxconf.Enum("satisfy", nginxconf.HTTPServerLocation, &c.Satisfy, []nginxconf.Word[int]{{Name: "all", Value: SatisfyAll}, {Name: "any", Value: SatisfyAny}}, "all", "Says whether all access modules must agree or one is enough."),
		nginxconf.Msec("auth_delay", nginxconf.HTTPServerLocation, &c.AuthDelay, "0s", "Delays answers with 401."),
		nginxconf.Enum("lingering_close", nginxconf.HTTPServerLocation, &c.LingeringClose, []nginxconf.Word[int]{{Name: "off", Value: LingerOff}, {Name: "on", Value: LingerOn}, {Name: "always", Value: LingerAlways}}, "on", "Says when data of a client is read on before closing."),
		nginxconf.Msec("lingering_time", nginxconf.HTTPServerLocation, &c.LingeringTime, "30s", "Bounds the time of reading on before closing."),
		nginxconf.Msec("lingering_timeout", nginxconf.HTTPServerLocation, &c.LingeringTimeout, "5s", "Bounds the wait for more data before closing."),
		nginxconf.Flag("reset_timedout_connection", nginxconf.HTTPServerLocation, &c.ResetTimedout, "off", "Resets connections that timed out or end with 444."),
		nginxconf.Flag("absolute_redirect", nginxconf.HTTPServerLocation, &c.AbsoluteRedirect, "on", "Makes redirects absolute."),
		nginxconf.Flag("server_name_in_redirect", nginxconf.HTTPServerLocation, &c.ServerNameInRedirect, "off", "Puts the server's first name into redirects."),
		nginxconf.Flag("port_in_redirect", nginxconf.HTTPServerLocation, &c.PortInRedirect, "on", "Puts the port into redirects."),
		nginxconf.Flag("msie_padding", nginxconf.HTTPServerLocation, &c.MSIEPadding, "on", "Pads error pages for MSIE and Chrome."),
		nginxconf.Flag("msie_refresh", nginxconf.HTTPServerLocation, &c.MSIERefresh, "off", "Answers MSIE with refreshes in place of redirects."),
		nginxconf.Flag("log_not_found", nginxconf.HTTPServerLocation, &c.LogNotFound, "on", "Logs files that weren't found."),
		nginxconf.Flag("log_subrequest", nginxconf.HTTPServerLocation, &c.LogSubrequest, "off", "Logs subrequests in the access log."),
		nginxconf.Flag("recursive_error_pages", nginxconf.HTTPServerLocation, &c.RecursiveErrorPages, "off", "Lets an error page have an error page."),
		nginxconf.Enum("server_tokens", nginxconf.HTTPServerLocation, &c.ServerTokens, []nginxconf.Word[int]{{Name: "off", Value: TokensOff}, {Name: "on", Value: TokensOn}, {Name: "build", Value: TokensBuild}}, "on", "Shows the version in error pages and the Server field."),
		nginxconf.Flag("chunked_transfer_encoding", nginxconf.HTTPServerLocation, &c.ChunkedEncoding, "on", "Allows chunks towards HTTP/1.1 clients."),
		nginxconf.Flag("etag", nginxconf.HTTPServerLocation, &c.ETag, "on", "Makes ETag fields for files."),
		RateRow("limit_rate", nginxconf.HTTPServerLocation|nginxconf.LocationIf, &c.LimitRate, "0", "Limits the rate of a response, in bytes a second."),
		RateRow("limit_rate_after", nginxconf.HTTPServerLocation|nginxconf.LocationIf, &c.LimitRateAfter, "0", "Sets the amount of a response that isn't limited in rate."),
		nginxconf.Str("default_type", nginxconf.HTTPServerLocation, &c.DefaultType, "text/plain", "Sets the type of responses whose extension isn't known."),
		c.typesRow(),
		c.rootRow("root", nginxconf.HTTPServerLocation|nginxconf.LocationIf, "html", "Sets the folder in which files are looked for."),
		c.rootRow("alias", nginxconf.Location, "", "Sets the folder that stands for the location's name."),
		nginxconf.Flag("tcp_nodelay", nginxconf.HTTPServerLocation, &c.TCPNodelay, "on", "Sends small pieces at once on kept connections.").WithoutEffect("answers are sent whole where they fit, and small pieces always at once"),
		nginxconf.Size("postpone_output", nginxconf.HTTPServerLocation, &c.PostponeOutput, "1460", "Sets the size from which output is sent before it is complete.").WithoutEffect("output is gathered in buffers of 8k and sent when it is due"),
		ResolverRow(nginxconf.HTTPServerLocation, &c.Resolver),
		nginxconf.Msec("resolver_timeout", nginxconf.HTTPServerLocation, &c.ResolverTimeout, "30s", "Bounds the time in which a name is resolved."),
		nginxconf.Size("subrequest_output_buffer_size", nginxconf.HTTPServerLocation, &c.SubrequestOutputBuffer, "8k", "Bounds a subrequest's response that is kept in memory."),
	}
	rows = append(rows, c.Pools.directives()...)
	return append(rows, c.Gzip.directives()...)
}

func parseErrorLog(s *nginxconf.Setting) ([]errlog.Target, error) {
	args := make([]string, len(s.Args))
	for i := range s.Args {
		args[i] = s.Arg(i)
	}
	t, err := errlog.ParseTarget(args, nil)
	if err != nil {
		return nil, err
	}
	if t.Path != "" {
		t.Path = s.Loader.PrefixPath(t.Path)
	}
	return []errlog.Target{t}, nil
}

func parseKeepAlive(s *nginxconf.Setting) (KeepAlive, error) {
	var k KeepAlive
	var ok bool
	if k.Timeout, ok = nginxconf.ParseTime(s.Arg(0), true); !ok {
		return k, nginxconf.Brief("invalid value")
	}
	if len(s.Args) == 2 {
		if k.Header, ok = nginxconf.ParseTime(s.Arg(1), false); !ok {
			return k, nginxconf.Brief("invalid value")
		}
	}
	return k, nil
}

// TempPath is what a *_temp_path directive says.
type TempPath struct {
	Dir    string
	Levels []int // lengths of the names of the folders below
}

// RateRow is a row that takes a size, or a text with variables that gives one.
func RateRow(name string, in nginxconf.Context, field *nginxconf.Opt[Text], def, doc string) nginxconf.Directive {
	return nginxconf.Custom(name, in, nginxconf.Args1, field, func(s *nginxconf.Setting) (Text, error) {
		t, err := ParseText(s, s.Arg(0))
		if b, ok := t.Static(); err == nil && ok {
			if _, ok := nginxconf.ParseSize(string(b)); !ok {
				err = nginxconf.Brief("invalid value")
			}
		}
		return t, err
	}, def, doc)
}

// ParseTempPath parses the arguments of a *_temp_path directive.
func ParseTempPath(s *nginxconf.Setting) (TempPath, error) {
	t := TempPath{Dir: s.Loader.PrefixPath(s.Arg(0))}
	digits := tempDigits
	for i := 1; i < len(s.Args); i++ {
		n, ok := nginxconf.ParseNum(s.Arg(i))
		if !ok || n == 0 || n > digits {
			return t, nginxconf.Brief("invalid value")
		}
		digits -= n
		t.Levels = append(t.Levels, n)
	}
	return t, nil
}

// tempDigits is the length of a temporary file's name, of which the levels of folders take their parts.
const tempDigits = 10

// TempDir makes temporary files below a folder, with names of ten digits as nginx's.
type TempDir struct{ Path TempPath }

// Create makes a new file. The error is nginx's text for the log.
func (d *TempDir) Create(r *Request) (*os.File, error) {
	for n := uint64(time.Now().UnixNano()) % 1e10; ; n++ {
		name := fmt.Sprintf("%010d", n%1e10)
		dir := d.Path.Dir
		end := len(name)
		for _, l := range d.Path.Levels {
			dir += "/" + name[end-l:end]
			end -= l
		}
		f, err := os.OpenFile(dir+"/"+name, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
		switch {
		case err == nil:
			return f, nil
		case os.IsExist(err):
			continue
		case os.IsNotExist(err):
			if mkErr := os.MkdirAll(dir, 0o700); mkErr == nil {
				continue
			}
		}
		return nil, fmt.Errorf(`open() "%s" failed %s`, dir+"/"+name, errlog.Errno(err))
	}
}

// ParseRate reads a size without unit k or m for limit_rate's variables; 0 when it is no size.
func ParseRate(b []byte) int64 {
	n, ok := nginxconf.ParseSize(string(b))
	if !ok {
		if f, err := strconv.ParseInt(string(b), 10, 64); err == nil {
			return f
		}
	}
	return n
}

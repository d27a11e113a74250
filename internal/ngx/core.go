package ngx

import (
	"fmt"
	"os"
	"strconv"
	"time"

	"limpet/internal/errlog"
	. "limpet/nginxconf"
)

// Words of client_body_in_file_only.
const (
	BodyFileOff = iota
	BodyFileOn
	BodyFileClean
)

// Words of other core directives.
const (
	TokensOff = iota
	TokensOn
	TokensBuild

	LingerOff = iota - 3
	LingerOn
	LingerAlways

	SatisfyAll = iota - 6
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
	ErrorLogs List[errlog.Target]
	// ErrorLog is opened when the configuration is built.
	ErrorLog struct{ V *errlog.Log }

	ClientHeaderTimeout      Opt[time.Duration]
	ClientHeaderBufferSize   Opt[int64]
	LargeClientHeaderBuffers Opt[Buffers]
	MaxHeaders               Opt[int]
	IgnoreInvalidHeaders     Opt[bool]
	MergeSlashes             Opt[bool]
	UnderscoresInHeaders     Opt[bool]

	ClientMaxBodySize      Opt[int64] // 0: no limit
	ClientBodyBufferSize   Opt[int64]
	ClientBodyTimeout      Opt[time.Duration]
	ClientBodyTemp         Opt[TempPath]
	ClientBodyInFileOnly   Opt[int]
	ClientBodyInSingleBuf  Opt[bool]
	SendTimeout            Opt[time.Duration]
	KeepAliveTime          Opt[time.Duration]
	KeepAliveTimeout       Opt[KeepAlive]
	KeepAliveMinTimeout    Opt[time.Duration]
	KeepAliveRequests      Opt[int]
	KeepAliveDisable       Opt[uint32]
	Satisfy                Opt[int]
	AuthDelay              Opt[time.Duration]
	LingeringClose         Opt[int]
	LingeringTime          Opt[time.Duration]
	LingeringTimeout       Opt[time.Duration]
	ResetTimedout          Opt[bool]
	AbsoluteRedirect       Opt[bool]
	ServerNameInRedirect   Opt[bool]
	PortInRedirect         Opt[bool]
	MSIEPadding            Opt[bool]
	MSIERefresh            Opt[bool]
	LogNotFound            Opt[bool]
	LogSubrequest          Opt[bool]
	RecursiveErrorPages    Opt[bool]
	ServerTokens           Opt[int]
	ChunkedEncoding        Opt[bool]
	ETag                   Opt[bool]
	LimitRate              Opt[Text]
	LimitRateAfter         Opt[Text]
	DefaultType            Opt[string]
	TCPNodelay             Opt[bool]
	PostponeOutput         Opt[int64]
	SubrequestOutputBuffer Opt[int64]

	// TempBody makes temporary files for bodies; set when the configuration is built.
	TempBody *TempDir
}

// Directives lists the core directives that travel with requests. server,
// location, listen and what else shapes the tree is internal/location's.
func (c *Core) Directives() []Directive {
	return []Directive{
		Many("error_log", Main|HTTPServerLocation, Args1More, &c.ErrorLogs, parseErrorLog, "",
			"Names a destination of the error log and its level."),
		Msec("client_header_timeout", HTTPServer, &c.ClientHeaderTimeout, "60s", "Bounds the time to receive a request's header."),
		Size("client_header_buffer_size", HTTPServer, &c.ClientHeaderBufferSize, "1k", "Sets the first buffer for a request's header."),
		Bufs("large_client_header_buffers", HTTPServer, &c.LargeClientHeaderBuffers, "4 8k", "Sets the number and size of buffers for a long request line or header."),
		Num("max_headers", HTTPServer, &c.MaxHeaders, "1000", "Bounds the number of a request's header fields."),
		Flag("ignore_invalid_headers", HTTPServer, &c.IgnoreInvalidHeaders, "on", "Drops request header fields with invalid names."),
		Flag("merge_slashes", HTTPServer, &c.MergeSlashes, "on", "Takes adjacent slashes of a URI for one."),
		Flag("underscores_in_headers", HTTPServer, &c.UnderscoresInHeaders, "off", "Takes underscores in names of request header fields for valid."),

		Offset("client_max_body_size", HTTPServerLocation, &c.ClientMaxBodySize, "1m", "Bounds the size of a request's body."),
		Size("client_body_buffer_size", HTTPServerLocation, &c.ClientBodyBufferSize, "16k", "Sets the size from which a request's body goes to a temporary file."),
		Msec("client_body_timeout", HTTPServerLocation, &c.ClientBodyTimeout, "60s", "Bounds the time between two reads of a request's body."),
		Custom("client_body_temp_path", HTTPServerLocation, Args1234, &c.ClientBodyTemp, ParseTempPath, "client_body_temp", "Sets the folder for request bodies."),
		Enum("client_body_in_file_only", HTTPServerLocation, &c.ClientBodyInFileOnly, []Word[int]{{Name: "off", Value: BodyFileOff}, {Name: "on", Value: BodyFileOn}, {Name: "clean", Value: BodyFileClean}}, "off", "Saves every request body to a file."),
		Flag("client_body_in_single_buffer", HTTPServerLocation, &c.ClientBodyInSingleBuf, "off", "Keeps a request's body in one buffer, as it always is here."),
		Msec("send_timeout", HTTPServerLocation, &c.SendTimeout, "60s", "Bounds the time between two writes of a response."),
		Msec("keepalive_time", HTTPServerLocation, &c.KeepAliveTime, "1h", "Bounds the time in which a connection may serve requests."),
		Custom("keepalive_timeout", HTTPServerLocation, Args12, &c.KeepAliveTimeout, parseKeepAlive, "75s", "Sets how long an idle client connection is kept."),
		Msec("keepalive_min_timeout", HTTPServerLocation, &c.KeepAliveMinTimeout, "0", "Sets how long an idle client connection is at least kept on shutdown."),
		Num("keepalive_requests", HTTPServerLocation, &c.KeepAliveRequests, "1000", "Bounds the number of requests of a connection."),
		Mask("keepalive_disable", HTTPServerLocation, &c.KeepAliveDisable, []Word[uint32]{{Name: "none", Value: 1}, {Name: "msie6", Value: 2}, {Name: "safari", Value: 4}}, "msie6", "Keeps no connections of some browsers."),
		Enum("satisfy", HTTPServerLocation, &c.Satisfy, []Word[int]{{Name: "all", Value: SatisfyAll}, {Name: "any", Value: SatisfyAny}}, "all", "Says whether all access modules must agree or one is enough."),
		Msec("auth_delay", HTTPServerLocation, &c.AuthDelay, "0s", "Delays answers with 401."),
		Enum("lingering_close", HTTPServerLocation, &c.LingeringClose, []Word[int]{{Name: "off", Value: LingerOff}, {Name: "on", Value: LingerOn}, {Name: "always", Value: LingerAlways}}, "on", "Says when data of a client is read on before closing."),
		Msec("lingering_time", HTTPServerLocation, &c.LingeringTime, "30s", "Bounds the time of reading on before closing."),
		Msec("lingering_timeout", HTTPServerLocation, &c.LingeringTimeout, "5s", "Bounds the wait for more data before closing."),
		Flag("reset_timedout_connection", HTTPServerLocation, &c.ResetTimedout, "off", "Resets connections that timed out or end with 444."),
		Flag("absolute_redirect", HTTPServerLocation, &c.AbsoluteRedirect, "on", "Makes redirects absolute."),
		Flag("server_name_in_redirect", HTTPServerLocation, &c.ServerNameInRedirect, "off", "Puts the server's first name into redirects."),
		Flag("port_in_redirect", HTTPServerLocation, &c.PortInRedirect, "on", "Puts the port into redirects."),
		Flag("msie_padding", HTTPServerLocation, &c.MSIEPadding, "on", "Pads error pages for MSIE and Chrome."),
		Flag("msie_refresh", HTTPServerLocation, &c.MSIERefresh, "off", "Answers MSIE with refreshes in place of redirects."),
		Flag("log_not_found", HTTPServerLocation, &c.LogNotFound, "on", "Logs files that weren't found."),
		Flag("log_subrequest", HTTPServerLocation, &c.LogSubrequest, "off", "Logs subrequests in the access log."),
		Flag("recursive_error_pages", HTTPServerLocation, &c.RecursiveErrorPages, "off", "Lets an error page have an error page."),
		Enum("server_tokens", HTTPServerLocation, &c.ServerTokens, []Word[int]{{Name: "off", Value: TokensOff}, {Name: "on", Value: TokensOn}, {Name: "build", Value: TokensBuild}}, "on", "Shows the version in error pages and the Server field."),
		Flag("chunked_transfer_encoding", HTTPServerLocation, &c.ChunkedEncoding, "on", "Allows chunks towards HTTP/1.1 clients."),
		Flag("etag", HTTPServerLocation, &c.ETag, "on", "Makes ETag fields for files."),
		TextRow("limit_rate", HTTPServerLocation|LocationIf, &c.LimitRate, "0", "Limits the rate of a response, in bytes a second."),
		TextRow("limit_rate_after", HTTPServerLocation|LocationIf, &c.LimitRateAfter, "0", "Sets the amount of a response that isn't limited in rate."),
		Str("default_type", HTTPServerLocation, &c.DefaultType, "text/plain", "Sets the type of responses whose extension isn't known."),
		Flag("tcp_nodelay", HTTPServerLocation, &c.TCPNodelay, "on", "Sends small pieces at once on kept connections."),
		Size("postpone_output", HTTPServerLocation, &c.PostponeOutput, "1460", "Sets the size from which output is sent before it is complete."),
		Size("subrequest_output_buffer_size", HTTPServerLocation, &c.SubrequestOutputBuffer, "8k", "Bounds a subrequest's response that is kept in memory."),
	}
}

func parseErrorLog(s *Setting) ([]errlog.Target, error) {
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

func parseKeepAlive(s *Setting) (KeepAlive, error) {
	var k KeepAlive
	var ok bool
	if k.Timeout, ok = ParseTime(s.Arg(0), true); !ok {
		return k, Brief("invalid value")
	}
	if len(s.Args) == 2 {
		if k.Header, ok = ParseTime(s.Arg(1), false); !ok {
			return k, Brief("invalid value")
		}
	}
	return k, nil
}

// TempPath is what a *_temp_path directive says.
type TempPath struct {
	Dir    string
	Levels []int // lengths of the names of the folders below
}

// ParseTempPath parses the arguments of a *_temp_path directive.
func ParseTempPath(s *Setting) (TempPath, error) {
	t := TempPath{Dir: s.Loader.PrefixPath(s.Arg(0))}
	for i := 1; i < len(s.Args); i++ {
		n, ok := ParseNum(s.Arg(i))
		if !ok || n == 0 || n > 3 {
			return t, fmt.Errorf(`invalid value "%s"`, s.Arg(i))
		}
		t.Levels = append(t.Levels, n)
	}
	return t, nil
}

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
	n, ok := ParseSize(string(b))
	if !ok {
		if f, err := strconv.ParseInt(string(b), 10, 64); err == nil {
			return f
		}
	}
	return n
}

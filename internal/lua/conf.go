package lua

import (
	"crypto/x509"
	"errors"
	"fmt"
	"strings"
	"time"

	"limpet/internal/ngx"
	"limpet/internal/openssl"
	"limpet/nginxconf"
)

// Conf is the Lua module's configuration at one level.
type Conf struct {
	recognise bool

	Dicts       nginxconf.List[dictConf] // at the http level
	PackagePath nginxconf.Opt[string]
	Init        nginxconf.Opt[*script]
	InitWorker  nginxconf.Opt[*script]
	ExitWorker  nginxconf.Opt[*script]
	MaxRunning  nginxconf.Opt[int]
	MaxPending  nginxconf.Opt[int]

	Trusted nginxconf.Opt[*x509.CertPool] // at the http level, where health checks belong

	CodeCache      nginxconf.Opt[bool]
	NeedBody       nginxconf.Opt[bool]
	HTTP10Buffer   nginxconf.Opt[bool]
	UseDefaultType nginxconf.Opt[bool]
	Underscores    nginxconf.Opt[bool]

	ServerRewrite nginxconf.Opt[*script]
	Rewrite       nginxconf.Opt[*script]
	Access        nginxconf.Opt[*script]
	Content       nginxconf.Opt[*script]
	HeaderFilter  nginxconf.Opt[*script]
	BodyFilter    nginxconf.Opt[*script]
	Log           nginxconf.Opt[*script]

	codes []*code // of the root: all that the file holds or names

	balancer bool // of an upstream block: one was seen
}

// dictConf is a lua_shared_dict.
type dictConf struct {
	name string
	size int64 // bytes
}

const (
	anyScope   = nginxconf.HTTPServerLocation | nginxconf.LocationIf
	inScope    = nginxconf.Server | nginxconf.ServerIf | nginxconf.Location | nginxconf.LocationIf
	inLocation = nginxconf.Location | nginxconf.LocationIf
)

// Directives lists the directives of the Lua module.
// https://github.com/openresty/lua-nginx-module#directives
func (c *Conf) Directives() []nginxconf.Directive {
	rows := c.settings()
	rows = append(rows, c.accepted()...)
	rows = append(rows, scriptRows("init_by_lua", nginxconf.HTTP, phaseInit, &c.Init, "Runs Lua when the configuration is loaded.")...)
	rows = append(rows, scriptRows("init_worker_by_lua", nginxconf.HTTP, phaseInitWorker, &c.InitWorker, "Runs Lua when the configuration is built, for timers and health checks.")...)
	rows = append(rows, scriptRows("exit_worker_by_lua", nginxconf.HTTP, phaseExitWorker, &c.ExitWorker, "Runs Lua when the configuration retires.")[1:]...)
	rows = append(rows, scriptRows("server_rewrite_by_lua", nginxconf.HTTPServer, phaseServerRewrite, &c.ServerRewrite, "Runs Lua in the server's rewrite phase.")[1:]...)
	rows = append(rows, scriptRows("rewrite_by_lua", anyScope, phaseRewrite, &c.Rewrite, "Runs Lua behind the rewrite directives of a location.")...)
	rows = append(rows, scriptRows("access_by_lua", anyScope, phaseAccess, &c.Access, "Runs Lua in the access phase.")...)
	rows = append(rows, scriptRows("header_filter_by_lua", anyScope, phaseHeaderFilter, &c.HeaderFilter, "Runs Lua on a response's header.")...)
	rows = append(rows, scriptRows("body_filter_by_lua", anyScope, phaseBodyFilter, &c.BodyFilter, "Runs Lua on the pieces of a response's body.")...)
	rows = append(rows, scriptRows("log_by_lua", anyScope, phaseLog, &c.Log, "Runs Lua when the request is logged.")...)
	for _, d := range scriptRows("content_by_lua", inLocation, phaseContent, &c.Content, "Answers with what Lua writes.") {
		rows = append(rows, d.NoInherit())
	}
	return append(append(rows, c.setRows()...), c.balancerRows()...)
}

func (c *Conf) settings() []nginxconf.Directive {
	return []nginxconf.Directive{
		nginxconf.Each("lua_shared_dict", nginxconf.HTTP, nginxconf.Args2, &c.Dicts, c.parseDict, "Sets a dictionary that all requests share."),
		nginxconf.Str("lua_package_path", nginxconf.HTTP, &c.PackagePath, "", "Sets where require looks for modules in Lua."),
		nginxconf.Custom("lua_ssl_trusted_certificate", nginxconf.HTTPServerLocation, nginxconf.Args1, &c.Trusted, parseTrusted, "", "Names a file of authorities that Lua's health checks by https trust."),
		nginxconf.Custom("lua_code_cache", anyScope|nginxconf.ServerIf, nginxconf.Args1, &c.CodeCache, parseCodeCache, "on", "Keeps compiled code and Lua's state from request to request."),
		nginxconf.Flag("lua_need_request_body", anyScope, &c.NeedBody, "off", "Reads the request's body before Lua runs."),
		nginxconf.Flag("lua_http10_buffering", anyScope, &c.HTTP10Buffer, "on", "Collects Lua's output for HTTP/1.0 clients to send its length."),
		nginxconf.Flag("lua_use_default_type", anyScope, &c.UseDefaultType, "on", "Gives Lua's responses the type of default_type."),
		nginxconf.Flag("lua_transform_underscores_in_response_headers", anyScope, &c.Underscores, "on", "Makes underscores in names of ngx.header hyphens."),
		nginxconf.Num("lua_max_running_timers", nginxconf.HTTP, &c.MaxRunning, "256", "Bounds the number of timers that run at once."),
		nginxconf.Num("lua_max_pending_timers", nginxconf.HTTP, &c.MaxPending, "1024", "Bounds the number of timers that wait."),
	}
}

// accepted lists directives about what Lua has here natively or not at all.
func (c *Conf) accepted() []nginxconf.Directive {
	const (
		socket  = "Lua has no sockets here; health checks have their own timeouts and log lines"
		tuning  = "it tunes LuaJIT, in whose place another Lua runs"
		regex   = "patterns are compiled once and matched by limpet's own engines"
		natural = "steps run in the order of their phases"
	)
	row := nginxconf.Accepted
	var rows []nginxconf.Directive
	for _, name := range []string{"lua_socket_connect_timeout", "lua_socket_send_timeout", "lua_socket_read_timeout", "lua_socket_keepalive_timeout",
		"lua_socket_buffer_size", "lua_socket_pool_size", "lua_socket_log_errors"} {
		rows = append(rows, row(name, anyScope, nginxconf.Args1, socket))
	}
	for _, name := range []string{"lua_ssl_ciphers", "lua_ssl_protocols", "lua_ssl_verify_depth", "lua_ssl_crl", "lua_ssl_certificate", "lua_ssl_certificate_key", "lua_ssl_key_log"} {
		arity := nginxconf.Args1
		if name == "lua_ssl_protocols" {
			arity = nginxconf.Args1More
		}
		rows = append(rows, row(name, nginxconf.HTTPServerLocation, arity, socket))
	}
	for _, name := range []string{"lua_package_cpath", "lua_thread_cache_max_entries", "lua_malloc_trim", "lua_load_resty_core", "lua_sa_restart"} {
		rows = append(rows, row(name, nginxconf.HTTP, nginxconf.Args1, tuning))
	}
	return append(rows,
		row("lua_ssl_conf_command", nginxconf.HTTPServerLocation, nginxconf.Args2, socket),
		row("lua_upstream_skip_openssl_default_verify", nginxconf.HTTPServerLocation, nginxconf.Args1, socket),
		row("lua_regex_cache_max_entries", nginxconf.HTTP, nginxconf.Args1, regex),
		row("lua_regex_match_limit", nginxconf.HTTP, nginxconf.Args1, regex),
		row("lua_capture_error_log", nginxconf.HTTP, nginxconf.Args1, "errors go to the error log; ngx.errlog isn't there"),
		row("lua_check_client_abort", anyScope, nginxconf.Args1, "a client's going ends the request at its next write or wait"),
		row("rewrite_by_lua_no_postpone", nginxconf.HTTP, nginxconf.Args1, natural),
		row("access_by_lua_no_postpone", nginxconf.HTTP, nginxconf.Args1, natural),
		row("precontent_by_lua_no_postpone", nginxconf.HTTP, nginxconf.Args1, natural))
}

// scriptRows makes the three forms of a directive: a word, a block, a file. All fill one field.
func scriptRows(name string, in nginxconf.Context, ph phase, field *nginxconf.Opt[*script], doc string) []nginxconf.Directive {
	parse := func(s *nginxconf.Setting) (*script, error) { return parseScript(s, name, ph, 0) }
	block := nginxconf.Custom(name+"_block", in, nginxconf.NoArgs, field, parse, "", doc)
	block.Body = &nginxconf.BlockBody{}
	return []nginxconf.Directive{
		nginxconf.Custom(name, in, nginxconf.Args1, field, parse, "", doc),
		block,
		nginxconf.Custom(name+"_file", in, nginxconf.Args1, field, parse, "", doc),
	}
}

// setScript is a set_by_lua.
type setScript struct {
	*script
	v    *ngx.Var
	args []ngx.Text
}

func (c *Conf) setRows() []nginxconf.Directive {
	const doc = "Gives a variable the value that Lua returns."
	block := nginxconf.Call("set_by_lua_block", inScope, nginxconf.Args1, parseSet, doc)
	block.Body = &nginxconf.BlockBody{}
	return []nginxconf.Directive{
		nginxconf.Call("set_by_lua", inScope, nginxconf.Args2More, parseSet, doc),
		block,
		nginxconf.Call("set_by_lua_file", inScope, nginxconf.Args2More, parseSet, doc),
	}
}

// parseSet adds a set_by_lua to the script of its block.
func parseSet(s *nginxconf.Setting) error {
	name := s.Arg(0)
	if !strings.HasPrefix(name, "$") || len(name) < 2 {
		return fmt.Errorf(`invalid variable name "%s"`, name)
	}
	v, err := nginxconf.Of[*ngx.VarConf](s.Level.Root()).Vars.Settable(name[1:])
	if err != nil {
		return err
	}
	sc, err := parseScript(s, "set_by_lua", phaseSet, 1)
	if err != nil {
		return err
	}
	set := &setScript{script: sc, v: v}
	for i := 2; i < len(s.Args); i++ {
		t, err := ngx.ParseText(s, s.Arg(i))
		if err != nil {
			return err
		}
		set.args = append(set.args, t)
	}
	rewrite, ok := nginxconf.OwnAs[ngx.Scripts](s.Level)
	if !ok {
		return errors.New(`set_by_lua needs the rewrite module`)
	}
	rewrite.AddStep(s, func(b *ngx.Build) ngx.Step {
		set.fresh = !nginxconf.Of[*Conf](s.Level).CodeCache.V
		return runtimeOf(b).setStep(set)
	})
	return nil
}

func (c *Conf) parseDict(s *nginxconf.Setting) (dictConf, error) {
	d := dictConf{name: s.Arg(0)}
	if d.name == "" {
		return d, fmt.Errorf(`invalid lua shared dict name "%s"`, d.name)
	}
	size, ok := nginxconf.ParseSize(s.Arg(1))
	if !ok || size <= 8191 {
		return d, fmt.Errorf(`invalid lua shared dict size "%s"`, s.Arg(1))
	}
	d.size = size
	for _, have := range c.Dicts.V {
		if have.name == d.name {
			return d, fmt.Errorf(`lua_shared_dict "%s" is already defined as "%s"`, d.name, d.name)
		}
	}
	return d, nil
}

// parseTrusted reads a file of certificates, whose path is relative to the configuration's folder.
func parseTrusted(s *nginxconf.Setting) (*x509.CertPool, error) {
	if s.Arg(0) == "" {
		return nil, nil
	}
	path := s.Loader.ConfPath(s.Arg(0))
	s.Loader.Watch(path)
	list, err := openssl.Trusted(s.Loader.ReadFile, path)
	if err != nil {
		return nil, nginxconf.Errorf("", 0, "%s", err)
	}
	pool := x509.NewCertPool()
	for _, c := range list {
		pool.AddCert(c)
	}
	return pool, nil
}

func parseCodeCache(s *nginxconf.Setting) (bool, error) {
	switch strings.ToLower(s.Arg(0)) {
	case "on":
		return true, nil
	case "off":
		s.Warn("lua_code_cache is off; this will hurt performance")
		return false, nil
	}
	return false, fmt.Errorf(`invalid value "%s" in "%s" directive, it must be "on" or "off"`, s.Arg(0), s.Name)
}

// limits bound what scripts may use.
const (
	requestBudget = 200_000_000 // instructions of a script on a request's way
	initBudget    = 2_000_000_000
	requestTime   = 10 * time.Second // of running, not of sleeping
	initTime      = 60 * time.Second
	maxString     = 64 << 20 // bytes of a string that Lua makes
	longString    = 1 << 20
	maxHeap       = 512 << 20 // bytes that the process may grow by while a script runs
)

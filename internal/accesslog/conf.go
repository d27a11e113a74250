package accesslog

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"time"

	"limpet/internal/errlog"
	"limpet/internal/ngx"
	conf "limpet/nginxconf"
)

// Conf holds the directives of the log module at one level.
type Conf struct {
	Logs  conf.List[*Log]
	Cache conf.Opt[*fileCache]

	// Of http{} alone.
	formats map[string]*Format
	buffers map[string]*buffering // by path
}

// Log is one access_log directive.
type Log struct {
	Off    bool
	Path   string               // absolute; "" where Name or Syslog is set
	Name   *ngx.Text            // a path with variables
	Syslog *errlog.SyslogTarget // nil: a file
	Format *Format
	If     *ngx.Text // nil: every request

	buffers map[string]*buffering // http's: what any directive said of a path
	out     output                // once the configuration is built
}

// buffering is what the parameters of access_log say of a file's buffer.
type buffering struct {
	size  int64
	flush time.Duration // 0: only when it is full
	gzip  int           // level; 0: not compressed
}

// Directives lists the directives of the log module.
func (c *Conf) Directives() []conf.Directive {
	return []conf.Directive{
		conf.Call("log_format", conf.HTTP, conf.Args2More, c.parseFormat, "Defines a format of log lines."),
		conf.Many("access_log", conf.HTTPServerLocation|conf.LocationIf|conf.LimitExcept, conf.Args1More, &c.Logs, parseLog, "logs/access.log combined",
			"Names a log of requests, its format and its buffer."),
		conf.Custom("open_log_file_cache", conf.HTTPServerLocation, conf.Args1234, &c.Cache, parseCache, "off",
			"Keeps files open whose names have variables."),
	}
}

// combined is the format that every configuration has.
const combined = `$remote_addr - $remote_user [$time_local] "$request" $status $body_bytes_sent "$http_referer" "$http_user_agent"`

func (c *Conf) parseFormat(s *conf.Setting) error {
	name := s.Arg(0)
	if c.formats[name] != nil || name == "combined" {
		return fmt.Errorf(`duplicate "log_format" name "%s"`, name)
	}
	words := s.Args[1:]
	esc := escapeDefault
	if how, ok := strings.CutPrefix(words[0].Value, "escape="); ok {
		switch how {
		case "default":
		case "json":
			esc = escapeJSON
		case "none":
			esc = escapeNone
		default:
			return fmt.Errorf(`unknown log format escaping "%s"`, how)
		}
		words = words[1:]
	}
	f := &Format{escape: esc}
	vs := varsOf(s)
	for _, w := range words {
		if err := f.compile(vs, w.Value); err != nil {
			return err
		}
	}
	if c.formats == nil {
		c.formats = make(map[string]*Format)
	}
	c.formats[name] = f
	return nil
}

func varsOf(s *conf.Setting) *ngx.Vars { return conf.Of[*ngx.VarConf](s.Level.Root()).Vars }

// format returns the format of that name.
func format(s *conf.Setting, name string) (*Format, error) {
	if http := s.Level.Up(conf.HTTP); http != nil {
		if f := conf.Own[*Conf](http).formats[name]; f != nil {
			return f, nil
		}
	}
	if name != "combined" {
		return nil, fmt.Errorf(`unknown log format "%s"`, name)
	}
	f := &Format{}
	return f, f.compile(varsOf(s), combined)
}

func parseLog(s *conf.Setting) ([]*Log, error) {
	l := &Log{}
	name := s.Arg(0)
	if name == "off" {
		l.Off = true
		if len(s.Args) > 1 {
			return nil, fmt.Errorf(`invalid parameter "%s"`, s.Arg(1))
		}
		return []*Log{l}, nil
	}
	if err := l.parseWhere(s, name); err != nil {
		return nil, err
	}
	word := "combined"
	if len(s.Args) > 1 {
		word = s.Arg(1)
	}
	var err error
	if l.Format, err = format(s, word); err != nil {
		return nil, err
	}
	bc := buffering{}
	for i := 2; i < len(s.Args); i++ {
		if err := l.parseParam(s, s.Arg(i), &bc); err != nil {
			return nil, err
		}
	}
	return []*Log{l}, l.setBuffer(s, bc)
}

// parseWhere reads the file or the syslog server.
func (l *Log) parseWhere(s *conf.Setting, name string) error {
	if params, ok := strings.CutPrefix(name, "syslog:"); ok {
		t, err := errlog.ParseSyslog(params, lookup(s))
		l.Syslog = &t
		return err
	}
	path := s.Loader.PrefixPath(name)
	if !strings.Contains(name, "$") {
		l.Path = path
		return nil
	}
	text, err := ngx.ParseText(s, path)
	l.Name = &text
	return err
}

// lookup finds syslog servers by name; offline every name is taken for good.
func lookup(s *conf.Setting) errlog.Lookup {
	if s.Loader.Offline {
		return func(string) ([]netip.Addr, error) { return []netip.Addr{netip.IPv4Unspecified()}, nil }
	}
	return func(host string) ([]netip.Addr, error) {
		return net.DefaultResolver.LookupNetIP(context.Background(), "ip", host)
	}
}

func (l *Log) parseParam(s *conf.Setting, param string, bc *buffering) error {
	name, value, valued := strings.Cut(param, "=")
	switch {
	case name == "buffer" && valued:
		n, ok := conf.ParseSize(value)
		if !ok || n == 0 {
			return fmt.Errorf(`invalid buffer size "%s"`, value)
		}
		bc.size = n
	case name == "flush" && valued:
		d, ok := conf.ParseTime(value, true)
		if !ok || d == 0 {
			return fmt.Errorf(`invalid flush time "%s"`, value)
		}
		bc.flush = d
	case name == "gzip":
		if bc.size == 0 {
			bc.size = 64 << 10
		}
		bc.gzip = 1
		if valued {
			n, ok := conf.ParseNum(value)
			if !ok || n < 1 || n > 9 {
				return fmt.Errorf(`invalid compression level "%s"`, value)
			}
			bc.gzip = n
		}
	case name == "if" && valued:
		text, err := ngx.ParseText(s, value)
		l.If = &text
		return err
	default:
		return fmt.Errorf(`invalid parameter "%s"`, param)
	}
	return nil
}

// setBuffer gives the log's file its buffer: all directives about a file share it.
func (l *Log) setBuffer(s *conf.Setting, bc buffering) error {
	if bc.size == 0 && bc.flush > 0 {
		return fmt.Errorf(`no buffer is defined for access_log "%s"`, s.Arg(0))
	}
	http := s.Level.Up(conf.HTTP)
	if http == nil { // the default
		return nil
	}
	c := conf.Own[*Conf](http)
	if c.buffers == nil {
		c.buffers = make(map[string]*buffering)
	}
	l.buffers = c.buffers
	if bc.size == 0 {
		return nil
	}
	switch {
	case l.Name != nil:
		return errors.New("buffered logs cannot have variables in name")
	case l.Syslog != nil:
		return errors.New("logs to syslog cannot be buffered")
	}
	if have := c.buffers[l.Path]; have != nil && *have != bc {
		return fmt.Errorf(`access_log "%s" already defined with conflicting parameters`, s.Arg(0))
	}
	c.buffers[l.Path] = &bc
	return nil
}

// parseCache reads open_log_file_cache; nil stands for off.
func parseCache(s *conf.Setting) (*fileCache, error) {
	c := &fileCache{inactive: 10 * time.Second, valid: 60 * time.Second, minUses: 1}
	off := false
	for i := range s.Args {
		name, value, _ := strings.Cut(s.Arg(i), "=")
		ok := true
		switch name {
		case "max":
			c.max, ok = conf.ParseNum(value)
		case "inactive":
			c.inactive, ok = conf.ParseTime(value, false)
		case "min_uses":
			c.minUses, ok = conf.ParseNum(value)
		case "valid":
			c.valid, ok = conf.ParseTime(value, false)
		case "off":
			off, ok = true, s.Arg(i) == "off"
		default:
			ok = false
		}
		if !ok {
			return nil, fmt.Errorf(`invalid "open_log_file_cache" parameter "%s"`, s.Arg(i))
		}
	}
	if off {
		return nil, nil
	}
	if c.max == 0 {
		return nil, errors.New(`"open_log_file_cache" must have "max" parameter`)
	}
	return c, nil
}

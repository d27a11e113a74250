// Package accesslog writes a line about each request: log_format, access_log
// and open_log_file_cache of nginx's log module.
// https://nginx.org/en/docs/http/ngx_http_log_module.html
//
// Files belong to errlog.Files, so that a file that several configurations, or
// the error log, name is open once; lines of a file go out with one write each, those
// of many requests that end at once together, or by the buffer. Where nginx has a
// buffer in each worker process there is one.
package accesslog

import (
	"slices"
	"sync"

	"limpet/internal/errlog"
	"limpet/internal/ngx"
	"limpet/nginxconf"
)

// Module returns the module.
func Module() ngx.Module {
	return ngx.Module{
		Name:   "log",
		Conf:   func() nginxconf.Settings { return new(Conf) },
		Config: openGlobal,
		Scope:  addStep,
	}
}

// openGlobal opens the logs that http{} names: nginx opens them although no server may use them.
func openGlobal(b *ngx.Build) error {
	for _, lv := range b.Config.Root.Inner {
		if lv.Context != nginxconf.HTTP {
			continue
		}
		if c := nginxconf.Of[*Conf](lv); c.Logs.Own {
			if err := open(b, c.Logs.V); err != nil {
				return err
			}
		}
	}
	return nil
}

func addStep(b *ngx.Build, s *ngx.Scope) error {
	c := nginxconf.Of[*Conf](s.Level)
	for _, l := range c.Logs.V {
		if l.Off {
			return nil
		}
	}
	if err := open(b, c.Logs.V); err != nil || b.Offline {
		return err
	}
	o := ngx.Shared[outputs](b)
	entries := make([]entry, 0, len(c.Logs.V))
	for _, l := range c.Logs.V {
		e := entry{l, l.out}
		if l.Name != nil {
			e.out = &scriptFile{l.Name, c.Cache.V}
			o.keep(b, c.Cache.V)
		}
		entries = append(entries, e)
	}
	s.Add(ngx.Log, step(&o.lines, entries))
	return nil
}

// entry is a log of a scope with where its lines go.
type entry struct {
	*Log
	out output
}

// step writes the lines of a request; lines holds the memory they are made in.
func step(lines *sync.Pool, logs []entry) ngx.Step {
	if len(logs) == 0 {
		return nil
	}
	return func(r *ngx.Request) ngx.Outcome {
		if r.NoLog {
			return ngx.Next
		}
		buf, ok := lines.Get().(*[]byte)
		if !ok {
			buf = new([]byte)
		}
		for i := range logs {
			l := &logs[i]
			if l.If != nil && !l.wanted(r) {
				continue
			}
			*buf = append(l.Format.Append(r, (*buf)[:0]), '\n')
			l.out.write(r, *buf)
		}
		lines.Put(buf)
		return ngx.Next
	}
}

// wanted evaluates the condition: a value that is empty or 0 keeps the line away.
func (l *Log) wanted(r *ngx.Request) bool {
	v := l.If.Bytes(r)
	return len(v) > 0 && !(len(v) == 1 && v[0] == '0')
}

// output is where lines go; a line ends with its newline and belongs to the caller.
type output interface {
	write(r *ngx.Request, line []byte)
}

// outputs are a configuration's files by path, and what it shares.
type outputs struct {
	files  map[string]*file
	caches []*fileCache
	lines  sync.Pool
}

// keep closes the files of a cache with the configuration.
func (o *outputs) keep(b *ngx.Build, c *fileCache) {
	if c != nil && !slices.Contains(o.caches, c) {
		o.caches = append(o.caches, c)
		closing(b, c.close)
	}
}

// open gives each log its output, unless it has one or it takes a name made for each line.
func open(b *ngx.Build, logs []*Log) error {
	if b.Offline {
		return nil
	}
	o := ngx.Shared[outputs](b)
	for _, l := range logs {
		switch {
		case l.Off, l.out != nil, l.Name != nil:
		case l.Syslog != nil:
			s := errlog.NewSyslog(*l.Syslog)
			closing(b, func() { s.Close() })
			l.out = syslog{s, l.Syslog.Severity}
		default:
			f, err := o.open(b, l)
			if err != nil {
				return err
			}
			l.out = f
		}
	}
	return nil
}

// closing runs f when the configuration is given up, whether it was in force or not.
func closing(b *ngx.Build, f func()) {
	b.OnRetire(f)
	b.OnUndo(f)
}

// open returns the file of a log, opening it at its first use.
func (o *outputs) open(b *ngx.Build, l *Log) (*file, error) {
	if f := o.files[l.Path]; f != nil {
		return f, nil
	}
	ef, err := b.Files.Open(l.Path)
	if err != nil {
		return nil, err
	}
	f := &file{file: ef, log: b.Log}
	if l.buffers != nil {
		if bc := l.buffers[l.Path]; bc != nil {
			f.buffer = newBuffer(f, *bc)
			b.OnReopen(f.buffer.flush)
		}
	}
	if f.buffer == nil {
		f.gather = newGather(f.writeOut)
		b.OnReopen(f.gather.flush)
	}
	closing(b, f.close)
	if o.files == nil {
		o.files = make(map[string]*file)
	}
	o.files[l.Path] = f
	return f, nil
}

// syslog sends lines as datagrams, without their newline.
type syslog struct {
	to       *errlog.Syslog
	severity int
}

func (s syslog) write(_ *ngx.Request, line []byte) { s.to.Send(s.severity, line[:len(line)-1]) }

// Package errlog is the error log in nginx's format and words: the directive error_log of nginx's core.
// https://nginx.org/en/docs/ngx_core_module.html#error_log
//
// A Log is a set of destinations, each with its level: files, standard error, syslog. Files are owned by a Files
// value, which the access log shares. The cyclic memory buffer is accepted and drops its lines: it serves a debugger
// attached to nginx.
//
// A debug line is of a Facility. The level debug takes all of them; the levels that name one (debug_http and the like)
// take its lines, beside everything from info up. Unlike nginx, where the first destination's facilities decide for all,
// each destination takes what its own level names. Nothing is of alloc, mutex, mail and stream: limpet has no pools of
// memory or locks to tell of, and no such modules. Whoever writes debug lines asks Debugging first, so that a log without
// them costs no more than that.
package errlog

import (
	"fmt"
	"os"
	"strconv"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// Level is the severity of a line; a lower one is more severe.
type Level uint8

// The levels, from the most severe to the most talkative. Stderr marks a log that takes nothing but what nginx
// writes to standard error whatever the level.
const (
	Stderr Level = iota
	Emerg
	Alert
	Crit
	Error
	Warn
	Notice
	Info
	Debug
)

// maxLine is the length of a line, the newline included, after which nginx cuts it (NGX_MAX_ERROR_STR).
const maxLine = 2048

// String returns the level as configurations and lines write it.
func (l Level) String() string {
	switch l {
	case Emerg:
		return "emerg"
	case Alert:
		return "alert"
	case Crit:
		return "crit"
	case Error:
		return "error"
	case Warn:
		return "warn"
	case Notice:
		return "notice"
	case Info:
		return "info"
	case Debug:
		return "debug"
	}
	return "stderr"
}

// ParseLevel returns the level that s names, and whether it names one.
func ParseLevel(s string) (Level, bool) {
	for l := Emerg; l <= Debug; l++ {
		if l.String() == s {
			return l, true
		}
	}
	return Stderr, false
}

// Log is a set of destinations. It is safe for concurrent use; a nil or zero Log drops everything.
type Log struct {
	level  Level    // the most talkative level of the outputs
	debug  Facility // of the outputs together
	outs   []output
	all    *Log // see All; nil for a Log that is one
	closed atomic.Bool
}

// output is one destination with its level.
type output struct {
	level  Level
	debug  Facility // at level Debug: whose lines it takes
	file   *File    // nil: not a file
	syslog *Syslog  // nil: not syslog
}

// Open opens the destinations of targets. When one fails it closes the ones before and returns nginx's words,
// `open() "/path" failed (2: No such file or directory)`.
func Open(files *Files, targets []Target) (*Log, error) {
	l := &Log{}
	for _, t := range targets {
		o := output{level: t.Level, debug: t.Debug}
		switch {
		case t.Memory:
			continue
		case t.Syslog != nil:
			o.syslog = NewSyslog(*t.Syslog)
		case t.Path != "":
			f, err := files.Open(t.Path)
			if err != nil {
				l.Close()
				return nil, err
			}
			o.file = f
		}
		l.outs = append(l.outs, o)
		l.level = max(l.level, t.Level)
		l.debug |= t.Debug
	}
	l.all = &Log{level: Debug, debug: DebugAll}
	for _, o := range l.outs {
		o.level, o.debug = Debug, DebugAll
		l.all.outs = append(l.all.outs, o)
	}
	return l, nil
}

// All returns the log as it is for the clients of debug_connection: each destination takes every line. Closing the
// log closes it, too.
func (l *Log) All() *Log {
	if l == nil || l.all == nil {
		return l
	}
	return l.all
}

// Close gives the destinations back; lines written afterwards are dropped.
func (l *Log) Close() {
	if l == nil {
		return
	}
	l.closed.Store(true)
	if l.all != nil {
		l.all.closed.Store(true)
	}
	for _, o := range l.outs {
		if o.file != nil {
			o.file.Close()
		}
		if o.syslog != nil {
			o.syslog.Close()
		}
	}
}

// Closed says whether Close was called: a configuration that isn't in force any more had the log.
func (l *Log) Closed() bool { return l == nil || l.closed.Load() }

// Enabled says whether any destination takes lines of that level.
func (l *Log) Enabled(level Level) bool {
	return l != nil && level <= l.level
}

// Write writes one line to each destination that takes its level. conn is the number of the connection, 0 for none.
func (l *Log) Write(level Level, conn uint64, msg string) {
	if l.Enabled(level) {
		l.write(level, DebugAll, conn, msg)
	}
}

// write is Write of a line whose level is enabled; f matters at level Debug.
func (l *Log) write(level Level, f Facility, conn uint64, msg string) {
	line := appendLine(make([]byte, 0, min(len(msg)+96, maxLine)), time.Now(), level, conn, msg)
	for i := range l.outs {
		o := &l.outs[i]
		switch {
		case level > o.level, level == Debug && o.debug&f == 0:
		case o.syslog != nil:
			o.syslog.Send(severity(level), line[:len(line)-1])
		case o.file != nil:
			o.file.Write(line)
		default:
			os.Stderr.Write(line)
		}
	}
}

// Printf is Write of a formatted message; it formats only what some destination takes.
func (l *Log) Printf(level Level, conn uint64, format string, args ...any) {
	if l.Enabled(level) {
		l.Write(level, conn, fmt.Sprintf(format, args...))
	}
}

// Debugging says whether any destination takes debug lines of the facilities.
func (l *Log) Debugging(f Facility) bool { return l != nil && l.debug&f != 0 }

// Debugf writes a formatted debug line of a facility. Whoever calls it has asked Debugging, so that the arguments
// aren't boxed for nothing.
func (l *Log) Debugf(f Facility, conn uint64, format string, args ...any) {
	if l.Debugging(f) {
		l.write(Debug, f, conn, fmt.Sprintf(format, args...))
	}
}

// appendLine appends the line as nginx writes it: local time, level, process and thread, connection, message.
func appendLine(b []byte, now time.Time, level Level, conn uint64, msg string) []byte {
	start := len(b)
	b = now.AppendFormat(b, "2006/01/02 15:04:05")
	b = append(b, " ["...)
	b = append(b, level.String()...)
	b = append(b, "] "...)
	b = strconv.AppendInt(b, int64(os.Getpid()), 10)
	b = append(b, '#')
	b = strconv.AppendInt(b, int64(unix.Gettid()), 10)
	b = append(b, ": "...)
	if conn != 0 {
		b = append(b, '*')
		b = strconv.AppendUint(b, conn, 10)
		b = append(b, ' ')
	}
	if room := maxLine - 1 - (len(b) - start); len(msg) > room {
		msg = msg[:room]
	}
	b = append(b, msg...)
	return append(b, '\n')
}

// WriteStderr writes a message to standard error as nginx does before its logs are open: `nginx: [emerg] msg`.
func WriteStderr(level Level, msg string) {
	os.Stderr.WriteString("nginx: [" + level.String() + "] " + msg + "\n")
}

// severity is syslog's number for a level.
func severity(l Level) int {
	return max(int(l)-1, 0)
}

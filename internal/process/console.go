package process

import (
	"fmt"
	"os"

	"limpet/internal/errlog"
	"limpet/nginxconf"
)

// Console is standard error before a configuration has opened its logs: lines
// `nginx: [emerg] msg`, or lines of a log where -e says stderr or its file can't be opened.
type Console struct {
	stamped bool
}

// NewConsole returns the console for what -e says, "" where it wasn't given. As
// nginx does, it makes the file when it can be and tells when it can't.
func NewConsole(errorLog, prefix string, offline bool) *Console {
	c := &Console{stamped: errorLog == "stderr"}
	if errorLog == "" || errorLog == "stderr" || offline || os.Getenv(daemonEnv) != "" {
		return c
	}
	if errorLog[0] != '/' {
		errorLog = prefix + errorLog
	}
	f, err := new(errlog.Files).Open(errorLog)
	if err != nil {
		c.Print(errlog.Alert, "could not open error log file: "+err.Error())
		c.stamped = true
		return c
	}
	f.Close()
	return c
}

// Print prints one line.
func (c *Console) Print(level errlog.Level, msg string) {
	if !c.stamped {
		errlog.WriteStderr(level, msg)
		return
	}
	log, err := errlog.Open(nil, []errlog.Target{{Level: errlog.Debug, Debug: errlog.DebugAll}})
	if err != nil {
		fmt.Fprintln(os.Stderr, msg) // not for standard error, which is open
		return
	}
	log.Write(level, 0, msg)
}

// Notices prints what reading a configuration had to say besides errors, of a
// level at least as grave as level.
func (c *Console) Notices(config *nginxconf.Config, level errlog.Level) {
	if config == nil {
		return
	}
	for _, n := range config.Notices {
		if l, ok := errlog.ParseLevel(n.Severity); ok && l <= level {
			c.Print(l, n.Msg)
		}
	}
}

package errlog

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// Target is what one error_log line asks for: standard error unless one of the other fields says otherwise.
type Target struct {
	Level  Level
	Path   string        // as written; the caller makes it absolute
	Syslog *SyslogTarget // nil: not syslog
	Memory bool          // the cyclic buffer: accepted, takes nothing
}

// Lookup finds the addresses of a host's name.
type Lookup func(host string) ([]netip.Addr, error)

// ParseTarget reads the arguments of error_log: where, and any number of levels, of which more than one is an error.
// Errors are in nginx's words.
func ParseTarget(args []string, lookup Lookup) (Target, error) {
	var t Target
	if len(args) == 0 {
		return t, fmt.Errorf(`invalid number of arguments in "error_log" directive`)
	}
	where := args[0]
	switch {
	case where == "stderr" || where == "":
	case strings.HasPrefix(where, "memory:"):
		if !validMemory(where[len("memory:"):]) {
			return t, fmt.Errorf(`invalid buffer size "%s"`, where[len("memory:"):])
		}
		t.Memory = true
	case strings.HasPrefix(where, "syslog:"):
		s, err := ParseSyslog(where[len("syslog:"):], lookup)
		if err != nil {
			return t, err
		}
		t.Syslog = &s
	default:
		t.Path = where
	}
	level, err := parseLevels(args[1:])
	t.Level = level
	return t, err
}

// parseLevels reads the levels of a line; none is error.
func parseLevels(args []string) (Level, error) {
	if len(args) == 0 {
		return Error, nil
	}
	level := Stderr
	for _, a := range args {
		l, ok := ParseLevel(a)
		if !ok {
			if !debugFacility(a) {
				return 0, fmt.Errorf(`invalid log level "%s"`, a)
			}
			l = Debug
			if level == Debug {
				continue // debug_http debug_event: the facilities add up
			}
		}
		if level != Stderr {
			return 0, fmt.Errorf(`duplicate log level "%s"`, a)
		}
		level = l
	}
	return level, nil
}

// debugFacility says whether s is one of the partial debug levels.
func debugFacility(s string) bool {
	switch s {
	case "debug_core", "debug_alloc", "debug_mutex", "debug_event", "debug_http", "debug_mail", "debug_stream":
		return true
	}
	return false
}

// validMemory says whether s is a size that nginx takes for a memory log: at least 4 lines.
func validMemory(s string) bool {
	unit := int64(1)
	switch {
	case strings.HasSuffix(s, "k"), strings.HasSuffix(s, "K"):
		unit, s = 1<<10, s[:len(s)-1]
	case strings.HasSuffix(s, "m"), strings.HasSuffix(s, "M"):
		unit, s = 1<<20, s[:len(s)-1]
	}
	n, err := strconv.ParseUint(s, 10, 40)
	return err == nil && int64(n)*unit >= 4*maxLine
}

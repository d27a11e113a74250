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
	Debug  Facility      // at level Debug: whose lines are taken
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
	return t, t.parseLevels(args[1:])
}

// parseLevels reads the levels of a line; none is error. Only those that name a facility may be several.
func (t *Target) parseLevels(args []string) error {
	t.Level = Stderr
	for _, a := range args {
		l, ok := ParseLevel(a)
		f := facilityNamed(a)
		switch {
		case ok && t.Level != Stderr:
			return fmt.Errorf(`duplicate log level "%s"`, a)
		case ok:
			if t.Level = l; l == Debug {
				t.Debug = DebugAll
			}
		case f == 0, t.Level != Stderr && (t.Level != Debug || t.Debug == DebugAll):
			return fmt.Errorf(`invalid log level "%s"`, a)
		default:
			t.Level = Debug
			t.Debug |= f
		}
	}
	if len(args) == 0 {
		t.Level = Error
	}
	return nil
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

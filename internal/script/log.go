package script

import (
	"fmt"
	"os"
	"regexp"
	"strings"
)

// showLog prints a log, once a line of it matches.
func showLog(r *run, args []string) (string, error) {
	const usage = usageError("usage: log [-all] [-new] error|access|FILE [REGEXP]")
	all, fresh := false, false
	for len(args) > 0 && strings.HasPrefix(args[0], "-") {
		switch args[0] {
		case "-all":
			all = true
		case "-new":
			fresh = true
		default:
			return "", usage
		}
		args = args[1:]
	}
	if len(args) < 1 || len(args) > 2 {
		return "", usage
	}
	name := map[string]string{"error": "error.log", "access": "logs/access.log"}[args[0]]
	if name == "" {
		name = args[0]
	}
	var re *regexp.Regexp
	if len(args) == 2 {
		var err error
		if re, err = regexp.Compile("(?m)" + args[1]); err != nil {
			return "", usageError(err.Error())
		}
	}
	from := 0
	if fresh {
		from = r.logSeen[name]
	}
	return r.awaitLog(name, from, re, all)
}

// awaitLog waits for lines of a log that match, or for the file when re is nil.
func (r *run) awaitLog(name string, from int, re *regexp.Regexp, all bool) (string, error) {
	var out string
	err := within(patience, func() error {
		text, err := os.ReadFile(r.MkAbs(name))
		if err != nil {
			return err
		}
		end := strings.LastIndexByte(string(text), '\n') + 1
		r.logSeen[name] = end
		out = ""
		for _, line := range strings.SplitAfter(string(text[min(from, end):end]), "\n") {
			line = r.mask(maskLog(line))
			if re == nil && !all && chatter.MatchString(line) || re != nil && !re.MatchString(strings.TrimSuffix(line, "\n")) {
				continue
			}
			out += line
		}
		if re != nil && out == "" {
			return fmt.Errorf("log: no line of %s matches %s", name, re)
		}
		return nil
	})
	return out, err
}

// chatter finds lines of an error log about the process's own life.
var chatter = regexp.MustCompile(`^\[(?:notice|debug)\] `)

var (
	errorStamp  = regexp.MustCompile(`(?m)^\d{4}/\d\d/\d\d \d\d:\d\d:\d\d (\[\w+\]) \d+#\d+: (?:\*\d+ )?`)
	accessStamp = regexp.MustCompile(`\[\d\d/\w{3}/\d{4}:\d\d:\d\d:\d\d [+-]\d{4}\]`)
)

// maskLog takes times, processes and connection numbers out of lines of a log.
func maskLog(s string) string {
	return accessStamp.ReplaceAllString(errorStamp.ReplaceAllString(s, "$1 "), "[TIME]")
}

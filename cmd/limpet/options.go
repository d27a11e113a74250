package main

import (
	"fmt"
	"path/filepath"
	"strings"

	"github.com/spf13/pflag"

	"limpet/internal/server"
)

// options are what the command line says.
type options struct {
	test, dump, quiet     bool
	version, config, help bool // -v, -V, -h
	file, prefix          string
	errorLog, globals     string
	signal                string
	watch                 bool
	state                 string
	server.Options
}

// server returns the options of the configuration.
func (o *options) server(lay layout) server.Options {
	opt := o.Options
	opt.ConfFile, opt.Prefix, opt.Globals = lay.conf, lay.prefix, o.globals
	opt.ErrorLog, opt.Defaults = lay.errorLog, lay.defaults
	return opt
}

// parseOptions reads the command line: nginx's options in nginx's own forms (-tq,
// -cFILE, -c FILE), limpet's behind two dashes. The error is in nginx's words.
func parseOptions(args []string) (*options, error) {
	o := &options{}
	long := pflag.NewFlagSet("limpet", pflag.ContinueOnError)
	long.Usage = func() {}
	long.StringVar(&o.Admin, "admin", "", "")
	long.StringVar(&o.state, "state", "", "")
	long.StringVar(&o.Pid, "pid", "", "")
	remaps := long.StringArray("listen", nil, "")
	long.BoolVar(&o.Offline, "offline", false, "")
	unsupported := long.String("unsupported", "error", "")
	long.BoolVar(&o.watch, "watch", true, "")
	long.StringSliceVar(&o.StickyLegacy, "sticky-legacy", nil, "")
	luaMode := long.String("lua", "native", "")
	long.StringVar(&o.Checks.FailOpen, "fail-open", "", "")
	long.StringVar(&o.Checks.ExpectAlive, "expect-alive", "", "")
	help := long.Bool("help", false, "")
	showVersion := long.Bool("version", false, "")
	for len(args) > 0 {
		arg := args[0]
		args = args[1:]
		if strings.HasPrefix(arg, "--") {
			used, err := parseLong(long, arg, args)
			if err != nil {
				return nil, err
			}
			args = args[used:]
			continue
		}
		rest, err := o.short(arg, args)
		if err != nil {
			return nil, err
		}
		args = rest
	}
	o.help = o.help || *help
	o.version = o.version || o.help || *showVersion
	return o, o.own(*unsupported, *luaMode, *remaps)
}

// own checks and takes the values of limpet's own options.
func (o *options) own(unsupported, luaMode string, remaps []string) error {
	switch unsupported {
	case "warn":
		o.WarnUnsupported = true
	case "error":
	default:
		return fmt.Errorf(`invalid option: "--unsupported=%s"`, unsupported)
	}
	switch luaMode {
	case "run":
		o.RunLua = true
	case "native":
	default:
		return fmt.Errorf(`invalid option: "--lua=%s"`, luaMode)
	}
	if v := o.Checks.FailOpen; v != "" && v != "on" && v != "off" {
		return fmt.Errorf(`invalid option: "--fail-open=%s"`, v)
	}
	if v := o.Checks.ExpectAlive; v != "" && v != "add" && v != "replace" {
		return fmt.Errorf(`invalid option: "--expect-alive=%s"`, v)
	}
	if o.Pid != "" {
		pid, err := filepath.Abs(o.Pid)
		if err != nil {
			return err
		}
		o.Pid = pid
	}
	for _, m := range remaps {
		from, to, ok := strings.Cut(m, "=")
		if !ok || from == "" || to == "" {
			return fmt.Errorf(`invalid option: "--listen %s", want FROM=TO`, m)
		}
		o.Listen = append(o.Listen, server.Remap{From: from, To: to})
	}
	return nil
}

// parseLong hands one long option to pflag, with the following word where it needs a value.
func parseLong(long *pflag.FlagSet, arg string, rest []string) (used int, err error) {
	name, _, hasValue := strings.Cut(arg[2:], "=")
	f := long.Lookup(name)
	if f == nil {
		return 0, fmt.Errorf(`invalid option: "%s"`, arg)
	}
	words := []string{arg}
	if !hasValue && f.NoOptDefVal == "" {
		if len(rest) == 0 {
			return 0, fmt.Errorf(`option "%s" requires a value`, arg)
		}
		words = append(words, rest[0])
	}
	if err := long.Parse(words); err != nil {
		return 0, fmt.Errorf(`invalid option: "%s": %w`, arg, err)
	}
	return len(words) - 1, nil
}

// short reads one word of nginx's options and returns the words that are left.
func (o *options) short(arg string, rest []string) ([]string, error) {
	if !strings.HasPrefix(arg, "-") {
		return nil, fmt.Errorf(`invalid option: "%s"`, arg)
	}
	for i := 1; i < len(arg); i++ {
		value := func(what string) (string, error) {
			if i+1 < len(arg) {
				return arg[i+1:], nil
			}
			if len(rest) > 0 && (rest[0] != "" || arg[i] == 'g') {
				v := rest[0]
				rest = rest[1:]
				return v, nil
			}
			return "", fmt.Errorf(`option "-%c" requires %s`, arg[i], what)
		}
		var err error
		switch arg[i] {
		case '?', 'h':
			o.version, o.help = true, true
		case 'v':
			o.version = true
		case 'V':
			o.version, o.config = true, true
		case 't':
			o.test = true
		case 'T':
			o.test, o.dump = true, true
		case 'q':
			o.quiet = true
		case 'p':
			o.prefix, err = value("directory name")
			return rest, err
		case 'e':
			o.errorLog, err = value("file name")
			return rest, err
		case 'c':
			o.file, err = value("file name")
			return rest, err
		case 'g':
			o.globals, err = value("parameter")
			return rest, err
		case 's':
			o.signal, err = value("parameter")
			if err != nil {
				return rest, err
			}
			switch o.signal {
			case "stop", "quit", "reopen", "reload":
				return rest, nil
			}
			return rest, fmt.Errorf(`invalid option: "-s %s"`, o.signal)
		default:
			return rest, fmt.Errorf(`invalid option: "%c"`, arg[i])
		}
	}
	return rest, nil
}

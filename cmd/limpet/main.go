// Command limpet is an HTTP load balancer that runs nginx configuration files.
// Its command line is nginx's; what is limpet's own begins with two dashes or is a
// verb: `limpet demo` shows it at work, status, drain and undrain ask a limpet that runs.
// https://nginx.org/en/docs/switches.html
package main

import (
	"fmt"
	"os"

	"limpet/internal/demo"
	"limpet/internal/errlog"
	"limpet/internal/process"
	"limpet/internal/server"
	"limpet/nginxconf"
)

func main() { os.Exit(run(os.Args[1:])) }

func run(args []string) int {
	if len(args) > 0 {
		switch args[0] {
		case "demo":
			return demo.Run(args[1:], os.Stdout, os.Stderr)
		case "drain", "undrain":
			return drain(args[0], args[1:])
		case "cookie":
			return cookie(args[1:])
		case "status":
			return status(args[1:])
		}
	}
	o, err := parseOptions(args)
	if err != nil {
		fmt.Fprintf(os.Stderr, "nginx: %s\n", err)
		return 1
	}
	lay := o.layout()
	if o.version {
		showVersion(o, lay)
		if !o.test {
			return 0
		}
	}
	opt := o.server(lay)
	con := process.NewConsole(o.errorLog, opt.Prefix, opt.Offline)
	switch {
	case o.test:
		return test(o, opt, con)
	case o.signal != "":
		return signal(o, opt, con)
	}
	defer profile()()
	return process.Run(opt, process.Options{Watch: o.watch, State: o.state, Version: version, Console: con})
}

// test is -t and -T.
func test(o *options, opt server.Options, con *process.Console) int {
	config, syntax, err := server.Test(opt)
	level := errlog.Notice
	if o.quiet {
		level = errlog.Warn
	}
	con.Notices(config, level)
	if syntax && !o.quiet {
		fmt.Fprintf(os.Stderr, "nginx: the configuration file %s syntax is ok\n", opt.ConfFile)
	}
	if err != nil {
		con.Print(errlog.Emerg, err.Error())
		fmt.Fprintf(os.Stderr, "nginx: configuration file %s test failed\n", opt.ConfFile)
		return 1
	}
	if !o.quiet {
		fmt.Fprintf(os.Stderr, "nginx: configuration file %s test is successful\n", opt.ConfFile)
	}
	if o.dump {
		dump(config)
	}
	return 0
}

// dump prints every file of the configuration, as -T does.
func dump(config *nginxconf.Config) {
	for _, f := range config.Files {
		fmt.Printf("# configuration file %s:\n%s\n", f.Name, f.Text)
	}
}

// signal is -s. The configuration is read for the name of the pid file alone.
func signal(o *options, opt server.Options, con *process.Console) int {
	config, err := server.Load(opt)
	if err != nil {
		con.Print(errlog.Emerg, err.Error())
		return 1
	}
	if level, err := process.Signal(server.MainOf(config).Pid.V, o.signal); err != nil {
		con.Print(level, err.Error())
		return 1
	}
	return 0
}

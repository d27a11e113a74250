// Command limpet is an HTTP load balancer that runs nginx configuration files.
// Its command line is nginx's; what is limpet's own begins with two dashes.
package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"limpet/internal/errlog"
	"limpet/internal/process"
	"limpet/internal/server"
	"limpet/nginxconf"
)

func main() { os.Exit(run(os.Args[1:])) }

func run(args []string) int {
	o, err := parseOptions(args)
	if err != nil {
		fmt.Fprintf(os.Stderr, "nginx: %s\n", err)
		return 1
	}
	lay := o.layout()
	if o.version {
		showVersion(o, lay)
		return 0
	}
	opt := o.Options
	opt.ConfFile, opt.Prefix, opt.ErrorLog, opt.Globals = lay.conf, lay.prefix, o.errorLog, o.globals
	switch {
	case o.test:
		return test(o, opt)
	case o.signal != "":
		return signal(o, opt)
	}
	return process.Run(opt, o.watch)
}

// test is -t and -T.
func test(o *options, opt server.Options) int {
	config, err := server.Test(opt)
	level := errlog.Notice
	if o.quiet {
		level = errlog.Warn
	}
	process.PrintNotices(config, level)
	if err != nil {
		errlog.WriteStderr(errlog.Emerg, err.Error())
		fmt.Fprintf(os.Stderr, "nginx: configuration file %s test failed\n", opt.ConfFile)
		return 1
	}
	if !o.quiet {
		fmt.Fprintf(os.Stderr, "nginx: the configuration file %s syntax is ok\n", opt.ConfFile)
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

// signal is -s.
func signal(o *options, opt server.Options) int {
	config, err := server.Load(opt)
	if err != nil {
		errlog.WriteStderr(errlog.Emerg, err.Error())
		return 1
	}
	if err := process.Signal(server.MainOf(config).Pid.V, o.signal); err != nil {
		errlog.WriteStderr(errlog.Error, err.Error())
		return 1
	}
	return 0
}

// layout is where an installation keeps its configuration.
type layout struct{ conf, prefix string }

// layouts are the default places of nginx, OpenResty and Tengine.
func layouts() []layout {
	return []layout{
		{"/etc/nginx/nginx.conf", "/etc/nginx/"},
		{"/usr/local/openresty/nginx/conf/nginx.conf", "/usr/local/openresty/nginx/"},
		{"/usr/local/nginx/conf/nginx.conf", "/usr/local/nginx/"},
		{"/usr/local/tengine/conf/nginx.conf", "/usr/local/tengine/"},
	}
}

// layout returns the configuration file and the prefix in force: what the
// options say, else the first default place that has a file.
func (o *options) layout() layout {
	l := layouts()[0]
	for _, d := range layouts() {
		if _, err := os.Stat(d.conf); err == nil {
			l = d
			break
		}
	}
	if o.prefix != "" {
		l.prefix = absolute(o.prefix, "")
		if !strings.HasSuffix(l.prefix, "/") {
			l.prefix += "/"
		}
		l.conf = l.prefix + "conf/nginx.conf"
	}
	if o.file != "" {
		if o.prefix == "" && !filepath.IsAbs(o.file) {
			l.conf = absolute(o.file, "")
			l.prefix = filepath.Dir(l.conf) + "/"
		} else {
			l.conf = absolute(o.file, l.prefix)
			if o.prefix == "" {
				l.prefix = filepath.Dir(l.conf) + "/"
			}
		}
	}
	return l
}

func absolute(name, base string) string {
	if filepath.IsAbs(name) {
		return name
	}
	if base == "" {
		base, _ = os.Getwd()
	}
	return filepath.Join(base, name)
}

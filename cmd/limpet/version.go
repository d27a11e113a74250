package main

import (
	"fmt"
	"os"
	"runtime"

	"limpet/internal/ngx"
	"limpet/internal/server"
)

// version is limpet's own.
const version = "0.1"

// showVersion prints what -v, -V and -h print, on standard error as nginx does.
func showVersion(o *options, l layout) {
	w := os.Stderr
	fmt.Fprintf(w, "nginx version: %s (limpet %s)\n", ngx.Product, version)
	if o.help {
		errorLog := l.errorLog
		if errorLog == "" {
			errorLog = "logs/error.log"
		}
		fmt.Fprintf(w, helpText, l.prefix, errorLog, l.conf)
	}
	if o.config {
		fmt.Fprintf(w, "built with OpenSSL 3.0 compatible TLS (%s crypto/tls)\nTLS SNI support enabled\n", runtime.Version())
		fmt.Fprintf(w, "configure arguments: --prefix=%s --conf-path=%s", l.prefix, l.conf)
		if l.errorLog != "" {
			fmt.Fprintf(w, " --error-log-path=%s", l.errorLog)
		}
		if pid := l.defaults["pid"]; pid != "" {
			fmt.Fprintf(w, " --pid-path=%s", pid)
		}
		fmt.Fprintf(w, " --build=limpet %s\n", server.Features())
	}
}

const helpText = `Usage: limpet [-?hvVtTq] [-s signal] [-p prefix]
              [-e filename] [-c filename] [-g directives] [own options]
       limpet demo
       limpet status [UPSTREAM] --admin ADDR
       limpet drain UPSTREAM SERVER --admin ADDR [--wait] [--timeout D] [--window D]
       limpet undrain UPSTREAM SERVER --admin ADDR
       limpet cookie UPSTREAM [option]...

Options:
  -?,-h         : this help
  -v            : show version and exit
  -V            : show version and configure options then exit
  -t            : test configuration and exit
  -T            : test configuration, dump it and exit
  -q            : suppress non-error messages during configuration testing
  -s signal     : send signal to a master process: stop, quit, reopen, reload
  -p prefix     : set prefix path (default: %s)
  -e filename   : set error log file (default: %s)
  -c filename   : set configuration file (default: %s)
  -g directives : set global directives out of configuration file

limpet's own:
  --admin ADDR            : serve metrics and status at ADDR, ip:port or unix:path
  --state FILE            : keep in FILE what limpet drain has drained, over restarts
  --listen FROM=TO        : listen on TO where the file says FROM, an address or a port; repeatable
  --pid FILE              : write the process ID to FILE, whatever the file's pid says; for -s, too
  --offline               : with -t: no names resolved, no keys or logs opened, no sockets bound, no root
  --unsupported=warn      : skip directives that are known but not supported, with a warning
  --watch=false           : don't reload when a file of the configuration changes
  --lua=run               : run every balancer script, also those that limpet does natively
  --fail-open=on|off      : serve from peers, or don't, when checks have turned all of a group down
  --expect-alive=add|replace : what check_http_expect_alive means: with http_2xx and http_3xx, or in their place
  --sticky-legacy NAME,.. : cookie names to look under besides the configured one

limpet demo runs three backends and a configuration in front of them, and says what to try.
limpet status, drain and undrain ask a limpet that runs, limpet cookie shows which cookies
name a server; each tells more under -h.

`

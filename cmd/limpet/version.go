package main

import (
	"fmt"
	"os"

	"limpet/internal/server"
)

// version is limpet's own.
const version = "0.1"

// showVersion prints what -v, -V and -h print.
func showVersion(o *options, l layout) {
	w := os.Stderr
	fmt.Fprintf(w, "nginx version: nginx/1.31.4 (limpet %s)\n", version)
	if o.help {
		fmt.Fprint(w, helpText)
		fmt.Fprintf(w, "\nconfiguration file: %s\nprefix: %s\n", l.conf, l.prefix)
	}
	if o.config {
		fmt.Fprint(w, "built with OpenSSL 3.0.0 compatible TLS (Go crypto/tls)\nTLS SNI support enabled\n")
		fmt.Fprintf(w, "configure arguments: %s\n", server.Features())
		fmt.Fprintf(w, "default configuration file: %s, prefix: %s\n", l.conf, l.prefix)
	}
}

const helpText = `Usage: limpet [-?hvVtTq] [-s signal] [-p prefix]
              [-e filename] [-c filename] [-g directives] [--options]

Options:
  -?,-h         : this help
  -v            : show version and exit
  -V            : show version and configure options then exit
  -t            : test configuration and exit
  -T            : test configuration, dump it and exit
  -q            : suppress non-error messages during configuration testing
  -s signal     : send signal to a master process: stop, quit, reopen, reload
  -p prefix     : set prefix path
  -e filename   : set error log file
  -c filename   : set configuration file
  -g directives : set global directives out of configuration file

limpet's own:
  --admin ADDR            : serve metrics, status and the API at ADDR
  --listen FROM=TO        : listen on TO where the file says FROM (an address or a port), repeatable
  --offline               : with -t: no name resolution, no keys or logs opened, no root
  --unsupported=warn      : skip directives that are known but not supported, with a warning
  --watch=false           : don't reload when a file of the configuration changes
  --lua=run               : run every balancer script, also those that limpet does natively
  --sticky-legacy NAME,.. : cookie names to look under besides the configured one
`

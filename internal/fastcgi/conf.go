// Package fastcgi passes requests to FastCGI servers, such as PHP-FPM.
//
// It stands for nginx's ngx_http_fastcgi_module.
// https://nginx.org/en/docs/http/ngx_http_fastcgi_module.html
//
// What differs from nginx: parameters of more than 64 KiB together go out in several records, where nginx answers 500. An
// answer whose connection ends without the record that ends answers is cut for the client, too; nginx takes it for whole.
// Not done: fastcgi_cache_purge, which is NGINX Plus's; it is refused by name.
package fastcgi

import (
	"errors"

	"limpet/internal/ngx"
	"limpet/internal/relay"
	"limpet/internal/rx"
	"limpet/nginxconf"
)

// Conf is the FastCGI module's configuration at one level.
type Conf struct {
	relay.Conf
	Index       nginxconf.Opt[string]
	Split       nginxconf.List[*rx.Regexp] // the last one counts
	Param       nginxconf.List[relay.Param]
	KeepConn    nginxconf.Opt[bool]
	CatchStderr nginxconf.List[string]
}

// Directives lists the directives of the FastCGI module.
func (c *Conf) Directives() []nginxconf.Directive {
	const hsl = nginxconf.HTTPServerLocation
	rows := c.PeerRows(kind(), nginxconf.Location|nginxconf.LocationIf)
	rows = append(rows, c.HeaderRows()...)
	rows = append(rows, c.BodyRows()...)
	return append(rows,
		nginxconf.Str("fastcgi_index", hsl, &c.Index, "", "Sets the file that a URI's slash at the end stands for in $fastcgi_script_name."),
		nginxconf.Each("fastcgi_split_path_info", hsl, nginxconf.Args1, &c.Split, parseSplit, "Parts a URI into $fastcgi_script_name and $fastcgi_path_info by a pattern with two captures."),
		nginxconf.Each("fastcgi_param", hsl, nginxconf.Args23, &c.Param, relay.ParseParam, "Sets a parameter that is passed to the server."),
		nginxconf.Flag("fastcgi_keep_conn", hsl, &c.KeepConn, "off", "Asks the server to keep connections open."),
		nginxconf.Each("fastcgi_catch_stderr", hsl, nginxconf.Args1, &c.CatchStderr, func(s *nginxconf.Setting) (string, error) { return s.Arg(0), nil },
			"Takes an answer for invalid when the server's standard error has this text."),
		relay.LowatRow("fastcgi"),
	)
}

func parseSplit(s *nginxconf.Setting) (*rx.Regexp, error) {
	re, err := rx.Compile(s.Arg(0), 0)
	if err == nil && re.NumCaptures() != 2 {
		err = errors.New(`pattern "` + s.Arg(0) + `" must have 2 captures`)
	}
	return re, err
}

// Vars lists the variables of the FastCGI module.
func Vars() []ngx.Variable {
	return []ngx.Variable{
		{Name: "fastcgi_script_name", Doc: "The script that a request is for: the URI, with fastcgi_index behind a slash, or its first part by fastcgi_split_path_info.",
			Get: func(r *ngx.Request, b []byte) ([]byte, bool) {
				script, _ := split(r)
				b = append(b, script...)
				if len(script) > 0 && script[len(script)-1] == '/' {
					b = append(b, nginxconf.Of[*Conf](r.Scope.Level).Index.V...)
				}
				return b, true
			}},
		{Name: "fastcgi_path_info", Doc: "The second part of the URI by fastcgi_split_path_info.",
			Get: func(r *ngx.Request, b []byte) ([]byte, bool) {
				_, info := split(r)
				return append(b, info...), true
			}},
	}
}

// split parts the URI by fastcgi_split_path_info.
func split(r *ngx.Request) (script, info []byte) {
	list := nginxconf.Of[*Conf](r.Scope.Level).Split.V
	if len(list) == 0 || !r.Match(list[len(list)-1], r.Path) {
		return r.Path, nil
	}
	return r.Capture(1), r.Capture(2)
}

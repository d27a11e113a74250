package main

import (
	"os"
	"path/filepath"
	"strings"
)

// layout is where an installation keeps its files: what nginx has compiled in.
type layout struct {
	conf, prefix string
	errorLog     string // "" for logs/error.log under the prefix
	// defaults are the directives whose defaults differ from nginx's own.
	defaults map[string]string
}

// layouts are the default places of nginx's packages, OpenResty, nginx and Tengine.
func layouts() []layout {
	return []layout{
		packaged(),
		{conf: "/usr/local/openresty/nginx/conf/nginx.conf", prefix: "/usr/local/openresty/nginx/"},
		{conf: "/usr/local/nginx/conf/nginx.conf", prefix: "/usr/local/nginx/"},
		{conf: "/usr/local/tengine/conf/nginx.conf", prefix: "/usr/local/tengine/"},
	}
}

// packaged is the layout of /etc/nginx: nginx.org's packages, or Debian's where its mark is found.
func packaged() layout {
	l := layout{
		conf: "/etc/nginx/nginx.conf", prefix: "/etc/nginx/", errorLog: "/var/log/nginx/error.log",
		defaults: map[string]string{
			"pid":                   "/run/nginx.pid",
			"access_log":            "/var/log/nginx/access.log combined",
			"client_body_temp_path": "/var/cache/nginx/client_temp",
			"proxy_temp_path":       "/var/cache/nginx/proxy_temp",
		},
	}
	if _, err := os.Stat("/etc/nginx/modules-enabled"); err == nil {
		l.prefix = "/usr/share/nginx/"
		l.defaults["client_body_temp_path"] = "/var/lib/nginx/body"
		l.defaults["proxy_temp_path"] = "/var/lib/nginx/proxy"
	}
	return l
}

// defaultLayout returns the first layout whose configuration file exists, else the first.
func defaultLayout() layout {
	for _, l := range layouts() {
		if _, err := os.Stat(l.conf); err == nil {
			return l
		}
	}
	return layouts()[0]
}

// layout returns the files in force. With -p everything lies under the prefix, as
// in nginx. With -c alone the prefix is the installation's that the file belongs
// to, else the file's folder, or the one above when that is named conf, so that a
// project's file finds its Lua files and logs without -p; where there is no folder
// logs, logs and the pid file go beside the file.
func (o *options) layout() layout {
	l := defaultLayout()
	switch {
	case o.prefix != "":
		l = layout{prefix: slashed(o.prefix)}
		l.conf = l.prefix + "conf/nginx.conf"
		if o.file != "" {
			l.conf = under(l.prefix, o.file)
		}
	case o.file != "":
		l = layoutOf(o.file)
	}
	if o.errorLog != "" {
		l.errorLog = o.errorLog
	}
	return l
}

// layoutOf returns the layout of a configuration file given by -c alone; a
// relative name is looked for in the current folder.
func layoutOf(file string) layout {
	file, err := filepath.Abs(file)
	if err != nil {
		file = filepath.Clean(file)
	}
	dir := slashed(filepath.Dir(file))
	for _, l := range layouts() {
		if slashed(filepath.Dir(l.conf)) == dir {
			l.conf = file
			return l
		}
	}
	l := layout{conf: file, prefix: dir}
	if filepath.Base(dir) == "conf" {
		l.prefix = slashed(filepath.Dir(filepath.Dir(file)))
	}
	if _, err := os.Stat(l.prefix + "logs"); err != nil {
		l.errorLog = l.prefix + "error.log"
		l.defaults = map[string]string{"pid": "nginx.pid", "access_log": "access.log combined"}
	}
	return l
}

func slashed(dir string) string {
	if strings.HasSuffix(dir, "/") {
		return dir
	}
	return dir + "/"
}

func under(prefix, name string) string {
	if filepath.IsAbs(name) {
		return name
	}
	return prefix + name
}

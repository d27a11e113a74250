package corevars

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"

	"limpet/internal/errlog"
	"limpet/internal/ngx"
)

// targetVars are the variables about what is asked for and where it is looked for.
func targetVars() []ngx.Variable {
	return []ngx.Variable{
		{Name: "request", Doc: "The request line as received.", Get: present(func(r *ngx.Request) []byte { return r.Main.Line })},
		{Name: "request_method", Doc: "The method.", Get: present(func(r *ngx.Request) []byte { return r.Main.Method })},
		{Name: "request_uri", Doc: "The URI as received.", Get: present(func(r *ngx.Request) []byte { return r.URI })},
		{Name: "uri", Doc: "The path, decoded and normalised.", Get: uri},
		{Name: "document_uri", Doc: "As $uri.", Get: uri},
		{Name: "args", Doc: "The arguments.", Get: args, Set: setArgs},
		{Name: "query_string", Doc: "As $args.", Get: args},
		{Name: "is_args", Doc: "A question mark where there are arguments.", Get: isArgs},
		{Name: "arg_", Doc: "An argument of the request line.", Make: argument},
		{Name: "host", Doc: "The host of the target or of the Host field, else the server's first name.", Get: host},
		{Name: "request_port", Doc: "The port of the target or of the Host field.", Get: requestPort},
		{Name: "is_request_port", Doc: "A colon where there is a $request_port.", Get: isRequestPort},
		{Name: "server_protocol", Doc: "The protocol of the request.", Get: protocol},
		{Name: "scheme", Doc: "http or https.", Get: func(r *ngx.Request, b []byte) ([]byte, bool) { return append(b, r.Scheme...), true }},
		{Name: "https", Doc: "The word on where the connection is in TLS.", Get: https},
		{Name: "server_name", Doc: "The first name of the virtual server.", Get: func(r *ngx.Request, b []byte) ([]byte, bool) {
			return append(b, r.Scope.Server.ServerName...), true
		}},
		{Name: "document_root", Doc: "What root or alias says for the request.", Get: documentRoot},
		{Name: "realpath_root", Doc: "$document_root without symbolic links.", Get: realpathRoot},
		{Name: "request_filename", Doc: "The file's path under root or alias.", Get: func(r *ngx.Request, b []byte) ([]byte, bool) {
			return append(b, r.MapPath(r.Path)...), true
		}},
	}
}

// present makes the getter of a value that is there unless it is nil.
func present(get func(r *ngx.Request) []byte) ngx.Getter {
	return func(r *ngx.Request, b []byte) ([]byte, bool) {
		v := get(r)
		return append(b, v...), v != nil
	}
}

func uri(r *ngx.Request, b []byte) ([]byte, bool) { return append(b, r.Path...), true }

func args(r *ngx.Request, b []byte) ([]byte, bool) { return append(b, r.Args...), len(r.Args) > 0 }

// setArgs replaces the arguments; the URI as it was received no longer holds, so that proxy_pass makes one anew.
func setArgs(r *ngx.Request, value []byte) { r.Args, r.PathChanged = value, true }

func isArgs(r *ngx.Request, b []byte) ([]byte, bool) {
	if len(r.Args) > 0 {
		b = append(b, '?')
	}
	return b, true
}

// argument makes the getter of the first argument of a name, compared without regard to case.
func argument(name string) ngx.Getter {
	return func(r *ngx.Request, b []byte) ([]byte, bool) {
		if name == "" {
			return b, false
		}
		for rest := r.Args; len(rest) > 0; {
			var pair []byte
			pair, rest, _ = bytes.Cut(rest, []byte{'&'})
			if len(pair) > len(name) && pair[len(name)] == '=' && ngx.EqualFold(pair[:len(name)], name) {
				return append(b, pair[len(name)+1:]...), true
			}
		}
		return b, false
	}
}

func host(r *ngx.Request, b []byte) ([]byte, bool) {
	if len(r.Host) > 0 {
		return append(b, r.Host...), true
	}
	return append(b, r.Scope.Server.ServerName...), true
}

func requestPort(r *ngx.Request, b []byte) ([]byte, bool) {
	if port := portOf(authority(r.Main)); port > 0 {
		return strconv.AppendInt(b, int64(port), 10), true
	}
	return b, true
}

func isRequestPort(r *ngx.Request, b []byte) ([]byte, bool) {
	if portOf(authority(r.Main)) > 0 {
		b = append(b, ':')
	}
	return b, true
}

// authority returns the host and port of an absolute target, else of the Host field.
func authority(r *ngx.Request) []byte {
	if _, target, ok := bytes.Cut(r.Line, []byte{' '}); ok && len(target) > 0 && target[0] != '/' {
		if _, rest, ok := bytes.Cut(target, []byte("://")); ok {
			if end := bytes.IndexAny(rest, "/?# "); end >= 0 {
				rest = rest[:end]
			}
			return rest
		}
	}
	return r.In.Get(ngx.HeaderHost)
}

// portOf returns the port of an authority, 0 where it has none.
func portOf(a []byte) int {
	i := bytes.LastIndexByte(a, ':')
	if i < bytes.LastIndexByte(a, ']') || i < 0 {
		return 0
	}
	port := 0
	for _, c := range a[i+1:] {
		if c < '0' || c > '9' || port > 65535 {
			return 0
		}
		port = port*10 + int(c-'0')
	}
	if port > 65535 {
		return 0
	}
	return port
}

// protocol is the last word of the request line: nginx shows it as received.
func protocol(r *ngx.Request, b []byte) ([]byte, bool) {
	m := r.Main
	if m.Proto == ngx.HTTP09 {
		return b, false
	}
	if i := bytes.LastIndexByte(m.Line, ' '); i >= 0 && bytes.HasPrefix(m.Line[i+1:], []byte("HTTP/")) {
		return append(b, m.Line[i+1:]...), true
	}
	if m.Proto == ngx.HTTP20 {
		return append(b, m.Proto.String()...), true
	}
	return b, false
}

func https(r *ngx.Request, b []byte) ([]byte, bool) {
	if r.Client.TLS != nil {
		b = append(b, "on"...)
	}
	return b, true
}

func documentRoot(r *ngx.Request, b []byte) ([]byte, bool) {
	return r.Scope.Core.Root.V.Text.Append(r, b), true
}

func realpathRoot(r *ngx.Request, b []byte) ([]byte, bool) {
	path := string(r.Scope.Core.Root.V.Text.Bytes(r))
	real, err := filepath.EvalSymlinks(path)
	if err == nil {
		real, err = filepath.Abs(real)
	}
	if err != nil {
		if pe, ok := err.(*os.PathError); ok {
			err = pe.Err
		}
		r.Critf(`realpath() "%s" failed %s`, path, errlog.Errno(err))
		return b, false
	}
	return append(b, real...), true
}

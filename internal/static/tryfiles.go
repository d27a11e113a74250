package static

import (
	"bytes"
	"fmt"
	"strings"

	"limpet/internal/errlog"
	"limpet/internal/ngx"
	conf "limpet/nginxconf"
)

// tryFiles is what try_files says.
type tryFiles struct {
	tries []try
	// The fallback: a status, a named location or a URI.
	status int
	named  string
	uri    ngx.Text
}

// try is a file, or with a slash at its end a folder, to look for.
type try struct {
	text ngx.Text
	dir  bool
	// trusted names have `..` in the configuration's own text.
	trusted bool
}

func parseTryFiles(s *conf.Setting) (tryFiles, error) {
	var t tryFiles
	last := len(s.Args) - 1
	for i := range last {
		v := s.Arg(i)
		dir := len(v) > 1 && strings.HasSuffix(v, "/")
		name := v
		if dir {
			name = v[:len(v)-1]
		}
		text, err := ngx.ParseText(s, name)
		if err != nil {
			return t, err
		}
		t.tries = append(t.tries, try{text, dir, strings.Contains(v, "..")})
	}
	v := s.Arg(last)
	switch {
	case strings.HasPrefix(v, "="):
		n, ok := conf.ParseNum(v[1:])
		if !ok || n > 999 {
			return t, fmt.Errorf(`invalid code "%s"`, v)
		}
		t.status = n
		return t, nil
	case strings.HasPrefix(v, "@"):
		t.named = v
	}
	text, err := ngx.ParseText(s, v)
	t.uri = text
	return t, err
}

func addTryFiles(b *ngx.Build, s *ngx.Scope) error {
	c := confOf(s)
	if c.TryFiles.IsSet() {
		s.Add(ngx.PreContent, c.tryFiles)
	}
	return nil
}

// tryFiles makes the first file that is there the request's path, or goes where the last argument says.
func (c *Conf) tryFiles(r *ngx.Request) ngx.Outcome {
	t := &c.TryFiles.V
	if r.Debugging() {
		r.Debugf("try files handler")
	}
	for i := range t.tries {
		if t.tries[i].found(r, c) {
			return ngx.Next
		}
	}
	switch {
	case t.named != "":
		r.Named = t.named
		return ngx.Redirect
	case t.uri.IsEmpty():
		return ngx.Status(t.status)
	}
	uri := t.uri.Bytes(r)
	if len(uri) > 0 && uri[0] == '@' {
		r.Named = string(uri)
		return ngx.Redirect
	}
	r.SetTarget(uri)
	return ngx.Redirect
}

// found reports whether the file or folder is there, and makes it the request's path.
func (t *try) found(r *ngx.Request, c *Conf) bool {
	root := &r.Scope.Core.Root.V
	path := t.text.Bytes(r)
	if climbs(path) && !t.trusted {
		return false
	}
	var name []byte
	switch {
	case !root.Alias:
		name = r.MapPath(path)
	case root.Rx:
		name = concat(r, r.MapPath(nil), path)
	default:
		prefix := r.Path[:min(root.Cut, len(r.Path))]
		if _, literal := t.text.Static(); !literal {
			path = bytes.TrimPrefix(path, prefix)
		}
		path = concat(r, prefix, path)
		name = r.MapPath(path)
	}
	if r.Debugging() {
		what := "file"
		if t.dir {
			what = "dir"
		}
		r.Debugf(`trying to use %s: "%s" "%s"`, what, path, name)
	}
	f, err := stat(r, &c.Symlinks.V, name)
	if err != nil {
		if !err.missing() {
			r.Critf(`%s "%s" failed %s`, err.call, name, errlog.Errno(err.err))
		}
		return false
	}
	switch {
	case f.dir != t.dir:
		return false
	case root.Alias && root.Rx && t.dir:
		return true
	}
	if r.Debugging() {
		r.Debugf(`try file uri: "%s"`, path)
	}
	r.Path, r.BelowAlias = path, root.Alias && root.Rx
	return true
}

func addPostAction(b *ngx.Build, s *ngx.Scope) error {
	action := confOf(s).PostAction.V
	if action == "" || action == "off" {
		return nil
	}
	s.Add(ngx.Log, func(r *ngx.Request) ngx.Outcome {
		if !r.IsMain() || r.Status == 499 {
			return ngx.Next
		}
		sub := r.Sub([]byte(action), r.Args)
		if strings.HasPrefix(action, "@") {
			sub.Path, sub.Named = r.Path, action
		}
		sub.HeaderOnly = true
		r.Engine.Subrequest(sub, nil)
		return ngx.Next
	})
	return nil
}

package static

import (
	"fmt"
	"math/rand/v2"
	"strings"

	"golang.org/x/sys/unix"

	"limpet/internal/errlog"
	"limpet/internal/ngx"
	conf "limpet/nginxconf"
)

// parseIndex parses index: names, the last of which may be a URI.
func parseIndex(s *conf.Setting) ([]ngx.Text, error) {
	var list []ngx.Text
	for i := range s.Args {
		v := s.Arg(i)
		if v == "" {
			return nil, fmt.Errorf(`index "%s" in "index" directive is invalid`, v)
		}
		if strings.HasPrefix(v, "/") && i != len(s.Args)-1 {
			s.Warn(`only the last index in "index" directive should be absolute`)
		}
		name, err := ngx.ParseText(s, v)
		if err != nil {
			return nil, err
		}
		list = append(list, name)
	}
	return list, nil
}

func addIndex(b *ngx.Build, s *ngx.Scope) error {
	c := confOf(s)
	s.Add(ngx.Content, c.index)
	return nil
}

// isRead reports the methods that indexes answer.
func isRead(method []byte) bool {
	switch string(method) {
	case "GET", "HEAD", "POST":
		return true
	}
	return false
}

// index redirects a request for a folder to the first index that is there.
func (c *Conf) index(r *ngx.Request) ngx.Outcome {
	if !isFolder(r.Path) || !isRead(r.Method) {
		return ngx.Next
	}
	var dir []byte
	for i := range c.Index.V {
		name := c.Index.V[i].Bytes(r)
		if len(name) > 0 && name[0] == '/' {
			r.Path = name
			return ngx.Redirect
		}
		first := dir == nil
		if first {
			var ok bool
			if dir, ok = locate(r); !ok {
				return ngx.Status(403)
			}
		}
		if climbs(name) {
			r.Errorf(`"%s%s" leads out of "%s"`, dir, name, dir)
			return ngx.Status(403)
		}
		full := concat(r, dir, name)
		if r.Debugging() {
			r.Debugf(`open index "%s"`, full)
		}
		_, err := stat(r, &c.Symlinks.V, full)
		if err == nil {
			r.Path = concat(r, r.Path, name)
			return ngx.Redirect
		}
		if out := c.noIndex(r, full, err); out != ngx.Next {
			return out
		}
		if first {
			if out := c.testFolder(r, dir, full); out != ngx.Next {
				return out
			}
		}
	}
	return ngx.Next
}

// noIndex says what an error of looking at an index comes to: Next for a file that just isn't there.
func (c *Conf) noIndex(r *ngx.Request, name []byte, err *openError) ngx.Outcome {
	if r.Debugging() {
		r.Debugf(`%s "%s" failed %s`, err.call, name, errlog.Errno(err.err))
	}
	switch {
	case err.err == unix.ENOENT:
		return ngx.Next
	case err.missing(), err.err == unix.EACCES:
		return indexError(r, name, err.err)
	case err.forbidden():
		return ngx.Status(403)
	}
	r.Critf(`%s "%s" failed %s`, err.call, name, errlog.Errno(err.err))
	return ngx.Status(500)
}

// indexError logs that a folder or its index is missing or forbidden.
func indexError(r *ngx.Request, name []byte, err error) ngx.Outcome {
	if err == unix.EACCES {
		r.Errorf(`"%s" is forbidden %s`, name, errlog.Errno(err))
		return ngx.Status(403)
	}
	if r.Scope.Core.LogNotFound.V {
		r.Errorf(`"%s" is not found %s`, name, errlog.Errno(err))
	}
	return ngx.Status(404)
}

// testFolder looks whether the folder of an index that isn't there is there itself.
func (c *Conf) testFolder(r *ngx.Request, dir, name []byte) ngx.Outcome {
	if r.Debugging() {
		r.Debugf(`http index check dir: "%s"`, dir)
	}
	f, err := stat(r, &c.Symlinks.V, dir)
	switch {
	case err == nil && f.dir:
		return ngx.Next
	case err == nil:
		r.Errorf(`"%s" is not a directory`, dir)
		return ngx.Status(500)
	case err.err == unix.ENOENT:
		return indexError(r, name, err.err)
	case err.err == unix.EACCES:
		return ngx.Next // another index may be readable
	case err.forbidden():
		return ngx.Status(403)
	}
	r.Critf(`%s "%s" failed %s`, err.call, dir, errlog.Errno(err.err))
	return ngx.Status(500)
}

func concat(r *ngx.Request, a, b []byte) []byte {
	c := r.Alloc(len(a) + len(b))
	copy(c[copy(c, a):], b)
	return c
}

func addRandomIndex(b *ngx.Build, s *ngx.Scope) error {
	if c := confOf(s); c.RandomIndex.V {
		s.Add(ngx.Content, c.randomIndex)
	}
	return nil
}

// randomIndex redirects a request for a folder to one of its files.
func (c *Conf) randomIndex(r *ngx.Request) ngx.Outcome {
	if !isFolder(r.Path) || !isRead(r.Method) {
		return ngx.Next
	}
	dir, ok := locate(r)
	if !ok {
		return ngx.Status(403)
	}
	entries, err := readFolder(r, c, dir)
	if err != nil {
		return folderError(r, dir, err)
	}
	files := entries[:0]
	for _, e := range entries {
		if e.file {
			files = append(files, e)
		}
	}
	if len(files) == 0 {
		return ngx.Next
	}
	r.Path = concat(r, r.Path, []byte(files[rand.IntN(len(files))].name))
	return ngx.Redirect
}

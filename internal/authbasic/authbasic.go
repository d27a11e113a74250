// Package authbasic lets clients in by a user name and password: auth_basic and
// auth_basic_user_file of nginx's auth_basic module.
// https://nginx.org/en/docs/http/ngx_http_auth_basic_module.html
//
// Passwords are in the forms that nginx takes on Linux: {PLAIN}, {SHA}, {SSHA},
// $apr1$, and crypt(3)'s DES, $1$, $2a$, $2b$, $2y$, $5$ and $6$. Other forms of crypt(3), yescrypt ($y$)
// among them, are refused with a line in the error log. The file is read at each request, as nginx does, so that changes count at once.
package authbasic

import (
	"bytes"
	"errors"
	"io/fs"
	"os"

	"limpet/internal/errlog"
	"limpet/internal/ngx"
	"limpet/nginxconf"
)

// Module returns the module.
func Module() ngx.Module {
	return ngx.Module{
		Name: "auth_basic",
		Conf: func() nginxconf.Settings { return new(Conf) },
		Scope: func(_ *ngx.Build, s *ngx.Scope) error {
			s.Add(ngx.Access, step(nginxconf.Of[*Conf](s.Level)))
			return nil
		},
	}
}

func step(c *Conf) ngx.Step {
	if realm, static := c.Realm.V.Static(); static && string(realm) == "off" || !c.UserFile.IsSet() {
		return nil
	}
	return func(r *ngx.Request) ngx.Outcome {
		realm := c.Realm.V.Bytes(r)
		if string(realm) == "off" {
			return ngx.Next
		}
		user, password, ok := r.BasicAuth()
		if !ok {
			r.Infof("no user/password was provided for basic authentication")
			return challenge(r, realm)
		}
		name := string(c.UserFile.V.Bytes(r))
		file, err := os.ReadFile(name)
		if err != nil {
			return fileError(r, name, err)
		}
		stored := find(file, user)
		ok = stored != nil && verify(r, string(stored), password)
		if r.Debugging() { // nginx shows the password's hash, too
			r.Debugf(`basic authentication, user: "%s" found: %t accepted: %t`, user, stored != nil, ok)
		}
		switch {
		case stored == nil:
			r.Errorf(`user "%s" was not found in "%s"`, user, name)
		case ok:
			return ngx.OK
		default:
			r.Errorf(`user "%s": password mismatch`, user)
		}
		return challenge(r, realm)
	}
}

// challenge asks for a user name and password.
func challenge(r *ngx.Request, realm []byte) ngx.Outcome {
	const before, after = `Basic realm="`, `"`
	v := r.Alloc(len(before) + len(realm) + len(after))
	n := copy(v, before)
	n += copy(v[n:], realm)
	copy(v[n:], after)
	r.Out.Header.Set(ngx.HeaderWWWAuthenticate, v)
	return ngx.Status(401)
}

// fileError answers when the file can't be read: nobody is let in.
func fileError(r *ngx.Request, name string, err error) ngx.Outcome {
	var pe *fs.PathError
	if errors.As(err, &pe) && pe.Op == "read" {
		r.Critf(`read() "%s" failed %s`, name, errlog.Errno(err))
		return ngx.Status(500)
	}
	if errors.Is(err, fs.ErrNotExist) {
		r.Errorf(`open() "%s" failed %s`, name, errlog.Errno(err))
		return ngx.Status(403)
	}
	r.Critf(`open() "%s" failed %s`, name, errlog.Errno(err))
	return ngx.Status(500)
}

// find returns the password of a user: what stands between the first colon and
// the next one or the line's end; nil when the user isn't there.
func find(file, user []byte) []byte {
	for len(file) > 0 {
		var line []byte
		line, file, _ = bytes.Cut(file, []byte{'\n'})
		if len(line) > 0 && line[0] == '#' {
			continue
		}
		name, rest, ok := bytes.Cut(line, []byte{':'})
		if !ok || !bytes.Equal(name, user) {
			continue
		}
		if end := bytes.IndexAny(rest, ":\r"); end >= 0 {
			rest = rest[:end]
		}
		return rest[:len(rest):len(rest)]
	}
	return nil
}

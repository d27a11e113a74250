// Package userid sets cookies that tell clients apart: nginx's userid module.
// https://nginx.org/en/docs/http/ngx_http_userid_module.html
package userid

import (
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"strings"
	"time"

	"limpet/internal/errlog"
	"limpet/internal/ngx"
	"limpet/nginxconf"
)

// Module returns the module.
func Module() ngx.Module {
	return ngx.Module{
		Name:  "userid",
		Conf:  func() nginxconf.Settings { return new(Conf) },
		Vars:  Vars,
		Scope: addStep,
	}
}

func addStep(b *ngx.Build, s *ngx.Scope) error {
	shared := ngx.Shared[state](b)
	if shared.made == nil {
		shared.users = ngx.NewSlot[*user](b)
		shared.reset = b.Vars.Lookup("uid_reset")
		shared.made = ngx.Keep(b, "userid", newMaker)
	}
	c := nginxconf.Of[*Conf](s.Level)
	c.state = *shared
	if c.Mode.V >= modeV1 {
		s.Add(ngx.HeaderFilter, c.setCookie)
	}
	return nil
}

// Vars lists the variables of the module.
func Vars() []ngx.Variable {
	return []ngx.Variable{
		{Name: "uid_got", Doc: "The cookie's name and the identifier received.", Get: func(r *ngx.Request, b []byte) ([]byte, bool) {
			c := nginxconf.Of[*Conf](r.Scope.Level)
			if c.Mode.V == modeOff {
				return b, false
			}
			u := c.user(r)
			if !u.got.known() {
				return b, false
			}
			return appendID(b, c.Name.V, u.got), true
		}},
		{Name: "uid_set", Doc: "The cookie's name and the identifier sent.", Get: func(r *ngx.Request, b []byte) ([]byte, bool) {
			c := nginxconf.Of[*Conf](r.Scope.Level)
			if c.Mode.V < modeV1 {
				return b, false
			}
			u := c.user(r)
			c.choose(r, u)
			if !u.set.known() {
				return b, false
			}
			return appendID(b, c.Name.V, u.set), true
		}},
		{Name: "uid_reset", Kept: true, Doc: "Where it is neither empty nor 0, clients get a new identifier; log notes the old one.", Get: func(_ *ngx.Request, b []byte) ([]byte, bool) {
			return b, true
		}},
	}
}

// id is a client's identifier; one whose last four bytes are zero is none.
type id [16]byte

func (i *id) known() bool { return binary.LittleEndian.Uint32(i[12:]) != 0 }

// appendID appends an identifier as logs show it: four numbers as the machine reads them.
func appendID(b []byte, name string, i id) []byte {
	n := func(at int) uint32 { return binary.LittleEndian.Uint32(i[at:]) }
	return fmt.Appendf(b, "%s=%08X%08X%08X%08X", name, n(0), n(4), n(8), n(12))
}

// user is what a request knows of its client.
type user struct {
	cookie   []byte // as received
	got, set id
	reset    bool
}

// cookieDigits are the base64 digits of an identifier without padding.
const cookieDigits = 22

// user reads the client's cookie, once a request.
func (c *Conf) user(r *ngx.Request) *user {
	m := r.Main
	if u := c.state.users.Get(m); u != nil {
		return u
	}
	u := new(user)
	c.state.users.Put(m, u)
	v, ok := m.In.Cookie(c.Name.V)
	if !ok {
		return u
	}
	u.cookie = v
	if len(v) < cookieDigits {
		r.Errorf(`client sent too short userid cookie "%s"`, v)
		return u
	}
	// There may be garbage behind the digits.
	if _, err := base64.RawStdEncoding.Decode(u.got[:], v[:cookieDigits]); err != nil {
		r.Errorf(`client sent invalid userid cookie "%s"`, v)
		u.got = id{}
	}
	return u
}

// choose decides on the identifier to send; none where the client has one and keeps it.
func (c *Conf) choose(r *ngx.Request, u *user) {
	if u.set.known() {
		return
	}
	if u.got.known() {
		reset, _ := c.state.reset.Append(r.Main, nil)
		if len(reset) == 0 || string(reset) == "0" {
			if c.Mark.V != 0 && !c.marked(u.cookie) {
				u.set = u.got
			}
			return
		}
		u.reset = true
		if string(reset) == "log" {
			r.Logf(errlog.Notice, `userid cookie "%s" was reset`, appendID(nil, c.Name.V, u.got))
		}
	}
	u.set = c.state.made.next(c, r, time.Now())
}

// marked reports whether a cookie has the mark.
func (c *Conf) marked(cookie []byte) bool {
	return len(cookie) > cookieDigits+1 && cookie[cookieDigits] == c.Mark.V && cookie[cookieDigits+1] == '='
}

// setCookie is the header filter.
func (c *Conf) setCookie(r *ngx.Request) ngx.Outcome {
	if !r.IsMain() {
		return ngx.Next
	}
	u := c.user(r)
	c.choose(r, u)
	if !u.set.known() {
		return ngx.Next
	}
	r.Out.Header.AddID(ngx.HeaderSetCookie, c.cookie(u, time.Now()))
	if c.P3P.V != "" {
		r.Out.Header.Add([]byte("P3P"), []byte(c.P3P.V))
	}
	return ngx.Next
}

// cookie returns the value of the Set-Cookie field.
func (c *Conf) cookie(u *user, now time.Time) []byte {
	b := append([]byte(c.Name.V), '=')
	b = base64.StdEncoding.AppendEncode(b, u.set[:])
	if c.Mark.V != 0 {
		b[len(b)-2] = c.Mark.V
	}
	switch c.Expires.V {
	case 0:
	case forever:
		b = append(b, "; expires=Thu, 31-Dec-37 23:55:55 GMT"...)
	default:
		b = append(b, "; expires="...)
		b = appendCookieTime(b, now.Add(c.Expires.V))
	}
	if c.Domain.V != "" {
		b = append(append(b, "; domain="...), c.Domain.V...)
	}
	b = append(append(b, "; path="...), c.Path.V...)
	for _, f := range []struct {
		flag uint32
		text string
	}{{flagSecure, "; secure"}, {flagHTTPOnly, "; httponly"}, {flagStrict, "; samesite=strict"}, {flagLax, "; samesite=lax"}, {flagNone, "; samesite=none"}} {
		if c.Flags.V&f.flag != 0 {
			b = append(b, f.text...)
		}
	}
	return b
}

// appendCookieTime appends a time in Netscape's form, with four digits of the
// year from 2038 on, since Netscape 3 knew no years beyond 2037.
func appendCookieTime(b []byte, t time.Time) []byte {
	layout := "Mon, 02-Jan-06 15:04:05 GMT"
	if t.UTC().Year() > 2037 {
		layout = strings.Replace(layout, "-06", "-2006", 1)
	}
	return t.UTC().AppendFormat(b, layout)
}

package corevars

import (
	"strconv"
	"time"

	"limpet/internal/ngx"
)

// requestVars are the variables about the request's header, body and course.
func requestVars() []ngx.Variable {
	return []ngx.Variable{
		{Name: "http_", Doc: "A field of the request's header.", Make: requestField},
		{Name: "cookie_", Doc: "A cookie.", Make: cookie},
		{Name: "content_length", Doc: "The Content-Length field.", Get: contentLength},
		{Name: "content_type", Doc: "The Content-Type field.", Get: requestField("content_type")},
		{Name: "remote_user", Doc: "The user's name in Basic authentication.", Get: remoteUser},
		{Name: "request_body", Doc: "The body, once it was read into memory.", Get: requestBody},
		{Name: "request_body_file", Doc: "The name of the temporary file with the body.", Get: requestBodyFile},
		{Name: "request_length", Doc: "The request's length: line, header and body.", Get: func(r *ngx.Request, b []byte) ([]byte, bool) {
			return number(b, r.Main.Received)
		}},
		{Name: "request_time", Doc: "The time since the request's first byte, in seconds with milliseconds.", Get: func(r *ngx.Request, b []byte) ([]byte, bool) {
			return seconds(b, max(0, time.Since(r.Start))), true
		}},
		{Name: "request_id", Doc: "A random identifier of the request in 32 hexadecimal digits.", Get: func(r *ngx.Request, b []byte) ([]byte, bool) {
			return append(b, r.ID()...), true
		}},
		{Name: "request_completion", Doc: "OK where the request was answered completely.", Get: completion},
		{Name: "pipe", Doc: "The letter p where the request was pipelined, else a dot.", Get: pipe},
	}
}

// requestField makes the getter of a field of the request: the values of all fields of the name, cookies joined as cookies are.
func requestField(name string) ngx.Getter {
	sep := ", "
	if name == "cookie" {
		sep = "; "
	}
	return func(r *ngx.Request, b []byte) ([]byte, bool) { return r.In.AppendJoined(b, name, sep, false) }
}

func cookie(name string) ngx.Getter {
	return func(r *ngx.Request, b []byte) ([]byte, bool) {
		v, ok := r.In.Cookie(name)
		return append(b, v...), ok
	}
}

// contentLength is the field; of a body in chunks that was read, its size.
func contentLength(r *ngx.Request, b []byte) ([]byte, bool) {
	if v := r.In.Get(ngx.HeaderContentLength); v != nil {
		return append(b, v...), true
	}
	if m := r.Main; m.Chunked && m.Body.Read {
		return number(b, m.Body.Size)
	}
	return b, false
}

func remoteUser(r *ngx.Request, b []byte) ([]byte, bool) {
	user, _, ok := r.BasicAuth()
	return append(b, user...), ok && len(user) > 0
}

func requestBody(r *ngx.Request, b []byte) ([]byte, bool) {
	body := &r.Main.Body
	if !body.Read || body.File != nil || len(body.Mem) == 0 {
		return b, false
	}
	return append(b, body.Mem...), true
}

func requestBodyFile(r *ngx.Request, b []byte) ([]byte, bool) {
	body := &r.Main.Body
	return append(b, body.Name...), body.Read && body.File != nil
}

func completion(r *ngx.Request, b []byte) ([]byte, bool) {
	if r.Complete {
		b = append(b, "OK"...)
	}
	return b, true
}

func pipe(r *ngx.Request, b []byte) ([]byte, bool) {
	if r.Main.Pipelined {
		return append(b, 'p'), true
	}
	return append(b, '.'), true
}

func number(b []byte, n int64) ([]byte, bool) { return strconv.AppendInt(b, n, 10), true }

// seconds appends a time as seconds with three decimals.
func seconds(b []byte, d time.Duration) []byte { return millis(b, d.Milliseconds()) }

// millis appends milliseconds as seconds with three decimals.
func millis(b []byte, ms int64) []byte {
	b = strconv.AppendInt(b, ms/1000, 10)
	ms %= 1000
	return append(b, '.', byte('0'+ms/100), byte('0'+ms/10%10), byte('0'+ms%10))
}

func msec(_ *ngx.Request, b []byte) ([]byte, bool) { return millis(b, time.Now().UnixMilli()), true }

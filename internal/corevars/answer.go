package corevars

import (
	"time"

	"limpet/internal/ngx"
	"limpet/nginxconf"
)

// answerVars are the variables about the answer.
func answerVars() []ngx.Variable {
	return []ngx.Variable{
		{Name: "status", Doc: "The answer's status.", Get: status},
		{Name: "bytes_sent", Doc: "The bytes sent to the client.", Get: func(r *ngx.Request, b []byte) ([]byte, bool) {
			return number(b, r.BytesSent)
		}},
		{Name: "body_bytes_sent", Doc: "The bytes sent to the client without the header.", Get: func(r *ngx.Request, b []byte) ([]byte, bool) {
			return number(b, r.BodySent)
		}},
		{Name: "limit_rate", Doc: "The rate to which the answer is limited, in bytes a second.", Get: limitRate, Set: setLimitRate},
		{Name: "sent_http_", Doc: "A field of the answer's header.", Make: sentField},
		{Name: "sent_trailer_", Doc: "A field behind the answer's body.", Make: func(name string) ngx.Getter {
			return func(r *ngx.Request, b []byte) ([]byte, bool) { return r.Out.Trailer.AppendJoined(b, name, ", ", false) }
		}},
	}
}

func status(r *ngx.Request, b []byte) ([]byte, bool) {
	code := r.Status
	switch {
	case code != 0:
	case r.ErrorStatus != 0:
		code = r.ErrorStatus
	case r.Out.Status != 0:
		code = r.Out.Status
	case r.Proto == ngx.HTTP09:
		code = 9
	}
	return append(b, byte('0'+code/100%10), byte('0'+code/10%10), byte('0'+code%10)), true
}

func limitRate(r *ngx.Request, b []byte) ([]byte, bool) {
	rate, _ := r.Rate()
	return number(b, rate)
}

func setLimitRate(r *ngx.Request, value []byte) {
	rate, ok := nginxconf.ParseSize(string(value))
	if !ok {
		r.Errorf(`invalid $limit_rate "%s"`, value)
		return
	}
	r.LimitRate, r.LimitRateSet = rate, true
}

// sentField makes the getter of a field of the answer, also of those that the wire writes by itself.
func sentField(name string) ngx.Getter {
	own := map[string]ngx.Getter{
		"content_type":      sentContentType,
		"content_length":    sentContentLength,
		"location":          sentLocation,
		"last_modified":     sentLastModified,
		"connection":        sentConnection,
		"keep_alive":        sentKeepAlive,
		"transfer_encoding": sentTransferEncoding,
		"server":            present(func(r *ngx.Request) []byte { return r.Out.Server }),
		"date":              present(func(r *ngx.Request) []byte { return r.Out.Date }),
	}[name]
	return func(r *ngx.Request, b []byte) ([]byte, bool) {
		if own != nil {
			if v, ok := own(r, b); ok {
				return v, true
			}
		}
		return r.Out.Header.AppendJoined(b, name, ", ", false)
	}
}

func sentContentType(r *ngx.Request, b []byte) ([]byte, bool) {
	if len(r.Out.ContentType) == 0 {
		return b, false
	}
	b = append(b, r.Out.ContentType...)
	if len(r.Out.Charset) > 0 {
		b = append(append(b, "; charset="...), r.Out.Charset...)
	}
	return b, true
}

func sentContentLength(r *ngx.Request, b []byte) ([]byte, bool) {
	if r.Out.Length < 0 {
		return b, false
	}
	return number(b, r.Out.Length)
}

func sentLocation(r *ngx.Request, b []byte) ([]byte, bool) {
	if r.Out.Location == nil {
		return b, false
	}
	if !r.HeadSent {
		return append(b, r.Out.Location...), true
	}
	return ngx.AppendLocation(b, r), true
}

func sentLastModified(r *ngx.Request, b []byte) ([]byte, bool) {
	if r.Out.LastModified.IsZero() {
		return b, false
	}
	return r.Out.LastModified.UTC().AppendFormat(b, ngx.TimeFormat), true
}

func sentConnection(r *ngx.Request, b []byte) ([]byte, bool) {
	switch {
	case r.Out.Status == 101:
		return append(b, "upgrade"...), true
	case r.Main.KeepAlive:
		return append(b, "keep-alive"...), true
	}
	return append(b, "close"...), true
}

func sentKeepAlive(r *ngx.Request, b []byte) ([]byte, bool) {
	t := r.Scope.Core.KeepAliveTimeout.V.Header
	if !r.Main.KeepAlive || t <= 0 {
		return b, false
	}
	b, _ = number(append(b, "timeout="...), int64(t/time.Second))
	return b, true
}

func sentTransferEncoding(r *ngx.Request, b []byte) ([]byte, bool) {
	if !r.Out.Chunked {
		return b, false
	}
	return append(b, "chunked"...), true
}

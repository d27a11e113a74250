package upstream

import (
	"strconv"
	"time"

	"limpet/internal/ngx"
)

// Vars lists the variables about the peers asked on behalf of a request: lists
// with an element a try, parted by commas, and by colons where an internal
// redirect led to another group.
// https://nginx.org/en/docs/http/ngx_http_upstream_module.html#variables
func Vars() []ngx.Variable {
	list := func(name string, get func(b []byte, t *ngx.Try) []byte, doc string) ngx.Variable {
		return ngx.Variable{Name: name, Doc: doc, Get: func(r *ngx.Request, b []byte) ([]byte, bool) {
			for i := range r.Tries {
				t := &r.Tries[i]
				switch {
				case i == 0:
				case t.GroupChanged:
					b = append(b, " : "...)
				default:
					b = append(b, ", "...)
				}
				b = get(b, t)
			}
			return b, len(r.Tries) > 0
		}}
	}
	seconds := func(get func(t *ngx.Try) time.Duration) func(b []byte, t *ngx.Try) []byte {
		return func(b []byte, t *ngx.Try) []byte { return appendSeconds(b, get(t)) }
	}
	number := func(get func(t *ngx.Try) int64) func(b []byte, t *ngx.Try) []byte {
		return func(b []byte, t *ngx.Try) []byte { return strconv.AppendInt(b, get(t), 10) }
	}
	return []ngx.Variable{
		list("upstream_addr", func(b []byte, t *ngx.Try) []byte { return append(b, t.Peer...) }, "Addresses of the peers asked."),
		list("upstream_status", func(b []byte, t *ngx.Try) []byte {
			if t.Status == 0 {
				return append(b, '-')
			}
			return strconv.AppendInt(b, int64(t.Status), 10)
		}, "Statuses of the peers' answers."),
		list("upstream_response_time", seconds(func(t *ngx.Try) time.Duration { return t.Response }), "Times to the end of the answers."),
		list("upstream_connect_time", seconds(func(t *ngx.Try) time.Duration { return t.Connect }), "Times to connect."),
		list("upstream_header_time", seconds(func(t *ngx.Try) time.Duration { return t.Header }), "Times to the end of the answers' headers."),
		list("upstream_queue_time", seconds(func(t *ngx.Try) time.Duration { return t.Queue }), "Times spent in the group's queue."),
		list("upstream_response_length", number(func(t *ngx.Try) int64 { return t.Length }), "Lengths of the answers' bodies."),
		list("upstream_bytes_received", number(func(t *ngx.Try) int64 { return t.Received }), "Bytes received."),
		list("upstream_bytes_sent", number(func(t *ngx.Try) int64 { return t.Sent }), "Bytes sent."),
		{Name: "upstream_http_", Doc: "A field of the header of the last peer's answer.", Make: func(name string) ngx.Getter {
			return func(r *ngx.Request, b []byte) ([]byte, bool) { return r.UpHead.AppendJoined(b, name, ", ", true) }
		}},
		{Name: "upstream_trailer_", Doc: "A field behind the body of the last peer's answer.", Make: func(name string) ngx.Getter {
			return func(r *ngx.Request, b []byte) ([]byte, bool) { return r.UpTrailer.AppendJoined(b, name, ", ", true) }
		}},
		{Name: "upstream_cookie_", Doc: "A cookie that the last peer's answer sets.", Make: func(name string) ngx.Getter {
			return func(r *ngx.Request, b []byte) ([]byte, bool) {
				v, ok := r.UpHead.SetCookie(name)
				return append(b, v...), ok
			}
		}},
	}
}

// appendSeconds appends seconds with three decimals, - for a step that wasn't reached.
func appendSeconds(b []byte, d time.Duration) []byte {
	if d < 0 {
		return append(b, '-')
	}
	ms := int64(d / time.Millisecond)
	b = strconv.AppendInt(b, ms/1000, 10)
	ms %= 1000
	return append(b, '.', byte('0'+ms/100), byte('0'+ms/10%10), byte('0'+ms%10))
}

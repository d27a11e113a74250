package sticky

import (
	"time"

	"limpet/internal/ngx"
	"limpet/upstream"
)

// newRunner returns a function that passes one request to a group, as often as it is called.
func newRunner(g *upstream.Group, r *ngx.Request, cookie string) func() {
	var ses upstream.Session
	name, value := []byte("Cookie"), []byte(cookie)
	agent := []byte("Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0")
	host := []byte("www.example.com")
	start := time.Now()
	return func() {
		r.Reset()
		r.Start, r.Scheme = start, "http"
		r.In.Fields = append(r.In.Fields, ngx.Field{Name: name, Value: host, ID: ngx.HeaderHost}, ngx.Field{Name: name, Value: agent, ID: ngx.HeaderUserAgent})
		if cookie != "" {
			r.In.Fields = append(r.In.Fields, ngx.Field{Name: name, Value: value, ID: ngx.HeaderCookie})
		}
		g.Begin(&ses, r)
		p := ses.Next()
		if g.Peers().Sticky != nil {
			g.Peers().Sticky.Answered(&ses, p)
		}
		ses.Done(upstream.Good)
	}
}

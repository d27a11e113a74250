// Package stubstatus tells how many connections and requests there are: nginx's
// stub_status module.
// https://nginx.org/en/docs/http/ngx_http_stub_status_module.html
package stubstatus

import (
	"fmt"
	"strconv"

	"limpet/internal/ngx"
	"limpet/nginxconf"
)

// Conf holds the directive of the module at one level.
type Conf struct {
	on    bool
	stats *ngx.Stats // set when the configuration is built
}

// Directives lists the directives of the module.
func (c *Conf) Directives() []nginxconf.Directive {
	return []nginxconf.Directive{
		nginxconf.Call("stub_status", nginxconf.ServerLocation, nginxconf.Args01, func(*nginxconf.Setting) error {
			c.on = true
			return nil
		}, "Answers with the numbers of connections and requests."),
	}
}

// Module returns the module.
func Module() ngx.Module {
	return ngx.Module{
		Name: "stub_status",
		Conf: func() nginxconf.Settings { return new(Conf) },
		Vars: Vars,
		Scope: func(b *ngx.Build, s *ngx.Scope) error {
			c := nginxconf.Of[*Conf](s.Level)
			c.stats = b.Stats
			if c.on {
				s.Handler = handler(b.Stats)
			}
			return nil
		},
	}
}

// Vars lists the variables of the module.
func Vars() []ngx.Variable {
	count := func(name string, get func(s *ngx.Stats) int64, doc string) ngx.Variable {
		return ngx.Variable{Name: name, Doc: doc, Get: func(r *ngx.Request, b []byte) ([]byte, bool) {
			return strconv.AppendInt(b, get(nginxconf.Of[*Conf](r.Scope.Level).stats), 10), true
		}}
	}
	return []ngx.Variable{
		count("connections_active", func(s *ngx.Stats) int64 { return s.Active.Load() }, "The number of client connections."),
		count("connections_reading", func(s *ngx.Stats) int64 { return s.Reading.Load() }, "The number of connections whose request's header is being read."),
		count("connections_writing", func(s *ngx.Stats) int64 { return s.Writing.Load() }, "The number of connections being answered."),
		count("connections_waiting", (*ngx.Stats).Waiting, "The number of idle connections."),
	}
}

func handler(stats *ngx.Stats) ngx.Step {
	return func(r *ngx.Request) ngx.Outcome {
		if m := string(r.Method); m != "GET" && m != "HEAD" {
			return ngx.Status(405)
		}
		page := appendPage(nil, stats)
		r.Out.Status, r.Out.ContentType, r.Out.Length = 200, []byte("text/plain"), int64(len(page))
		if r.SendHead() != nil || r.Write(page) != nil || r.Finish() != nil {
			return ngx.Close
		}
		return ngx.OK
	}
}

func appendPage(b []byte, s *ngx.Stats) []byte {
	return fmt.Appendf(b, "Active connections: %d \nserver accepts handled requests\n %d %d %d \nReading: %d Writing: %d Waiting: %d \n",
		s.Active.Load(), s.Accepted.Load(), s.Handled.Load(), s.Requests.Load(), s.Reading.Load(), s.Writing.Load(), s.Waiting())
}

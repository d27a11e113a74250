// Package gzip compresses answers on their way to the client.
//
// It stands for nginx's ngx_http_gzip_filter_module.
// https://nginx.org/en/docs/http/ngx_http_gzip_module.html
//
// Who takes compressed answers (gzip_vary, gzip_proxied, gzip_disable,
// gzip_http_version) is ngx.Gzip, as gunzip and gzip_static ask it, too.
//
// gzip_window, gzip_hash, gzip_no_buffer and postpone_gzipping, which nginx doesn't
// document, are accepted: the window is always 32 KiB.
package gzip

import (
	"errors"
	"fmt"

	"limpet/internal/ngx"
	conf "limpet/nginxconf"
)

// Conf is the configuration of the gzip filter at one level.
type Conf struct {
	On        conf.Opt[bool]
	Buffers   conf.Opt[conf.Buffers]
	Types     conf.Opt[ngx.TypeSet]
	Level     conf.Opt[int]
	MinLength conf.Opt[int64]
}

// Directives lists the directives of the gzip filter.
func (c *Conf) Directives() []conf.Directive {
	const window = "the window is always 32 KiB, which every client must understand"
	flush := conf.Flag("gzip_no_buffer", conf.HTTPServerLocation, new(conf.Opt[bool]), "", "Accepted without effect.")
	flush.Why = "compressed bytes go out whenever the response is flushed"
	postpone := conf.Size("postpone_gzipping", conf.HTTPServerLocation, new(conf.Opt[int64]), "", "Accepted without effect.")
	postpone.Why = flush.Why
	return []conf.Directive{
		conf.Flag("gzip", conf.HTTPServerLocation|conf.LocationIf, &c.On, "off", "Compresses answers."),
		conf.Bufs("gzip_buffers", conf.HTTPServerLocation, &c.Buffers, "16 8k", "Sets the size of the buffer for compressed bytes; their number has no bound to set."),
		ngx.TypesRow("gzip_types", conf.HTTPServerLocation, &c.Types, "text/html", "Sets the types of answers that are compressed, beside text/html."),
		conf.Custom("gzip_comp_level", conf.HTTPServerLocation, conf.Args1, &c.Level, parseLevel, "1", "Sets how much work is done to compress well, from 1 to 9."),
		power("gzip_window", 512, 32<<10, "512, 1k, 2k, 4k, 8k, 16k, or 32k", window),
		power("gzip_hash", 512, 128<<10, "512, 1k, 2k, 4k, 8k, 16k, 32k, 64k, or 128k", window),
		flush, postpone,
		conf.Size("gzip_min_length", conf.HTTPServerLocation, &c.MinLength, "20", "Sets the length below which answers aren't compressed."),
	}
}

func parseLevel(s *conf.Setting) (int, error) {
	n, ok := conf.ParseNum(s.Arg(0))
	if !ok {
		return 0, conf.Brief("invalid number")
	}
	if n < 1 || n > 9 {
		return 0, errors.New("value must be between 1 and 9")
	}
	return n, nil
}

// power is an accepted row that takes a power of two between two bounds.
func power(name string, least, most int64, words, why string) conf.Directive {
	d := conf.Custom(name, conf.HTTPServerLocation, conf.Args1, new(conf.Opt[int64]), func(s *conf.Setting) (int64, error) {
		n, ok := conf.ParseSize(s.Arg(0))
		if !ok {
			return 0, conf.Brief("invalid value")
		}
		if n < least || n > most || n&(n-1) != 0 {
			return 0, conf.Brief(fmt.Sprintf("must be %s", words))
		}
		return n, nil
	}, "", "Accepted without effect.")
	d.Why = why
	return d
}

// Module returns the gzip filter.
func Module() ngx.Module {
	return ngx.Module{
		Name: "gzip",
		Conf: func() conf.Settings { return new(Conf) },
		Vars: vars,
		Scope: func(b *ngx.Build, s *ngx.Scope) error {
			if c := conf.Of[*Conf](s.Level); c.On.V {
				pool := &ngx.Shared[pools](b).byLevel[c.Level.V]
				s.Add(ngx.HeaderFilter, func(r *ngx.Request) ngx.Outcome { return start(r, c, pool) })
			}
			return nil
		},
	}
}

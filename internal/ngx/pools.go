package ngx

import (
	"errors"
	"fmt"

	"limpet/nginxconf"
)

// Pools are the sizes of nginx's memory pools, which are checked and have no effect.
type Pools struct {
	Connection nginxconf.Opt[int64]
	Request    nginxconf.Opt[int64]
}

func (p *Pools) directives() []nginxconf.Directive {
	return []nginxconf.Directive{
		poolSize("connection_pool_size", &p.Connection, "512"),
		poolSize("request_pool_size", &p.Request, "4k"),
	}
}

func poolSize(name string, field *nginxconf.Opt[int64], def string) nginxconf.Directive {
	const unit, least = 16, 112 // as with nginx on 64-bit platforms
	parse := func(s *nginxconf.Setting) (int64, error) {
		n, ok := nginxconf.ParseSize(s.Arg(0))
		switch {
		case !ok:
			return 0, nginxconf.Brief("invalid value")
		case n < least:
			return 0, fmt.Errorf("the pool size must be no less than %d", least)
		case n%unit != 0:
			return 0, fmt.Errorf("the pool size must be a multiple of %d", unit)
		}
		return n, nil
	}
	return nginxconf.Custom(name, nginxconf.HTTPServer, nginxconf.Args1, field, parse, def, "Accepted without effect.").WithoutEffect("memory is the Go runtime's")
}

// Check makes nginx's check of the buffers of servers. The text is nginx's.
func (c *Core) Check(lv *nginxconf.Level) error {
	if c.LargeClientHeaderBuffers.V.Size >= c.Pools.Connection.V {
		return nil
	}
	used := lv.Context == nginxconf.Server
	for _, inner := range lv.Inner {
		used = used || inner.Context == nginxconf.Server && nginxconf.Of[*Core](inner) == c
	}
	if !used {
		return nil
	}
	return errors.New(`the "large_client_header_buffers" size must be equal to or greater than "connection_pool_size"`)
}

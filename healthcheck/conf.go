package healthcheck

import "limpet/nginxconf"

// Conf holds the directives of checks at one level.
type Conf struct{}

// Directives lists the directives of checks.
func (c *Conf) Directives() []nginxconf.Directive { return nil }

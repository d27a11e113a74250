package corevars

import conf "limpet/nginxconf"

// Conf has the directives about variables.
// https://nginx.org/en/docs/http/ngx_http_core_module.html#variables_hash_max_size
type Conf struct{}

// Directives lists the directives about variables.
func (c *Conf) Directives() []conf.Directive {
	const why = "variables are found when the configuration is read"
	return []conf.Directive{
		conf.Accepted("variables_hash_max_size", conf.HTTP, conf.Args1, why),
		conf.Accepted("variables_hash_bucket_size", conf.HTTP, conf.Args1, why),
	}
}

// Package maps is variables whose values other values choose: map by text, geo
// by address, split_clients by share.
//
// It stands for nginx's ngx_http_map_module, ngx_http_geo_module and
// ngx_http_split_clients_module.
// https://nginx.org/en/docs/http/ngx_http_map_module.html
// https://nginx.org/en/docs/http/ngx_http_geo_module.html
// https://nginx.org/en/docs/http/ngx_http_split_clients_module.html
//
// Not done: the binary form of geo bases, which nginx writes beside files of ranges.
package maps

import (
	"fmt"

	"limpet/internal/ngx"
	"limpet/nginxconf"
)

// Conf is the module's configuration.
type Conf struct {
	MaxSize, BucketSize nginxconf.Opt[int]
}

// Directives lists the directives of the three modules.
func (c *Conf) Directives() []nginxconf.Directive {
	const why = "Go's maps size themselves"
	return []nginxconf.Directive{
		nginxconf.Raw("map", nginxconf.HTTP, nginxconf.Args2, parseMap, "Defines a variable by a table of values of another."),
		hashSize("map_hash_max_size", &c.MaxSize, "2048", why),
		hashSize("map_hash_bucket_size", &c.BucketSize, "64", why),
		nginxconf.Raw("geo", nginxconf.HTTP, nginxconf.Args12, parseGeo, "Defines a variable by the client's address."),
		nginxconf.Raw("split_clients", nginxconf.HTTP, nginxconf.Args2, parseSplit, "Defines a variable that parts clients by shares."),
	}
}

// hashSize is a row for a size that is checked and has no effect.
func hashSize(name string, field *nginxconf.Opt[int], def, why string) nginxconf.Directive {
	d := nginxconf.Num(name, nginxconf.HTTP, field, def, "Accepted without effect.")
	d.Why = why
	return d
}

// Module returns the module.
func Module() ngx.Module {
	return ngx.Module{Name: "maps", Conf: func() nginxconf.Settings { return new(Conf) }}
}

// definition is the variable that a block defines.
type definition struct {
	vars *ngx.Vars
	name string
}

// define checks the variable of a block and makes it, volatile until keep.
func define(s *nginxconf.Setting, word string, get ngx.Getter) (definition, error) {
	d := definition{vars: nginxconf.Of[*ngx.VarConf](s.Level.Root()).Vars}
	if len(word) < 2 || word[0] != '$' {
		return d, fmt.Errorf(`invalid variable name "%s"`, word)
	}
	d.name = word[1:]
	_, err := d.vars.Define(d.name, get, true)
	return d, err
}

// keep lets the value be computed once a request.
func (d definition) keep(get ngx.Getter) error {
	_, err := d.vars.Define(d.name, get, false)
	return err
}

// words returns an entry's name and arguments.
func words(e *nginxconf.Statement) []string {
	w := []string{e.Name}
	for _, a := range e.Args {
		w = append(w, a.Value)
	}
	return w
}

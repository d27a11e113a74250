package ngx

import (
	"limpet/internal/errlog"
	"limpet/nginxconf"
)

// CoreModule is the module of Core.
func CoreModule() Module {
	return Module{
		Name:  "core",
		Conf:  func() nginxconf.Settings { return new(Core) },
		Scope: func(b *Build, s *Scope) error { return s.Core.Open(b) },
	}
}

// VarModule is the module that carries the variables of the given modules.
// It must be made anew for every configuration.
func VarModule(modules []Module) Module {
	var rows []Variable
	for _, m := range modules {
		if m.Vars != nil {
			rows = append(rows, m.Vars()...)
		}
	}
	vars := NewVars(rows)
	return Module{Name: "variables", Conf: func() nginxconf.Settings { return &VarConf{Vars: vars, Modules: modules} }}
}

// Open opens what the directives name: the error log; temporary files are made on use.
func (c *Core) Open(b *Build) error {
	if c.ErrorLog != nil {
		return nil
	}
	c.defaultType = []byte(c.DefaultType.V)
	c.TempBody = &TempDir{c.ClientBodyTemp.V}
	b.TempDir(c.ClientBodyTemp.V.Dir)
	if b.Offline {
		c.ErrorLog = new(errlog.Log)
		return nil
	}
	log, err := errlog.Open(b.Files, c.ErrorLogs.V)
	if err != nil {
		return err
	}
	c.ErrorLog, c.Debug = log, log.Debugging(errlog.DebugAll)
	if c.Resolver.Own {
		c.Resolver.V.SetLog(log)
	}
	b.OnUndo(log.Close)
	b.OnRetire(log.Close)
	return nil
}

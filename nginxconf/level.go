package nginxconf

// Level is one block of the configuration: the file itself, http, a server, a
// location, an upstream. It holds a Conf of each module that has directives in
// it; a module without any shares the Conf of the enclosing level.
type Level struct {
	Context Context
	Parent  *Level
	Stmt    *Statement // the block; nil for the file itself
	Inner   []*Level   // in reading order
	Data    any        // what the block's own row keeps here, e.g. a virtual server

	loader *Loader
	confs  []*levelConf // by module; nil where the level has none of its own
}

// levelConf is a module's Conf with its rows.
type levelConf struct {
	conf Settings
	rows []Directive
}

// Of returns the Conf of type C that is in force at a level; while statements are
// read, the nearest that was made so far. It panics when no module has such a Conf. It is meant for building, not for the request's way.
func Of[C Settings](lv *Level) C {
	i := moduleIndex[C](lv.loader)
	for l := lv; ; l = l.Parent {
		if lc := l.confs[i]; lc != nil {
			return lc.conf.(C)
		}
		if l.Parent == nil {
			return l.own(i).conf.(C)
		}
	}
}

// Own returns the Conf of type C of this very level, made when the level has
// none yet. Rows use it while statements are read, before anything is inherited.
func Own[C Settings](lv *Level) C {
	return lv.own(moduleIndex[C](lv.loader)).conf.(C)
}

// OwnAs is Own for the first module whose Conf implements I; false when there is none.
func OwnAs[I Settings](lv *Level) (I, bool) {
	for i, p := range lv.loader.protos {
		if _, ok := p.conf.(I); ok {
			return lv.own(i).conf.(I), true
		}
	}
	var none I
	return none, false
}

func moduleIndex[C Settings](ld *Loader) int {
	for i, p := range ld.protos {
		if _, ok := p.conf.(C); ok {
			return i
		}
	}
	panic("BUG: no module has this configuration type")
}

// Root returns the level of the file itself.
func (lv *Level) Root() *Level {
	for lv.Parent != nil {
		lv = lv.Parent
	}
	return lv
}

// Up returns the nearest level that is of one of the contexts in, this level included, or nil.
func (lv *Level) Up(in Context) *Level {
	for lv != nil && lv.Context&in == 0 {
		lv = lv.Parent
	}
	return lv
}

// Loader returns what reads, or read, the configuration.
func (lv *Level) Loader() *Loader { return lv.loader }

func (lv *Level) own(module int) *levelConf {
	lc := lv.confs[module]
	if lc == nil {
		c := lv.loader.modules[module].Conf()
		lc = &levelConf{c, c.Directives()}
		lv.confs[module] = lc
	}
	return lc
}

// inherit completes the level's values from the enclosing level, then its inner levels'.
func (lv *Level) inherit() error {
	for i, m := range lv.loader.modules {
		outer := lv.outer(i)
		if lv.confs[i] == nil {
			if lv.Parent != nil && !outer.hasLocal() {
				continue
			}
			lv.own(i)
		}
		lc := lv.confs[i]
		for j := range lc.rows {
			if err := lv.complete(&lc.rows[j], outer, j); err != nil {
				return err
			}
		}
		if c, ok := lc.conf.(Checker); ok {
			if err := c.Check(lv); err != nil {
				return lv.loader.endError(err)
			}
		}
		_ = m
	}
	for _, in := range lv.Inner {
		if err := in.inherit(); err != nil {
			return err
		}
	}
	return nil
}

// complete gives an unset row its inherited or default value.
func (lv *Level) complete(row *Directive, outer *levelConf, j int) error {
	if row.Value.IsSet() {
		return nil
	}
	if outer != nil && !row.Local && outer.rows[j].Value.IsSet() {
		row.Value.Inherit(outer.rows[j].Value)
		return nil
	}
	if row.Default == "" || outer != nil && !row.Local {
		return nil
	}
	return lv.loader.setDefault(lv, row)
}

// outer returns the nearest enclosing level's own Conf of a module, nil at the root.
func (lv *Level) outer(module int) *levelConf {
	for l := lv.Parent; l != nil; l = l.Parent {
		if l.confs[module] != nil {
			return l.confs[module]
		}
	}
	return nil
}

// hasLocal reports whether a row that isn't inherited was set.
func (lc *levelConf) hasLocal() bool {
	for i := range lc.rows {
		if lc.rows[i].Local && lc.rows[i].Body == nil && lc.rows[i].Why == "" && lc.rows[i].Value.IsSet() {
			return true
		}
	}
	return false
}

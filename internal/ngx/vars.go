package ngx

import (
	"fmt"
	"strings"

	"limpet/nginxconf"
)

// Getter appends a variable's value to dst; false, with nothing appended, means
// the variable has no value ("not found"), which texts show as empty and logs as "-".
type Getter func(r *Request, dst []byte) ([]byte, bool)

// Variable is a row: a variable that a module defines.
type Variable struct {
	// Name is without the dollar sign; one that ends in an underscore stands
	// for all variables that begin with it (http_, cookie_).
	Name string
	Get  Getter
	// Make returns the getter of one variable of a prefix; rest is the name behind the prefix.
	Make func(rest string) Getter
	// Set takes an assignment by `set` and its kin; nil where none is allowed.
	Set func(r *Request, value []byte)
	// Kept says that assignments are allowed and kept with the request; Get says the value before.
	Kept bool
	Doc  string
}

// Var is a variable as a configuration uses it.
type Var struct {
	Name string
	get  Getter
	set  func(r *Request, value []byte)
	slot int // of values kept with the request, -1 for none
	// fixed variables can't be set or defined anew
	fixed bool
	weak  bool // defined by a prefix: may be defined anew
}

// Value is a variable's value kept with a request.
type value struct {
	v        []byte
	valid    bool // v holds the value (or that there is none)
	notFound bool
}

// Vars are a configuration's variables. It is filled while the configuration is
// read and read-only afterwards.
type Vars struct {
	byName map[string]*Var
	prefix []Variable
	slots  int
	used   []use
}

// use is a reference to a variable that may be defined later in the file.
type use struct{ v *Var }

// NewVars returns the variables of the given rows.
func NewVars(rows []Variable) *Vars {
	vs := &Vars{byName: make(map[string]*Var)}
	for _, row := range rows {
		if strings.HasSuffix(row.Name, "_") {
			vs.prefix = append(vs.prefix, row)
			continue
		}
		v := &Var{Name: row.Name, get: row.Get, set: row.Set, slot: -1, fixed: row.Set == nil && !row.Kept}
		if row.Kept {
			v.slot = vs.newSlot()
		}
		vs.byName[row.Name] = v
	}
	return vs
}

// Use returns the variable of that name for reading. It may be defined later;
// Check finds those that never are. Names are case-insensitive as in nginx.
func (vs *Vars) Use(name string) *Var {
	name = strings.ToLower(name)
	v := vs.byName[name]
	if v == nil {
		v = &Var{Name: name, slot: -1}
		if p := vs.prefixOf(name); p != nil {
			v.get, v.weak = p.Make(name[len(p.Name):]), true
		}
		vs.byName[name] = v
	}
	vs.used = append(vs.used, use{v})
	return v
}

func (vs *Vars) prefixOf(name string) *Variable {
	for i := range vs.prefix {
		if p := &vs.prefix[i]; len(name) >= len(p.Name) && strings.HasPrefix(name, p.Name) {
			return p
		}
	}
	return nil
}

// Define makes a variable whose value get computes (map, geo, split_clients).
// Unless volatile, the value is computed once a request.
func (vs *Vars) Define(name string, get Getter, volatile bool) (*Var, error) {
	v, err := vs.changeable(name)
	if err != nil {
		return nil, err
	}
	v.get = get
	if !volatile && v.slot < 0 {
		v.slot = vs.newSlot()
	}
	return v, nil
}

// Settable returns the variable of that name for assignment by `set`,
// auth_request_set, named captures and Lua, making it when there is none.
func (vs *Vars) Settable(name string) (*Var, error) {
	v, err := vs.changeable(name)
	if err != nil {
		return nil, err
	}
	if v.set == nil && v.slot < 0 {
		v.slot = vs.newSlot()
	}
	return v, nil
}

// Unset makes get what a settable variable has while nothing was assigned to it.
// The first to say so is heard; a variable that has a value of its own keeps it.
func (v *Var) Unset(get Getter) {
	if v.get == nil {
		v.get = get
	}
}

func (vs *Vars) changeable(name string) (*Var, error) {
	name = strings.ToLower(name)
	v := vs.byName[name]
	if v == nil {
		v = &Var{Name: name, slot: -1}
		if p := vs.prefixOf(name); p != nil { // its own value holds where none was set
			v.get, v.weak = p.Make(name[len(p.Name):]), true
		}
		vs.byName[name] = v
	}
	if v.fixed {
		return nil, fmt.Errorf(`the duplicate "%s" variable`, name)
	}
	return v, nil
}

func (vs *Vars) newSlot() int {
	vs.slots++
	return vs.slots - 1
}

// Lookup returns the variable of that name or nil: for names that come at run
// time (SSI, Lua), where prefixes count too.
func (vs *Vars) Lookup(name string) *Var {
	if v := vs.byName[name]; v != nil && (v.get != nil || v.slot >= 0) {
		return v
	}
	if p := vs.prefixOf(name); p != nil {
		return &Var{Name: name, get: p.Make(name[len(p.Name):]), slot: -1}
	}
	return nil
}

// Check returns nginx's error for the first used variable that nothing defines.
func (vs *Vars) Check() error {
	for _, u := range vs.used {
		if u.v.get == nil && u.v.set == nil && u.v.slot < 0 {
			return nginxconf.Errorf("", 0, `unknown "%s" variable`, u.v.Name)
		}
	}
	return nil
}

// Append appends the variable's value to dst; false means it has none.
func (v *Var) Append(r *Request, dst []byte) ([]byte, bool) {
	if v.slot < 0 {
		return v.get(r, dst)
	}
	val := r.value(v.slot)
	if !val.valid {
		if v.get == nil {
			return dst, false
		}
		mark := len(dst)
		dst, ok := v.get(r, dst)
		// get may have grown the request's values: look the place up again.
		val = r.value(v.slot)
		val.v, val.valid, val.notFound = r.Copy(dst[mark:]), true, !ok
		return dst, ok
	}
	return append(dst, val.v...), !val.notFound
}

// CanAssign reports whether Assign may be called: a setter or a kept value takes what is assigned.
func (v *Var) CanAssign() bool { return !v.fixed && (v.set != nil || v.slot >= 0) }

// Bytes returns the variable's value, empty when it has none. The bytes live as
// long as the request and must not be changed.
func (v *Var) Bytes(r *Request) []byte {
	if v.slot >= 0 {
		if val := r.value(v.slot); val.valid {
			return val.v
		}
	}
	buf := r.scratch
	r.scratch = nil
	buf, _ = v.Append(r, buf[:0])
	var b []byte
	if val := r.keptValue(v.slot); val != nil {
		b = val.v
	} else {
		b = r.Copy(buf)
	}
	r.scratch = buf
	return b
}

// Assign gives the variable a value for the rest of the request. The bytes must live as long as the request.
func (v *Var) Assign(r *Request, b []byte) {
	if v.set != nil {
		v.set(r, b)
		return
	}
	*r.value(v.slot) = value{v: b, valid: true}
}

// Forget makes a kept value be computed anew at its next use.
func (v *Var) Forget(r *Request) {
	if v.slot >= 0 {
		*r.value(v.slot) = value{}
	}
}

// VarConf carries a configuration's variables, and the modules that define
// them, from the reading to the building. It has no directives.
type VarConf struct {
	Vars *Vars
	// Modules are those whose rows were read: built by them, variables see what their module built.
	Modules []Module
}

// Directives returns none: variables are defined by other modules' rows.
func (c *VarConf) Directives() []nginxconf.Directive { return nil }

// Check refuses variables that are used and never defined.
func (c *VarConf) Check(*nginxconf.Level) error { return c.Vars.Check() }

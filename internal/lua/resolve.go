package lua

import "github.com/yuin/gopher-lua/ast"

// unknown is the panic that ends the reading of a script that isn't understood.
type unknown struct{}

func giveUp() { panic(unknown{}) }

// sym is a local variable or a function of a script, as written.
type sym struct {
	writes    int  // assignments besides the declaration
	lastWrite int  // place of the last one
	nested    bool // assigned within a function inside the variable's own
	boolean   bool // is given true or false somewhere
	level     int  // functions around the declaration
	fn        *ast.FunctionExpr
	global    bool
}

// place is a name in a statement that declares several.
type place struct {
	st ast.Stmt
	i  int
}

// resolver finds the variable of each name.
type resolver struct {
	uses    map[*ast.IdentExpr]*sym
	decls   map[place]*sym
	params  map[*ast.FunctionExpr][]*sym
	seq     map[ast.Stmt]int
	globals map[string]*sym
	scopes  []map[string]*sym
	level   int
	n       int
}

func resolve(tree []ast.Stmt) *resolver {
	r := &resolver{uses: make(map[*ast.IdentExpr]*sym), decls: make(map[place]*sym), params: make(map[*ast.FunctionExpr][]*sym),
		seq: make(map[ast.Stmt]int), globals: make(map[string]*sym)}
	r.block(tree)
	return r
}

func (r *resolver) block(sts []ast.Stmt) {
	r.scopes = append(r.scopes, make(map[string]*sym))
	for _, st := range sts {
		r.stmt(st)
	}
	r.scopes = r.scopes[:len(r.scopes)-1]
}

func (r *resolver) declare(name string) *sym {
	s := &sym{level: r.level}
	r.scopes[len(r.scopes)-1][name] = s
	return s
}

func (r *resolver) find(name string) *sym {
	for i := len(r.scopes) - 1; i >= 0; i-- {
		if s := r.scopes[i][name]; s != nil {
			return s
		}
	}
	return nil
}

func (r *resolver) stmt(st ast.Stmt) {
	r.n++
	r.seq[st] = r.n
	switch s := st.(type) {
	case *ast.LocalAssignStmt:
		r.local(s)
	case *ast.AssignStmt:
		for _, e := range s.Rhs {
			r.expr(e)
		}
		for i, e := range s.Lhs {
			r.write(e, s.Rhs, i)
		}
	case *ast.FuncCallStmt:
		r.expr(s.Expr)
	case *ast.DoBlockStmt:
		r.block(s.Stmts)
	case *ast.IfStmt:
		r.expr(s.Condition)
		r.block(s.Then)
		r.block(s.Else)
	case *ast.NumberForStmt:
		r.expr(s.Init)
		r.expr(s.Limit)
		if s.Step != nil {
			r.expr(s.Step)
		}
		r.loop(st, []string{s.Name}, s.Stmts)
	case *ast.GenericForStmt:
		for _, e := range s.Exprs {
			r.expr(e)
		}
		r.loop(st, s.Names, s.Stmts)
	case *ast.FuncDefStmt:
		r.funcDef(s)
	case *ast.ReturnStmt:
		for _, e := range s.Exprs {
			r.expr(e)
		}
	case *ast.BreakStmt:
	default:
		giveUp()
	}
}

// local declares the names behind the expressions; `local function` sees itself.
func (r *resolver) local(s *ast.LocalAssignStmt) {
	if len(s.Names) == 1 && len(s.Exprs) == 1 {
		if fn, ok := s.Exprs[0].(*ast.FunctionExpr); ok {
			d := r.declare(s.Names[0])
			d.fn = fn
			r.decls[place{s, 0}] = d
			r.function(fn)
			return
		}
	}
	for _, e := range s.Exprs {
		r.expr(e)
	}
	for i, name := range s.Names {
		d := r.declare(name)
		if i < len(s.Exprs) {
			d.boolean = isBool(s.Exprs[i])
		}
		r.decls[place{s, i}] = d
	}
}

// isBool reports whether an expression may be false; a dictionary's values are numbers here.
func isBool(e ast.Expr) bool {
	switch x := e.(type) {
	case *ast.FuncCallExpr:
		return x.Method == ""
	case *ast.TrueExpr, *ast.FalseExpr, *ast.RelationalOpExpr, *ast.UnaryNotOpExpr, *ast.LogicalOpExpr:
		return true
	}
	return false
}

func (r *resolver) loop(st ast.Stmt, names []string, body []ast.Stmt) {
	r.scopes = append(r.scopes, make(map[string]*sym))
	for i, name := range names {
		r.decls[place{st, i}] = r.declare(name)
	}
	r.block(body)
	r.scopes = r.scopes[:len(r.scopes)-1]
}

// funcDef is `function name()`: of a local or of a global variable.
func (r *resolver) funcDef(s *ast.FuncDefStmt) {
	id, ok := s.Name.Func.(*ast.IdentExpr)
	if !ok || s.Name.Method != "" || r.find(id.Value) != nil || r.globals[id.Value] != nil {
		giveUp()
	}
	d := &sym{fn: s.Func, global: true}
	r.globals[id.Value] = d
	r.decls[place{s, 0}] = d
	r.function(s.Func)
}

func (r *resolver) function(fn *ast.FunctionExpr) {
	if fn.ParList.HasVargs {
		giveUp()
	}
	r.level++
	r.scopes = append(r.scopes, make(map[string]*sym))
	for _, name := range fn.ParList.Names {
		r.params[fn] = append(r.params[fn], r.declare(name))
	}
	r.block(fn.Stmts)
	r.scopes = r.scopes[:len(r.scopes)-1]
	r.level--
}

func (r *resolver) write(e ast.Expr, rhs []ast.Expr, i int) {
	id, ok := e.(*ast.IdentExpr)
	if !ok {
		r.expr(e)
		return
	}
	s := r.find(id.Value)
	if s == nil || s.fn != nil {
		giveUp() // a global variable, or a function that is changed
	}
	r.uses[id] = s
	s.writes++
	s.lastWrite = r.n
	s.nested = s.nested || s.level != r.level
	if i >= len(rhs) || isBool(rhs[i]) {
		s.boolean = true
	}
}

// expr resolves the names of an expression. Functions are understood only where a name is given to them.
func (r *resolver) expr(e ast.Expr) {
	switch x := e.(type) {
	case *ast.IdentExpr:
		if s := r.find(x.Value); s != nil {
			r.uses[x] = s
		}
	case *ast.AttrGetExpr:
		r.expr(x.Object)
		r.expr(x.Key)
	case *ast.FuncCallExpr:
		if x.Func != nil {
			r.expr(x.Func)
		}
		if x.Receiver != nil {
			r.expr(x.Receiver)
		}
		for _, a := range x.Args {
			r.expr(a)
		}
	case *ast.LogicalOpExpr:
		r.expr(x.Lhs)
		r.expr(x.Rhs)
	case *ast.RelationalOpExpr:
		r.expr(x.Lhs)
		r.expr(x.Rhs)
	case *ast.StringConcatOpExpr:
		r.expr(x.Lhs)
		r.expr(x.Rhs)
	case *ast.ArithmeticOpExpr:
		r.expr(x.Lhs)
		r.expr(x.Rhs)
	case *ast.UnaryNotOpExpr:
		r.expr(x.Expr)
	case *ast.UnaryLenOpExpr:
		r.expr(x.Expr)
	case *ast.TrueExpr, *ast.FalseExpr, *ast.NilExpr, *ast.NumberExpr, *ast.StringExpr:
	default:
		giveUp()
	}
}

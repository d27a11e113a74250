package lua

import "github.com/yuin/gopher-lua/ast"

// walk calls fn for every expression of a tree, inner ones after outer ones; fn
// returns what stands in the expression's place.
func walkStmts(sts []ast.Stmt, fn func(e ast.Expr) ast.Expr) {
	for _, st := range sts {
		walkStmt(st, fn)
	}
}

func walkStmt(st ast.Stmt, fn func(e ast.Expr) ast.Expr) {
	switch s := st.(type) {
	case *ast.AssignStmt:
		walkExprs(s.Lhs, fn)
		walkExprs(s.Rhs, fn)
	case *ast.LocalAssignStmt:
		walkExprs(s.Exprs, fn)
	case *ast.FuncCallStmt:
		s.Expr = walkExpr(s.Expr, fn)
	case *ast.DoBlockStmt:
		walkStmts(s.Stmts, fn)
	case *ast.WhileStmt:
		s.Condition = walkExpr(s.Condition, fn)
		walkStmts(s.Stmts, fn)
	case *ast.RepeatStmt:
		s.Condition = walkExpr(s.Condition, fn)
		walkStmts(s.Stmts, fn)
	case *ast.IfStmt:
		s.Condition = walkExpr(s.Condition, fn)
		walkStmts(s.Then, fn)
		walkStmts(s.Else, fn)
	case *ast.NumberForStmt:
		s.Init = walkExpr(s.Init, fn)
		s.Limit = walkExpr(s.Limit, fn)
		s.Step = walkExpr(s.Step, fn)
		walkStmts(s.Stmts, fn)
	case *ast.GenericForStmt:
		walkExprs(s.Exprs, fn)
		walkStmts(s.Stmts, fn)
	case *ast.FuncDefStmt:
		walkStmts(s.Func.Stmts, fn)
	case *ast.ReturnStmt:
		walkExprs(s.Exprs, fn)
	}
}

func walkExprs(es []ast.Expr, fn func(e ast.Expr) ast.Expr) {
	for i := range es {
		es[i] = walkExpr(es[i], fn)
	}
}

func walkExpr(e ast.Expr, fn func(e ast.Expr) ast.Expr) ast.Expr {
	if e == nil {
		return nil
	}
	e = fn(e)
	switch x := e.(type) {
	case *ast.AttrGetExpr:
		x.Object = walkExpr(x.Object, fn)
		x.Key = walkExpr(x.Key, fn)
	case *ast.TableExpr:
		for _, f := range x.Fields {
			f.Key = walkExpr(f.Key, fn)
			f.Value = walkExpr(f.Value, fn)
		}
	case *ast.FuncCallExpr:
		x.Func = walkExpr(x.Func, fn)
		x.Receiver = walkExpr(x.Receiver, fn)
		walkExprs(x.Args, fn)
	case *ast.LogicalOpExpr:
		x.Lhs, x.Rhs = walkExpr(x.Lhs, fn), walkExpr(x.Rhs, fn)
	case *ast.RelationalOpExpr:
		x.Lhs, x.Rhs = walkExpr(x.Lhs, fn), walkExpr(x.Rhs, fn)
	case *ast.StringConcatOpExpr:
		x.Lhs, x.Rhs = walkExpr(x.Lhs, fn), walkExpr(x.Rhs, fn)
	case *ast.ArithmeticOpExpr:
		x.Lhs, x.Rhs = walkExpr(x.Lhs, fn), walkExpr(x.Rhs, fn)
	case *ast.UnaryMinusOpExpr:
		x.Expr = walkExpr(x.Expr, fn)
	case *ast.UnaryNotOpExpr:
		x.Expr = walkExpr(x.Expr, fn)
	case *ast.UnaryLenOpExpr:
		x.Expr = walkExpr(x.Expr, fn)
	case *ast.FunctionExpr:
		walkStmts(x.Stmts, fn)
	}
	return e
}

// concatName is the name of the function that .. becomes a call of: LuaJIT writes
// numbers with 14 digits, which the interpreter's own operator doesn't. No name of a program can be the same.
const concatName = "\x00concat"

// concatenations returns the tree with its .. operators as calls. The function is a
// local of the chunk, so that setfenv doesn't hide it.
func concatenations(tree []ast.Stmt) []ast.Stmt {
	any := false
	walkStmts(tree, func(e ast.Expr) ast.Expr {
		x, ok := e.(*ast.StringConcatOpExpr)
		if !ok {
			return e
		}
		any = true
		fn := &ast.IdentExpr{Value: concatName}
		call := &ast.FuncCallExpr{Func: fn, Args: operands(nil, x), AdjustRet: true}
		for _, p := range []ast.PositionHolder{fn, call} {
			p.SetLine(x.Line())
			p.SetLastLine(x.LastLine())
		}
		for _, a := range call.Args {
			single(a)
		}
		return call
	})
	if !any {
		return tree
	}
	get := &ast.IdentExpr{Value: concatName}
	local := &ast.LocalAssignStmt{Names: []string{concatName}, Exprs: []ast.Expr{get}}
	for _, p := range []ast.PositionHolder{get, local} {
		p.SetLine(1)
		p.SetLastLine(1)
	}
	return append([]ast.Stmt{local}, tree...)
}

// operands flattens a chain of ..
func operands(list []ast.Expr, e ast.Expr) []ast.Expr {
	if x, ok := e.(*ast.StringConcatOpExpr); ok {
		return operands(operands(list, x.Lhs), x.Rhs)
	}
	return append(list, e)
}

// single makes an expression of many values one of one value, as it is for an operator.
func single(e ast.Expr) {
	switch x := e.(type) {
	case *ast.FuncCallExpr:
		x.AdjustRet = true
	case *ast.Comma3Expr:
		x.AdjustRet = true
	}
}

package lua

import (
	"strconv"
	"strings"

	"github.com/yuin/gopher-lua/ast"
)

// node is a statement or expression in normal form. Which op has which args:
//
//	nil true false num str name        constants and what is built in (v is the word)
//	var                                a variable that changes (of is which)
//	extra                              a further result of a call
//	index(object, key) len(x) not(x) and(...) or(...) eq(a, b) lt(a, b) le(a, b) arith(a, b) concat(...)
//	call(name, args...)                a call of what is built in
//	method(dictionary, args...)        v is the method's name
//	nth(call)                          a result of a call of several, v is which
//	exists(elem, over, condition)      whether an element meets a condition
//	block(statements..., value)        a function's body in the place of its call
//	set(var, value) put(object, key, value) do(call) if(cond, then, else) each(elem, over, body)
//	repeat(count, body) return(value) break list(...)
type node struct {
	op   string
	v    string
	args []*node
	of   *inst
	size int // nodes of the expression; shared parts count as often as they stand
}

// inst is a variable in one place where its function was put.
type inst struct {
	sym   *sym
	init  *node // what it begins with, when that can be told where it is used first
	depth int   // loops around the declaration
}

func newNode(op, v string, args ...*node) *node {
	n := &node{op: op, v: v, args: args, size: 1}
	for _, a := range args {
		n.size += max(a.size, 1)
	}
	if n.size > maxSize {
		giveUp()
	}
	return n
}

// maxSize bounds an expression: values put in the places of variables could double it each time.
const maxSize = 5000

// lowering turns a syntax tree into normal form.
type lowering struct {
	*resolver
	env     map[*sym]*node
	defined map[*sym]bool
	name    string // of the upstream
	depth   int    // loops around
	calls   int    // functions around
	work    int
}

// maxWork bounds what a script of nested functions may grow to.
const maxWork = 20000

func newLowering(tree []ast.Stmt, upstreamName string) *lowering {
	return &lowering{resolver: resolve(tree), env: make(map[*sym]*node), defined: make(map[*sym]bool), name: upstreamName}
}

func (l *lowering) stmts(sts []ast.Stmt) []*node {
	var list []*node
	for _, st := range sts {
		if l.work++; l.work > maxWork {
			giveUp()
		}
		list = append(list, l.stmt(st)...)
	}
	return spreadConstants(list)
}

func (l *lowering) stmt(st ast.Stmt) []*node {
	switch s := st.(type) {
	case *ast.LocalAssignStmt:
		return l.local(s)
	case *ast.AssignStmt:
		return l.assign(s)
	case *ast.FuncCallStmt:
		return []*node{newNode("do", "", l.expr(s.Expr))}
	case *ast.DoBlockStmt:
		return l.stmts(s.Stmts)
	case *ast.IfStmt:
		return l.branch(s)
	case *ast.NumberForStmt:
		return []*node{l.count(s)}
	case *ast.GenericForStmt:
		return []*node{l.each(s)}
	case *ast.FuncDefStmt:
		l.defined[l.decls[place{s, 0}]] = true
		return nil
	case *ast.ReturnStmt:
		if len(s.Exprs) > 1 {
			giveUp()
		}
		if len(s.Exprs) == 0 {
			return []*node{newNode("return", "")}
		}
		return []*node{newNode("return", "", l.expr(s.Exprs[0]))}
	case *ast.BreakStmt:
		return []*node{newNode("break", "")}
	}
	giveUp()
	return nil
}

// local declares variables: one that never changes becomes its value.
func (l *lowering) local(s *ast.LocalAssignStmt) []*node {
	if d := l.decls[place{s, 0}]; d.fn != nil {
		l.defined[d] = true
		return nil
	}
	if len(s.Exprs) > len(s.Names) {
		giveUp()
	}
	values := make([]*node, len(s.Names))
	for i, e := range s.Exprs {
		values[i] = l.expr(e)
	}
	for i := len(s.Exprs); i < len(values); i++ {
		values[i] = newNode("nil", "")
		if n := len(s.Exprs); n > 0 && values[n-1].op != "nil" {
			values[i] = l.further(values, n-1, i)
		}
	}
	var out []*node
	for i := range s.Names {
		d := l.decls[place{s, i}]
		v := values[i]
		if v.op == "call" && v.v == "string.match" && len(s.Names) > len(s.Exprs) {
			v = newNode("nth", "1", v)
		}
		if d.writes == 0 && l.stable(v, l.seq[s]) {
			l.env[d] = v
			continue
		}
		in := &inst{sym: d, depth: l.depth}
		ref := &node{op: "var", of: in}
		l.env[d] = ref
		if constant(v) {
			in.init = v
			continue
		}
		out = append(out, newNode("set", "", ref, v))
	}
	return out
}

// further is a later result of the last call of a declaration.
func (l *lowering) further(values []*node, last, i int) *node {
	v := values[last]
	if v.op == "call" && v.v == "string.match" {
		return newNode("nth", strconv.Itoa(i-last+1), v)
	}
	if v.op != "call" && v.op != "method" {
		giveUp()
	}
	return newNode("extra", "")
}

func (l *lowering) assign(s *ast.AssignStmt) []*node {
	if len(s.Lhs) != 1 || len(s.Rhs) != 1 {
		giveUp()
	}
	v := l.expr(s.Rhs[0])
	switch x := s.Lhs[0].(type) {
	case *ast.IdentExpr:
		ref := l.env[l.uses[x]]
		if ref == nil || ref.op != "var" {
			giveUp()
		}
		return []*node{newNode("set", "", ref, v)}
	case *ast.AttrGetExpr:
		obj, key := l.expr(x.Object), l.expr(x.Key)
		if obj.op != "name" || obj.v != "ngx.header" || key.op != "str" {
			giveUp()
		}
		key = newNode("str", strings.ReplaceAll(key.v, "_", "-"))
		return []*node{newNode("put", "", obj, key, v)}
	}
	giveUp()
	return nil
}

// branch is if; an if alone within an if becomes one.
func (l *lowering) branch(s *ast.IfStmt) []*node {
	cond := l.cond(s.Condition)
	then, els := l.stmts(s.Then), l.stmts(s.Else)
	if len(els) == 0 && len(then) == 1 && then[0].op == "if" && len(then[0].args[2].args) == 0 {
		inner := then[0]
		return []*node{newNode("if", "", both(cond, inner.args[0]), inner.args[1], inner.args[2])}
	}
	if len(then) == 0 && len(els) == 0 {
		giveUp()
	}
	return []*node{newNode("if", "", cond, newNode("list", "", then...), newNode("list", "", els...))}
}

// each is a loop over a list with pairs or ipairs.
func (l *lowering) each(s *ast.GenericForStmt) *node {
	if len(s.Exprs) != 1 || len(s.Names) > 2 {
		giveUp()
	}
	over := l.expr(s.Exprs[0])
	if over.op != "call" || over.v != "pairs" && over.v != "ipairs" || len(over.args) != 1 || !isList(over.args[0]) || len(s.Names) != 2 {
		giveUp()
	}
	key, elem := l.decls[place{s, 0}], l.decls[place{s, 1}]
	if key.writes+elem.writes > 0 {
		giveUp()
	}
	in := &inst{sym: elem, depth: l.depth + 1}
	index := &node{op: "var", of: &inst{sym: key, depth: l.depth + 1}}
	ref := &node{op: "var", of: in}
	l.env[key], l.env[elem] = index, ref
	l.depth++
	body := l.stmts(s.Stmts)
	l.depth--
	list := over.args[0]
	body = replace(body, list, index, ref)
	if uses(body, index.of) {
		giveUp()
	}
	if !uses(body, in) {
		return newNode("repeat", "", newNode("len", "", list), newNode("list", "", body...))
	}
	return newNode("each", "", ref, list, newNode("list", "", firstIsLast(ref, list, body)...))
}

// count is a loop from 1 to a list's length: over its elements, or so many times.
func (l *lowering) count(s *ast.NumberForStmt) *node {
	from, to := l.expr(s.Init), l.expr(s.Limit)
	if s.Step != nil {
		if step := l.expr(s.Step); step.op != "num" || step.v != "1" {
			giveUp()
		}
	}
	index := l.decls[place{s, 0}]
	if from.op != "num" || from.v != "1" || to.op != "len" || !isList(to.args[0]) || index.writes > 0 {
		giveUp()
	}
	list := to.args[0]
	i := &node{op: "var", of: &inst{sym: index, depth: l.depth + 1}}
	elem := &node{op: "var", of: &inst{sym: index, depth: l.depth + 1}}
	l.env[index] = i
	l.depth++
	body := l.stmts(s.Stmts)
	l.depth--
	body = replace(body, list, i, elem)
	if uses(body, i.of) {
		giveUp()
	}
	if !uses(body, elem.of) {
		return newNode("repeat", "", to, newNode("list", "", body...))
	}
	return newNode("each", "", elem, list, newNode("list", "", firstIsLast(elem, list, body)...))
}

// isList reports whether the node is the servers or the primary peers of an upstream.
func isList(n *node) bool {
	return n.op == "call" && (n.v == "upstream.get_servers" || n.v == "upstream.get_primary_peers") && len(n.args) == 1 && n.args[0].op == "str"
}

// replace puts elem where list[i] stands.
func replace(body []*node, list, i, elem *node) []*node {
	want := key(list)
	var walk func(n *node) *node
	walk = func(n *node) *node {
		if n.op == "index" && n.args[1].op == "var" && n.args[1].of == i.of && key(n.args[0]) == want {
			return elem
		}
		if len(n.args) == 0 {
			return n
		}
		c := *n
		c.args = make([]*node, len(n.args))
		for j, a := range n.args {
			c.args[j] = walk(a)
		}
		return &c
	}
	out := make([]*node, len(body))
	for j, n := range body {
		out[j] = walk(n)
	}
	return out
}

func uses(body []*node, in *inst) bool {
	for _, n := range body {
		if n.op == "var" && n.of == in || uses(n.args, in) {
			return true
		}
	}
	return false
}

// firstIsLast drops the break behind `if md5(server.name) == x then y = server.addr`:
// servers of one name have one address, so that the first hit is as good as the last.
func firstIsLast(elem, list *node, body []*node) []*node {
	if list.v != "upstream.get_servers" || len(body) != 1 || body[0].op != "if" {
		return body
	}
	cond, then := body[0].args[0], body[0].args[1]
	if cond.op != "eq" || len(then.args) != 2 || then.args[0].op != "set" || then.args[1].op != "break" || len(body[0].args[2].args) > 0 {
		return body
	}
	if key(then.args[0].args[1]) != key(newNode("index", "", elem, newNode("str", "addr"))) {
		return body
	}
	md5 := key(newNode("call", "ngx.md5", newNode("index", "", elem, newNode("str", "name"))))
	if key(cond.args[0]) != md5 && key(cond.args[1]) != md5 {
		return body
	}
	return []*node{newNode("if", "", cond, newNode("list", "", then.args[0]), body[0].args[2])}
}

// spreadConstants gives statements behind `x = constant` the constant in place of x.
func spreadConstants(list []*node) []*node {
	for i, n := range list {
		if n.op != "set" || n.args[1].op != "num" && n.args[1].op != "str" {
			continue
		}
		for j := i + 1; j < len(list) && list[j].op == "do"; j++ {
			list[j] = substitute(list[j], n.args[0].of, n.args[1])
		}
	}
	return list
}

func substitute(n *node, in *inst, v *node) *node {
	if n.op == "var" && n.of == in {
		return v
	}
	if n.op == "block" || len(n.args) == 0 {
		return n
	}
	c := *n
	c.args = make([]*node, len(n.args))
	for i, a := range n.args {
		c.args[i] = substitute(a, in, v)
	}
	return &c
}

// constant reports whether the node's value is the same wherever in the script it stands.
func constant(n *node) bool {
	if n.op == "var" {
		return false
	}
	if !pureOp(n) {
		return false
	}
	for _, a := range n.args {
		if !constant(a) {
			return false
		}
	}
	return true
}

// stable reports whether the node has no effect and its value doesn't change behind the place seq.
func (l *lowering) stable(n *node, seq int) bool {
	if n.op == "var" {
		return n.of.sym.writes == 0 || !n.of.sym.nested && n.of.sym.lastWrite < seq
	}
	if !pureOp(n) {
		return false
	}
	for _, a := range n.args {
		if !l.stable(a, seq) {
			return false
		}
	}
	return true
}

// pureOp reports whether evaluating the node, apart from its parts, has no effect and depends on nothing that changes.
func pureOp(n *node) bool {
	switch n.op {
	case "nil", "true", "false", "num", "str", "name", "index", "len", "not", "and", "or", "eq", "lt", "le", "arith", "concat", "nth", "extra", "exists":
		return true
	case "call":
		switch n.v {
		case "string.find", "string.sub", "string.match", "tonumber", "ngx.md5", "upstream.get_servers", "upstream.get_primary_peers", "pairs", "ipairs":
			return true
		}
	}
	return false
}

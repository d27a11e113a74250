package lua

import (
	"sort"
	"strconv"
	"strings"

	"github.com/yuin/gopher-lua/ast"
)

func (l *lowering) expr(e ast.Expr) *node {
	switch x := e.(type) {
	case *ast.NilExpr:
		return newNode("nil", "")
	case *ast.TrueExpr:
		return newNode("true", "")
	case *ast.FalseExpr:
		return newNode("false", "")
	case *ast.NumberExpr:
		f, err := strconv.ParseFloat(x.Value, 64)
		if err != nil {
			giveUp()
		}
		return newNode("num", strconv.FormatFloat(f, 'g', -1, 64))
	case *ast.StringExpr:
		return newNode("str", x.Value)
	case *ast.IdentExpr:
		return l.ident(x)
	case *ast.AttrGetExpr:
		return l.index(l.expr(x.Object), l.expr(x.Key))
	case *ast.FuncCallExpr:
		return l.call(x)
	case *ast.StringConcatOpExpr:
		return concat(l.expr(x.Lhs), l.expr(x.Rhs))
	case *ast.ArithmeticOpExpr:
		return newNode("arith", x.Operator, l.expr(x.Lhs), l.expr(x.Rhs))
	case *ast.UnaryLenOpExpr:
		return newNode("len", "", l.expr(x.Expr))
	case *ast.UnaryNotOpExpr, *ast.RelationalOpExpr:
		return l.cond(e)
	}
	giveUp()
	return nil
}

func (l *lowering) ident(x *ast.IdentExpr) *node {
	if s := l.uses[x]; s != nil {
		if n := l.env[s]; n != nil {
			return n
		}
		giveUp() // a function that isn't called
	}
	switch x.Value {
	case "ngx", "string", "pairs", "ipairs", "tonumber", "require":
		if l.globals[x.Value] == nil {
			return newNode("name", x.Value)
		}
	}
	giveUp()
	return nil
}

// index is object[key]: a part of what is built in, or of a value. An index of a block moves into it.
func (l *lowering) index(obj, k *node) *node {
	switch obj.op {
	case "name":
		if k.op != "str" {
			giveUp()
		}
		switch name := obj.v + "." + k.v; name {
		case "ngx.md5", "ngx.var", "ngx.shared", "ngx.header", "ngx.log", "ngx.exit", "ngx.ERR", "ngx.WARN", "ngx.ERROR", "ngx.HTTP_INTERNAL_SERVER_ERROR", "ngx.HTTP_BAD_GATEWAY",
			"string.find", "string.sub", "string.match", "string.format",
			"upstream.get_servers", "upstream.get_primary_peers", "upstream.current_upstream_name", "balancer.set_current_peer":
			return newNode("name", name)
		}
		if obj.v != "ngx.var" && obj.v != "ngx.shared" {
			giveUp()
		}
	case "block":
		c := *obj
		c.args = append([]*node(nil), obj.args...)
		last := len(c.args) - 1
		c.args[last] = l.index(c.args[last], k)
		return &c
	case "var", "index":
	default:
		if !isList(obj) {
			giveUp()
		}
	}
	if k.op == "block" && pureOp(obj) {
		c := *k
		c.args = append([]*node(nil), k.args...)
		last := len(c.args) - 1
		c.args[last] = newNode("index", "", obj, c.args[last])
		return &c
	}
	return newNode("index", "", obj, k)
}

// concat joins chains and neighbouring constants.
func concat(list ...*node) *node {
	var parts []*node
	for _, n := range list {
		if n.op == "concat" {
			parts = append(parts, n.args...)
		} else {
			parts = append(parts, n)
		}
	}
	var out []*node
	for _, n := range parts {
		if last := len(out) - 1; last >= 0 && n.op == "str" && out[last].op == "str" {
			out[last] = newNode("str", out[last].v+n.v)
			continue
		}
		out = append(out, n)
	}
	if len(out) == 1 {
		return out[0]
	}
	return newNode("concat", "", out...)
}

func (l *lowering) call(x *ast.FuncCallExpr) *node {
	if x.Method != "" {
		return l.method(x)
	}
	if id, ok := x.Func.(*ast.IdentExpr); ok {
		s := l.uses[id]
		if s == nil {
			s = l.globals[id.Value]
		}
		if s != nil && s.fn != nil {
			return l.inline(s, l.args(x.Args))
		}
	}
	fn := l.expr(x.Func)
	if fn.op != "name" {
		giveUp()
	}
	return l.builtin(fn.v, l.args(x.Args))
}

func (l *lowering) args(es []ast.Expr) []*node {
	var list []*node
	for _, e := range es {
		list = append(list, l.expr(e))
	}
	return list
}

// builtin is a call of what is built in.
func (l *lowering) builtin(name string, args []*node) *node {
	switch name {
	case "require":
		if len(args) == 1 && args[0].op == "str" {
			switch args[0].v {
			case "ngx.balancer":
				return newNode("name", "balancer")
			case "ngx.upstream":
				return newNode("name", "upstream")
			}
		}
		giveUp()
	case "upstream.current_upstream_name":
		return newNode("str", l.name)
	case "string.format":
		return format(args)
	case "string.find":
		if len(args) == 4 && args[2].op == "num" && args[2].v == "1" && args[3].op == "true" {
			args = args[:2]
		}
		if len(args) != 2 || args[1].op != "str" || args[1].v != ":" {
			giveUp()
		}
	case "balancer.set_current_peer":
		return setPeer(args)
	case "ngx.header", "ngx.var", "ngx.shared":
		giveUp()
	}
	return newNode("call", name, args...)
}

// format is string.format with nothing but %s.
func format(args []*node) *node {
	if len(args) == 0 || args[0].op != "str" {
		giveUp()
	}
	pieces := strings.Split(args[0].v, "%s")
	if len(pieces) != len(args) || strings.Contains(strings.Join(pieces, ""), "%") {
		giveUp()
	}
	list := []*node{newNode("str", pieces[0])}
	for i, p := range pieces[1:] {
		list = append(list, args[i+1], newNode("str", p))
	}
	var out []*node
	for _, n := range list {
		if n.op != "str" || n.v != "" {
			out = append(out, n)
		}
	}
	return concat(out...)
}

// setPeer understands the ways of parting an address at its colon.
func setPeer(args []*node) *node {
	if len(args) != 2 {
		giveUp()
	}
	host, port := args[0], args[1]
	if port.op == "call" && port.v == "tonumber" && len(port.args) == 1 {
		port = port.args[0] // set_current_peer does so itself
	}
	var addr *node
	switch {
	case host.op == "call" && host.v == "string.sub" && port.op == "call" && port.v == "string.sub":
		addr = host.args[0]
		at := newNode("call", "string.find", addr, newNode("str", ":"))
		one := newNode("num", "1")
		wantHost := newNode("call", "string.sub", addr, one, newNode("arith", "-", at, one))
		wantPort := newNode("call", "string.sub", addr, newNode("arith", "+", at, one))
		if key(host) != key(wantHost) || key(port) != key(wantPort) {
			giveUp()
		}
	case host.op == "nth" && host.v == "1" && port.op == "nth" && port.v == "2" && key(host.args[0]) == key(port.args[0]):
		match := host.args[0]
		if len(match.args) != 2 || match.args[1].op != "str" {
			giveUp()
		}
		switch strings.TrimSuffix(strings.TrimPrefix(match.args[1].v, "^"), "$") {
		case "([^:]+):(%d+)", "([^:]*):(%d+)", "(.+):(%d+)", "(.*):(%d+)", "([%d%.]+):(%d+)", "([%d.]+):(%d+)":
			addr = match.args[0]
		}
	}
	if addr == nil || addr.op != "var" {
		giveUp()
	}
	return newNode("call", "peer", addr)
}

// method is a call with a colon: of a dictionary, or of a string.
func (l *lowering) method(x *ast.FuncCallExpr) *node {
	recv, args := l.expr(x.Receiver), l.args(x.Args)
	if recv.op == "index" && recv.args[0].op == "name" && recv.args[0].v == "ngx.shared" {
		if len(args) == 0 {
			giveUp()
		}
		return newNode("method", x.Method, append([]*node{recv}, args...)...)
	}
	switch x.Method {
	case "find", "sub", "match", "format":
		return l.builtin("string."+x.Method, append([]*node{recv}, args...))
	}
	giveUp()
	return nil
}

// inline puts a function's body in the place of a call of it.
func (l *lowering) inline(s *sym, args []*node) *node {
	if l.calls++; l.calls > 8 || !l.defined[s] {
		giveUp()
	}
	defer func() { l.calls-- }()
	params := l.params[s.fn]
	if len(args) != len(params) {
		giveUp()
	}
	for i, p := range params {
		if p.writes > 0 || args[i].op != "var" && !constant(args[i]) {
			giveUp()
		}
		l.env[p] = args[i]
	}
	depth := l.depth
	l.depth = 0
	body := l.stmts(s.fn.Stmts)
	l.depth = depth
	if e := exists(body); e != nil {
		return e
	}
	if len(body) == 0 || body[len(body)-1].op != "return" || len(body[len(body)-1].args) != 1 {
		giveUp()
	}
	for _, n := range body[:len(body)-1] {
		if hasOp(n, "return") {
			giveUp()
		}
	}
	value := body[len(body)-1].args[0]
	if len(body) == 1 {
		return value
	}
	return newNode("block", "", append(body[:len(body)-1:len(body)-1], value)...)
}

func hasOp(n *node, op string) bool {
	if n.op == op {
		return true
	}
	for _, a := range n.args {
		if hasOp(a, op) {
			return true
		}
	}
	return false
}

// exists understands a function's body that tells whether an element meets a
// condition: by a flag, or by returning from the loop.
func exists(body []*node) *node {
	if len(body) == 0 || body[0].op != "each" {
		return nil
	}
	loop := body[0]
	inner := loop.args[2].args
	if len(inner) != 1 || inner[0].op != "if" || len(inner[0].args[2].args) > 0 {
		return nil
	}
	cond, then := inner[0].args[0], inner[0].args[1].args
	found := newNode("exists", "", loop.args[0], loop.args[1], cond)
	if len(then) > 0 && then[0].op == "return" {
		if len(then) != 1 || len(then[0].args) != 1 || then[0].args[0].op != "true" {
			return nil
		}
		if len(body) == 1 || len(body) == 2 && body[1].op == "return" && (len(body[1].args) == 0 || body[1].args[0].op == "false" || body[1].args[0].op == "nil") {
			return found
		}
		return nil
	}
	if len(then) == 2 && then[1].op == "break" {
		then = then[:1]
	}
	if len(then) != 1 || then[0].op != "set" || then[0].args[1].op != "true" || len(body) != 2 || body[1].op != "return" || len(body[1].args) != 1 {
		return nil
	}
	flag := then[0].args[0].of
	ret := body[1].args[0]
	if ret.op != "var" || ret.of != flag || flag.init == nil || flag.init.op != "false" || uses([]*node{cond}, flag) {
		return nil
	}
	return found
}

// cond is an expression of which only the truth matters.
func (l *lowering) cond(e ast.Expr) *node {
	switch x := e.(type) {
	case *ast.UnaryNotOpExpr:
		return negate(l.cond(x.Expr))
	case *ast.LogicalOpExpr:
		a, b := l.cond(x.Lhs), l.cond(x.Rhs)
		if x.Operator == "and" {
			return both(a, b)
		}
		return either(a, b)
	case *ast.RelationalOpExpr:
		a, b := l.expr(x.Lhs), l.expr(x.Rhs)
		switch x.Operator {
		case "==":
			return equal(a, b)
		case "~=":
			return negate(equal(a, b))
		case "<":
			return newNode("lt", "", a, b)
		case ">":
			return newNode("lt", "", b, a)
		case "<=":
			return newNode("le", "", a, b)
		case ">=":
			return newNode("le", "", b, a)
		}
		giveUp()
	}
	return l.expr(e)
}

func negate(n *node) *node {
	if n.op == "not" {
		return n.args[0]
	}
	return newNode("not", "", n)
}

// equal is ==: comparing with nil or a boolean is a matter of truth where the other side has no third value.
func equal(a, b *node) *node {
	if generic(a) > generic(b) {
		a, b = b, a
	}
	for _, pair := range [][2]*node{{a, b}, {b, a}} {
		x, c := pair[0], pair[1]
		switch {
		case c.op == "true" && (isDown(x) || x.op == "exists"):
			return x
		case c.op == "nil" && x.op == "var" && !x.of.sym.boolean:
			return negate(x)
		}
	}
	return newNode("eq", "", a, b)
}

// isDown reports whether the node is the flag down of a primary peer, which is true or absent.
func isDown(n *node) bool {
	if n.op != "index" || n.args[1].op != "str" || n.args[1].v != "down" {
		return false
	}
	elem := n.args[0]
	return elem.op == "var" || elem.op == "index" && isList(elem.args[0])
}

// both is `and`, in one order where the order doesn't matter.
func both(a, b *node) *node { return logical("and", a, b) }

func either(a, b *node) *node { return logical("or", a, b) }

func logical(op string, a, b *node) *node {
	var list []*node
	for _, n := range []*node{a, b} {
		if n.op == op {
			list = append(list, n.args...)
		} else {
			list = append(list, n)
		}
	}
	free := true
	for _, n := range list {
		free = free && total(n)
	}
	if free {
		sort.SliceStable(list, func(i, j int) bool { return generic(list[i]) < generic(list[j]) })
	}
	return newNode(op, "", list...)
}

// total reports whether a condition can be evaluated anywhere: it neither fails nor has an effect.
func total(n *node) bool {
	switch n.op {
	case "var", "str", "num", "true", "false", "nil":
		return true
	case "exists":
		return true
	case "not", "eq", "and", "or":
		for _, a := range n.args {
			if !total(a) {
				return false
			}
		}
		return true
	case "index":
		// an element of a list is a table
		elem := n.args[0]
		return (elem.op == "var" || elem.op == "index" && isList(elem.args[0])) && n.args[1].op == "str" && (n.args[1].v == "name" || n.args[1].v == "addr" || n.args[1].v == "down")
	}
	return false
}

// key returns a text that is the same for equal nodes only.
func key(n *node) string { return describe(n, true) }

// generic is key without telling variables apart, for an order that doesn't depend on names.
func generic(n *node) string { return describe(n, false) }

func describe(n *node, exact bool) string {
	var b strings.Builder
	b.WriteString(n.op)
	if n.v != "" || n.op == "str" {
		b.WriteString(strconv.Quote(n.v))
	}
	if n.of != nil && exact {
		b.WriteString(pointer(n.of))
	}
	b.WriteByte('(')
	for _, a := range n.args {
		b.WriteString(describe(a, exact))
		b.WriteByte(',')
	}
	b.WriteByte(')')
	return b.String()
}

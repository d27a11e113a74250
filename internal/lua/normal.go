package lua

import (
	"fmt"
	"strconv"
)

func pointer(in *inst) string { return fmt.Sprintf("%p", in) }

// printer writes normal form as words. Variables are numbered as they come; what a
// variable begins with stands where it comes first.
type printer struct {
	words   []string
	numbers map[*inst]int
}

func (p *printer) word(s string) { p.words = append(p.words, s) }

func (p *printer) list(list []*node) {
	p.word("{")
	for _, n := range dropChecked(list) {
		p.node(n)
	}
	p.word("}")
}

func (p *printer) node(n *node) {
	switch n.op {
	case "str":
		p.word(`"` + n.v)
		return
	case "var":
		p.variable(n.of)
		return
	case "list":
		p.list(n.args)
		return
	}
	p.word(n.op)
	if n.v != "" {
		p.word(n.v)
	}
	p.word("(")
	if n.op == "block" {
		list := dropChecked(n.args[:len(n.args)-1])
		for _, a := range list {
			p.node(a)
		}
		p.node(n.args[len(n.args)-1])
	} else {
		for _, a := range n.args {
			p.node(a)
		}
	}
	p.word(")")
}

func (p *printer) variable(in *inst) {
	if p.numbers == nil {
		p.numbers = make(map[*inst]int)
	}
	i, ok := p.numbers[in]
	if !ok {
		i = len(p.numbers)
		p.numbers[in] = i
	}
	p.word("v" + strconv.Itoa(i))
	if !ok && in.init != nil {
		p.word("depth" + strconv.Itoa(in.depth))
		p.word("=")
		p.node(in.init)
	}
}

// dropChecked takes the check of set_current_peer's result out: `ok, err = set_current_peer(...)`
// with a log line and an exit for the case that it fails, which it doesn't natively.
func dropChecked(list []*node) []*node {
	var out []*node
	for i := 0; i < len(list); i++ {
		n := list[i]
		if n.op == "set" && n.args[1].op == "call" && n.args[1].v == "peer" {
			ok := n.args[0].of
			if i+1 < len(list) && failureOnly(list[i+1], ok) && !uses(list[i+2:], ok) {
				i++
			} else if uses(list[i+1:], ok) {
				giveUp()
			}
			n = newNode("do", "", n.args[1])
		}
		out = append(out, n)
	}
	return out
}

// failureOnly reports whether a statement is `if not ok then` with nothing but a log line and an end.
func failureOnly(n *node, ok *inst) bool {
	if n.op != "if" || n.args[0].op != "not" || n.args[0].args[0].op != "var" || n.args[0].args[0].of != ok || len(n.args[2].args) > 0 {
		return false
	}
	for _, st := range n.args[1].args {
		switch {
		case st.op == "do" && st.args[0].op == "call" && (st.args[0].v == "ngx.log" || st.args[0].v == "ngx.exit"):
			for _, a := range st.args[0].args {
				if !quiet(a) {
					return false
				}
			}
		case st.op == "return" && (len(st.args) == 0 || st.args[0].op == "call" && st.args[0].v == "ngx.exit"):
		default:
			return false
		}
	}
	return true
}

// quiet reports whether evaluating a node has no effect.
func quiet(n *node) bool {
	if n.op != "var" && !pureOp(n) {
		return false
	}
	for _, a := range n.args {
		if !quiet(a) {
			return false
		}
	}
	return true
}

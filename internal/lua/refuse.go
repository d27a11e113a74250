package lua

import (
	"strings"

	"github.com/yuin/gopher-lua/ast"

	"limpet/nginxconf"
)

// refuse reports uses of what isn't there that can be seen in the code: sockets,
// threads and ffi. It is an error of the configuration, as a directive that isn't supported is.
func refuse(s *nginxconf.Setting, c *code) error {
	found, line := "", 0
	walkStmts(c.tree, func(e ast.Expr) ast.Expr {
		if found == "" {
			if found = absent(e); found != "" {
				line = e.Line()
			}
		}
		return e
	})
	if found == "" {
		return nil
	}
	file, at := s.File, s.Line
	if c.path != "" {
		file, at = c.path, line
	} else if s.HasBlock {
		at = s.LuaLine + line - 1
	}
	if s.Loader.WarnUnsupported {
		s.Warn(`"%s" is known but not supported, it fails where it is used`, found)
		return nil
	}
	return nginxconf.Errorf(file, at, `"%s" of Lua is known but not supported`, found)
}

// absent names what an expression uses and isn't there; "" for nothing.
func absent(e ast.Expr) string {
	switch x := e.(type) {
	case *ast.FuncCallExpr:
		if f, ok := x.Func.(*ast.IdentExpr); ok && f.Value == "require" && len(x.Args) == 1 {
			if name, ok := x.Args[0].(*ast.StringExpr); ok && missingModule(name.Value) != "" {
				return `require "` + name.Value + `"`
			}
		}
	case *ast.AttrGetExpr:
		name := dotted(x)
		switch {
		case strings.HasPrefix(name, "ngx.socket."), strings.HasPrefix(name, "ngx.thread."), name == "ngx.req.socket", name == "ngx.run_worker_thread":
			return name
		}
	}
	return ""
}

// dotted returns the words of a.b.c; "" for another expression.
func dotted(e ast.Expr) string {
	switch x := e.(type) {
	case *ast.IdentExpr:
		return x.Value
	case *ast.AttrGetExpr:
		key, ok := x.Key.(*ast.StringExpr)
		if outer := dotted(x.Object); ok && outer != "" {
			return outer + "." + key.Value
		}
	}
	return ""
}

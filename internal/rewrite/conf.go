// Package rewrite is rewrite, return, set, if and break: the little programs
// that servers and locations run on a request before it is served.
//
// It stands for nginx's ngx_http_rewrite_module.
// https://nginx.org/en/docs/http/ngx_http_rewrite_module.html
//
// The statements of a block are one script that runs in the order of the file;
// an `if` block is a part of the script around it. When the condition of an `if`
// in a location holds, the block's configuration becomes the request's.
package rewrite

import (
	"errors"
	"fmt"
	"strings"

	"limpet/internal/ngx"
	"limpet/internal/rx"
	"limpet/nginxconf"
)

// places are where the statements of scripts may stand.
const places = nginxconf.Server | nginxconf.ServerIf | nginxconf.Location | nginxconf.LocationIf

// Conf is the module's configuration at one level.
type Conf struct {
	Log  nginxconf.Opt[bool]
	Warn nginxconf.Opt[bool]

	script []statement
	// level is where the script stands: an inner level without statements of its own shares this Conf, but not the script.
	level *nginxconf.Level
	// quiet holds, in the Conf of the file itself, the scopes that don't want warnings of uninitialized variables.
	quiet map[*ngx.Scope]bool
}

// statement makes the operation of one statement once the scopes inside the block are built.
type statement func(c *compiler) op

// compiler is what statements need to become operations.
type compiler struct {
	b   *ngx.Build
	log bool // rewrite_log of the block whose script it is
}

// Directives lists the directives of the rewrite module.
func (c *Conf) Directives() []nginxconf.Directive {
	ifRow := nginxconf.Block("if", nginxconf.ServerLocation, 0, nginxconf.Args1More, parseIf, nil,
		"Runs its block, and in a location takes over its configuration, when a condition holds.")
	ifRow.Body.InnerIn = func(outer nginxconf.Context) nginxconf.Context {
		if outer == nginxconf.Server {
			return nginxconf.ServerIf
		}
		return nginxconf.LocationIf
	}
	return []nginxconf.Directive{
		nginxconf.Call("rewrite", places, nginxconf.Args23, parseRewrite, "Changes URIs that match a regular expression."),
		nginxconf.Call("return", places, nginxconf.Args12, parseReturn, "Answers with a code, a text or a redirect."),
		nginxconf.Call("break", places, nginxconf.NoArgs, parseBreak, "Ends the script."),
		nginxconf.Call("set", places, nginxconf.Args2, parseSet, "Sets a variable."),
		ifRow,
		nginxconf.Flag("rewrite_log", nginxconf.HTTP|places, &c.Log, "off", "Logs what scripts do at the level notice."),
		nginxconf.Flag("uninitialized_variable_warn", nginxconf.HTTP|places, &c.Warn, "on",
			"Warns of variables that are used before they are set."),
	}
}

// add adds a statement to the script of the block in which s stands.
func add(s *nginxconf.Setting, st statement) {
	c := nginxconf.Own[*Conf](s.Level)
	c.level = s.Level
	c.script = append(c.script, st)
}

// AddStep implements ngx.Scripts.
func (c *Conf) AddStep(s *nginxconf.Setting, make func(b *ngx.Build) ngx.Step) {
	add(s, func(cp *compiler) op {
		step := make(cp.b)
		return func(r *ngx.Request, st state) state {
			if out := step(r); out != ngx.Next {
				return st.end(out)
			}
			return st
		}
	})
}

// isRemote reports a replacement that is a whole URL and so a redirect.
func isRemote(url string) bool {
	return strings.HasPrefix(url, "http://") || strings.HasPrefix(url, "https://") || strings.HasPrefix(url, "$scheme")
}

func parseRewrite(s *nginxconf.Setting) error {
	w := &change{}
	to := s.Arg(1)
	if to == "" {
		return errors.New("empty replacement")
	}
	keepArgs := !strings.HasSuffix(to, "?") // the last ? drops the original arguments
	to = strings.TrimSuffix(to, "?")
	var err error
	if w.pattern, err = ngx.ParsePattern(s, s.Arg(0), 0); err != nil {
		return err
	}
	if isRemote(to) {
		w.status = 302
	}
	if len(s.Args) == 3 {
		switch s.Arg(2) {
		case "last":
			w.last = true
		case "break":
			w.last, w.stay = true, true
		case "redirect":
			w.status = 302
		case "permanent":
			w.status = 301
		default:
			return fmt.Errorf(`invalid parameter "%s"`, s.Arg(2))
		}
	}
	w.keepArgs = keepArgs
	if err := w.parseTarget(s, to); err != nil {
		return err
	}
	add(s, func(c *compiler) op {
		w.log = c.log
		if w.status != 0 {
			return w.redirect
		}
		return w.run
	})
	return nil
}

// parseTarget compiles the replacement; that of a change within the server is parted at its first question mark.
func (w *change) parseTarget(s *nginxconf.Setting, to string) error {
	path, args, found := strings.Cut(to, "?")
	w.hasArgs = found
	if w.status != 0 {
		path, args = to, ""
	}
	var err error
	if w.path, err = ngx.ParseText(s, path); err != nil {
		return err
	}
	w.args, err = ngx.ParseText(s, args)
	return err
}

func parseReturn(s *nginxconf.Setting) error {
	a := &answer{}
	text, hasText := "", false
	code, ok := nginxconf.ParseNum(s.Arg(0))
	switch {
	case ok && code <= 999:
		if hasText = len(s.Args) == 2; hasText {
			text = s.Arg(1)
		}
	case !ok && len(s.Args) == 1 && isRemote(s.Arg(0)):
		code, text, hasText = 302, s.Arg(0), true
	default:
		return fmt.Errorf(`invalid return code "%s"`, s.Arg(0))
	}
	a.status = code
	if hasText {
		var err error
		if a.text, err = ngx.ParseText(s, text); err != nil {
			return err
		}
	}
	a.direct = code < 400 || text != ""
	add(s, func(*compiler) op { return a.run })
	return nil
}

func parseBreak(s *nginxconf.Setting) error {
	add(s, func(*compiler) op { return stop })
	return nil
}

func parseSet(s *nginxconf.Setting) error {
	name := s.Arg(0)
	if len(name) < 2 || name[0] != '$' {
		return fmt.Errorf(`invalid variable name "%s"`, name)
	}
	v, err := nginxconf.Of[*ngx.VarConf](s.Level.Root()).Vars.Settable(name[1:])
	if err != nil {
		return err
	}
	root := nginxconf.Own[*Conf](s.Level.Root())
	v.Unset(func(r *ngx.Request, dst []byte) ([]byte, bool) {
		if !root.quiet[r.Scope] {
			r.Warnf(`using uninitialized "%s" variable`, v.Name)
		}
		return dst, true
	})
	text, err := ngx.ParseText(s, s.Arg(1))
	if err != nil {
		return err
	}
	add(s, func(*compiler) op { return (&assign{v, text}).run })
	return nil
}

func parseIf(s *nginxconf.Setting) error {
	cond, err := parseCondition(s)
	if err != nil {
		return err
	}
	inner := s.Inner
	add(s, func(c *compiler) op {
		b := &branch{cond: cond.compile(c)}
		if inner.Context == nginxconf.LocationIf {
			b.scope = c.b.Scope(inner)
		}
		if in := nginxconf.Of[*Conf](inner); in.level == inner {
			b.body = in.compile(c)
		}
		return b.run
	})
	return nil
}

// parsePattern compiles a pattern of a condition.
func parsePattern(s *nginxconf.Setting, pattern string, caseless bool) (*ngx.Pattern, error) {
	var flags rx.Flags
	if caseless {
		flags = rx.Caseless
	}
	return ngx.ParsePattern(s, pattern, flags)
}

func (c *Conf) compile(cp *compiler) []op {
	ops := make([]op, len(c.script))
	for i, st := range c.script {
		ops[i] = st(cp)
	}
	return ops
}

// Module returns the rewrite module.
func Module() ngx.Module {
	return ngx.Module{Name: "rewrite", Conf: func() nginxconf.Settings { return new(Conf) }, Scope: addSteps}
}

// addSteps adds the script of a server or location to its scope.
func addSteps(b *ngx.Build, s *ngx.Scope) error {
	c := nginxconf.Of[*Conf](s.Level)
	if !c.Warn.V {
		root := nginxconf.Of[*Conf](s.Level.Root())
		if root.quiet == nil {
			root.quiet = make(map[*ngx.Scope]bool)
		}
		root.quiet[s] = true
	}
	if c.level != s.Level || len(c.script) == 0 {
		return nil
	}
	switch s.Level.Context {
	case nginxconf.Server:
		s.Add(ngx.ServerRewrite, newScript(c.compile(&compiler{b, c.Log.V})))
	case nginxconf.Location:
		s.Add(ngx.Rewrite, newScript(c.compile(&compiler{b, c.Log.V})))
	}
	return nil
}

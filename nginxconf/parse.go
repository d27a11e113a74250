package nginxconf

import (
	"strings"
	"sync"

	"github.com/tufanbarisyildirim/gonginx/config"
	"github.com/tufanbarisyildirim/gonginx/parser"
)

// Parse reads the text of one file. Together with a lexical error it returns the
// statements before it, because nginx reports an earlier unknown directive
// first: the error comes behind the last statement of the innermost block that is Cut.
//
// The scanner finds words and lines; gonginx builds the tree from the text with
// everything masked that it would misread; both must agree on every statement.
func Parse(file string, src []byte) ([]*Statement, *Error) {
	s := &scanner{file: file, src: string(src), line: 1}
	s.src = strings.TrimPrefix(s.src, "\xef\xbb\xbf")
	list := s.block(true)
	tree, err := gonginxTree(s.masked(list))
	if err != nil {
		return nil, Errorf(file, s.line, "internal: parsers disagree: %s", err)
	}
	sts, ok := s.convert(list, tree)
	if !ok {
		return nil, Errorf(file, s.line, "internal: parsers disagree")
	}
	return sts, s.err
}

// dropWrappers removes gonginx's own types for http, server, upstream, location
// and include, which reorder what is inside them. gonginx has no other way than its global tables.
var dropWrappers = sync.OnceFunc(func() {
	for _, name := range []string{"http", "server", "upstream", "location"} {
		delete(config.BlockWrappers, name)
	}
	delete(config.DirectiveWrappers, "server")
	delete(config.IncludeWrappers, "include")
})

func gonginxTree(text string) ([]config.IDirective, error) {
	dropWrappers()
	c, err := parser.NewStringParser(text, parser.WithSkipValidDirectivesErr(), parser.WithSkipComments()).Parse()
	if err != nil {
		return nil, err
	}
	return c.Directives, nil
}

// masked returns the text up to the last complete thing, of the same length and
// with the same lines, in which every word that gonginx could misread is filled
// with x, comments and Lua bodies are blank, and open blocks are closed.
func (s *scanner) masked(list []*scanned) string {
	b := make([]byte, s.good)
	for i := range b {
		b[i] = ' '
		if s.src[i] == '\n' {
			b[i] = '\n'
		}
	}
	s.mask(b, list)
	return string(b) + strings.Repeat("}", s.depth)
}

func (s *scanner) mask(b []byte, list []*scanned) {
	for _, st := range list {
		for _, w := range st.words {
			maskWord(b[w.start:w.end], s.src[w.start:w.end], w)
		}
		b[st.end] = s.src[st.end]
		s.mask(b, st.children)
		if st.close > 0 {
			b[st.close] = '}'
		}
	}
}

// maskWord copies a word that is plain, and fills any other; newlines in it were counted by the scanner and go on being counted.
func maskWord(dst []byte, src string, w word) {
	if isPlain(src) {
		copy(dst, src)
		return
	}
	if w.quoted && !strings.Contains(src, "\n") {
		dst[0], dst[len(dst)-1] = '"', '"'
		for i := 1; i < len(dst)-1; i++ {
			dst[i] = 'x'
		}
		return
	}
	// A word over several lines becomes one in quotes, which may have lines; escaped
	// newlines at its end stay behind it.
	for i := range dst {
		if src[i] != '\n' {
			dst[i] = 'x'
		}
	}
	if last := len(strings.TrimRight(src, "\n")) - 1; strings.Contains(src[:last], "\n") {
		dst[0], dst[last] = '"', '"'
	}
}

// isPlain reports whether gonginx reads a word as nginx does.
func isPlain(s string) bool {
	for i := range len(s) {
		c := s[i]
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		case strings.IndexByte("_-./:$@=,+*~^?!%&|<>()[]", c) >= 0:
		default:
			return false
		}
	}
	return true
}

// convert walks both trees and makes the statements.
func (s *scanner) convert(list []*scanned, tree []config.IDirective) ([]*Statement, bool) {
	if len(list) != len(tree) {
		return nil, false
	}
	sts := make([]*Statement, len(list))
	for i, st := range list {
		d := tree[i]
		block := d.GetBlock()
		if len(d.GetParameters()) != len(st.words)-1 || (block != nil) != st.open || !s.sameName(st.words[0], d.GetName()) {
			return nil, false
		}
		out := &Statement{Name: st.words[0].value, File: s.file, Line: st.line, EndLine: st.endLine, HasBlock: st.open}
		out.Cut = st.open && st.close == 0
		for _, w := range st.words[1:] {
			out.Args = append(out.Args, Arg{w.value, w.quoted})
		}
		if st.luaLine > 0 {
			out.Lua, out.LuaLine = s.src[st.lua[0]:st.lua[1]], st.luaLine
		} else if st.open {
			var ok bool
			if out.Block, ok = s.convert(st.children, block.GetDirectives()); !ok {
				return nil, false
			}
		}
		if want := st.line; !st.open && d.GetLine() != want {
			return nil, false
		}
		sts[i] = out
	}
	return sts, true
}

func (s *scanner) sameName(w word, name string) bool {
	return !isPlain(s.src[w.start:w.end]) || w.value == name
}

package nginxconf

import (
	"fmt"
	"strings"
	"testing"
)

// show writes statements in one line: name(arg|"quoted")@line, blocks in braces with the line of their end.
func show(sts []*Statement) string {
	var b strings.Builder
	for i, st := range sts {
		if i > 0 {
			b.WriteString(" ")
		}
		var args []string
		for _, a := range st.Args {
			if a.Quoted {
				args = append(args, fmt.Sprintf("%q", a.Value))
			} else {
				args = append(args, a.Value)
			}
		}
		fmt.Fprintf(&b, "%s(%s)@%d", st.Name, strings.Join(args, "|"), st.Line)
		if st.Lua != "" {
			fmt.Fprintf(&b, "<%q@%d>%d", st.Lua, st.LuaLine, st.EndLine)
		} else if st.HasBlock {
			fmt.Fprintf(&b, "{%s}%d", show(st.Block), st.EndLine)
		}
	}
	return b.String()
}

// Each expectation was compared with nginx 1.22: by -t's messages about the words, and by return's output.
func TestWords(t *testing.T) {
	for _, c := range []struct{ name, text, want string }{
		{"nothing", "", ""},
		{"comment only", "# a; b {\n", ""},
		{"byte order mark", "\xef\xbb\xbfa;", "a()@1"},
		{"words", "a b  c\t\td;", "a(b|c|d)@1"},
		{"line of the semicolon", "a\nb\n;", "a(b)@3"},
		{"line of the brace", "a\n{\n}\n", "a()@2{}3"},
		{"carriage returns are blanks", "a b;\r\nc;\r\n", "a(b)@1 c()@2"},
		{"blocks", "a { b { c; } d; } e;", "a()@1{b()@1{c()@1}1 d()@1}1 e()@1"},
		{"empty block without blank", "a{}", "a()@1{}1"},
		{"double quotes", `a "b c" 'd;{}' "";`, `a("b c"|"d;{}"|"")@1`},
		{"the other quote is plain", `a "it's" '"x"';`, `a("it's"|"\"x\"")@1`},
		{"quoted name", `"a b" c;`, `a b(c)@1`},
		{"quotes inside a word are plain", `a b"c'd e"f;`, `a(b"c'd|e"f)@1`},
		{"escapes of quotes and backslash", `a \"b\' c\\d;`, `a("b'|c\d)@1`},
		{"escapes of t, r, n", `a b\tc "d\ne\rf";`, "a(b\tc|\"d\\ne\\rf\")@1"},
		{"other escapes stay", `a b\.c\$d \ e;`, `a(b\.c\$d|\ e)@1`},
		{"an escaped semicolon", `a b\;c;`, `a(b\;c)@1`},
		{"an escaped quote in quotes", `a "b\"c";`, `a("b\"c")@1`},
		{"newline in quotes", "a \"b\nc\";\nd;", "a(\"b\\nc\")@2 d()@3"},
		{"escaped newline", "a b\\\nc;", "a(b\\\nc)@2"},
		{"hash inside a word", "a b#c;", "a(b#c)@1"},
		{"hash at a word's beginning", "a b #c;\nd;", "a(b|d)@2"},
		{"closing parenthesis behind a quote", `if ("$a" = "b") { }`, `if(("$a"|=|"b"|))@1{}1`},
		{"a brace ends a word", "location /a{ b; }", "location(/a)@1{b()@1}1"},
		{"bytes outside of ASCII", "ä ö;", "ä(ö)@1"},
		{"a NUL byte", "a b\x00c;", "a(b\x00c)@1"},
		{"a backtick", "a `b`;", "a(`b`)@1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			sts, err := Parse("f", []byte(c.text))
			if err != nil {
				t.Fatal(err)
			}
			if got := show(sts); got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
		})
	}
}

func TestBracesOfVariables(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"a ${b};", "a(${b})@1"},
		{"a x${b}y${c};", "a(x${b}y${c})@1"},
		{"a ${b;", "a(${b)@1"},
		{"a $b{ c; }", "a($b)@1{c()@1}1"},
		{"a $${b};", "a($${b})@1"},
	} {
		sts, err := Parse("f", []byte(c.text))
		if err != nil {
			t.Errorf("%s: %v", c.text, err)
			continue
		}
		if got := show(sts); got != c.want {
			t.Errorf("%s: got %s, want %s", c.text, got, c.want)
		}
	}
}

func TestLuaBlocks(t *testing.T) {
	for _, c := range []struct{ name, text, want string }{
		{"plain", "x_by_lua_block { a() } b;", `x_by_lua_block()@1<" a() "@1>1 b()@1`},
		{"braces", "x_by_lua_block { a{{}} } b;", `x_by_lua_block()@1<" a{{}} "@1>1 b()@1`},
		{"brace in strings", `x_by_lua_block { "}" '}' "\"}" } b;`, `x_by_lua_block()@1<" \"}\" '}' \"\\\"}\" "@1>1 b()@1`},
		{"brace in a comment", "x_by_lua_block {\n-- }\n} b;", `x_by_lua_block()@1<"\n-- }\n"@1>3 b()@3`},
		{"brace in a long comment", "x_by_lua_block {--[[ } \n]]} b;", `x_by_lua_block()@1<"--[[ } \n]]"@1>2 b()@2`},
		{"brace in a long string", "x_by_lua_block { [==[ } ]] ]==] } b;", `x_by_lua_block()@1<" [==[ } ]] ]==] "@1>1 b()@1`},
		{"indexing isn't a long bracket", "x_by_lua_block { a[b[1]] = {} } b;", `x_by_lua_block()@1<" a[b[1]] = {} "@1>1 b()@1`},
		{"minus isn't a comment", "x_by_lua_block { a = 1 - {} } b;", `x_by_lua_block()@1<" a = 1 - {} "@1>1 b()@1`},
	} {
		t.Run(c.name, func(t *testing.T) {
			sts, err := Parse("f", []byte(c.text))
			if err != nil {
				t.Fatal(err)
			}
			if got := show(sts); got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
		})
	}
}

func TestStatementsBeforeALexicalErrorAreKept(t *testing.T) {
	for _, c := range []struct{ text, want, err string }{
		{"a; b", "a()@1", `unexpected end of file, expecting ";" or "}" in f:1`},
		{"a; b { c; d", "a()@1 b()@1{c()@1}1", `unexpected end of file, expecting ";" or "}" in f:1`},
		{"a { b;\n", "a()@1{b()@1}1", `unexpected end of file, expecting "}" in f:2`},
		{"a; } b;", "a()@1", `unexpected "}" in f:1`},
		{"a;\n;", "a()@1", `unexpected ";" in f:2`},
		{"a;\n{ }", "a()@1", `unexpected "{" in f:2`},
		{"a \"b\"c;", "", `unexpected "c" in f:1`},
		{"a 'b", "", `unexpected end of file, expecting ";" or "}" in f:1`},
		{"a; x_by_lua_block { [[ }", "a()@1 x_by_lua_block()@1{}1", `Lua code block missing the closing long bracket "]]" in f:1`},
	} {
		sts, err := Parse("f", []byte(c.text))
		if err == nil {
			t.Errorf("%q: no error", c.text)
			continue
		}
		if got := show(sts); got != c.want || err.Error() != c.err {
			t.Errorf("%q: got %s, %v\nwant %s, %s", c.text, got, err, c.want, c.err)
		}
	}
}

func TestWordsMayHave4095Bytes(t *testing.T) {
	if _, err := Parse("f", []byte("a "+strings.Repeat("b", 4095)+";")); err != nil {
		t.Error(err)
	}
	for text, want := range map[string]string{
		"\na " + strings.Repeat("b", 4096) + "\n;":  `too long parameter "bbbbbbbbbb..." started in f:2`,
		"a\n\"" + strings.Repeat("b", 4096) + "\";": `too long parameter, probably missing terminating """ character in f:2`,
	} {
		if _, err := Parse("f", []byte(text)); err == nil || err.Error() != want {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}

// FuzzParse compares the scanner with gonginx: Parse fails where they disagree.
func FuzzParse(f *testing.F) {
	for _, seed := range []string{
		"a b;", "a { b; }", `a "b\"c" 'd';`, "a ${b}c;", "a#b c;", "a b\\\nc;", "x_by_lua_block { [[ } ]] }", "a; }", "a \"b\n\nc\" { d", "a\r\n;", "a\x00;", "a `b`;",
		"location ~ \\.php$ { }", "if ($a = \"b\") { c; }", "include *.conf;", "http { server { listen 80; } }", "map $a $b { default x; }", "\xef\xbb\xbfa;",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		sts, err := Parse("f", text)
		if err != nil && strings.HasPrefix(err.Msg, "internal:") {
			t.Fatalf("%q: %v", text, err)
		}
		lines := strings.Count(string(text), "\n") + 1
		walk(sts, func(st *Statement) {
			if st.Line < 1 || st.EndLine < st.Line || st.EndLine > lines {
				t.Fatalf("%q: %s lies on lines %d to %d of %d", text, st.Name, st.Line, st.EndLine, lines)
			}
		})
	})
}

func walk(sts []*Statement, fn func(*Statement)) {
	for _, st := range sts {
		fn(st)
		walk(st.Block, fn)
	}
}

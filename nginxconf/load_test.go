package nginxconf

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// toy is a Conf for these tests, with a row of each way to inherit.
type toy struct {
	Name   Opt[string]
	Mode   Opt[string]
	Local  Opt[string]
	Fields List[string]
	Bits   Opt[uint32]
	raw    []string
}

func (c *toy) Directives() []Directive {
	word := func(s *Setting) (string, error) { return s.Arg(0), nil }
	return []Directive{
		Block("outer", Main, HTTP, NoArgs, nothing, nil, ""),
		Block("inner", HTTP|Server, Server, NoArgs, nothing, nil, ""),
		Str("name", Main|HTTP|Server, &c.Name, "unnamed", ""),
		Str("mode", Server, &c.Mode, "quiet", ""),
		Str("local", Main|HTTP|Server, &c.Local, "none", "").NoInherit(),
		Each("field", Main|HTTP|Server, Args1, &c.Fields, word, ""),
		Mask("bits", HTTP|Server, &c.Bits, []Word[uint32]{{"a", 1}, {"b", 2}}, "a", ""),
		Raw("table", HTTP, NoArgs, func(s *Setting) error {
			return s.Entries(func(e *Statement) error {
				if e.Name == "bad" {
					return fmt.Errorf("a bad entry")
				}
				c.raw = append(c.raw, e.Name)
				return nil
			})
		}, ""),
		Accepted("accepted", Main, AnyArgs, "nothing here"),
	}
}

func nothing(*Setting) error { return nil }

// load reads files from memory; the first is the main one.
func load(t *testing.T, opt Options, files ...string) (*Config, error) {
	t.Helper()
	dir := t.TempDir()
	for i := 0; i < len(files); i += 2 {
		name := filepath.Join(dir, files[i])
		if err := os.MkdirAll(filepath.Dir(name), 0o777); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(files[i+1]), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	opt.Modules = []Module{{"toy", func() Settings { return new(toy) }}}
	config, err := Load(filepath.Join(dir, files[0]), opt)
	if err != nil {
		err = fmt.Errorf("%s", strings.ReplaceAll(err.Error(), dir+"/", ""))
	}
	return config, err
}

// at returns the Conf of the level that a path of indices leads to.
func at(c *Config, path ...int) *toy {
	lv := c.Root
	for _, i := range path {
		lv = lv.Inner[i]
	}
	return Of[*toy](lv)
}

func TestInnerBlockTakesOverOuterValue(t *testing.T) {
	c, err := load(t, Options{}, "f", "name a; outer { inner { inner { name b; } } inner { } }")
	if err != nil {
		t.Fatal(err)
	}
	for _, x := range []struct {
		path []int
		want string
		own  bool
	}{{nil, "a", true}, {[]int{0}, "a", false}, {[]int{0, 0}, "a", false}, {[]int{0, 0, 0}, "b", true}, {[]int{0, 1}, "a", false}} {
		if got := at(c, x.path...).Name; got.V != x.want {
			t.Errorf("at %v: got %q, want %q", x.path, got.V, x.want)
		}
	}
	if !at(c, 0, 0, 0).Name.Own || at(c, 0, 0, 0).Mode.Own {
		t.Error("Own must tell what the block itself set")
	}
}

func TestUnsetValueIsTheDefault(t *testing.T) {
	c, err := load(t, Options{}, "f", "outer { inner { } }")
	if err != nil {
		t.Fatal(err)
	}
	got := at(c, 0, 0)
	if got.Name.V != "unnamed" || got.Mode.V != "quiet" || got.Local.V != "none" || got.Bits.V != 1 || got.Fields.IsSet() {
		t.Errorf("got %+v", got)
	}
}

func TestLocalValueStaysInItsBlock(t *testing.T) {
	c, err := load(t, Options{}, "f", "outer { local a; inner { } }")
	if err != nil {
		t.Fatal(err)
	}
	if got := at(c, 0).Local.V + " " + at(c, 0, 0).Local.V; got != "a none" {
		t.Errorf("got %q", got)
	}
}

func TestInnerListHidesTheOuter(t *testing.T) {
	c, err := load(t, Options{}, "f", "field a; field b; outer { inner { field c; } inner { } }")
	if err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(at(c).Fields.V, at(c, 0, 0).Fields.V, at(c, 0, 1).Fields.V); got != "[a b] [c] [a b]" {
		t.Errorf("got %s", got)
	}
}

func TestInnerBlockBeforeOuterValue(t *testing.T) {
	c, err := load(t, Options{}, "f", "outer { inner { } name late; }")
	if err != nil {
		t.Fatal(err)
	}
	if got := at(c, 0, 0).Name.V; got != "late" {
		t.Errorf("got %q, want the value that comes behind the block", got)
	}
}

func TestMaskAddsItsStatementsUp(t *testing.T) {
	c, err := load(t, Options{}, "f", "outer { bits a; bits b; }")
	if err != nil {
		t.Fatal(err)
	}
	if got := at(c, 0).Bits.V; got != 3 {
		t.Errorf("got %d, want both bits", got)
	}
}

func TestRawBlockFollowsInclude(t *testing.T) {
	c, err := load(t, Options{}, "f", "outer { table { x; include t; y 1 2; } }", "t", "included;\nnosuch directive;\n")
	if err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(at(c, 0).raw); got != "[x included nosuch y]" {
		t.Errorf("got %s", got)
	}
	_, err = load(t, Options{}, "f", "outer { table { x;\ninclude t; } }", "t", "a;\nbad;\n")
	if err == nil || err.Error() != "a bad entry in t:2" {
		t.Errorf("got %v", err)
	}
}

func TestFilesAreKeptInReadingOrderOnce(t *testing.T) {
	c, err := load(t, Options{}, "f", "include d/*.conf; include a; include a;", "d/2.conf", "", "d/1.conf", "accepted 1;", "d/.3.conf", "bogus;", "a", "")
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, f := range c.Files {
		names = append(names, filepath.Base(f.Name)+":"+string(f.Text))
	}
	if got, want := strings.Join(names, "|"), "f:include d/*.conf; include a; include a;|1.conf:accepted 1;|2.conf:|a:"; got != want {
		t.Errorf("got %s\nwant %s", got, want)
	}
	if len(c.Globs) != 3 || !strings.HasSuffix(c.Globs[0], "/d/*.conf") {
		t.Errorf("patterns for watching: %q", c.Globs)
	}
}

func TestGlobalsAreReadFirst(t *testing.T) {
	c, err := load(t, Options{Globals: "name g; field a;"}, "f", "field b;")
	if err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(at(c).Name.V, at(c).Fields.V); got != "g[a b]" {
		t.Errorf("got %s", got)
	}
	for globals, want := range map[string]string{
		"bogus;":        `unknown directive "bogus" in command line`,
		"name x":        `unexpected end of parameter, expecting ";" in command line`,
		"outer { }":     `block directives are not supported in -g option in command line`,
		"name a b;":     `invalid number of arguments in "name" directive in command line`,
		"name x; bits;": `"bits" directive is not allowed here in command line`,
	} {
		if _, err := load(t, Options{Globals: globals}, "f", ""); err == nil || err.Error() != want {
			t.Errorf("-g %q: got %v, want %s", globals, err, want)
		}
	}
}

func TestKnownDirectiveIsRefusedByName(t *testing.T) {
	known := func(name string) bool { return name == "fancy" }
	_, err := load(t, Options{Known: known}, "f", "fancy a;")
	if err == nil || err.Error() != `directive "fancy" is known but not supported in f:1` {
		t.Errorf("got %v", err)
	}
	c, err := load(t, Options{Known: known, WarnUnsupported: true}, "f", "fancy a { b; }\nname x;")
	if err != nil {
		t.Fatal(err)
	}
	if len(c.Notices) != 1 || c.Notices[0].Severity != "warn" || at(c).Name.V != "x" {
		t.Errorf("got %v", c.Notices)
	}
}

func TestDuplicateNamesTheDirective(t *testing.T) {
	_, err := load(t, Options{}, "f", "name a;\nname b;")
	if err == nil || err.Error() != `"name" directive is duplicate in f:2` {
		t.Errorf("got %v", err)
	}
}

func TestIncludeCycleIsAnError(t *testing.T) {
	_, err := load(t, Options{}, "f", "include a;", "a", "\ninclude f;")
	if err == nil || err.Error() != `include cycle: "f" includes itself in a:2` {
		t.Errorf("got %v", err)
	}
	files := []string{"0", "include 1;"}
	for i := 1; i < 70; i++ {
		files = append(files, fmt.Sprint(i), fmt.Sprintf("include %d;", i+1))
	}
	if _, err = load(t, Options{}, files...); err == nil || !strings.HasPrefix(err.Error(), `include of "64" is nested too deeply`) {
		t.Errorf("got %v", err)
	}
}

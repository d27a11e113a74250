package server

import (
	"fmt"
	"os"
	"slices"
	"sort"
	"strings"
	"testing"

	conf "limpet/nginxconf"
)

// nginxRow is a directive as nginx's source and documentation have it.
type nginxRow struct {
	in    conf.Context
	arity conf.Arity
	block bool
	deflt string
}

// nginxRows reads the table of nginx's directives: those of main, events and http.
func nginxRows(t *testing.T) map[string][]nginxRow {
	text, err := os.ReadFile("../../testdata/nginx-directives.tsv")
	if err != nil {
		t.Fatal(err)
	}
	rows := make(map[string][]nginxRow)
	for _, line := range strings.Split(strings.TrimSpace(string(text)), "\n") {
		f := strings.Split(line, "\t")
		if strings.HasPrefix(line, "#") || len(f) != 4 {
			continue
		}
		in, ok := contexts(f[1])
		if !ok {
			continue
		}
		r := nginxRow{in: in, deflt: f[3]}
		for _, word := range strings.Split(f[2], ",") {
			if word == "block" {
				r.block = true
				continue
			}
			a, ok := arities()[word]
			if !ok {
				t.Fatalf("unknown arity %q of %s", word, f[0])
			}
			r.arity |= a
		}
		rows[f[0]] = append(rows[f[0]], r)
	}
	return rows
}

// contexts reads the names of contexts; false when one is of stream or mail.
func contexts(s string) (conf.Context, bool) {
	names := map[string]conf.Context{"main": conf.Main, "events": conf.Events, "http": conf.HTTP, "server": conf.Server,
		"server-if": conf.ServerIf, "location": conf.Location, "location-if": conf.LocationIf, "limit_except": conf.LimitExcept, "upstream": conf.Upstream}
	var in conf.Context
	for _, n := range strings.Split(s, ",") {
		c, ok := names[n]
		if !ok {
			return 0, false
		}
		in |= c
	}
	return in, true
}

func arities() map[string]conf.Arity {
	return map[string]conf.Arity{"noargs": conf.NoArgs, "flag": conf.Args1, "take1": conf.Args1, "take2": conf.Args2, "take3": conf.Args3,
		"take4": conf.Args4, "take12": conf.Args12, "take13": conf.Args13, "take23": conf.Args23, "take123": conf.Args123,
		"take1234": conf.Args1234, "1more": conf.Args1More, "2more": conf.Args2More, "any": conf.AnyArgs}
}

// everyRow calls fn with each row of each module.
func everyRow(fn func(module string, d *conf.Directive)) {
	for _, m := range (&Options{}).modules() {
		if m.Conf == nil {
			continue
		}
		rows := m.Conf().Directives()
		for i := range rows {
			fn(m.Name, &rows[i])
		}
	}
}

// differences are rows that differ from nginx 1.31's on purpose, with the reason.
func differences() map[string]string {
	return map[string]string{
		"user":                    "a user alone is its own group: nobody means nobody nobody",
		"worker_shutdown_timeout": "0 is no bound",
		"worker_rlimit_nofile":    "0 leaves the limit as it is",
		"types":                   "the table's default is built in, not parsed",
		"listen":                  "the default depends on who runs the process",
		"sticky":                  "nginx-sticky-module has it without arguments, too",
		"userid_service":          "the default is the address that the request came to",
		"server_name":             "an empty name is made where the server is built",
		"keepalive_timeout":       "nginx has two: 60s in an upstream, which the table takes for the one of http",
		"proxy_ssl_name":          "unset, it is the host of proxy_pass or a script's",
		"uwsgi_ssl_name":          "unset, it is the host of uwsgi_pass",
		"proxy_set_header":        "the default fields are built in",
		"fastcgi_param":           "HTTP_HOST is built in",
		"uwsgi_param":             "HTTP_HOST is built in",
		"scgi_param":              "HTTP_HOST is built in",
		"error_log":               "the default follows -e",
		"log_format":              "combined is built in",
	}
}

func TestRowsAreNginxs(t *testing.T) {
	nginx := nginxRows(t)
	reasons := differences()
	used := make(map[string]bool)
	everyRow(func(module string, d *conf.Directive) {
		why := compareRow(d, nginx[d.Name])
		if why == "" {
			return
		}
		if reasons[d.Name] == "" {
			t.Errorf("%s of %s: %s", d.Name, module, why)
		}
		used[d.Name] = true
	})
	for name := range reasons {
		if !used[name] {
			t.Errorf("%s is listed as different and isn't", name)
		}
	}
}

// compareRow says in what a row differs from nginx's; "" for a directive that nginx
// doesn't have. Rows of nginx with one name and arity count as one.
func compareRow(d *conf.Directive, rows []nginxRow) string {
	if len(rows) == 0 {
		return ""
	}
	var all nginxRow
	for _, r := range rows {
		if r.in&d.In == 0 {
			continue
		}
		if all.in == 0 {
			all = r
		} else if all.arity == r.arity {
			all.in |= r.in
		}
	}
	switch {
	case all.in != d.In:
		return fmt.Sprintf("contexts %s, nginx has %s", d.In, all.in)
	case all.arity != d.Arity:
		return fmt.Sprintf("takes %s arguments, nginx takes %s", d.Arity, all.arity)
	case all.block != (d.Body != nil):
		return "one has a block, the other hasn't"
	case !sameDefault(d, all.deflt):
		return fmt.Sprintf("default %q, nginx documents %q", d.Default, all.deflt)
	}
	return ""
}

// sameDefault compares defaults; nginx's documentation gives alternatives by system with a bar.
func sameDefault(d *conf.Directive, nginx string) bool {
	if d.Why != "" || d.Default == nginx {
		return true
	}
	for _, alternative := range strings.FieldsFunc(nginx, func(r rune) bool { return r == '|' }) {
		if strings.TrimSpace(alternative) == d.Default {
			return true
		}
	}
	return false
}

// TestDirectivesPage keeps nginxconf/DIRECTIVES.md fresh; DOCS=write writes it.
func TestDirectivesPage(t *testing.T) {
	const name = "../../nginxconf/DIRECTIVES.md"
	want := directivesPage()
	if os.Getenv("DOCS") == "write" {
		if err := os.WriteFile(name, []byte(want), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != want {
		t.Errorf("%s is stale: run `make docs`", name)
	}
}

// directivesPage lists every directive.
func directivesPage() string {
	byName := make(map[string][]string)
	var names []string
	everyRow(func(module string, d *conf.Directive) {
		deflt := ""
		if d.Default != "" {
			deflt = "`" + strings.ReplaceAll(d.Default, "|", `\|`) + "`"
		}
		says := d.Doc
		if d.Why != "" {
			says = "Accepted without effect: " + d.Why + "."
		}
		arity := d.Arity.String()
		if d.Body != nil {
			arity = strings.TrimSpace(strings.TrimPrefix(arity, "0") + " { }")
		}
		if byName[d.Name] == nil {
			names = append(names, d.Name)
		}
		byName[d.Name] = append(byName[d.Name], fmt.Sprintf("| `%s` | %s | %s | %s | %s | %s |\n",
			d.Name, strings.ReplaceAll(d.In.String(), ",", ", "), arity, deflt, says, module))
	})
	sort.Strings(names)
	var b strings.Builder
	b.WriteString("# Directives\n\nWritten by `make docs` from the rows of the modules; don't edit.\n\n")
	fmt.Fprintf(&b, "%d directives. Arguments: how many a directive takes; `{ }` is a block.\n\n", len(names))
	b.WriteString("| directive | contexts | arguments | default | what it does | module |\n|---|---|---|---|---|---|\n")
	for _, n := range names {
		b.WriteString(strings.Join(byName[n], ""))
	}
	b.WriteString("\n## Known and not supported\n\nThese are refused by name, those of NGINX Plus, OpenResty, Tengine, Angie and of widely used modules among them.\n\n")
	for _, n := range strings.Fields(knownText) {
		if byName[n] == nil && n != "include" {
			b.WriteString("`" + n + "`\n")
		}
	}
	return b.String()
}

// TestDirectivesHaveScripts wants testdata/directives/NAME.txtar for each directive that does something, or, of KIND_NAME,
// testdata/relay/NAME.txtar that is for the kind.
func TestDirectivesHaveScripts(t *testing.T) {
	var missing []string
	seen := make(map[string]bool)
	everyRow(func(_ string, d *conf.Directive) {
		if d.Why != "" || seen[d.Name] {
			return
		}
		seen[d.Name] = true
		if _, err := os.Stat("../../testdata/directives/" + d.Name + ".txtar"); err != nil && !sharesScript(d.Name) {
			missing = append(missing, d.Name)
		}
	})
	sort.Strings(missing)
	if len(missing) > 0 {
		t.Errorf("%d directives have no script in testdata/directives or testdata/relay: %s", len(missing), strings.Join(missing, " "))
	}
}

// sharesScript reports whether a directive has a script together with those of other kinds of modules. Such a script
// names its kinds in its first line.
func sharesScript(directive string) bool {
	kind, name, _ := strings.Cut(directive, "_")
	text, _ := os.ReadFile("../../testdata/relay/" + name + ".txtar")
	first, _, _ := strings.Cut(string(text), "\n")
	words := strings.Fields(first)
	return len(words) > 0 && words[0] == "kinds" && slices.Contains(words, kind)
}

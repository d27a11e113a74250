package script

import (
	"cmp"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// kind is a module that passes requests on, as a shared script's words name it.
type kind struct {
	name       string
	plain, tls string // in front of an address in its _pass
	speaks     string // what backends of its scripts speak
	params     bool   // it passes on what its _param names
}

// kinds returns the kinds of modules by their names.
func kinds() map[string]kind {
	m := make(map[string]kind)
	for _, k := range []kind{
		{name: "proxy", plain: "http://", tls: "https://", speaks: "http"},
		{name: "fastcgi", speaks: "fastcgi", params: true},
		{name: "scgi", speaks: "scgi", params: true},
		{name: "uwsgi", plain: "uwsgi://", tls: "suwsgi://", speaks: "uwsgi", params: true},
		{name: "memcached", speaks: "memcached"},
	} {
		m[k.name] = k
	}
	return m
}

// passed is what the scripts of a kind have in http { } for what a request asks: parameters, unless a block has its own, or
// a key.
func (k kind) passed() []string {
	if k.name == "memcached" {
		return []string{"map $uri $memcached_key { default $uri; }"}
	}
	if !k.params {
		return nil
	}
	var list []string
	for _, p := range [...]string{"REQUEST_METHOD $request_method", "REQUEST_URI $request_uri", "SERVER_PROTOCOL $server_protocol", "CONTENT_LENGTH $content_length"} {
		if k.name == "scgi" && strings.HasPrefix(p, "CONTENT_LENGTH") {
			continue // it always goes out
		}
		list = append(list, k.name+"_param "+p+";")
	}
	return list
}

// list finds the kinds that a shared script is for.
var list = regexp.MustCompile(`(?m)^kinds((?: [a-z]+)+)$`)

// Kinds returns the names of the kinds that a shared script is for.
func Kinds(text []byte) []string {
	m := list.FindSubmatch(text)
	if m == nil {
		return nil
	}
	return strings.Fields(string(m[1]))
}

// isFor does nothing more: the command names the kinds of a shared script.
func isFor(r *run, args []string) (string, error) {
	for _, name := range args {
		if _, ok := kinds()[name]; !ok {
			return "", usageError("kinds: unknown kind " + name)
		}
	}
	if r.kind.name == "" || len(args) == 0 {
		return "", usageError("usage: kinds NAME..., in a shared script")
	}
	return "", nil
}

// Shared returns what testscript.Run needs to run the scripts that a folder has for several kinds of modules, each of
// them as KIND_SCRIPT. Those are written to the folder temp. UPDATE doesn't reach them.
func Shared(t testing.TB, dir, temp string, bin Binary) testscript.Params {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*.txtar"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no scripts in %s: %v", dir, err)
	}
	for _, name := range files {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		names := Kinds(text)
		if len(names) == 0 {
			t.Errorf("%s names no kinds", name)
		}
		for _, n := range names {
			one := filepath.Join(temp, n+"_"+filepath.Base(name))
			if err := os.WriteFile(one, []byte(kinds()[n].script(string(text))), 0o666); err != nil {
				t.Fatal(err)
			}
		}
	}
	p := Params(temp, bin)
	p.UpdateScripts = false
	return p
}

// script returns a shared script as it is for a kind: with its words, and empty lines where there is something for others.
func (k kind) script(text string) string {
	// A condition on a kind, perhaps behind others.
	only := regexp.MustCompile(`^(\s*(?:\[[^\]]*\]\s+)*?)\[(!?)(` + strings.Join(slices.Collect(maps.Keys(kinds())), "|") + `)\]\s*`)
	lines := strings.Split(text, "\n")
	for i, line := range lines {
		for m := only.FindStringSubmatch(line); m != nil; m = only.FindStringSubmatch(line) {
			if (m[3] == k.name) == (m[2] == "!") {
				line = ""
				break
			}
			line = m[1] + line[len(m[0]):]
		}
		lines[i] = line
	}
	return strings.NewReplacer("KINDS://", k.tls, "KIND://", k.plain, "LOGGED://", cmp.Or(k.plain, k.name+"://"), "KIND", k.name).Replace(strings.Join(lines, "\n"))
}

// kindOf returns the kind that a script of Shared is for, by its name; the zero kind for any other script.
func kindOf(dir, name string) (k kind, err error) {
	text, err := os.ReadFile(filepath.Join(dir, name+".txtar"))
	if err != nil || list.Find(text) == nil {
		return k, err
	}
	prefix, _, _ := strings.Cut(name, "_")
	k, ok := kinds()[prefix]
	if !ok || !slices.Contains(Kinds(text), prefix) {
		return k, fmt.Errorf("%s isn't for %q", name, prefix)
	}
	return k, nil
}

package arch

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"limpet/internal/server"
	"limpet/testdata/seed"
)

// pages are those whose examples and links are looked at.
func pages(t *testing.T) map[string]string {
	t.Helper()
	texts := make(map[string]string)
	for _, name := range []string{"README.md", "internal/admin/README.md", "testdata/README.md"} {
		text, err := os.ReadFile("../../" + name)
		if err != nil {
			t.Fatal(err)
		}
		texts[name] = string(text)
	}
	return texts
}

// TestReadmeExamplesLoad tests each block of configuration as -t --offline does. A
// block stands inside http { } unless it has one.
func TestReadmeExamplesLoad(t *testing.T) {
	block := regexp.MustCompile("(?s)\n```nginx\n(.*?)```")
	n := 0
	for name, text := range pages(t) {
		for _, m := range block.FindAllStringSubmatchIndex(text, -1) {
			n++
			example := text[m[2]:m[3]]
			line := 1 + strings.Count(text[:m[2]], "\n")
			t.Run(fmt.Sprintf("%s:%d", name, line), func(t *testing.T) { loads(t, example) })
		}
	}
	if n < 4 {
		t.Errorf("only %d examples found", n)
	}
}

func loads(t *testing.T, example string) {
	dir := t.TempDir() + "/"
	if !strings.Contains(example, "http {") {
		example = "events { }\nhttp {\n" + example + "}\n"
	}
	lua, err := seed.Files.ReadFile("lua/balancer.lua")
	if err != nil {
		t.Fatal(err)
	}
	os.Mkdir(dir+"lua", 0o755)
	for name, text := range map[string]string{"nginx.conf": example, "lua/balancer.lua": string(lua)} {
		if err := os.WriteFile(dir+name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if _, _, err := server.Test(server.Options{ConfFile: dir + "nginx.conf", Prefix: dir, Offline: true}); err != nil {
		t.Errorf("%v in\n%s", err, example)
	}
}

// TestReadmeLinksLead looks for the files that pages link to and the targets of make that they name.
func TestReadmeLinksLead(t *testing.T) {
	link := regexp.MustCompile(`\]\(([^)#:]+)\)`)
	target := regexp.MustCompile("(?m)(?:^    |`)make ([a-z]+)")
	makefile, err := os.ReadFile("../../Makefile")
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range pages(t) {
		for _, m := range link.FindAllStringSubmatch(text, -1) {
			if _, err := os.Stat(filepath.Join("../..", filepath.Dir(name), m[1])); err != nil {
				t.Errorf("%s links to %s: %v", name, m[1], err)
			}
		}
		for _, m := range target.FindAllStringSubmatch(text, -1) {
			if !strings.Contains(string(makefile), "\n"+m[1]+":") {
				t.Errorf("%s names make %s, which isn't there", name, m[1])
			}
		}
	}
}

// TestReadmeListsEveryFolder wants the architecture's table to have each package outside of internal.
func TestReadmeListsEveryFolder(t *testing.T) {
	readme := pages(t)["README.md"]
	for _, s := range sources(t) {
		if strings.HasPrefix(s.name, "internal/") || strings.HasPrefix(s.name, "testdata/") {
			continue
		}
		if !strings.Contains(readme, "("+s.name+")") {
			t.Errorf("README.md doesn't name %s", s.name)
		}
	}
}

package server

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"limpet/internal/unsupported"
	conf "limpet/nginxconf"
)

// TestReadmeTellsWhatIsDone holds README.md to the rows: a known directive that it
// names is there, unless it stands under "What is not done", where it must not be.
func TestReadmeTellsWhatIsDone(t *testing.T) {
	text, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	done := make(map[string]bool)
	everyRow(func(_ string, d *conf.Directive) { done[d.Name] = true })
	known := knownNames()
	word := regexp.MustCompile("`([a-z0-9_]+)(?:[ ;{][^`\n]*)?`")
	section, named := "", 0
	for line := range strings.Lines(string(text)) {
		if title, ok := strings.CutPrefix(line, "## "); ok {
			section = strings.TrimSpace(title)
		}
		for _, m := range word.FindAllStringSubmatch(line, -1) {
			name := m[1]
			if name == "include" { // the language's own
				continue
			}
			switch {
			case section == "What is not done" && done[name]:
				t.Errorf("README.md says that %s isn't done, and it is", name)
			case section == "What is not done" && known(name):
				named++
			case section != "What is not done" && section != "Migrating" && known(name) && !done[name]:
				t.Errorf("README.md names %s, which isn't done", name)
			}
		}
	}
	if named < 10 {
		t.Errorf("only %d directives are named as not done", named)
	}
}

// TestSkippedHandlersAreMissing keeps a handler or guard that was built from being skipped or refused by --unsupported=warn.
func TestSkippedHandlersAreMissing(t *testing.T) {
	done := make(map[string]bool)
	everyRow(func(_ string, d *conf.Directive) { done[d.Name] = true })
	known := knownNames()
	for _, name := range append(unsupported.Handlers(), unsupported.Guards()...) {
		if done[name] || !known(name) {
			t.Errorf("%s: done %v, known %v", name, done[name], known(name))
		}
	}
}

package demo

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"limpet/internal/server"
	"limpet/testdata/seed"
)

func TestSeedsConfigurationIsComplete(t *testing.T) {
	dir := t.TempDir()
	front, err := freeAddr("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := stage{dir: dir, front: front, out: os.Stderr}
	for i := range 3 {
		b, err := startBackend(i + 1)
		if err != nil {
			t.Fatal(err)
		}
		defer b.close()
		s.backends = append(s.backends, b)
	}
	if err := s.write(); err != nil {
		t.Fatal(err)
	}
	text, _ := os.ReadFile(s.conf())
	for _, b := range s.backends {
		if strings.Count(string(text), "server "+b.addr+";") != 1 {
			t.Errorf("backend %d isn't in\n%s", b.number, text)
		}
	}
	if strings.Contains(string(text), "192.168") || strings.Contains(string(text), "\n            ...") {
		t.Errorf("what had to be replaced is left in\n%s", text)
	}
	fragment, _ := seed.Files.ReadFile("nginx.conf.fragment")
	lua := string(fragment[strings.Index(string(fragment), "init_worker"):])
	if !strings.Contains(string(text), strings.TrimSpace(lua)) {
		t.Error("the checks aren't as their user wrote them")
	}
	if _, _, err := server.Test(server.Options{ConfFile: s.conf(), Prefix: dir + "/", ErrorLog: filepath.Join(dir, "logs/e")}); err != nil {
		t.Error(err)
	}
}

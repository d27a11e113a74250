package drain

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"limpet/upstream"
)

// group is an upstream u of a and b.
func group() *upstream.Group { return upstream.Single("u", "192.0.2.1:80", "192.0.2.2:80") }

func draining(g *upstream.Group) string {
	var list []string
	for _, p := range g.Peers().All {
		if p.Draining() {
			list = append(list, string(p.Name))
		}
	}
	return strings.Join(list, " ")
}

func open(t *testing.T, file string) *Set {
	t.Helper()
	s, err := Open(file)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestDrainedPeersAreReadAgain(t *testing.T) {
	file := filepath.Join(t.TempDir(), "state")
	s := open(t, file)
	for _, peer := range []string{"192.0.2.2:80", "192.0.2.1:80", "192.0.2.2:80"} {
		if err := s.Drain(group(), peer); err != nil {
			t.Fatal(err)
		}
	}
	const want = `{
  "drained": [
    {
      "upstream": "u",
      "peer": "192.0.2.1:80"
    },
    {
      "upstream": "u",
      "peer": "192.0.2.2:80"
    }
  ]
}
`
	if text, err := os.ReadFile(file); err != nil || string(text) != want {
		t.Errorf("%v, the file is\n%s", err, text)
	}
	s, g := open(t, file), group()
	s.start([]*upstream.Group{g}, nil)
	if got := draining(g); got != "192.0.2.1:80 192.0.2.2:80" {
		t.Errorf("draining: %s", got)
	}
	if found, err := s.Undrain("u", g, "192.0.2.1:80"); !found || err != nil {
		t.Error(found, err)
	}
	s.start([]*upstream.Group{g}, nil) // a reload
	if got := draining(g); got != "192.0.2.2:80" {
		t.Errorf("draining: %s", got)
	}
	if found, _ := s.Undrain("u", g, "192.0.2.1:80"); found {
		t.Error("undrained twice")
	}
	if names, _ := os.ReadDir(filepath.Dir(file)); len(names) != 1 {
		t.Errorf("left behind: %v", names)
	}
}

func TestUnknownPeersStayNoted(t *testing.T) {
	file := filepath.Join(t.TempDir(), "state")
	os.WriteFile(file, []byte(`{"drained": [{"upstream": "old", "peer": "192.0.2.9:80"}]}`), 0o600)
	s := open(t, file)
	s.Drain(group(), "192.0.2.1:80")
	if text, _ := os.ReadFile(file); !strings.Contains(string(text), "192.0.2.9:80") {
		t.Errorf("the file is\n%s", text)
	}
	if found, err := s.Undrain("old", nil, "192.0.2.9:80"); !found || err != nil {
		t.Error(found, err)
	}
	if text, _ := os.ReadFile(file); strings.Contains(string(text), "192.0.2.9:80") {
		t.Errorf("the file is\n%s", text)
	}
}

func TestServerLineStandsForItsAddresses(t *testing.T) {
	g := group()
	for _, p := range g.Peers().All {
		p.Server = "backend.example"
	}
	s := new(Set)
	s.Drain(g, "backend.example")
	if got := draining(g); got != "192.0.2.1:80 192.0.2.2:80" {
		t.Errorf("draining: %s", got)
	}
	if found, _ := s.Undrain("u", g, "192.0.2.1:80"); found || s.As(g, g.Peers().All[0]) != "backend.example" {
		t.Errorf("one address was taken out of a line that drains: %s", draining(g))
	}
	g.Peers().All[1].Server = "other" // the line has but one address
	if found, _ := s.Undrain("u", g, "192.0.2.1:80"); !found || draining(g) != "" {
		t.Errorf("draining: %s", draining(g))
	}
	s.Drain(g, "192.0.2.1:80")
	if found, _ := s.Undrain("u", g, "backend.example"); !found || draining(g) != "" {
		t.Errorf("draining: %s", draining(g))
	}
}

func TestBadFilesAreTold(t *testing.T) {
	dir := t.TempDir()
	os.WriteFile(dir+"/broken", []byte(`{"drained": [`), 0o600)
	for file, want := range map[string]string{
		dir + "/broken":     `state file "` + dir + `/broken" is broken (unexpected end of JSON input), nothing of it is used`,
		dir + "/none/state": `state file: open() "` + dir + `/none/state" failed (2: No such file or directory)`,
		dir:                 `state file: open() "` + dir + `" failed (21: Is a directory)`,
	} {
		s, err := Open(file)
		if err == nil || err.Error() != want {
			t.Errorf("%v, want %s", err, want)
		}
		g := group()
		err = s.Drain(g, "192.0.2.1:80")
		if file == dir+"/broken" != (err == nil) {
			t.Errorf("%s: writing it: %v", file, err)
		}
		if draining(g) != "192.0.2.1:80" {
			t.Errorf("%s: it isn't drained for that", file)
		}
	}
}

func TestFileIsWrittenWhereItMayBe(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "state"))
	n := 0
	s.Write = func(f func()) { n++; f() }
	s.Drain(group(), "192.0.2.1:80")
	s.Undrain("u", group(), "192.0.2.1:80")
	s.Undrain("u", group(), "192.0.2.1:80") // nothing changes
	if n != 2 {
		t.Errorf("written %d times", n)
	}
}

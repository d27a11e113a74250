package script

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	// The tests run a program that is built from these, so that their change must make the tests run again.
	_ "limpet/internal/demo"
	_ "limpet/internal/process"
)

// tested is the program under test and the folder that it was built in.
type tested struct {
	once   sync.Once
	dir    string
	binary Binary
	err    error
}

// program is built by the first test that needs it.
var program tested

func TestMain(m *testing.M) {
	flag.Parse()
	flag.Set("test.parallel", "4")
	code := m.Run()
	if program.dir != "" {
		os.RemoveAll(program.dir)
	}
	os.Exit(code)
}

// underTest returns the program under test: limpet, or what ORACLE names.
func underTest(t *testing.T) Binary {
	t.Helper()
	program.once.Do(func() { program.err = program.prepare() })
	if program.err != nil {
		t.Fatal(program.err)
	}
	return program.binary
}

func (p *tested) prepare() (err error) {
	if oracle := os.Getenv("ORACLE"); oracle != "" {
		p.binary = Binary{Path: oracle, Oracle: true}
		return nil
	}
	// Reading the sources tells the test cache what the result depends on.
	sources, err := filepath.Glob("../../cmd/limpet/*.go")
	if err != nil {
		return err
	}
	for _, s := range sources {
		if _, err := os.ReadFile(s); err != nil {
			return err
		}
	}
	if p.dir, err = os.MkdirTemp("", "limpet-script"); err != nil {
		return err
	}
	if err := os.Chmod(p.dir, 0o755); err != nil {
		return err
	}
	p.binary.Path = filepath.Join(p.dir, "limpet")
	build := exec.Command("go", "build", "-o", p.binary.Path)
	if raceEnabled {
		build.Args = append(build.Args, "-race")
	} else {
		build.Env = append(os.Environ(), "CGO_ENABLED=0") // as it is shipped
	}
	build.Args = append(build.Args, "limpet/cmd/limpet")
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("%s%w", out, err)
	}
	return nil
}

func TestDirectives(t *testing.T) {
	testscript.Run(t, Params("../../testdata/directives", underTest(t)))
}

// TestRelay runs the scripts that are for several kinds of modules.
func TestRelay(t *testing.T) {
	testscript.Run(t, Shared(t, "../../testdata/relay", t.TempDir(), underTest(t)))
}

func TestScenarios(t *testing.T) {
	testscript.Run(t, Params("../../testdata/scenarios", underTest(t)))
}

// TestCommands runs the scripts about the commands themselves, which need no server.
func TestCommands(t *testing.T) {
	testscript.Run(t, Params("testdata", underTest(t)))
}

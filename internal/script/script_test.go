package script

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// binary is what TestMain chose or built.
var binary Binary

func TestMain(m *testing.M) {
	flag.Parse()
	flag.Set("test.parallel", "4")
	os.Exit(withBinary(m))
}

func withBinary(m *testing.M) int {
	if oracle := os.Getenv("ORACLE"); oracle != "" {
		binary = Binary{Path: oracle, Oracle: true}
		return m.Run()
	}
	dir, err := os.MkdirTemp("", "limpet-script")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	os.Chmod(dir, 0o755)
	binary.Path = filepath.Join(dir, "limpet")
	args := []string{"build", "-o", binary.Path}
	build := exec.Command("go", append(args, "limpet/cmd/limpet")...)
	if raceEnabled {
		build = exec.Command("go", append(args, "-race", "limpet/cmd/limpet")...)
	} else {
		build.Env = append(os.Environ(), "CGO_ENABLED=0") // as it is shipped
	}
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "%s%v\n", out, err)
		return 1
	}
	return m.Run()
}

func TestDirectives(t *testing.T) {
	testscript.Run(t, Params("../../testdata/directives", binary))
}

func TestScenarios(t *testing.T) {
	testscript.Run(t, Params("../../testdata/scenarios", binary))
}

// TestCommands runs the scripts about the commands themselves, which need no server.
func TestCommands(t *testing.T) {
	testscript.Run(t, Params("testdata", binary))
}

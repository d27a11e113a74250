package script

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"
)

// chunk is one configuration of testdata/wrong with what -t says of it.
type chunk struct {
	title  string
	text   string   // a txtar archive: the main file, then others
	want   []string // from limpet, and from nginx unless oracle says otherwise
	oracle []string // from nginx 1.22 where limpet differs for the reason in the title
}

// parseChunks reads a file of testdata/wrong:
//
//	--- TITLE
//	the text of nginx.conf, then `-- name --` and the text of other files
//	=> a line of -t's output, without "nginx: " and the folder
//
// A configuration that is well has the line `=> ok` behind its warnings. Lines
// with `=1.22>` in place of `=>` are nginx's where limpet's differ on purpose.
func parseChunks(text string) []*chunk {
	var chunks []*chunk
	var c *chunk
	for _, line := range strings.SplitAfter(text, "\n") {
		plain := strings.TrimSuffix(line, "\n")
		switch {
		case strings.HasPrefix(line, "--- "):
			c = &chunk{title: plain[4:]}
			chunks = append(chunks, c)
		case c == nil || line == "":
		case strings.HasPrefix(line, "=> "):
			c.want = append(c.want, plain[3:])
		case strings.HasPrefix(line, "=1.22> "):
			c.oracle = append(c.oracle, plain[7:])
		default:
			c.text += line
		}
	}
	return chunks
}

// format is the inverse of parseChunks.
func formatChunks(chunks []*chunk) string {
	var b strings.Builder
	for _, c := range chunks {
		b.WriteString("--- " + c.title + "\n" + c.text)
		for _, w := range c.oracle {
			b.WriteString("=1.22> " + w + "\n")
		}
		for _, w := range c.want {
			b.WriteString("=> " + w + "\n")
		}
	}
	return b.String()
}

// TestWrongConfigurations compares what -t says of wrong files with what nginx
// says. With ORACLE it checks nginx itself; with UPDATE, too, it records it. UPDATE
// alone records limpet's differences, which must then be looked at one by one.
func TestWrongConfigurations(t *testing.T) {
	files, err := filepath.Glob("../../testdata/wrong/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatal("no files", err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		chunks := parseChunks(string(text))
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			t.Run("chunk", func(t *testing.T) {
				for _, c := range chunks {
					t.Run(c.title, func(t *testing.T) { t.Parallel(); c.check(t) })
				}
			})
			if os.Getenv("UPDATE") == "" {
				return
			}
			if err := os.WriteFile(file, []byte(formatChunks(chunks)), 0o666); err != nil {
				t.Error(err)
			}
		})
	}
}

func (c *chunk) check(t *testing.T) {
	got := testConfiguration(t, c.text)
	want := &c.want
	if underTest(t).Oracle && c.oracle != nil {
		want = &c.oracle
	}
	switch update := os.Getenv("UPDATE") != ""; {
	case update && underTest(t).Oracle:
		*want = got
		return
	case update && !slices.Equal(got, *want):
		if c.oracle == nil {
			c.oracle = c.want
		}
		c.want = got
		return
	}
	if !slices.Equal(got, *want) {
		t.Errorf("%s:\n%s\ngot:\n\t%s\nwant:\n\t%s", c.title, c.text, strings.Join(got, "\n\t"), strings.Join(*want, "\n\t"))
	}
}

// testConfiguration runs -t and returns what it says.
func testConfiguration(t *testing.T, text string) []string {
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "logs"), 0o777); err != nil {
		t.Fatal(err)
	}
	a := txtar.Parse([]byte(text))
	files := append([]txtar.File{{Name: "nginx.conf", Data: a.Comment}}, a.Files...)
	for _, f := range files {
		name := filepath.Join(dir, f.Name)
		if err := os.MkdirAll(filepath.Dir(name), 0o777); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, f.Data, 0o666); err != nil {
			t.Fatal(err)
		}
	}
	argv := []string{"-t", "-p", dir, "-c", filepath.Join(dir, "nginx.conf"), "-e", filepath.Join(dir, "check.log")}
	if g := loadModules([]byte(text)); underTest(t).Oracle && g != "" {
		argv = append(argv, "-g", g)
	}
	cmd := exec.Command(underTest(t).Path, argv...)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	var got []string
	for _, line := range strings.Split(strings.ReplaceAll(string(out), dir+"/", ""), "\n") {
		line = strings.TrimPrefix(line, "nginx: ")
		if line == "" || strings.HasPrefix(line, "the configuration file ") || strings.HasPrefix(line, "configuration file ") {
			continue
		}
		got = append(got, line)
	}
	var exit *exec.ExitError
	switch {
	case err == nil:
		got = append(got, "ok")
	case errors.As(err, &exit) && exit.ExitCode() != 1:
		got = append(got, exit.String())
	}
	return got
}

package errlog

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// opened opens a log of one target for each list of levels and returns what reads the messages that each has got.
func opened(t *testing.T, levels ...string) (*Log, func(i int) string) {
	dir := t.TempDir()
	path := func(i int) string { return filepath.Join(dir, string(rune('a'+i))) }
	var targets []Target
	for i, words := range levels {
		target, err := ParseTarget(append([]string{path(i)}, strings.Fields(words)...), nil)
		if err != nil {
			t.Fatal(err)
		}
		targets = append(targets, target)
	}
	l, err := Open(new(Files), targets)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.Close)
	return l, func(i int) string {
		text, _ := os.ReadFile(path(i))
		var messages []string
		for line := range strings.Lines(string(text)) {
			_, message, _ := strings.Cut(line, "#")
			_, message, _ = strings.Cut(message, ": ")
			messages = append(messages, strings.TrimSuffix(message, "\n"))
		}
		return strings.Join(messages, " ")
	}
}

func TestDebugLinesGoByFacility(t *testing.T) {
	l, got := opened(t, "debug", "debug_http", "debug_event debug_core", "info", "error")
	l.Debugf(DebugHTTP, 0, "%s", "http")
	l.Debugf(DebugEvent, 0, "event")
	l.Debugf(DebugCore, 0, "core")
	l.Write(Debug, 0, "any") // of no facility: ngx.log in Lua
	l.Write(Info, 0, "info")
	for i, want := range []string{"http event core any info", "http any info", "event core any info", "info", ""} {
		if got(i) != want {
			t.Errorf("log %d has %q, want %q", i, got(i), want)
		}
	}
}

func TestDebuggingIsOfTheDestinationsTogether(t *testing.T) {
	for _, c := range []struct {
		levels []string
		want   Facility
	}{
		{[]string{"info"}, 0},
		{[]string{"debug"}, DebugAll},
		{[]string{"debug_http", "error"}, DebugHTTP},
		{[]string{"debug_http", "debug_core debug_mail"}, DebugHTTP | DebugCore | DebugMail},
	} {
		l, _ := opened(t, c.levels...)
		for f := DebugCore; f <= DebugStream; f <<= 1 {
			if got := l.Debugging(f); got != (c.want&f != 0) {
				t.Errorf("%v: Debugging(%d) is %t", c.levels, f, got)
			}
		}
	}
	if (*Log)(nil).Debugging(DebugAll) || new(Log).Debugging(DebugAll) {
		t.Error("an empty log takes debug lines")
	}
}

func TestAllTakesEveryLineEverywhere(t *testing.T) {
	l, got := opened(t, "alert", "debug_core", "error")
	l.All().Debugf(DebugHTTP, 0, "http")
	l.All().Write(Notice, 0, "notice")
	l.Debugf(DebugHTTP, 0, "lost")
	for i := range 3 {
		if got(i) != "http notice" {
			t.Errorf("log %d has %q", i, got(i))
		}
	}
	if l.All().All() != l.All() || (*Log)(nil).All() != nil {
		t.Error("All isn't its own All")
	}
}

func TestClosedIsSaid(t *testing.T) {
	l, _ := opened(t, "error")
	if l.Closed() || l.All().Closed() {
		t.Error("closed too early")
	}
	l.Close()
	if !l.Closed() || !l.All().Closed() || !(*Log)(nil).Closed() {
		t.Error("not closed")
	}
}

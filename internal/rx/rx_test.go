package rx

import (
	"errors"
	"fmt"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"
)

func flagsOf(caseless bool) Flags {
	if caseless {
		return Caseless
	}
	return 0
}

// trim drops groups at the end that aren't set, which PCRE2 doesn't count.
func trim(caps []int) []int {
	for len(caps) > 2 && caps[len(caps)-1] < 0 {
		caps = caps[:len(caps)-2]
	}
	return caps
}

func TestMatchesAsPCRE(t *testing.T) {
	for _, tc := range pcreCases {
		re, err := Compile(tc.pattern, flagsOf(tc.caseless))
		if err != nil {
			t.Errorf("%q: %v", tc.pattern, err)
			continue
		}
		caps, ok := re.Match([]byte(tc.subject), nil)
		if ok != (tc.want != nil) || !slices.Equal(trim(caps), tc.want) {
			t.Errorf("%q on %q: got %v, want %v", tc.pattern, tc.subject, caps, tc.want)
		}
	}
}

func TestErrorsAsPCRE(t *testing.T) {
	for _, tc := range pcreErrors {
		_, err := Compile(tc.pattern, 0)
		var e *Error
		if !errors.As(err, &e) || e.Msg != tc.want || e.Offset != tc.at {
			t.Errorf("%q: got %v, want %q at %d", tc.pattern, err, tc.want, tc.at)
		}
	}
}

func TestErrorInWordsOfNginx(t *testing.T) {
	for pattern, want := range map[string]string{
		"(":              `pcre2_compile() failed: missing closing parenthesis in "("`,
		"(?<n>x)(?<n>y)": `pcre2_compile() failed: two named subpatterns have the same name (PCRE2_DUPNAMES not set) in "(?<n>x)(?<n>y)" at "y)"`,
	} {
		if _, err := Compile(pattern, 0); err == nil || err.Error() != want {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}

func TestFailedMatchLeavesCapturesAlone(t *testing.T) {
	re, _ := Compile("(a)(b)", 0)
	buf := []int{7, 7, 7, 7, 7, 7}
	if _, ok := re.Match([]byte("ac"), buf[:0]); ok || !slices.Equal(buf, []int{7, 7, 7, 7, 7, 7}) {
		t.Errorf("got %v", buf)
	}
}

func TestNamesAndCount(t *testing.T) {
	re, err := Compile(`(x)(?<a>y)(?P<b>z)(?'c'w)(?:v)`, 0)
	if err != nil {
		t.Fatal(err)
	}
	if want := []Name{{"a", 2}, {"b", 3}, {"c", 4}}; !slices.Equal(re.Names(), want) || re.NumCaptures() != 4 {
		t.Errorf("got %v and %d groups", re.Names(), re.NumCaptures())
	}
}

func TestEndlessMatchIsGivenUp(t *testing.T) {
	re, _ := Compile("^(a|aa|aaa)+$", 0)
	if _, err := re.Exec([]byte(strings.Repeat("a", 60)+"b"), nil); err != ErrLimit {
		t.Errorf("got %v, want %v", err, ErrLimit)
	}
}

// TestAgreesWithGrep compares with the system's PCRE through grep where that is there.
func TestAgreesWithGrep(t *testing.T) {
	grep, err := exec.LookPath("grep")
	if err != nil || exec.Command(grep, "-P", "a", "/dev/null").Run() != nil && !supportsP(grep) {
		t.Skip("no grep with PCRE")
	}
	for _, tc := range pcreCases {
		if strings.ContainsAny(tc.subject, "\n\x00") || strings.ContainsAny(tc.pattern, "\n\x00") || strings.Contains(tc.pattern, "(*") {
			continue
		}
		args := []string{"-qaP", "-e", tc.pattern}
		if tc.caseless {
			args = slices.Insert(args, 0, "-i")
		}
		cmd := exec.Command(grep, args...)
		cmd.Env = []string{"LC_ALL=C"}
		cmd.Stdin = strings.NewReader(tc.subject + "\n")
		re, _ := Compile(tc.pattern, flagsOf(tc.caseless))
		_, ok := re.Match([]byte(tc.subject), nil)
		if ran := cmd.Run(); (ran == nil) != ok {
			t.Errorf("%q on %q: got %v, grep says %v", tc.pattern, tc.subject, ok, ran)
		}
	}
}

func supportsP(grep string) bool {
	cmd := exec.Command(grep, "-qP", "a")
	cmd.Stdin = strings.NewReader("a\n")
	return cmd.Run() == nil
}

// FuzzAgainstRegexp compares with Go's own package where a pattern means the same to both.
func FuzzAgainstRegexp(f *testing.F) {
	f.Add("^/a/(.*)x", "/a/bx")
	f.Add("(a|b)*c", "abac")
	f.Fuzz(func(t *testing.T, pattern, subject string) {
		re, err := Compile(pattern, 0)
		if err != nil || len(subject) > 100 {
			return
		}
		caps, _ := re.Match([]byte(subject), nil)
		for i := 0; i+1 < len(caps); i += 2 {
			if caps[i] > len(subject) || caps[i+1] > len(subject) || i > 0 && caps[i+1] < caps[i] {
				t.Fatalf("%q on %q: offsets %v", pattern, subject, caps)
			}
		}
		if !sameMeaning(pattern, subject) {
			return
		}
		std, err := regexp.Compile(pattern)
		if err != nil {
			return
		}
		if want := std.FindStringSubmatchIndex(subject); fmt.Sprint(want) != fmt.Sprint(caps) {
			t.Fatalf("%q on %q: got %v, want %v", pattern, subject, caps, want)
		}
	})
}

// sameMeaning allows only what both packages read alike: literals, groups, simple repetition.
func sameMeaning(pattern, subject string) bool {
	for i := range len(pattern) {
		switch c := pattern[i]; {
		case isWord(c), c == '/', c == '-', c == '|', c == '.', c == '^':
		case c == '(' && i+1 < len(pattern) && pattern[i+1] != '?' && pattern[i+1] != '*':
		case c == ')' && (i+1 == len(pattern) || strings.IndexByte("*+?{", pattern[i+1]) < 0):
		case (c == '*' || c == '+' || c == '?') && i > 0 && isWord(pattern[i-1]) && (i+1 == len(pattern) || strings.IndexByte("*+?{", pattern[i+1]) < 0):
		default:
			return false
		}
	}
	for i := range len(subject) {
		if subject[i] >= 0x80 {
			return false
		}
	}
	return true
}

func BenchmarkMatch(b *testing.B) {
	for _, bm := range []struct{ name, pattern, subject string }{
		{"suffix", `\.php$`, "/some/path/to/a/file.html"},
		{"prefix", `^/images/`, "/some/path/to/a/file.html"},
		{"extensions", `\.(?:jpe?g|png|gif|css|js)$`, "/some/path/to/a/file.css"},
		{"capture", `^/a/([^/]+)/(.*)$`, "/a/path/to/a/file.css"},
		{"lookahead", `^/(?!api/)(.+)`, "/some/path/to/a/file.css"},
		{"miss", `/(admin|login)/`, "/some/path/to/a/file.css"},
	} {
		b.Run(bm.name, func(b *testing.B) {
			re, err := Compile(bm.pattern, 0)
			if err != nil {
				b.Fatal(err)
			}
			subject := []byte(bm.subject)
			var buf [16]int
			b.ReportAllocs()
			for b.Loop() {
				re.Match(subject, buf[:0])
			}
		})
	}
}

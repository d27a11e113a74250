package nginxconf

import (
	"math"
	"math/big"
	"regexp"
	"strings"
	"testing"
	"time"
)

// What nginx 1.22 takes and refuses; see testdata/wrong/values.txt.
func TestSizes(t *testing.T) {
	for _, c := range []struct {
		text         string
		size, offset int64 // -1: refused
	}{
		{"0", 0, 0}, {"1", 1, 1}, {"010", 10, 10}, {"1k", 1024, 1024}, {"1K", 1024, 1024}, {"2m", 2 << 20, 2 << 20}, {"2M", 2 << 20, 2 << 20},
		{"1g", -1, 1 << 30}, {"1G", -1, 1 << 30}, {"1t", -1, -1}, {"", -1, -1}, {"k", -1, -1}, {"-1", -1, -1}, {"+1", -1, -1}, {"1.5m", -1, -1},
		{"1kb", -1, -1}, {"1 k", -1, -1}, {" 1", -1, -1}, {"0x10", -1, -1},
		{"9223372036854775807", math.MaxInt64, math.MaxInt64}, {"9223372036854775808", -1, -1},
		{"9007199254740991k", 9007199254740991 << 10, 9007199254740991 << 10}, {"9007199254740992k", -1, -1},
	} {
		for _, p := range []struct {
			name  string
			parse func(string) (int64, bool)
			want  int64
		}{{"ParseSize", ParseSize, c.size}, {"ParseOffset", ParseOffset, c.offset}} {
			got, ok := p.parse(c.text)
			if ok != (p.want >= 0) || ok && got != p.want {
				t.Errorf("%s(%q) = %d, %t; want %d", p.name, c.text, got, ok, p.want)
			}
		}
	}
}

func TestTimes(t *testing.T) {
	const day = 24 * time.Hour
	for _, c := range []struct {
		text      string
		msec, sec time.Duration // -1: refused
	}{
		{"0", 0, 0}, {"1", time.Second, time.Second}, {"1s", time.Second, time.Second}, {"500ms", 500 * time.Millisecond, -1},
		{"1m", time.Minute, time.Minute}, {"1h30m", 90 * time.Minute, 90 * time.Minute}, {"1m 30s", 90 * time.Second, 90 * time.Second},
		{"1d", day, day}, {"1w", 7 * day, 7 * day}, {"1M", -1, 30 * day}, {"1y", -1, 365 * day},
		{"1M1w", -1, 37 * day}, {"1m1M", -1, -1}, {"1s1m", -1, -1}, {"1s1s", -1, -1}, {"1s500ms", 1500 * time.Millisecond, -1}, {"1m30", 90 * time.Second, 90 * time.Second},
		{"", -1, -1}, {"s", -1, -1}, {"ms", -1, -1}, {"-1", -1, -1}, {"1.5s", -1, -1}, {"1x", -1, -1}, {"1S", -1, -1}, {"1H", -1, -1},
		{"1 2", 3 * time.Second, 3 * time.Second}, {"1 2 3", -1, -1}, {"1s 2", 3 * time.Second, 3 * time.Second}, {"1 2ms", -1, -1}, {"1 s", -1, -1},
		{" 1", time.Second, time.Second}, {"1 ", time.Second, time.Second}, {" ", -1, -1}, {"s1", time.Second, time.Second}, {"1hm1", 3601 * time.Second, 3601 * time.Second},
		{"1sm", -1, -1}, {"5ms 1", 1005 * time.Millisecond, -1}, {"h", -1, -1},
		{"9223372036854775807ms", math.MaxInt64, -1}, {"9223372036854775808ms", -1, -1}, {"9223372036854776s", -1, math.MaxInt64},
		{"292471208677y", -1, math.MaxInt64}, {"292471208678y", -1, -1},
	} {
		for _, p := range []struct {
			msec bool
			want time.Duration
		}{{true, c.msec}, {false, c.sec}} {
			got, ok := ParseTime(c.text, p.msec)
			if ok != (p.want >= 0) || ok && got != p.want {
				t.Errorf("ParseTime(%q, %t) = %v, %t; want %v", c.text, p.msec, got, ok, p.want)
			}
		}
	}
}

// FuzzNumbers compares sizes and times with a reference that counts in big numbers.
func FuzzNumbers(f *testing.F) {
	for _, seed := range []string{"1", "1k", "1g", "1h30m", "500ms", "1M 2w", "9223372036854775807k", "106751d", "1m 30", "", "ms", "1y1y"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		check := func(name string, got int64, ok bool, want *big.Int) {
			if ok != (want != nil) || ok && want.Cmp(big.NewInt(got)) != 0 {
				t.Errorf("%s(%q) = %d, %t; want %v", name, s, got, ok, want)
			}
		}
		n, ok := ParseSize(s)
		check("ParseSize", n, ok, bigSize(s, "km"))
		n, ok = ParseOffset(s)
		check("ParseOffset", n, ok, bigSize(s, "kmg"))
		for _, msec := range []bool{true, false} {
			d, ok := ParseTime(s, msec)
			if want := bigTime(s, msec); ok != (want != nil) || ok && want.Cmp(big.NewInt(int64(d))) != 0 {
				t.Errorf("ParseTime(%q, %t) = %d, %t; want %v", s, msec, d, ok, want)
			}
		}
	})
}

func bigSize(s, suffixes string) *big.Int {
	m := regexp.MustCompile(`^([0-9]+)([` + suffixes + strings.ToUpper(suffixes) + `]?)$`).FindStringSubmatch(s)
	if m == nil {
		return nil
	}
	n, _ := new(big.Int).SetString(m[1], 10)
	if m[2] != "" {
		n.Lsh(n, uint(10*(strings.Index(suffixes, strings.ToLower(m[2]))+1)))
	}
	return fits(n)
}

func fits(n *big.Int) *big.Int {
	if !n.IsInt64() {
		return nil
	}
	return n
}

// bigTime reads the units in their order, each at most once, with a pattern.
func bigTime(s string, msec bool) *big.Int {
	pattern := `^ *(?:([0-9]*)w *)?(?:([0-9]*)d *)?(?:([0-9]*)h *)?(?:([0-9]*)m *)?(?:([0-9]*)s *)?(?:([0-9]*)u *)?(?:([0-9]*) +)?([0-9]*)$`
	units := []time.Duration{7 * 24 * time.Hour, 24 * time.Hour, time.Hour, time.Minute, time.Second, time.Millisecond, time.Second, time.Second}
	resolution := time.Millisecond
	if !msec {
		pattern = `^ *(?:([0-9]*)y *)?(?:([0-9]*)M *)?` + strings.Replace(pattern[len("^ *"):], "(?:([0-9]*)u *)?", "", 1)
		units = append([]time.Duration{365 * 24 * time.Hour, 30 * 24 * time.Hour}, append(units[:5:5], units[6:]...)...)
		resolution = time.Second
	}
	if !strings.ContainsAny(s, "0123456789") || !msec && strings.Contains(s, "ms") {
		return nil
	}
	if strings.HasPrefix(s, " ") { // a blank takes the place of all units
		pattern, units = `^ *([0-9]+)$`, []time.Duration{time.Second}
	}
	m := regexp.MustCompile(pattern).FindStringSubmatch(strings.ReplaceAll(s, "ms", "u"))
	if m == nil || strings.Contains(s, "u") {
		return nil
	}
	total := new(big.Int)
	for i, digits := range m[1:] {
		if digits == "" {
			continue
		}
		n, _ := new(big.Int).SetString(digits, 10)
		total.Add(total, n.Mul(n, big.NewInt(int64(units[i]/resolution))))
	}
	if fits(total) == nil {
		return nil
	}
	total.Mul(total, big.NewInt(int64(resolution)))
	if fits(total) == nil {
		return big.NewInt(math.MaxInt64)
	}
	return total
}

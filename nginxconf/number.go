package nginxconf

import (
	"math"
	"time"
)

// ParseNum reads a decimal number without sign, as nginx's ngx_atoi.
func ParseNum(s string) (int, bool) {
	n, ok := parseDigits(s, math.MaxInt64)
	return int(n), ok
}

func parseDigits(s string, limit int64) (int64, bool) {
	if s == "" {
		return 0, false
	}
	var n int64
	for i := range len(s) {
		d := int64(s[i] - '0')
		if s[i] < '0' || s[i] > '9' || n > (limit-d)/10 {
			return 0, false
		}
		n = n*10 + d
	}
	return n, true
}

// ParseSize reads bytes with an optional suffix k or m.
// http://nginx.org/en/docs/syntax.html
func ParseSize(s string) (int64, bool) { return parseUnits(s, "km") }

// ParseOffset reads bytes with an optional suffix k, m or g.
func ParseOffset(s string) (int64, bool) { return parseUnits(s, "kmg") }

func parseUnits(s, suffixes string) (int64, bool) {
	scale := int64(1)
	if s != "" {
		for i := range len(suffixes) {
			if s[len(s)-1]|0x20 == suffixes[i] {
				scale = 1 << (10 * (i + 1))
				s = s[:len(s)-1]
				break
			}
		}
	}
	n, ok := parseDigits(s, math.MaxInt64/scale)
	return n * scale, ok
}

// timeUnit is a suffix of nginx's times; bigger units come first in a value.
type timeUnit struct {
	suffix string
	rank   int
	unit   time.Duration
}

// ParseTime reads a time such as 10, 1h30m or 500ms. A number without suffix is
// seconds; ms is allowed only where msec is true.
// http://nginx.org/en/docs/syntax.html
func ParseTime(s string, msec bool) (time.Duration, bool) {
	const day = 24 * time.Hour
	units := [...]timeUnit{
		{"ms", 8, time.Millisecond}, {"y", 1, 365 * day}, {"M", 2, 30 * day}, {"w", 3, 7 * day},
		{"d", 4, day}, {"h", 5, time.Hour}, {"m", 6, time.Minute}, {"s", 7, time.Second},
	}
	var total time.Duration
	rank := 0
	for first := true; s != "" || first; first = false {
		i := 0
		for i < len(s) && s[i] >= '0' && s[i] <= '9' {
			i++
		}
		n, ok := parseDigits(s[:i], math.MaxInt64/int64(time.Second))
		if !ok {
			return 0, false
		}
		u := timeUnit{"", 7, time.Second} // a bare number ends the value
		rest := s[i:]
		for _, c := range units {
			if len(rest) >= len(c.suffix) && rest[:len(c.suffix)] == c.suffix {
				u = c
				break
			}
		}
		if u.suffix == "ms" && !msec || u.suffix == "" && rest != "" && rest[0] != ' ' || u.rank <= rank {
			return 0, false
		}
		rank = u.rank
		if n > int64((math.MaxInt64-total)/u.unit) {
			return 0, false
		}
		total += time.Duration(n) * u.unit
		s = rest[len(u.suffix):]
		for s != "" && s[0] == ' ' {
			s = s[1:]
		}
	}
	return total, true
}

func equalFold(a, b string) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range len(a) {
		x, y := a[i], b[i]
		if 'A' <= x && x <= 'Z' {
			x |= 0x20
		}
		if 'A' <= y && y <= 'Z' {
			y |= 0x20
		}
		if x != y {
			return false
		}
	}
	return true
}

package nginxconf

import (
	"math"
	"strings"
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
	unit   time.Duration
}

// timeUnits returns the units in the order in which they may stand. A blank
// stands for seconds, too, and ends what may have a unit.
func timeUnits() []timeUnit {
	const day = 24 * time.Hour
	return []timeUnit{
		{"y", 365 * day}, {"M", 30 * day}, {"w", 7 * day}, {"d", day}, {"h", time.Hour}, {"m", time.Minute},
		{"s", time.Second}, {"ms", time.Millisecond}, {" ", time.Second},
	}
}

// ParseTime reads a time such as 10, 1h30m or 500ms; with msec in milliseconds,
// else in seconds. A number without suffix is seconds. As in nginx, ms needs msec,
// months and years are refused with it, blanks may part the units, and a unit
// without its number counts nothing. A time that is too long for a Duration, some
// 292 years, is as long as one can be.
// http://nginx.org/en/docs/syntax.html
func ParseTime(s string, msec bool) (time.Duration, bool) {
	resolution := time.Second
	if msec {
		resolution = time.Millisecond
	}
	var total int64 // in units of the resolution
	step, digits := -1, false
	for s != "" {
		n := len(s) - len(strings.TrimLeft(s, "0123456789"))
		value := int64(0)
		if n > 0 {
			var ok bool
			if value, ok = parseDigits(s[:n], math.MaxInt64); !ok {
				return 0, false
			}
			s, digits = s[n:], true
		}
		unit := time.Second
		if s != "" {
			i := findUnit(s)
			if i <= step || msec && timeUnits()[i].unit >= 30*24*time.Hour || !msec && timeUnits()[i].suffix == "ms" {
				return 0, false
			}
			step, unit = i, timeUnits()[i].unit
			s = strings.TrimLeft(s[len(timeUnits()[i].suffix):], " ")
		}
		scale := int64(unit / resolution)
		if value > (math.MaxInt64-total)/scale {
			return 0, false
		}
		total += value * scale
	}
	if total > int64(math.MaxInt64/resolution) {
		return math.MaxInt64, digits
	}
	return time.Duration(total) * resolution, digits
}

// findUnit returns the place of the unit at the beginning of s in timeUnits, -1 when there is none.
func findUnit(s string) int {
	found := -1
	for i, u := range timeUnits() {
		if strings.HasPrefix(s, u.suffix) && (found < 0 || len(u.suffix) > len(timeUnits()[found].suffix)) {
			found = i
		}
	}
	return found
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

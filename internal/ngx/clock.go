package ngx

import (
	"bytes"
	"sync/atomic"
	"time"
)

// TimeFormat is the format of dates in HTTP (RFC 9110 section 5.6.7).
const TimeFormat = "Mon, 02 Jan 2006 15:04:05 GMT"

// clockCache holds the current second's texts. They are a cache of a pure
// function of the time, so that sharing them over the process changes nothing.
var clockCache atomic.Pointer[clockTexts]

type clockTexts struct {
	until            time.Duration // behind clockEpoch, when the second is over
	date, local, iso []byte
}

// clockEpoch is where the monotonic clock is measured from, which costs half of what time.Now does.
var clockEpoch = time.Now()

func clock() *clockTexts {
	since := time.Since(clockEpoch)
	t := clockCache.Load()
	if t == nil || since >= t.until {
		now := time.Now()
		t = &clockTexts{
			until: since + time.Second - time.Duration(now.Nanosecond()),
			date:  now.UTC().AppendFormat(nil, TimeFormat),
			local: now.AppendFormat(nil, "02/Jan/2006:15:04:05 -0700"),
			iso:   now.AppendFormat(nil, "2006-01-02T15:04:05-07:00"),
		}
		clockCache.Store(t)
	}
	return t
}

// DateField returns the value of a Date field for this second. The bytes are shared.
func DateField() []byte { return clock().date }

// TimeLocal returns this second in the Common Log Format: $time_local. The bytes are shared.
func TimeLocal() []byte { return clock().local }

// TimeISO8601 returns this second in ISO 8601 form: $time_iso8601. The bytes are shared.
func TimeISO8601() []byte { return clock().iso }

// ParseTime parses a date of one of HTTP's three formats, RFC 9110 section 5.6.7. As in nginx the zone isn't looked at.
func ParseTime(b []byte) (time.Time, bool) {
	layout, month := time.ANSIC, 4
	if len(b) > 3 && b[3] == ',' {
		layout, month = "Mon, 02 Jan 2006 15:04:05", 8
	} else if _, after, ok := bytes.Cut(b, []byte{','}); ok {
		b, layout, month = after, " 02-Jan-06 15:04:05", 4
	}
	if len(b) < len(layout) || b[month] < 'A' || b[month] > 'Z' {
		return time.Time{}, false
	}
	t, err := time.Parse(layout, string(b[:len(layout)]))
	return t, err == nil
}

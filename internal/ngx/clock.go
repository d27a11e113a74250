package ngx

import (
	"sync/atomic"
	"time"
)

// TimeFormat is the format of dates in HTTP (RFC 9110 section 5.6.7).
const TimeFormat = "Mon, 02 Jan 2006 15:04:05 GMT"

// clockCache holds the current second's texts. They are a cache of a pure
// function of the time, so that sharing them over the process changes nothing.
var clockCache atomic.Pointer[clockTexts]

type clockTexts struct {
	second           int64
	date, local, iso []byte
}

func clock() *clockTexts {
	now := time.Now()
	t := clockCache.Load()
	if t == nil || t.second != now.Unix() {
		t = &clockTexts{
			second: now.Unix(),
			date:   now.UTC().AppendFormat(nil, TimeFormat),
			local:  now.AppendFormat(nil, "02/Jan/2006:15:04:05 -0700"),
			iso:    now.AppendFormat(nil, "2006-01-02T15:04:05-07:00"),
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

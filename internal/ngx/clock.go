package ngx

import (
	"sync/atomic"
	"time"
)

// TimeFormat is the format of dates in HTTP (RFC 9110 section 5.6.7).
const TimeFormat = "Mon, 02 Jan 2006 15:04:05 GMT"

// dateCache holds the current second's Date field. The text is a cache of a
// pure function of the time, so that sharing it over the process changes nothing.
var dateCache atomic.Pointer[dateText]

type dateText struct {
	second int64
	text   []byte
}

// DateField returns the value of a Date field for this second.
func DateField() []byte {
	now := time.Now()
	d := dateCache.Load()
	if d == nil || d.second != now.Unix() {
		d = &dateText{now.Unix(), now.UTC().AppendFormat(nil, TimeFormat)}
		dateCache.Store(d)
	}
	return d.text
}

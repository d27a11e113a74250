package ssi

import (
	"strconv"
	"time"

	"limpet/internal/ngx"
)

// defaultTimeFormat is the format of dates until config sets another.
const defaultTimeFormat = "%A, %d-%b-%Y %H:%M:%S %Z"

// vars are the module's variables.
func vars() []ngx.Variable {
	return []ngx.Variable{
		{Name: "date_local", Doc: "The time in the local zone, in the page's format.", Get: func(r *ngx.Request, b []byte) ([]byte, bool) {
			return appendTime(b, timeFormat(r), time.Now()), true
		}},
		{Name: "date_gmt", Doc: "The time in GMT, in the page's format.", Get: func(r *ngx.Request, b []byte) ([]byte, bool) {
			return appendTime(b, timeFormat(r), time.Now().In(time.FixedZone("GMT", 0))), true
		}},
	}
}

func timeFormat(r *ngx.Request) string {
	if f, ok := ngx.FilterOf[*filter](r); ok {
		return f.timeFmt
	}
	return defaultTimeFormat
}

// appendTime appends a time in a format of strftime(3), in the C locale.
func appendTime(b []byte, format string, t time.Time) []byte {
	for i := 0; i < len(format); i++ {
		if format[i] != '%' || i+1 == len(format) {
			b = append(b, format[i])
			continue
		}
		i++
		b = appendField(b, format[i], t)
	}
	return b
}

// layout returns Go's layout for the conversions that have one.
func layout(c byte) string {
	switch c {
	case 'a':
		return "Mon"
	case 'A':
		return "Monday"
	case 'b', 'h':
		return "Jan"
	case 'B':
		return "January"
	case 'c':
		return "Mon Jan _2 15:04:05 2006"
	case 'd':
		return "02"
	case 'D', 'x':
		return "01/02/06"
	case 'e':
		return "_2"
	case 'F':
		return "2006-01-02"
	case 'H':
		return "15"
	case 'I':
		return "03"
	case 'j':
		return "002"
	case 'm':
		return "01"
	case 'M':
		return "04"
	case 'p':
		return "PM"
	case 'P':
		return "pm"
	case 'r':
		return "03:04:05 PM"
	case 'R':
		return "15:04"
	case 'S':
		return "05"
	case 'T', 'X':
		return "15:04:05"
	case 'y':
		return "06"
	case 'Y':
		return "2006"
	case 'z':
		return "-0700"
	case 'Z':
		return "MST"
	}
	return ""
}

func appendField(b []byte, c byte, t time.Time) []byte {
	if l := layout(c); l != "" {
		return t.AppendFormat(b, l)
	}
	two := func(n int) []byte { return append(b, byte('0'+n/10), byte('0'+n%10)) }
	year, week := t.ISOWeek()
	weekday := int(t.Weekday())
	switch c {
	case '%':
		return append(b, '%')
	case 'n':
		return append(b, '\n')
	case 't':
		return append(b, '\t')
	case 's':
		return strconv.AppendInt(b, t.Unix(), 10)
	case 'C':
		return two(t.Year() / 100)
	case 'g':
		return two(year % 100)
	case 'G':
		return strconv.AppendInt(b, int64(year), 10)
	case 'V':
		return two(week)
	case 'u':
		return append(b, byte('0'+(weekday+6)%7+1))
	case 'w':
		return append(b, byte('0'+weekday))
	case 'U':
		return two((t.YearDay() + 6 - weekday) / 7)
	case 'W':
		return two((t.YearDay() + 6 - (weekday+6)%7) / 7)
	case 'k':
		return append(b, pad(t.Hour())...)
	case 'l':
		return append(b, pad((t.Hour()+11)%12+1)...)
	}
	return append(b, '%', c)
}

func pad(n int) string {
	if n < 10 {
		return " " + strconv.Itoa(n)
	}
	return strconv.Itoa(n)
}

package errlog

import (
	"errors"
	"os"
	"strconv"
	"syscall"
)

// Errno returns the number and glibc's text of the system's error that err wraps, as nginx's lines end:
// `(111: Connection refused)`. A timeout of the runtime is `(110: Connection timed out)`; an error without a number is
// its own text in parentheses, and nil is "".
func Errno(err error) string {
	if err == nil {
		return ""
	}
	var e syscall.Errno
	if !errors.As(err, &e) {
		var timeout interface{ Timeout() bool }
		if !errors.Is(err, os.ErrDeadlineExceeded) && !(errors.As(err, &timeout) && timeout.Timeout()) {
			return "(" + err.Error() + ")"
		}
		e = syscall.ETIMEDOUT
	}
	text := []byte(e.Error()) // glibc's, but for the first letter
	if 'a' <= text[0] && text[0] <= 'z' {
		text[0] -= 'a' - 'A'
	}
	return "(" + strconv.Itoa(int(e)) + ": " + string(text) + ")"
}

// IsUnreachable reports the system's errors of a peer that isn't there, which nginx logs at level error, not crit.
func IsUnreachable(err error) bool {
	for _, e := range []syscall.Errno{syscall.ECONNREFUSED, syscall.ECONNRESET, syscall.ENETDOWN, syscall.ENETUNREACH, syscall.EHOSTDOWN, syscall.EHOSTUNREACH} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

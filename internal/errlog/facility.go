package errlog

// Facility is a part of the server that debug lines are of, or a set of parts.
// https://nginx.org/en/docs/debugging_log.html
type Facility uint8

// The facilities, in nginx's order.
const (
	DebugCore   Facility = 1 << iota // reload, resolver, memory of connections
	DebugAlloc                       // without lines
	DebugMutex                       // without lines
	DebugEvent                       // connections: accept, connect, TLS handshake, bytes read and written
	DebugHTTP                        // requests
	DebugMail                        // without lines
	DebugStream                      // without lines

	DebugAll = DebugStream<<1 - 1
)

// facilityNamed returns the facility of one of the partial debug levels, 0 for what isn't one.
func facilityNamed(level string) Facility {
	switch level {
	case "debug_core":
		return DebugCore
	case "debug_alloc":
		return DebugAlloc
	case "debug_mutex":
		return DebugMutex
	case "debug_event":
		return DebugEvent
	case "debug_http":
		return DebugHTTP
	case "debug_mail":
		return DebugMail
	case "debug_stream":
		return DebugStream
	}
	return 0
}

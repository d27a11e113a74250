package lua

// phase is where a script runs, a bit so that an API function can list its phases.
type phase uint16

const (
	phaseInit phase = 1 << iota
	phaseInitWorker
	phaseExitWorker
	phaseSet
	phaseServerRewrite
	phaseRewrite
	phaseAccess
	phaseContent
	phaseHeaderFilter
	phaseBodyFilter
	phaseLog
	phaseTimer
	phaseBalancer

	// answering are the phases that may wait and answer the client.
	answering = phaseServerRewrite | phaseRewrite | phaseAccess | phaseContent
	// filtering are the phases in which the answer is on its way.
	filtering = phaseHeaderFilter | phaseBodyFilter
)

// String returns the name in OpenResty's messages.
func (p phase) String() string {
	switch p {
	case phaseInit:
		return "init_by_lua*"
	case phaseInitWorker:
		return "init_worker_by_lua*"
	case phaseExitWorker:
		return "exit_worker_by_lua*"
	case phaseSet:
		return "set_by_lua*"
	case phaseServerRewrite:
		return "server_rewrite_by_lua*"
	case phaseRewrite:
		return "rewrite_by_lua*"
	case phaseAccess:
		return "access_by_lua*"
	case phaseContent:
		return "content_by_lua*"
	case phaseHeaderFilter:
		return "header_filter_by_lua*"
	case phaseBodyFilter:
		return "body_filter_by_lua*"
	case phaseLog:
		return "log_by_lua*"
	case phaseTimer:
		return "ngx.timer"
	}
	return "balancer_by_lua*"
}

// short returns the name that ngx.get_phase gives.
func (p phase) short() string {
	switch p {
	case phaseTimer:
		return "timer"
	case phaseInit:
		return "init"
	}
	s := p.String()
	return s[:len(s)-len("_by_lua*")]
}

// doing returns what nginx says behind a line that is logged in the phase.
func (p phase) doing() string {
	switch p {
	case phaseBalancer:
		return " while connecting to upstream"
	case phaseLog:
		return " while logging request"
	}
	return ""
}

// entry reports whether the phase runs in a coroutine of its own in OpenResty, which shows in error lines.
func (p phase) entry() bool { return p&(answering|phaseTimer) != 0 }

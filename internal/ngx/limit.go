package ngx

// LimitStatus is what a limit decided about a request.
type LimitStatus uint8

// The decisions; LimitNone says that no limit was asked.
const (
	LimitNone LimitStatus = iota
	LimitPassed
	LimitDelayed
	LimitRejected
	LimitDelayedDryRun
	LimitRejectedDryRun
)

// String returns the decision as $limit_conn_status and $limit_req_status show it.
func (s LimitStatus) String() string {
	return [...]string{"", "PASSED", "DELAYED", "REJECTED", "DELAYED_DRY_RUN", "REJECTED_DRY_RUN"}[s]
}

package ngx

// Outcome is what a step says of the request: go on, done, or a status to end with.
type Outcome int

const (
	// Next: nothing to say, the next step decides.
	Next Outcome = iota
	// OK: an access step grants access (`satisfy any` then skips the others);
	// a content step has answered and the answer is complete.
	OK
	// Redirect: Path or Args changed; a location is looked for again.
	Redirect
	// Close: nobody is to be answered: the client is gone or the answer broke
	// off halfway. The connection is closed.
	Close
)

// Status is the outcome that ends the request with an HTTP status (100-599):
// its error_page, else the built-in page. 444 closes without an answer.
func Status(code int) Outcome { return Outcome(code) }

// IsStatus reports whether the outcome is an HTTP status.
func (o Outcome) IsStatus() bool { return o >= 100 }

// Step does a module's work on a request in one phase. It runs in the request's
// goroutine and waits only through the connection and the request.
type Step func(r *Request) Outcome

// Phase is a point on the way of a request. Phases run in this order; within
// one, steps run in the order of the list of modules.
type Phase uint8

// The phases. Between ServerRewrite and Rewrite the location is found.
const (
	PostRead      Phase = iota // realip
	ServerRewrite              // rewrite, set, return in server
	Rewrite                    // rewrite, set, return, if in location
	RewriteTail                // behind Rewrite in the same location, also when that changed the URI
	PreAccess                  // limit_conn, limit_req
	Access                     // allow, auth_basic, auth_request; under `satisfy`
	PreContent                 // try_files, mirror
	Content                    // who answers, when no handler (proxy_pass) is set
	HeaderFilter               // changes the response's header, adds body filters; Close gives up, a status replaces the answer
	Log                        // after the answer; Outcome is ignored
	NumPhases
)

package nginxconf

// Context is a set of the places where a directive may stand.
type Context uint32

// The contexts of nginx's configuration files. ServerIf and LocationIf are the
// blocks of an `if` directly in a server and in a location.
const (
	Main Context = 1 << iota
	Events
	HTTP
	Server
	ServerIf
	Location
	LocationIf
	LimitExcept
	Upstream
	Match // match{} of NGINX Plus' health checks

	HTTPServer         = HTTP | Server
	ServerLocation     = Server | Location
	HTTPServerLocation = HTTP | Server | Location
	AnyContext         = Context(^uint32(0))
)

// Arity is the set of argument counts that a directive takes. Bit n stands for
// n arguments, the highest bit for more than seven.
type Arity uint16

// The argument counts of nginx's directives.
const (
	NoArgs Arity = 1 << iota
	Args1
	Args2
	Args3
	Args4
	Args5
	Args6
	Args7
	argsMore

	Args01    = NoArgs | Args1
	Args12    = Args1 | Args2
	Args13    = Args1 | Args3
	Args23    = Args2 | Args3
	Args123   = Args1 | Args2 | Args3
	Args1234  = Args1 | Args2 | Args3 | Args4
	Args2345  = Args2 | Args3 | Args4 | Args5
	Args1More = AnyArgs &^ NoArgs
	Args2More = Args1More &^ Args1
	AnyArgs   = Arity(1<<9 - 1)
)

// Takes reports whether n arguments are in the set.
func (a Arity) Takes(n int) bool {
	if n > 7 {
		return a&argsMore != 0
	}
	return a>>n&1 != 0
}

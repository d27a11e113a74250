package nginxconf

import (
	"fmt"
	"strings"
)

// String names the contexts as nginx's documentation does; a block inside `if`
// is server-if or location-if.
func (c Context) String() string {
	if c == AnyContext {
		return "any"
	}
	var names []string
	for _, n := range []struct {
		c    Context
		name string
	}{
		{Main, "main"}, {Events, "events"}, {HTTP, "http"}, {Server, "server"}, {ServerIf, "if in server"}, {Location, "location"},
		{LocationIf, "if in location"}, {LimitExcept, "limit_except"}, {Upstream, "upstream"}, {Match, "match"},
	} {
		if c&n.c != 0 {
			names = append(names, n.name)
		}
	}
	return strings.Join(names, ",")
}

// String gives the counts in short: 1, 1-2, 2+, 1 or 3.
func (a Arity) String() string {
	if a&argsMore != 0 {
		least := 0
		for !a.Takes(least) {
			least++
		}
		return fmt.Sprintf("%d+", least)
	}
	var parts []string
	for n := 0; n <= 7; n++ {
		if !a.Takes(n) {
			continue
		}
		end := n
		for a.Takes(end + 1) {
			end++
		}
		if end > n {
			parts = append(parts, fmt.Sprintf("%d-%d", n, end))
		} else {
			parts = append(parts, fmt.Sprint(n))
		}
		n = end
	}
	return strings.Join(parts, " or ")
}

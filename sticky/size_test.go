package sticky

import (
	"fmt"
	"strings"
	"testing"
)

// BenchmarkBuild builds a group of 10,000 servers.
func BenchmarkBuild(b *testing.B) {
	var text strings.Builder
	text.WriteString("upstream u {\n")
	for i := range 10_000 {
		fmt.Fprintf(&text, "server 10.%d.%d.%d:8080;\n", i>>16, i>>8&255, i&255)
	}
	conf := text.String() + "sticky cookie c;\n}"
	ms, config, err := read(conf, Options{})
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if err := configError(ms, config); err != nil {
			b.Fatal(err)
		}
	}
}

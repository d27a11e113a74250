package main

import (
	"fmt"
	"os"
	"runtime/pprof"
)

// profile writes a CPU profile to the file that LIMPET_PROFILE names, until the
// returned function is called: for -profile of internal/bench.
func profile() (stop func()) {
	name := os.Getenv("LIMPET_PROFILE")
	if name == "" {
		return func() {}
	}
	f, err := os.Create(name)
	if err == nil {
		err = pprof.StartCPUProfile(f)
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "limpet: cannot profile because %s\n", err)
		return func() {}
	}
	return func() {
		pprof.StopCPUProfile()
		f.Close()
	}
}

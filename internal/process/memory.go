package process

import (
	"math"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"

	"limpet/internal/server"
)

// setProcs uses as many processors as nginx would have worker processes. One is
// enough for the collector, too: a request allocates next to nothing.
func setProcs(main *server.Main) { runtime.GOMAXPROCS(min(max(main.Workers.V, 1), runtime.NumCPU())) }

// setMemory bounds the memory by nine tenths of the control group's limit, so that
// the collector works harder before the kernel kills. A process that proxies
// allocates next to nothing a request, so the garbage may double the heap twice
// before it is collected. GOMEMLIMIT and GOGC in the environment take precedence.
func setMemory() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
	if os.Getenv("GOMEMLIMIT") != "" {
		return
	}
	if limit := groupLimit(os.ReadFile); limit < math.MaxInt64 {
		debug.SetMemoryLimit(limit / 10 * 9)
	}
}

// gcPercent is GOGC's default here.
const gcPercent = 300

// groupLimit returns the memory limit of the control group (version 2, as containers see theirs at the root, or version 1).
// https://docs.kernel.org/admin-guide/cgroup-v2.html#memory-interface-files
func groupLimit(read func(name string) ([]byte, error)) int64 {
	limit := int64(math.MaxInt64)
	note := func(name string) {
		text, err := read(name)
		if err != nil {
			return
		}
		if n, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64); err == nil && n > 0 {
			limit = min(limit, n)
		}
	}
	note("/sys/fs/cgroup/memory.max")
	own, _ := read("/proc/self/cgroup")
	for line := range strings.Lines(string(own)) {
		if path, ok := strings.CutPrefix(strings.TrimSpace(line), "0::"); ok {
			for ; len(path) > 1; path = path[:strings.LastIndexByte(path, '/')] {
				note("/sys/fs/cgroup" + path + "/memory.max")
			}
		}
	}
	note("/sys/fs/cgroup/memory/memory.limit_in_bytes")
	if limit >= 1<<60 { // version 1's word for none
		return math.MaxInt64
	}
	return limit
}
